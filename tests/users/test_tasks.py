"""The clean-up of accounts that nobody came back to."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.utils import timezone

from apps.users.models import User
from apps.users.tasks import delete_abandoned_accounts
from tests.users.steps import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture
def abandoned():
    long_ago = timezone.now() - timedelta(days=32)
    user = User.objects.create_user("ada@example.com", PASSWORD, date_joined=long_ago)
    EmailAddress.objects.create(user=user, email=user.email, primary=True)
    return user


def is_deleted(user):
    delete_abandoned_accounts.call()
    return not User.objects.filter(pk=user.pk).exists()


def test_an_account_that_was_never_confirmed_is_deleted_after_a_month(abandoned):
    assert "apps.users.tasks.delete_abandoned_accounts" in settings.TASKS_SCHEDULE
    assert is_deleted(abandoned)
    assert not EmailAddress.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"last_login": timezone.now()},
        {"is_staff": True},
        {"is_superuser": True},
        {"date_joined": timezone.now() - timedelta(days=29)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_an_account_is_kept_that_someone_may_need(abandoned, fields):
    User.objects.filter(pk=abandoned.pk).update(**fields)
    assert not is_deleted(abandoned)


def test_an_account_with_a_confirmed_address_is_kept(abandoned):
    EmailAddress.objects.create(user=abandoned, email="ada@example.org", verified=True)
    assert not is_deleted(abandoned)


def test_an_account_is_kept_that_a_row_of_any_app_points_to(abandoned):
    entry = LogEntry.objects.create(user=abandoned, action_flag=CHANGE, object_repr="something")
    assert not is_deleted(abandoned)
    entry.delete()
    group = Group.objects.create(name="editors")
    abandoned.groups.add(group)  # by the hidden relation of a many-to-many field
    assert not is_deleted(abandoned)
    group.delete()
    assert is_deleted(abandoned)
