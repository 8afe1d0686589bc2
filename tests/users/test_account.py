"""A person's way in and out: sign-up, confirmation by mail, sign-in, sign-out, password reset and change."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.core.management import call_command
from django.db import IntegrityError, transaction

from apps.users.models import User
from tests.twelve.kit import mails, refuse_mails, take_the_broker_away
from tests.users.steps import (
    ADDRESS,
    CODE_PAGE,
    NEW_PASSWORD,
    PASSWORD,
    ask_for_reset,
    code_in,
    enter_code,
    is_signed_in,
    link_in,
    reauthenticate,
    reset_password,
    sign_in,
    sign_up,
)

pytestmark = pytest.mark.django_db


def test_sign_up_confirmation_sign_in_and_sign_out(client):
    response = sign_up(client)
    assert response.url == CODE_PAGE
    [mail] = mails()
    assert mail["To"] == ADDRESS
    assert mail["Subject"] == "Confirm your address for Blueprint"
    assert "http://testserver/accounts/" not in mail.get_content()  # nothing to click: a mail scanner opens links
    assert not EmailAddress.objects.get().verified
    page = client.get(response.url).content.decode()
    assert "Check your mail" in page
    assert ADDRESS in page

    assert sign_in(client).url == CODE_PAGE
    assert not is_signed_in(client)

    assert "Incorrect code" in enter_code(client, "BBBB-BBBB").content.decode()
    assert not EmailAddress.objects.get().verified
    assert enter_code(client, code_in(mail).lower().replace("-", " ")).url == "/"
    assert EmailAddress.objects.get().verified
    assert is_signed_in(client)
    client.post("/accounts/logout/")

    assert sign_in(client).url == "/"
    assert ADDRESS in client.get("/").content.decode()
    client.post("/accounts/logout/")
    assert not is_signed_in(client)


def test_after_three_wrong_codes_the_right_one_is_refused(client):
    sign_up(client)
    for _ in range(3):
        response = enter_code(client, "BBBB-BBBB")
    assert response.url == "/accounts/login/"
    enter_code(client, code_in(mails()[0]))
    assert not EmailAddress.objects.get().verified
    assert not is_signed_in(client)


def test_a_new_code_voids_the_former(client):
    sign_up(client)
    assert client.post(CODE_PAGE, {"action": "resend"}).url == CODE_PAGE
    former, code = map(code_in, mails())
    enter_code(client, former)
    assert not is_signed_in(client)
    enter_code(client, code)
    assert is_signed_in(client)


def test_a_person_who_lost_the_page_with_the_code_signs_in_for_another(client):
    sign_up(client)
    client.post("/accounts/logout/")  # the way back on the page
    assert sign_in(client).url == CODE_PAGE
    enter_code(client, code_in(mails()[1]))
    assert is_signed_in(client)


def test_the_sign_up_page_says_that_a_mail_comes(client):
    assert "we send a mail with a code" in client.get("/accounts/signup/").content.decode()


def test_sign_in_leads_back_to_the_page_that_asked_for_it(client, user):
    response = client.get("/accounts/password/change/")
    assert response.url == "/accounts/login/?next=/accounts/password/change/"
    assert 'value="/accounts/password/change/"' in client.get(response.url).content.decode()


@pytest.mark.parametrize("password", ["short-7", "password123", "4823957130", ADDRESS])
def test_a_weak_password_is_refused_beside_its_field(client, password):
    response = client.post("/accounts/signup/", {"email": ADDRESS, "password1": password})
    assert re.search(
        r'id="id_password1"[^>]*>\s*<ul class="errorlist" id="id_password1_error">', response.content.decode()
    )
    assert not User.objects.exists()


def test_a_sign_up_whose_mail_cannot_be_written_leaves_nothing(client, monkeypatch):
    refuse_mails(monkeypatch)
    client.raise_request_exception = False
    assert sign_up(client).status_code == 500
    assert not User.objects.exists()
    assert not EmailAddress.objects.exists()


def test_an_address_is_unique_whatever_its_case(user):
    assert User.objects.create_user("Grace@Example.COM").email == "grace@example.com"
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("ADA@example.com")
    assert User.objects.get_by_natural_key("Ada@Example.com") == user


def test_a_second_sign_up_with_an_address_notifies_its_owner_and_nobody_else(client, user):
    response = sign_up(client, "Ada@Example.com")
    assert response.url == CODE_PAGE  # as for a new address
    assert User.objects.count() == 1
    [mail] = mails()
    assert mail["Subject"] == "You already have an account at Blueprint"


def test_sign_in_takes_the_address_in_any_case_and_only_the_right_password(client, user):
    assert "not correct" in sign_in(client, password="wrong").content.decode()
    sign_in(client, "ADA@Example.com")
    assert is_signed_in(client)


def test_createsuperuser_makes_a_confirmed_address_that_can_sign_in(client, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", "--noinput", email="Root@Example.com", verbosity=0)
    assert EmailAddress.objects.get().verified
    sign_in(client, "root@example.com")
    assert client.get("/admin/").status_code == 200


def test_a_forgotten_password_is_replaced_through_a_link_that_works_once(client, user):
    assert ask_for_reset(client).url == "/accounts/password/reset/done/"
    [mail] = mails()
    assert "Choose a new password" in client.get(client.get(link_in(mail)).url).content.decode()
    reset_password(client, mail)

    assert "This link does not work" in client.get(link_in(mail)).content.decode()
    assert not is_signed_in(client)
    sign_in(client)
    assert not is_signed_in(client)
    sign_in(client, password=NEW_PASSWORD)
    assert is_signed_in(client)
    assert len(mails()) == 2  # the owner is notified


def test_a_reset_for_an_unknown_address_looks_the_same_and_says_so_by_mail(client):
    assert ask_for_reset(client).url == "/accounts/password/reset/done/"
    assert [mail["Subject"] for mail in mails()] == ["No account at Blueprint with this address"]


def test_a_changed_password_keeps_one_signed_in_and_is_reported_by_mail(client, user):
    client.force_login(user)
    entered = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    client.post("/accounts/password/change/", entered, headers={"User-Agent": "O'Brien & <Sons>"})
    assert is_signed_in(client)
    assert client.get("/accounts/email/").status_code == 200
    user.refresh_from_db()
    assert user.check_password(NEW_PASSWORD)
    [mail] = mails()
    assert "O'Brien & <Sons>" in mail.get_content()  # plain text is not escaped


def test_addresses_are_added_made_the_main_one_and_removed(client, user):
    client.force_login(user)
    reauthenticate(client)
    other = "ada@example.org"
    assert client.post("/accounts/email/", {"action_add": "", "email": other}).url == CODE_PAGE
    [mail] = mails()
    assert mail["To"] == other
    assert enter_code(client, code_in(mail)).url == "/"
    assert "Make it the main one" in client.get("/accounts/email/").content.decode()
    client.post("/accounts/email/", {"action_primary": "", "email": other})
    user.refresh_from_db()
    assert user.email == other
    client.post("/accounts/email/", {"action_remove": "", "email": ADDRESS})
    assert [each.email for each in EmailAddress.objects.all()] == [other]


@pytest.mark.parametrize(
    "forwarded", [None, "", "nonsense", ",", "1.2.3.4", "1.2.3.4, 5.6.7.8, 9.9.9.9", "::1", "x" * 5000]
)
@pytest.mark.parametrize("proxies", [0, 1, 3])
def test_a_wrong_forwarded_address_makes_no_error(client, user, settings, forwarded, proxies):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert sign_in(client, password="wrong", **headers).status_code == 200
    sign_in(client, **headers)
    assert is_signed_in(client)


def test_too_many_attempts_get_a_page_that_says_to_wait(client, user):
    for _ in range(40):
        response = sign_in(client, "someone@example.com")
    assert response.status_code == 429
    assert "Wait a few minutes" in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_sign_up_succeeds_while_the_broker_is_unreachable(client, monkeypatch):
    take_the_broker_away(monkeypatch)
    assert sign_up(client).status_code == 302
    assert len(mails()) == 1


def test_a_part_of_a_page_asked_for_after_the_session_ended_reloads_the_page(client):
    login = client.get("/accounts/login/", headers={"hx-request": "true"})
    assert login["HX-Refresh"] == "true"
    assert "HX-Refresh" not in client.get("/accounts/login/").headers


def test_the_admin_has_no_door_of_its_own(client):
    answer = client.get("/admin/login/?next=/admin/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")
    answer = client.post("/admin/login/", {"username": ADDRESS, "password": PASSWORD})
    assert answer.status_code == 302
    assert not is_signed_in(client)
