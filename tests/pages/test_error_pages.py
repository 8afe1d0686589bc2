"""The error pages: right status, own words, the request id, and no database (these tests have none)."""

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.test import Client
from django.urls import include, path


def fail_with(error):
    def view(request):
        raise error

    return view


urlpatterns = [
    path("malformed/", fail_with(SuspiciousOperation())),
    path("forbidden/", fail_with(PermissionDenied())),
    path("broken/", fail_with(RuntimeError("broken on purpose"))),
    path("unable/", fail_with(OperationalError("the database is unreachable"))),
    path("", include("config.urls")),
]
handler400 = "apps.pages.views.bad_request"
handler403 = "apps.pages.views.permission_denied"
handler404 = "apps.pages.views.page_not_found"
handler500 = "apps.pages.views.server_error"

PAGES = [
    ("/malformed/", 400, "We could not read that."),
    ("/forbidden/", 403, "This is not open to you."),
    ("/nowhere/", 404, "There is nothing here."),
    ("/broken/", 500, "Something broke on our side."),
    ("/unable/", 503, "We cannot do that right now."),
]


@pytest.fixture
def client(settings):
    settings.ROOT_URLCONF = __name__
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = "of-someone-who-is-signed-in"
    return client


@pytest.mark.parametrize(("address", "status", "words"), PAGES)
def test_an_error_page_stands_without_the_database_and_names_the_request(client, address, status, words):
    response = client.get(address, headers={"X-Request-ID": "the-id-that-a-person-quotes"})
    page = response.content.decode()
    assert response.status_code == status
    assert words in page
    assert "<code>the-id-that-a-person-quotes</code>" in page
    assert "pages/site." in page
    assert "Sign in" not in page  # whether one is signed in is not known there
    assert "Content-Security-Policy" in response


@pytest.mark.parametrize("method", ["post", "put", "delete", "head"])
def test_an_error_page_answers_every_method(client, method):
    assert getattr(client, method)("/nowhere/").status_code == 404
    assert getattr(client, method)("/broken/").status_code == 500


def test_an_unreachable_database_says_when_to_come_again(client):
    assert client.get("/unable/")["Retry-After"] == "10"
    assert "Retry-After" not in client.get("/broken/")


def test_a_request_for_another_host_gets_the_error_page(client):
    response = client.get("/", headers={"host": "another.example"})
    assert response.status_code == 400
    assert "We could not read that." in response.content.decode()


def test_a_form_without_its_token_is_asked_to_reload(settings):
    client = Client(enforce_csrf_checks=True)
    response = client.post("/accounts/login/", {"login": "ada@example.com", "password": "x"})
    assert response.status_code == 403
    assert "This form has expired." in response.content.decode()
