"""The ownership of accounts: nobody takes, holds or deletes another's, whatever they do and in whatever order."""

from urllib.parse import unquote

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from apps.users.models import User
from tests.twelve.kit import mails, refuse_mails
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

EMAIL_PAGE = "/accounts/email/"
OTHER = "other@example.org"


def addresses(user):
    """The user's addresses, with whether each is confirmed and the main one."""
    return sorted(EmailAddress.objects.filter(user=user).values_list("email", "verified", "primary"))


def browser(number):
    """The browser of someone at an address of their own."""
    return Client(REMOTE_ADDR=f"192.0.2.{number}")


# -- nobody deletes another's account ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1], ids=["no row of its address", "an unconfirmed row"])
@pytest.mark.parametrize("last_login", [None, "2026-01-01T00:00Z"], ids=["never signed in", "signed in before"])
def test_entering_the_code_of_an_address_takes_it_from_no_account_and_deletes_none(client, user, rows, last_login):
    boss = User.objects.create_user("boss@corp.test", PASSWORD, is_staff=True, last_login=last_login)
    EmailAddress.objects.bulk_create([EmailAddress(user=boss, email=boss.email, primary=True)] * rows)
    client.force_login(user)
    reauthenticate(client)
    client.post(EMAIL_PAGE, {"action_add": "", "email": boss.email})
    response = enter_code(client, code_in(mails()[-1]))
    assert "already registered" in response.content.decode()
    assert User.objects.get(pk=boss.pk).email == "boss@corp.test"
    assert addresses(boss) == [("boss@corp.test", False, True)] * rows
    assert addresses(user) == [(ADDRESS, True, True)]


def test_a_confirmed_address_of_another_account_is_never_taken_away(client, user):
    other = User.objects.create_user(OTHER, PASSWORD)
    EmailAddress.objects.create(user=other, email=OTHER, verified=True, primary=True)
    client.force_login(user)
    reauthenticate(client)
    client.post(EMAIL_PAGE, {"action_add": "", "email": OTHER})
    enter_code(client, code_in(mails()[-1]))
    assert addresses(other) == [(OTHER, True, True)]
    assert addresses(user) == [(ADDRESS, True, True)]


# -- a stranger signs up with the owner's address ---------------------------------------------------------------------


def test_the_owner_who_resets_the_password_has_the_account_and_the_stranger_keeps_nothing(client):
    stranger, elsewhere, signed_in = browser(1), browser(2), browser(3)
    sign_up(stranger)
    sign_in(elsewhere)
    codes = [code_in(mail) for mail in mails()]
    account = User.objects.get()
    EmailAddress.objects.create(user=account, email="stranger@example.org")  # as former releases let it be added
    signed_in.force_login(account)

    ask_for_reset(client)
    reset_password(client, mails()[-1])

    assert addresses(account) == [(ADDRESS, True, True)]
    assert not is_signed_in(signed_in)
    for person, code in zip((stranger, elsewhere), codes, strict=True):
        enter_code(person, code)  # as if it had leaked
        assert not is_signed_in(person)
        person.post("/accounts/logout/")
        sign_in(person)
        assert not is_signed_in(person)
    assert sign_in(client, password=NEW_PASSWORD).url == "/"
    assert is_signed_in(client)
    assert User.objects.count() == 1


def test_the_owner_who_signs_up_where_a_stranger_did_is_led_to_the_account(client):
    stranger = browser(1)
    sign_up(stranger)
    stranger_code = code_in(mails()[-1])
    assert sign_up(client).url == CODE_PAGE
    assert "/accounts/password/reset/" in mails()[-1].get_content()
    enter_code(client, stranger_code)
    assert not is_signed_in(client)
    ask_for_reset(client)
    reset_password(client, mails()[-1])
    assert client.get("/accounts/login/").status_code == 200  # not the page for a code that never came
    sign_in(client, password=NEW_PASSWORD)
    assert is_signed_in(client)
    enter_code(stranger, stranger_code)
    assert not is_signed_in(stranger)


def test_a_link_that_was_mailed_before_the_stranger_signed_in_again_still_works(client):
    stranger = browser(1)
    sign_up(stranger)
    ask_for_reset(client)
    link = mails()[-1]
    sign_in(browser(2))
    reset_password(client, link)
    sign_in(client, password=NEW_PASSWORD)
    assert is_signed_in(client)


def test_a_reset_of_a_confirmed_account_keeps_its_other_addresses(client, user):
    EmailAddress.objects.create(user=user, email=OTHER, verified=True)
    ask_for_reset(client, OTHER)
    reset_password(client, mails()[-1])
    assert addresses(user) == [(ADDRESS, True, True), (OTHER, True, False)]
    sign_in(client, OTHER, NEW_PASSWORD)
    assert is_signed_in(client)


def test_the_first_address_that_is_confirmed_voids_the_others(client):
    sign_up(client)
    account = User.objects.get()
    EmailAddress.objects.create(user=account, email=OTHER)
    enter_code(client, code_in(mails()[-1]))
    assert addresses(account) == [(ADDRESS, True, True)]


def test_a_reset_that_fails_on_its_way_changes_nothing(client, monkeypatch):
    sign_up(browser(1))
    ask_for_reset(client)
    link = link_in(mails()[-1])
    form = client.get(link).url

    refuse_mails(monkeypatch)
    client.raise_request_exception = False
    entered = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.post(form, entered).status_code == 500
    account = User.objects.get()
    assert account.check_password(PASSWORD)
    assert addresses(account) == [(ADDRESS, False, True)]
    assert client.get(link).status_code == 302  # the link works still


