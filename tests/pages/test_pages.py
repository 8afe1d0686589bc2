"""What every page keeps: it answers, says who is signed in, and needs neither inline code nor another site."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.forms import Form
from django.template.loader import render_to_string
from django.urls import include, path

from apps.pages.views import page_not_found
from apps.users.models import User
from config.urls import urlpatterns

# The look of the site is made here; an app may have its own.
PAGES = settings.BASE_DIR / "apps/pages"
TEMPLATES = sorted(PAGES.glob("templates/**/*.html"))
INLINE = re.compile(r"<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:|<script(?![^>]*\ssrc=)|hx-on", re.IGNORECASE)

OPEN = (
    "/",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/accounts/password/reset/done/",
    "/accounts/password/reset/key/1-never-sent/",
    "/accounts/password/reset/key/done/",
    "/accounts/inactive/",
)
PERSONAL = (
    "/",
    "/accounts/email/",
    "/accounts/logout/",
    "/accounts/password/change/",
    "/accounts/password/reset/",
    "/accounts/reauthenticate/",
)


@pytest.fixture
def user(db, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
    return User.objects.create_user("ada@example.com", "correct-horse-9")


def assert_ours(response):
    page = response.content.decode()
    assert response.status_code == 200
    assert re.search(r'<html lang="en" dir="ltr">', page)
    assert re.search(r"<title>\w[^<]+ · Blueprint</title>", page)
    assert re.search(r'href="/static/pages/site\.\w+\.css"', page)
    assert len(re.findall("<h1", page)) == 1
    assert not INLINE.search(page)


@pytest.mark.parametrize("address", OPEN)
def test_a_page_for_everyone_answers_in_the_sites_look(client, db, address):
    assert_ours(client.get(address))


@pytest.mark.parametrize("address", PERSONAL)
def test_a_page_for_the_signed_in_answers_in_the_sites_look(client, user, address):
    client.force_login(user)
    assert_ours(client.get(address))


@pytest.mark.parametrize("address", ["new@example.com", "ada@example.com"], ids=["new", "of an account"])
def test_the_page_for_the_code_answers_in_the_sites_look_and_says_the_same_to_all(client, user, address):
    client.post("/accounts/signup/", {"email": address, "password1": "correct-horse-9"})
    response = client.get("/accounts/confirm-email/")
    assert_ours(response)
    page = response.content.decode()
    assert f"Enter the code that we have sent to <strong>{address}</strong>" in page
    buttons = re.findall("<button[^>]*>([^<]+)</button>", page)
    assert {"Confirm the address", "Send a new code", "Cancel"} <= set(buttons)


def test_the_pages_of_allauths_other_apps_have_the_sites_look():
    found = {"MFA_SUPPORTED_TYPES": ["totp"], "authenticators": {}}
    page = render_to_string("mfa/index.html", found)
    assert re.search(r"<title>Two-Factor Authentication · Blueprint</title>", page)
    assert re.search(r'<nav class="tabs row".*<section class="card stack">.*class="button"', page, re.DOTALL)
    assert not INLINE.search(page)
    page = render_to_string("mfa/totp/activate_form.html", {"form": Form(), "totp_svg_data_uri": "data:,"})
    assert '<div class="field">\n  <label for="authenticator_secret">' in page


@pytest.mark.parametrize("address", ["/", "/accounts/login/", "/accounts/signup/"])
def test_the_pages_of_visitors_load_no_script(client, db, address):
    assert "<script" not in client.get(address).content.decode()


def test_other_pages_have_htmx(client, user):
    client.force_login(user)
    assert "django_htmx/htmx" in client.get("/accounts/password/change/").content.decode()


def test_home_offers_sign_up_and_asks_no_database_for_it(client):
    page = client.get("/").content.decode()
    assert 'href="/accounts/signup/"' in page
    assert 'href="/accounts/login/"' in page
    assert "Account" not in page


def test_a_signed_in_person_finds_the_account_and_the_way_out(client, user):
    client.force_login(user)
    page = client.get("/").content.decode()
    assert "ada@example.com" in page
    for address in ("/accounts/email/", "/accounts/password/change/"):
        assert f'href="{address}"' in page
    assert re.search(
        r'<form method="post" action="/accounts/logout/"><input type="hidden" name="csrfmiddlewaretoken"', page
    )
    assert "/accounts/signup/" not in page


@pytest.mark.parametrize("is_staff", [True, False])
def test_only_staff_see_the_way_into_the_admin(client, user, is_staff):
    User.objects.update(is_staff=is_staff)
    client.force_login(user)
    assert ('href="/admin/"' in client.get("/").content.decode()) is is_staff


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_sample_can_be_deleted_and_every_link_to_it_goes_with_it(client, user, settings, is_installed):
    others = [each for each in urlpatterns if not str(each.pattern).startswith("photos")]
    photos = path("photos/", include(([path("", page_not_found, name="list")], "photos")))
    settings.ROOT_URLCONF = (*others, photos) if is_installed else tuple(others)
    assert "photos" not in client.get("/").content.decode()
    client.force_login(user)
    assert ('href="/photos/"' in client.get("/").content.decode()) is is_installed


def test_the_policy_on_a_page_allows_nothing_inline(client):
    policy = client.get("/")["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: str(file.relative_to(PAGES)))
def test_a_template_has_no_inline_style_or_script(template: Path):
    text = re.sub(r"{% comment %}.*?{% endcomment %}|{#.*?#}", "", template.read_text(), flags=re.DOTALL)
    assert not INLINE.search(text)


def test_no_template_and_no_style_loads_from_another_site():
    for file in [*TEMPLATES, *PAGES.glob("static/**/*.css")]:
        assert not re.search(r"(src|href)=.(https?:)?//|url\(|@import", file.read_text()), file


def test_all_styles_together_are_below_ten_kilobytes():
    styles = list(PAGES.glob("static/**/*.css"))
    assert styles
    assert sum(file.stat().st_size for file in styles) < 10_000
