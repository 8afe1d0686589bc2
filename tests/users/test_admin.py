"""What staff do to accounts."""

from urllib.parse import unquote

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.test import Client

from apps.users.models import User
from tests.twelve.kit import mails
from tests.users.steps import (
    ADDRESS,
    NEW_PASSWORD,
    PASSWORD,
    code_in,
    enter_code,
    is_signed_in,
    reauthenticate,
    sign_in,
    sign_up,
)

pytestmark = pytest.mark.django_db

NEW = "ada@new.example"


@pytest.fixture
def borrowed(client):
    """The browser of a staff member who walked away: signed in, but the password was given long ago."""
    client.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
    return client


@pytest.fixture
def staff(borrowed):
    """A staff member who has just given the password."""
    reauthenticate(borrowed)
    return borrowed


def change_email(staff, user, email=NEW):
    fields = {"email": email, "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    return staff.post(f"/admin/users/user/{user.pk}/change/", fields)


def test_a_changed_address_signs_in_and_the_former_does_not(staff, user):
    other = "ada@example.org"
    EmailAddress.objects.create(user=user, email=other, verified=True)
    assert change_email(staff, user, "Ada@New.Example").status_code == 302

    before, after = Client(), Client()
    assert "not correct" in sign_in(before).content.decode()
    assert not is_signed_in(before)
    assert sign_in(after, NEW).url == "/"
    assert is_signed_in(after)
    rows = EmailAddress.objects.filter(user=user).values_list("email", "verified", "primary")
    assert sorted(rows) == [(other, True, False), (NEW, True, True)]


def test_another_of_the_accounts_addresses_becomes_the_main_one(staff, user):
    EmailAddress.objects.create(user=user, email=NEW, verified=True)
    assert change_email(staff, user).status_code == 302
    rows = EmailAddress.objects.filter(user=user).values_list("email", "verified", "primary")
    assert list(rows) == [(NEW, True, True)]


def test_a_changed_address_of_an_account_that_was_never_confirmed_waits_for_its_code(staff):
    stranger, person = Client(), Client()
    sign_up(stranger)
    strangers_code = code_in(mails()[-1])
    change_email(staff, User.objects.get(email=ADDRESS))
    enter_code(stranger, strangers_code)
    assert not is_signed_in(stranger)
    sign_in(person, NEW)
    assert not is_signed_in(person)
    assert mails()[-1]["To"] == NEW
    enter_code(person, code_in(mails()[-1]))
    assert is_signed_in(person)


def test_an_address_that_another_account_has_confirmed_is_refused(staff, user):
    other = User.objects.create_user("grace@example.com", PASSWORD)
    EmailAddress.objects.create(user=other, email=NEW, verified=True)
    assert "This address is taken." in change_email(staff, user).content.decode()
    user.refresh_from_db()
    assert user.email == ADDRESS


def test_a_change_that_fails_on_its_way_changes_nothing(staff, user, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("no row can be written")

    monkeypatch.setattr(EmailAddress, "save", fail)
    staff.raise_request_exception = False
    assert change_email(staff, user).status_code == 500
    user.refresh_from_db()
    assert user.email == ADDRESS
    assert EmailAddress.objects.filter(user=user, email=ADDRESS, verified=True, primary=True).exists()


def test_a_change_of_anything_else_leaves_the_addresses_alone(staff, user):
    EmailAddress.objects.filter(user=user).update(verified=False)
    assert change_email(staff, user, ADDRESS).status_code == 302
    assert not EmailAddress.objects.get(user=user).verified


def test_an_address_that_another_account_has_confirmed_makes_no_second_account(staff, user):
    EmailAddress.objects.create(user=user, email=NEW, verified=True)
    fields = {"email": "Ada@New.Example", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert "This address is taken." in staff.post("/admin/users/user/add/", fields).content.decode()
    assert not User.objects.filter(email=NEW).exists()


# -- a borrowed session -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("{pk}/change/", {"email": NEW, "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}),
        ("{pk}/password/", {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}),
        ("add/", {"email": NEW, "usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}),
    ],
    ids=["change", "password", "add"],
)
def test_a_borrowed_session_changes_no_account(borrowed, user, page, fields):
    page = "/admin/users/user/" + page.format(pk=user.pk)

    def accounts():
        return list(User.objects.values_list("email", "password"))

    before = accounts()
    assert borrowed.post(page, fields).url == page
    asked = borrowed.get(page)
    assert unquote(asked.url) == f"/accounts/reauthenticate/?next={page}"
    assert NEW_PASSWORD not in str(dict(borrowed.session))
    assert accounts() == before

    assert reauthenticate(borrowed, then=page).url == page
    assert borrowed.get(page).status_code == 200
    assert borrowed.post(page, fields).status_code == 302
    assert accounts() != before


def test_addresses_have_no_page_that_lets_account_and_address_differ(staff, user):
    assert staff.get("/admin/account/emailaddress/").status_code == 404
    row = EmailAddress.objects.get(user=user)
    assert staff.post(f"/admin/account/emailaddress/{row.pk}/change/", {"email": NEW}).status_code == 404


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("/admin/users/user/{pk}/delete/", {"post": "yes"}),
        ("/admin/users/user/", {"action": "delete_selected", "_selected_action": "{pk}", "post": "yes"}),
        ("/admin/auth/group/", {"action": "delete_selected", "_selected_action": "{group}", "post": "yes"}),
        ("/admin/auth/group/{group}/delete/", {"post": "yes"}),
        ("/admin/auth/group/{group}/change/", {"name": "editors", "permissions": "{permission}"}),
        ("/admin/auth/group/add/", {"name": "others"}),
    ],
)
def test_a_borrowed_session_deletes_no_account_and_gives_no_permission(borrowed, user, page, fields):
    group = Group.objects.create(name="editors")
    keys = {"pk": user.pk, "group": group.pk, "permission": Permission.objects.first().pk}
    borrowed.post(page.format(**keys), {name: value.format(**keys) for name, value in fields.items()})
    assert User.objects.filter(pk=user.pk).exists()
    assert [(each.name, each.permissions.count()) for each in Group.objects.all()] == [("editors", 0)]


def test_the_admin_takes_no_password(borrowed, user):
    """Its own pages for one have no limit of attempts and send no mail."""
    answer = borrowed.post("/admin/login/", {"username": ADDRESS, "password": PASSWORD})
    assert answer.url == "/admin/"
    assert borrowed.session["_auth_user_id"] != str(user.pk)
    fields = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    assert borrowed.post("/admin/password_change/", fields).url == "/accounts/password/change/"
    assert User.objects.get(email="root@example.com").check_password(PASSWORD)


def test_a_stranger_who_posts_to_the_addresses_leaves_no_session():
    answer = Client().post("/accounts/email/", {"action_add": "", "email": "x" * 10_000})
    assert answer.url == "/accounts/login/?next=/accounts/email/"
    assert not Session.objects.exists()
