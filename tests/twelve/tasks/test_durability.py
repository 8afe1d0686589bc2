"""A task is done once, tried again when that may help, given back when its worker died, and never lost."""

import random
import sys
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from celery.fixups.django import DjangoWorkerFixup
from django.db import OperationalError, connection, transaction
from django.tasks import TaskResultStatus
from django.utils import timezone

from tests.twelve.kit import enqueue
from tests.twelve.tasks import sample
from twelve.celery import app
from twelve.logs import request_id
from twelve.models import TaskRecord
from twelve.tasks import publish, task
from twelve.tasks.table import lease, prune, publish_all, retry, sweep
from twelve.tasks.worker import claim, finish, perform, renewed_lease

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    sample.done.clear()
    monkeypatch.setattr(publish, "_silent_until", 0.0)


@pytest.fixture
def sent(monkeypatch):
    """The ids that were published, instead of a broker's queue."""
    sent = []
    for module in ("twelve.tasks.publish", "twelve.tasks.table"):
        monkeypatch.setattr(f"{module}.publish", lambda record: sent.append(record.pk) or True)
    return sent


def later(record, **values):
    TaskRecord.objects.filter(pk=record.pk).update(**values)
    record.refresh_from_db()


def test_a_task_is_published_when_its_transaction_commits(sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        record = enqueue(sample.note, 1)
        assert sent == []
    assert sent == [record.pk]


@pytest.mark.django_db(transaction=True)
def test_a_task_of_a_rolled_back_transaction_is_not_written(sent):
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        enqueue(sample.note, 1)
        raise ValueError("no")
    assert not sent
    assert not TaskRecord.objects.exists()


def test_a_task_runs_once_however_often_its_message_comes():
    record = enqueue(sample.note, {"a": [1, None, "ü"]})
    for _ in range(3):
        perform(record.pk)
    record.refresh_from_db()
    assert sample.done == [{"a": [1, None, "ü"]}]
    assert (record.status, record.attempts, record.error) == (TaskResultStatus.SUCCESSFUL, 1, "")
    assert record.finished_at


def test_celery_does_not_close_the_connection_after_each_task():
    """CELERY_DB_REUSE_MAX has no documentation."""
    assert DjangoWorkerFixup(app).db_reuse_max == sys.maxsize


def test_a_message_without_a_row_is_ignored():
    perform(4711)


@pytest.mark.django_db(transaction=True)
def test_one_of_many_workers_gets_the_task():
    record = enqueue(sample.note, 1)
    start = threading.Barrier(8)

    def work():
        start.wait()
        for _ in range(100):
            try:
                perform(record.pk)
                break
            except OperationalError:  # the tests' SQLite, in memory and shared, refuses where a file would wait
                time.sleep(0.01)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sample.done == [1]


@pytest.mark.django_db(transaction=True)
def test_the_sweeper_and_the_pruning_never_stop_a_worker(sent):
    """On MariaDB a statement that takes its locks in another order than theirs ends one of the two as a deadlock."""
    if connection.vendor == "sqlite":
        pytest.skip("the tests' SQLite, in memory and shared, refuses where a file would wait")
    pks = [enqueue(sample.note, number).pk for number in range(200)]
    TaskRecord.objects.update(sweep_at=timezone.now() - timedelta(hours=1))
    failures = []

    def repeat(function, values):
        for value in values:
            try:
                function(value)
            except OperationalError as error:
                failures.append(error)
        connection.close()

    threads = [threading.Thread(target=repeat, args=(perform, random.sample(pks, 200))) for _ in range(4)]
    long_ago = [timezone.now() - timedelta(days=1)] * 20
    threads += [threading.Thread(target=repeat, args=(prune, long_ago)) for _ in range(2)]
    threads += [threading.Thread(target=repeat, args=(lambda _: sweep(), range(20))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(sample.done) == list(range(200))


def test_keys_that_differ_in_case_or_accent_are_different_tasks(sent):
    keys = ("the one", "The One", "thé one")
    assert len({enqueue(sample.note, key, key=key).pk for key in keys}) == 3


def test_one_key_is_one_task_whatever_its_state(sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        first, second = (enqueue(sample.note, n, key="the one") for n in (1, 2))
    assert first.pk == second.pk
    perform(first.pk)
    third = enqueue(sample.note, 3, key="the one")
    assert third.pk == first.pk
    assert third.status == TaskResultStatus.SUCCESSFUL
    assert sample.done == [1]


def test_what_may_pass_is_tried_again_with_growing_pauses_and_then_fails():
    record = enqueue(sample.refused)
    pauses = []
    for attempt in (1, 2):
        perform(record.pk)
        record.refresh_from_db()
        assert (record.status, record.attempts) == (TaskResultStatus.READY, attempt)
        assert record.error == "ConnectionRefusedError: nobody there"
        pauses.append(record.due - timezone.now())
        later(record, due=timezone.now(), sweep_at=timezone.now())
    assert timedelta(seconds=7) < pauses[0] < timedelta(seconds=13)
    assert timedelta(seconds=15) < pauses[1] < timedelta(seconds=25)
    perform(record.pk)
    record.refresh_from_db()
    assert record.status == TaskResultStatus.FAILED
    assert record.error == "ConnectionRefusedError: nobody there (3 attempts)"


def test_a_task_that_waits_for_its_next_attempt_is_not_taken_before_its_time():
    record = enqueue(sample.note, 1, delay=timedelta(minutes=1))
    perform(record.pk)
    assert sample.done == []


def test_a_permanent_failure_calls_on_failure_with_the_reason_and_the_arguments():
    record = enqueue(sample.hopeless, "me")
    perform(record.pk)
    record.refresh_from_db()
    assert (record.status, record.attempts, record.error) == (TaskResultStatus.FAILED, 1, "no way")
    assert sample.done == [("no way", "me")]


def test_a_bug_fails_the_task_at_once_with_its_reason():
    record = enqueue(sample.broken)
    perform(record.pk)
    record.refresh_from_db()
    assert (record.status, record.attempts, record.error) == (TaskResultStatus.FAILED, 1, "KeyError: 'a bug'")


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\0b", "a\\x00b"), ("a\udce9b", "a\\udce9b"), ("😀", "😀")],
    ids=["null", "lone-surrogate", "emoji"],
)
def test_a_reason_is_kept_whatever_characters_it_has(monkeypatch, caplog, text, kept):
    caplog.set_level("CRITICAL")  # pytest-xdist cannot pass on a captured event with a lone surrogate
    monkeypatch.setattr(sample, "reason", text)
    record = enqueue(sample.gives_reason)
    perform(record.pk)
    record.refresh_from_db()
    assert (record.status, record.error) == (TaskResultStatus.READY, f"OSError: {kept}")


def test_a_task_that_this_release_does_not_know_fails_with_a_reason():
    record = enqueue(sample.note, 1)
    later(record, task="apps.gone.tasks.note")
    perform(record.pk)
    record.refresh_from_db()
    assert record.status == TaskResultStatus.FAILED
    assert "apps.gone.tasks.note" in record.error


def test_a_function_that_is_no_task_is_never_called():
    record = enqueue(sample.note, "x")
    later(record, task="os.system")
    perform(record.pk)
    record.refresh_from_db()
    assert record.status == TaskResultStatus.FAILED


def test_a_secret_is_erased_when_the_task_is_done():
    record = enqueue(sample.whisper, "hush")
    perform(record.pk)
    record.refresh_from_db()
    assert sample.done == ["hush"]
    assert record.args == []


@pytest.fixture
def messages(monkeypatch):
    """How many messages the queue has, instead of a broker's answer; None: no answer."""
    queue = SimpleNamespace(count=0)
    monkeypatch.setattr("twelve.tasks.table.count_messages", lambda name: queue.count)
    return queue


def wait_for_long(*records):
    for number, record in enumerate(records):
        later(record, sweep_at=timezone.now() - timedelta(minutes=10 - number))


def test_the_sweeper_publishes_what_an_outage_kept_back_and_once(sent, messages):
    record = enqueue(sample.note, 1)
    later(record, published=False, sweep_at=timezone.now())
    assert sweep() == 1
    assert sent == [record.pk]
    assert sweep() == 0
    wait_for_long(record)
    messages.count = 1
    assert sweep() == 0


def test_the_message_of_each_task_of_a_long_sweep_is_on_its_way_for_a_whole_lease(monkeypatch, messages):
    for number in range(3):
        later(enqueue(sample.note, number), published=False, sweep_at=timezone.now())
    moment, waits = [timezone.now()], []

    def publish_slowly(record):
        waits.append(TaskRecord.objects.get(pk=record.pk).sweep_at - moment[0])
        moment[0] += timedelta(seconds=20)
        return True

    monkeypatch.setattr(timezone, "now", lambda: moment[0])
    monkeypatch.setattr("twelve.tasks.table.publish", publish_slowly)
    assert sweep() == 3
    assert waits == [lease()] * 3  # else another clock counts it as lost while this one still publishes


def test_the_sweeper_publishes_again_only_what_the_broker_has_lost(sent, messages):
    records = [enqueue(sample.note, number) for number in range(5)]
    assert sweep() == 0  # the messages may still be on their way
    wait_for_long(*records)
    messages.count = 3
    assert sweep() == 2
    assert sent == [record.pk for record in records[:2]]
    messages.count = 5
    assert sweep() == 0
    messages.count = None
    assert sweep() == 0


def test_one_of_many_clocks_publishes_a_task(sent, messages):
    record = enqueue(sample.note, 1)
    wait_for_long(record)
    stale = TaskRecord.objects.filter(pk=record.pk)
    list(stale)
    assert sweep() == 1
    assert publish_all(stale, timezone.now()) == 0


def test_the_sweeper_gives_back_the_task_of_a_dead_worker(sent):
    record = enqueue(sample.note, 1)
    assert claim(record.pk)
    assert sweep() == 0  # its lease holds
    later(record, sweep_at=timezone.now())
    assert sweep() == 1
    perform(record.pk)
    record.refresh_from_db()
    assert (record.status, record.attempts, sample.done) == (TaskResultStatus.SUCCESSFUL, 2, [1])


def test_a_worker_that_lost_its_task_cannot_end_it():
    record = enqueue(sample.note, 1)
    lost = claim(record.pk)
    later(record, status=TaskResultStatus.READY)
    claim(record.pk)
    assert not finish(lost, TaskResultStatus.SUCCESSFUL)
    record.refresh_from_db()
    assert (record.status, record.attempts) == (TaskResultStatus.RUNNING, 2)


def test_a_task_that_kills_its_worker_each_time_fails_in_the_end(sent):
    record = enqueue(sample.note, 1)
    for _ in range(5):
        claim(record.pk)
        later(record, sweep_at=timezone.now())
        sweep()
    perform(record.pk)
    record.refresh_from_db()
    assert record.status == TaskResultStatus.FAILED
    assert "worker died" in record.error
    assert sample.done == []


@pytest.mark.django_db(transaction=True)
def test_a_long_task_keeps_its_lease(settings):
    settings.TASKS_LEASE_SECONDS = 1
    record = enqueue(sample.note, 1)
    claimed = claim(record.pk)
    with renewed_lease(claimed):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            record.refresh_from_db()
            if record.sweep_at > claimed.sweep_at + timedelta(seconds=1):  # beyond the first lease
                break
            time.sleep(0.05)
    assert record.sweep_at > claimed.sweep_at + timedelta(seconds=1)


def test_a_failed_publication_is_no_error_and_is_not_repeated_at_once(monkeypatch, caplog):
    from twelve.tasks.message import run_task

    tries = []

    def refuse(*args, **kwargs):
        tries.append(args)
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(run_task, "apply_async", refuse)
    assert not publish.publish(TaskRecord(pk=1, task="note"))
    assert not publish.publish(TaskRecord(pk=2, task="note"))
    assert len(tries) == 1
    assert "task 1 not published" in caplog.text


def test_a_failed_task_starts_anew_on_request(sent, django_capture_on_commit_callbacks):
    failed, waiting = enqueue(sample.broken), enqueue(sample.note, 1)
    perform(failed.pk)
    with django_capture_on_commit_callbacks(execute=True):
        assert retry(TaskRecord.objects.all()) == 1
    failed.refresh_from_db()
    assert (failed.status, failed.attempts, failed.error) == (TaskResultStatus.READY, 0, "")
    assert sent == [failed.pk]
    assert TaskRecord.objects.get(pk=waiting.pk).status == TaskResultStatus.READY


def test_pruning_deletes_what_ended_long_ago_and_nothing_else():
    now = timezone.now()
    old, new, waiting = (enqueue(sample.note, n) for n in range(3))
    for record in (old, new):
        perform(record.pk)
    later(old, finished_at=now - timedelta(days=15))
    later(waiting, due=now - timedelta(days=99))
    assert prune(now - timedelta(days=14)) == 1
    assert set(TaskRecord.objects.values_list("pk", flat=True)) == {new.pk, waiting.pk}


def test_the_request_id_follows_a_task_and_the_tasks_it_starts():
    token = request_id.set("request-0123")
    record = enqueue(sample.note, 1)
    request_id.reset(token)
    assert record.request_id == "request-0123"
    later(record, task="tests.twelve.tasks.test_durability.starts_another")
    perform(record.pk)
    assert TaskRecord.objects.exclude(pk=record.pk).get().request_id == "request-0123"


@task
def starts_another(value):
    enqueue(sample.note, value)


def test_an_on_failure_that_raises_leaves_the_task_failed_with_both_reasons():
    record = enqueue(sample.fails_twice)
    perform(record.pk)
    record.refresh_from_db()
    assert record.status == TaskResultStatus.FAILED
    assert record.error == "KeyError: 'a bug'. Then its on_failure raised TypeError: a bug in on_failure"


@pytest.mark.django_db(transaction=True)  # the refusal ends a transaction
def test_a_value_that_the_database_refuses_fails_the_task_at_once():
    record = enqueue(sample.returns_null)
    perform(record.pk)
    record.refresh_from_db()
    if connection.vendor == "postgresql":
        assert (record.status, record.attempts) == (TaskResultStatus.FAILED, 1)
        assert "cannot be stored" in record.error
    else:
        assert record.status == TaskResultStatus.SUCCESSFUL


def test_a_task_that_breaks_its_transaction_leaves_that_of_a_test_whole():
    record = enqueue(sample.breaks_the_transaction)
    perform(record.pk)
    record.refresh_from_db()
    assert record.status == TaskResultStatus.READY  # a DatabaseError is tried again


def test_keyword_arguments_that_are_secret_are_erased_as_well():
    result = sample.whispers.enqueue(secret="hush")
    perform(int(result.id))
    assert sample.done == ["hush"]
    assert TaskRecord.objects.get().kwargs == {}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("apps.gone.tasks.note", "* * * * *"),
        ("os.system", "* * * * *"),
        ("tests.twelve.tasks.sample.add", "every day"),
        ("tests.twelve.tasks.sample.add", {"catch_up": True}),
        ("tests.twelve.tasks.sample.add", {"crontab": "* * * * *", "until": "noon"}),
    ],
)
def test_a_wrong_line_of_the_schedule_does_not_stop_the_clock(settings, caplog, path, line):
    from config.celery import app
    from twelve.tasks.scheduler import DatabaseScheduler

    settings.TASKS_SCHEDULE = {path: line, "tests.twelve.tasks.sample.note": "* * * * *"}
    schedule = DatabaseScheduler(app).schedule
    assert "tests.twelve.tasks.sample.note" in schedule
    assert path not in schedule
    assert path in caplog.text
