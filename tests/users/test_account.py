"""A person's way in and out: sign-up, confirmation by mail, sign-in, sign-out, password reset and change."""

import base64
import re
from email import message_from_bytes, policy

import pytest
from allauth.account.models import EmailAddress
from django.core.management import call_command
from django.db import IntegrityError, transaction

from apps.jobs.models import Job
from apps.users.models import User

pytestmark = pytest.mark.django_db

ADDRESS, PASSWORD, NEW_PASSWORD = "ada@example.com", "correct-horse-9", "battery-staple-7"


@pytest.fixture
def user():
    user = User.objects.create_user(ADDRESS, PASSWORD)
    EmailAddress.objects.create(user=user, email=ADDRESS, verified=True, primary=True)
    return user


def mails():
    """The mails that wait for the worker, oldest first."""
    jobs = Job.objects.filter(task="apps.jobs.mail.deliver").order_by("pk")
    return [message_from_bytes(base64.b64decode(job.arguments[2]), policy=policy.default) for job in jobs]


def link_in(mail):
    """The path that the mail sends one to."""
    return re.search(r"http://testserver(/accounts/\S+/\S+/)", mail.get_content())[1]


def sign_up(client, address=ADDRESS):
    return client.post("/accounts/signup/", {"email": address, "password1": PASSWORD})


def sign_in(client, address=ADDRESS, password=PASSWORD, **headers):
    return client.post("/accounts/login/", {"login": address, "password": password}, headers=headers)


def is_signed_in(client):
    return "_auth_user_id" in client.session


def test_sign_up_confirmation_sign_in_and_sign_out(client):
    response = sign_up(client)
    assert response.url == "/accounts/confirm-email/"
    [mail] = mails()
    assert mail["To"] == ADDRESS
    assert mail["Subject"] == "Confirm your address for Blueprint"
    assert not EmailAddress.objects.get().verified
    assert "Check your mail" in client.get(response.url).content.decode()

    assert sign_in(client).url == "/accounts/confirm-email/"
    assert not is_signed_in(client)

    link = link_in(mail)
    assert ADDRESS in client.get(link).content.decode()
    assert not EmailAddress.objects.get().verified  # a mail scanner opens links: only the button confirms
    assert client.post(link).url == "/accounts/login/"
    assert EmailAddress.objects.get().verified

    assert sign_in(client).url == "/"
    assert ADDRESS in client.get("/").content.decode()
    client.post("/accounts/logout/")
    assert not is_signed_in(client)


def test_the_sign_up_page_says_that_a_mail_comes(client):
    assert "we send a mail with a link" in client.get("/accounts/signup/").content.decode()


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
    def fail(*arguments, **options):
        raise RuntimeError("no job can be written")

    monkeypatch.setattr("apps.jobs.mail.enqueue", fail)
    client.raise_request_exception = False
    assert sign_up(client).status_code == 500
    assert not User.objects.exists()
    assert not EmailAddress.objects.exists()


def test_an_address_is_unique_whatever_its_case(user):
    assert User.objects.create_user("Grace@Example.COM").email == "grace@example.com"
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("ADA@example.com")
    assert User.objects.get_by_natural_key("Ada@Example.com") == user


def test_a_second_sign_up_with_an_address_tells_its_owner_and_nobody_else(client, user):
    response = sign_up(client, "Ada@Example.com")
    assert response.url == "/accounts/confirm-email/"  # as for a new address
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
    assert client.post("/accounts/password/reset/", {"email": ADDRESS}).url == "/accounts/password/reset/done/"
    [mail] = mails()
    form = client.get(link_in(mail)).url
    assert "Choose a new password" in client.get(form).content.decode()
    client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})

    assert "This link does not work" in client.get(link_in(mail)).content.decode()
    assert not is_signed_in(client)
    sign_in(client)
    assert not is_signed_in(client)
    sign_in(client, password=NEW_PASSWORD)
    assert is_signed_in(client)
    assert len(mails()) == 2  # the owner is told


def test_a_reset_for_an_unknown_address_looks_the_same_and_says_so_by_mail(client):
    assert client.post("/accounts/password/reset/", {"email": ADDRESS}).url == "/accounts/password/reset/done/"
    assert [mail["Subject"] for mail in mails()] == ["No account at Blueprint with this address"]


def test_a_changed_password_keeps_one_signed_in_and_is_told_by_mail(client, user):
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
    other = "ada@example.org"
    client.post("/accounts/email/", {"action_add": "", "email": other})
    [mail] = mails()
    client.post(link_in(mail))
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


def test_who_confirms_an_address_owns_it_and_not_the_one_who_only_claimed_it(client, user):
    claim = User.objects.create_user("x@example.com", PASSWORD)
    EmailAddress.objects.create(user=claim, email="x@example.com", primary=True)
    client.force_login(user)
    client.post("/accounts/email/", {"action_add": "", "email": "x@example.com"})
    client.post(link_in(mails()[-1]))
    answer = client.post("/accounts/email/", {"action_primary": "", "email": "x@example.com"})
    assert answer.status_code == 302
    user.refresh_from_db()
    assert user.email == "x@example.com"
    assert not User.objects.filter(pk=claim.pk).exists()


def test_a_claimed_address_of_someone_who_came_in_is_never_taken_away(client, user):
    other = User.objects.create_user("x@example.com", PASSWORD, last_login="2026-01-01T00:00Z")
    EmailAddress.objects.create(user=other, email="x@example.com", verified=True, primary=True)
    client.force_login(user)
    client.post("/accounts/email/", {"action_add": "", "email": "x@example.com"})
    assert User.objects.filter(pk=other.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_a_sign_up_succeeds_while_the_broker_is_away(client, monkeypatch):
    from apps.jobs import services
    from apps.jobs.tasks import run_job

    def away(*args, **kwargs):
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(services, "_broker_silent_until", 0.0)
    monkeypatch.setattr(run_job, "apply_async", away)
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
