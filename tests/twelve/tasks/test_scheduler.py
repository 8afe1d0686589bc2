"""The clock fires each entry once, however many clocks there are, and makes up for what it missed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings as project
from django.db import DatabaseError
from django.utils import timezone
from django.utils.module_loading import import_string

from config.celery import app
from twelve.logs import request_id
from twelve.models import ClockEntry, TaskRecord
from twelve.tasks import DurableTask
from twelve.tasks.maintenance import SCHEDULE
from twelve.tasks.scheduler import DatabaseScheduler, Entry

pytestmark = pytest.mark.django_db(transaction=True)  # a clock closes what it finds in an open transaction

NOTE = "tests.twelve.tasks.sample.note"


@pytest.fixture
def every_minute(settings, monkeypatch):
    settings.TASKS_SCHEDULE = {NOTE: "* * * * *"}
    monkeypatch.setattr("twelve.tasks.scheduler.SCHEDULE", {})
    monkeypatch.setattr("twelve.tasks.publish.publish", lambda record: True)


def tick_all(clock):
    for _ in range(5):
        clock.tick()


def test_the_schedule_of_the_project_names_tasks():
    names = [*SCHEDULE, *project.TASKS_SCHEDULE]
    for task in names:
        assert isinstance(import_string(task), DurableTask)
    assert set(DatabaseScheduler(app).schedule) == set(names)


def test_a_new_entry_waits_for_its_next_time(every_minute):
    tick_all(DatabaseScheduler(app))
    assert not TaskRecord.objects.exists()
    assert ClockEntry.objects.get().name == NOTE


def test_what_was_missed_while_no_clock_ran_happens_once(every_minute):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    tick_all(DatabaseScheduler(app))
    assert len(TaskRecord.objects.get(task=NOTE).request_id) == 32  # a firing has an id, as a request has
    assert request_id.get() == ""


def test_an_entry_that_somebody_deleted_is_written_again(every_minute):
    clock = DatabaseScheduler(app)
    clock.tick()
    ClockEntry.objects.all().delete()
    clock.tick()
    assert not TaskRecord.objects.exists()
    assert ClockEntry.objects.get().name == NOTE


def test_two_clocks_fire_an_entry_once(every_minute):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    for clock in (DatabaseScheduler(app), DatabaseScheduler(app)):
        tick_all(clock)
    assert TaskRecord.objects.filter(task=NOTE).count() == 1


def test_two_clocks_that_claim_at_the_same_moment_fire_once(every_minute):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    clocks = [DatabaseScheduler(app), DatabaseScheduler(app)]
    last, now = ClockEntry.objects.get().last_run_at, timezone.now()
    for clock in clocks:
        entry = clock.schedule[NOTE]
        assert entry.next_slot(last) <= now
        clock.fire_if_due(entry, last, now)
    assert TaskRecord.objects.filter(task=NOTE).count() == 1


def test_an_unreachable_database_stops_neither_the_clock_nor_the_entry(every_minute, monkeypatch):
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    clock = DatabaseScheduler(app)
    with monkeypatch.context() as outage:

        def refuse(*args, **kwargs):
            raise DatabaseError("unreachable")

        outage.setattr("twelve.tasks.scheduler.DatabaseScheduler.fire", refuse)
        assert clock.tick() > 0
    assert not TaskRecord.objects.exists()
    tick_all(clock)
    assert TaskRecord.objects.filter(task=NOTE).count() == 1


@pytest.mark.parametrize(
    ("line", "since", "slot"),
    [
        ("32 2 * * *", "2026-11-30 02:31", "2026-11-30 02:32"),
        ("32 2 * * *", "2026-11-30 02:32", "2026-12-01 02:32"),
        ("*/15 * * * *", "2026-12-01 02:31", "2026-12-01 02:45"),
        ("*/15 * * * *", "2026-12-01 02:44:59.9", "2026-12-01 02:45"),
        ("* * * * *", "2026-12-01 02:31:10.5", "2026-12-01 02:32"),
        ("0 9 * * mon-fri", "2026-11-27 09:00", "2026-11-30 09:00"),  # from Friday to Monday
        ("0 0 1 * *", "2026-01-15 00:00", "2026-02-01 00:00"),
        ("0 0 29 2 *", "2025-03-01 00:00", "2028-02-29 00:00"),
    ],
)
def test_the_slot_of_an_entry_is_the_first_time_that_it_is_due(line, since, slot):
    since, slot = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (since, slot))
    assert Entry(NOTE, line).next_slot(since) == slot


def test_a_slot_is_in_utc_in_every_time_zone_of_celery():
    entry = Entry(NOTE, "30 2 * * *")
    entry.crontab.tz = ZoneInfo("Europe/Berlin")
    slot = entry.next_slot(datetime(2026, 12, 1, tzinfo=UTC))
    assert f"{slot:%Y-%m-%d %H:%M %Z}" == "2026-12-01 01:30 UTC"


@pytest.mark.parametrize("catch_up", [True, False])
def test_an_entry_says_whether_what_it_missed_is_made_up(every_minute, settings, catch_up):
    missed = timezone.now() - timedelta(hours=3)
    line = f"{missed.minute} {missed.hour} * * *"
    settings.TASKS_SCHEDULE = {NOTE: {"crontab": line, "catch_up": catch_up}}
    ClockEntry.objects.create(name=NOTE, last_run_at=missed - timedelta(hours=5))
    tick_all(DatabaseScheduler(app))
    assert TaskRecord.objects.count() == catch_up


def test_an_entry_that_is_not_made_up_is_in_time_after_an_outage(every_minute, settings):
    settings.TASKS_SCHEDULE = {NOTE: {"crontab": "* * * * *", "catch_up": False}}
    ClockEntry.objects.create(name=NOTE, last_run_at=timezone.now() - timedelta(hours=5))
    tick_all(DatabaseScheduler(app))
    assert TaskRecord.objects.get().enqueued_at


def test_a_slot_that_was_fired_is_left_as_it_is_whatever_the_clocks_remember(every_minute):
    long_ago = timezone.now() - timedelta(hours=5)
    ClockEntry.objects.create(name=NOTE, last_run_at=long_ago)
    clock, now = DatabaseScheduler(app), timezone.now()
    for _ in range(2):
        ClockEntry.objects.update(last_run_at=long_ago)
        clock.fire_if_due(clock.schedule[NOTE], long_ago, now)
    slot = long_ago.replace(second=0, microsecond=0) + timedelta(minutes=1)
    assert TaskRecord.objects.get().unique_key == f"{NOTE}:{slot:%Y-%m-%dT%H:%MZ}"