# -- a stranger adds the owner's address ------------------------------------------------------------------------------


def test_an_address_added_without_its_code_leaves_no_row_and_its_owner_signs_up(client, user):
    stranger = browser(1)
    stranger.force_login(user)
    reauthenticate(stranger)
    stranger.post(EMAIL_PAGE, {"action_add": "", "email": OTHER})
    assert addresses(user) == [(ADDRESS, True, True)]
    strangers_code = code_in(mails()[-1])

    sign_up(client, OTHER)
    enter_code(client, code_in(mails()[-1]))
    assert is_signed_in(client)
    owner = User.objects.get(email=OTHER)
    enter_code(stranger, strangers_code)
    assert addresses(owner) == [(OTHER, True, True)]
    assert addresses(user) == [(ADDRESS, True, True)]


def test_a_reset_goes_to_no_account_that_only_claims_the_address(client, user):
    EmailAddress.objects.create(user=user, email=OTHER)
    ask_for_reset(client, OTHER)
    [mail] = mails()
    assert mail["Subject"] == "No account at Blueprint with this address"


# -- the limit of codes -----------------------------------------------------------------------------------------------


def test_a_stranger_cannot_use_up_the_codes_of_an_address(client, user):
    stranger = browser(1)
    stranger.force_login(user)
    for _ in range(10):
        reauthenticate(stranger)
        stranger.post(EMAIL_PAGE, {"action_add": "", "email": OTHER})
    others = browser(2)
    answers = []
    while 429 not in answers and len(answers) < 50:
        answers.append(sign_up(others, OTHER).status_code)
        others.post("/accounts/logout/")
    assert answers[-1] == 429

    ask_for_reset(client, OTHER)
    reset_password(client, mails()[-1])
    assert sign_in(client, OTHER, NEW_PASSWORD).url == "/"


def test_a_stranger_cannot_use_up_the_resets_of_an_address(client, user):
    stranger = browser(1)
    for _ in range(10):
        assert ask_for_reset(stranger).status_code == 302
    assert ask_for_reset(client).status_code == 302
    reset_password(client, mails()[-1])
    assert sign_in(client, password=NEW_PASSWORD).url == "/"


def test_the_owners_own_sign_up_right_after_a_strangers_attempt_gets_its_code(client, user):
    stranger = browser(1)
    stranger.force_login(user)
    reauthenticate(stranger)
    stranger.post(EMAIL_PAGE, {"action_add": "", "email": OTHER})
    assert sign_up(client, OTHER).status_code == 302
    client.post("/accounts/logout/")
    assert sign_in(client, OTHER).url == CODE_PAGE
    enter_code(client, code_in(mails()[-1]))
    assert is_signed_in(client)


def test_a_sign_up_that_the_limit_refuses_leaves_nothing(client, settings):
    settings.ACCOUNT_RATE_LIMITS = {"confirm_email": "1/h/ip"}
    assert sign_up(client).status_code == 302
    client.post("/accounts/logout/")
    assert sign_up(client, OTHER).status_code == 429
    assert not User.objects.filter(email=OTHER).exists()
    assert not EmailAddress.objects.filter(email=OTHER).exists()
    assert len(mails()) == 1


# -- a borrowed session -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "email"),
    [
        ("action_add", "new@example.org"),
        ("action_primary", OTHER),
        ("action_remove", OTHER),
        ("action_send", "unconfirmed@example.org"),
    ],
)
def test_an_act_on_the_addresses_asks_for_the_password_first(client, user, act, email):
    EmailAddress.objects.create(user=user, email=OTHER, verified=True)
    EmailAddress.objects.create(user=user, email="unconfirmed@example.org")  # as staff or former releases leave it
    before = addresses(user)
    sign_in(client)
    response = client.post(EMAIL_PAGE, {act: "", "email": email})
    assert unquote(response.url) == f"/accounts/reauthenticate/?next={EMAIL_PAGE}"
    assert "Confirm Access" in client.get(response.url).content.decode()
    assert "Incorrect password" in reauthenticate(client, "guessed-8", EMAIL_PAGE).content.decode()
    assert (addresses(user), mails()) == (before, [])

    response = reauthenticate(client, then=EMAIL_PAGE)
    if act in ("action_add", "action_send"):
        assert response.url == CODE_PAGE
        enter_code(client, code_in(mails()[-1]))
    assert addresses(user) != before


def test_a_code_that_nobody_asked_for_with_the_password_does_not_exist(client, user):
    sign_in(client)
    client.post(EMAIL_PAGE, {"action_add": "", "email": OTHER})
    assert client.get(CODE_PAGE).url == EMAIL_PAGE
    assert client.post(CODE_PAGE, {"code": ""}).url == EMAIL_PAGE


def test_a_password_is_changed_and_set_only_with_the_current_one(client, user):
    sign_in(client)
    new = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    for page in ("/accounts/password/change/", "/accounts/password/set/"):
        client.post(page, new)
        client.post(page, {**new, "oldpassword": "guessed-8"})
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_a_borrowed_session_leads_to_no_new_password(client, user):
    sign_in(client)
    client.post(EMAIL_PAGE, {"action_add": "", "email": OTHER})
    ask_for_reset(client, OTHER)
    assert [mail["Subject"] for mail in mails()] == ["No account at Blueprint with this address"]
