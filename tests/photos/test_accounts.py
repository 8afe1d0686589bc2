"""Photos and the accounts that own them."""

from datetime import timedelta

from django.utils import timezone

from apps.users.models import User
from apps.users.tasks import delete_abandoned_accounts


def test_the_owner_of_a_photo_is_not_deleted_with_the_accounts_that_nobody_came_back_to(uploaded, owner):
    uploaded()
    old = {"last_login": None, "date_joined": timezone.now() - timedelta(days=32)}
    User.objects.filter(pk=owner.pk).update(**old)
    User.objects.create_user("grace@example.com", **old)
    delete_abandoned_accounts.call()
    assert list(User.objects.all()) == [owner]
