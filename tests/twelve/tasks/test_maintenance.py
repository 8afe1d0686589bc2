"""Maintenance that the clock schedules for the platform."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.tasks import TaskResultStatus
from django.utils import timezone

from tests.twelve.kit import enqueue
from twelve.models import TaskRecord
from twelve.tasks.maintenance import clean_up
from twelve.tasks.worker import perform

pytestmark = pytest.mark.django_db


def test_expired_sessions_are_cleared_and_others_stay():
    now = timezone.now()
    for key, days in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=now + timedelta(days=days))
    record = enqueue(clean_up)
    perform(record.pk)
    assert list(Session.objects.values_list("session_key", flat=True)) == ["new"]
    assert TaskRecord.objects.get().status == TaskResultStatus.SUCCESSFUL


def test_a_task_is_kept_for_some_days_after_it_has_finished(settings):
    old, kept = enqueue(clean_up), enqueue(clean_up)
    finished = timezone.now() - timedelta(days=settings.TASKS_KEEP_DAYS, minutes=1)
    TaskRecord.objects.filter(pk=old.pk).update(status=TaskResultStatus.SUCCESSFUL, finished_at=finished)
    clean_up.call()
    assert TaskRecord.objects.get().pk == kept.pk


def test_the_cache_table_comes_with_migrate():
    cache.set("key", "value")
    assert cache.get("key") == "value"


def test_the_cache_in_the_database_does_not_forget_under_many_keys():
    for number in range(350):  # Django's own limit is 300
        cache.set(f"key-{number}", number)
    assert cache.get("key-0") == 0
