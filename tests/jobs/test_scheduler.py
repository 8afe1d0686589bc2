"""The clock fires each entry once, however many clocks there are, and makes up for what it missed."""

from datetime import timedelta

import pytest
from django.conf import settings as project
from django.db import DatabaseError
from django.utils import timezone
from django.utils.module_loading import import_string

from apps.jobs.models import ClockEntry, Job
from apps.jobs.scheduler import DatabaseScheduler
from config.celery import app
from config.logs import request_id

pytestmark = pytest.mark.django_db(transaction=True)  # a clock closes what it finds in an open transaction

NOTE = "tests.jobs.sample.note"


@pytest.fixture
def every_minute(settings, monkeypatch):
    settings.JOBS_SCHEDULE = {NOTE: "* * * * *"}
    monkeypatch.setattr("apps.jobs.services.publish", lambda pk: True)


def tick_all(clock):
    for _ in range(5):
        clock.tick()


def test_the_schedule_of_the_project_names_jobs():
    for task in project.JOBS_SCHEDULE:
        assert import_string(task).options
    assert set(DatabaseScheduler(app).schedule) == set(project.JOBS_SCHEDULE)


def test_a_new_entry_waits_for_its_next_time(every_minute):
    tick_all(DatabaseScheduler(app))
    assert not Job.objects.exists()
    assert ClockEntry.objects.get().name == NOTE


def test_what_was_missed_while_no_clock_ran_happens_once(every_minute):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    tick_all(DatabaseScheduler(app))
    assert len(Job.objects.get(task=NOTE).request_id) == 32  # a firing has an id, as a request has
    assert request_id.get() == ""


def test_an_entry_that_somebody_deleted_is_written_again(every_minute):
    clock = DatabaseScheduler(app)
    clock.populate_heap()
    ClockEntry.objects.all().delete()
    assert not clock.is_due(clock.schedule[NOTE]).is_due
    assert ClockEntry.objects.get().name == NOTE


def test_two_clocks_fire_an_entry_once(every_minute):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    for clock in (DatabaseScheduler(app), DatabaseScheduler(app)):
        tick_all(clock)
    assert Job.objects.filter(task=NOTE).count() == 1


def test_two_clocks_that_claim_at_the_same_moment_fire_once(every_minute):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    clocks = [DatabaseScheduler(app), DatabaseScheduler(app)]
    for clock in clocks:
        clock.populate_heap()
    entries = [clock.schedule[NOTE] for clock in clocks]
    for clock, entry in zip(clocks, entries, strict=True):
        assert entry.is_due().is_due
        clock.apply_entry(entry)
    assert Job.objects.filter(task=NOTE).count() == 1


def test_a_database_that_is_away_stops_neither_the_clock_nor_the_entry(every_minute, monkeypatch):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    clock = DatabaseScheduler(app)
    with monkeypatch.context() as away:

        def refuse(*args, **kwargs):
            raise DatabaseError("away")

        away.setattr("apps.jobs.scheduler.enqueue", refuse)
        assert clock.tick() > 0
    assert not Job.objects.exists()
    tick_all(clock)
    assert Job.objects.filter(task=NOTE).count() == 1
