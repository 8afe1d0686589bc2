"""list_tasks and list_schedule show what waits, what failed, and what comes next."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.twelve.tasks import sample
from twelve import testing
from twelve.models import ClockEntry, TaskRecord

pytestmark = pytest.mark.django_db

NOTE = "tests.twelve.tasks.sample.note"


def lines(command):
    """The words of each line that the command prints."""
    output = StringIO()
    call_command(command, stdout=output)
    return [line.split() for line in output.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    monkeypatch.setattr("twelve.tasks.publish.publish", lambda record: True)


def test_a_queue_has_its_counts_and_when_the_oldest_was_due():
    sample.broken.enqueue()
    testing.run_tasks()
    for _ in range(2):
        sample.note.enqueue(1)
    sample.note.using(queue_name="slow").enqueue(1)
    TaskRecord.objects.filter(queue="slow").update(status="RUNNING")
    TaskRecord.objects.filter(status="READY").update(due=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    sample.note.using(run_after=timezone.now() + timedelta(days=1)).enqueue(1)
    heading, default, slow = lines("list_tasks")
    assert heading == ["QUEUE", "WAITING", "RUNNING", "FAILED", "OLDEST", "DUE", "(UTC)"]
    assert default == ["default", "3", "0", "1", "2026-01-02", "03:04:05"]
    assert slow == ["slow", "0", "1", "0", "-"]


def test_a_queue_that_is_no_longer_declared_is_shown_while_it_has_tasks():
    sample.note.enqueue(1)
    TaskRecord.objects.update(queue="former")
    assert [line[:2] for line in lines("list_tasks")[1:]] == [["default", "0"], ["former", "1"], ["slow", "0"]]


def test_an_entry_has_its_last_and_next_time_and_the_outcome(settings, monkeypatch):
    from config.celery import app
    from twelve.tasks.scheduler import DatabaseScheduler

    tomorrow = timezone.now() + timedelta(days=1)
    monkeypatch.setattr("twelve.tasks.scheduler.SCHEDULE", {})
    monkeypatch.setattr("twelve.tasks.scheduler.sweep", lambda: 0)
    monkeypatch.setattr("twelve.tasks.scheduler.close_old_connections", lambda: None)
    settings.TASKS_SCHEDULE = {"tests.twelve.tasks.sample.hopeless": "0 5 * * *", NOTE: "0 6 * * *"}
    assert [line[-1] for line in lines("list_schedule")[1:]] == ["-", "-"]
    ClockEntry.objects.create(name="tests.twelve.tasks.sample.hopeless", last_run_at=timezone.now() - timedelta(days=2))
    DatabaseScheduler(app).tick()
    testing.run_tasks()  # without its argument it fails
    _, hopeless, note = lines("list_schedule")
    assert hopeless[:6] == ["tests.twelve.tasks.sample.hopeless", "0", "5", "*", "*", "*"]
    assert hopeless[6] == f"{timezone.now():%Y-%m-%d}"
    assert hopeless[8] in (f"{timezone.now():%Y-%m-%d}", f"{tomorrow:%Y-%m-%d}")
    assert hopeless[9:] == ["05:00", "Failed"]
    assert note[6:7] + note[-1:] == ["-", "-"]
