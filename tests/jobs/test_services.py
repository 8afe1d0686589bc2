"""A job is done once, tried again when that may help, given back when its worker died, and never lost."""

import random
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from apps.jobs import services
from apps.jobs.models import Job
from config.logs import request_id
from tests.jobs import sample

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    sample.done.clear()
    monkeypatch.setattr(services, "_broker_silent_until", 0.0)


@pytest.fixture
def sent(monkeypatch):
    """The ids that were published, instead of a broker's queue."""
    sent = []
    monkeypatch.setattr(services, "publish", lambda pk: sent.append(pk) or True)
    return sent


def later(job, **values):
    Job.objects.filter(pk=job.pk).update(**values)
    job.refresh_from_db()


def test_a_job_is_published_when_its_transaction_commits(sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = services.enqueue(sample.note, 1)
        assert sent == []
    assert sent == [job.pk]


@pytest.mark.django_db(transaction=True)
def test_a_job_of_a_rolled_back_transaction_never_was(sent):
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        services.enqueue(sample.note, 1)
        raise ValueError("no")
    assert not sent
    assert not Job.objects.exists()


def test_a_job_runs_once_however_often_its_message_comes():
    job = services.enqueue(sample.note, {"a": [1, None, "ü"]})
    for _ in range(3):
        services.perform(job.pk)
    job.refresh_from_db()
    assert sample.done == [{"a": [1, None, "ü"]}]
    assert (job.state, job.attempts, job.error) == (Job.State.DONE, 1, "")
    assert job.finished


def test_a_message_without_a_row_is_ignored():
    services.perform(4711)


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_gets_the_job():
    job = services.enqueue(sample.note, 1)
    start = threading.Barrier(8)

    def work():
        start.wait()
        for _ in range(100):
            try:
                services.perform(job.pk)
                break
            except OperationalError:  # the tests' SQLite, in memory and shared, refuses where a file would wait
                time.sleep(0.01)
        services.connection.close()

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
    pks = [services.enqueue(sample.note, number).pk for number in range(200)]
    Job.objects.update(sweep_at=timezone.now() - timedelta(hours=1))
    failures = []

    def repeat(function, values):
        for value in values:
            try:
                function(value)
            except OperationalError as error:
                failures.append(error)
        connection.close()

    threads = [threading.Thread(target=repeat, args=(services.perform, random.sample(pks, 200))) for _ in range(4)]
    long_ago = [timezone.now() - timedelta(days=1)] * 20
    threads += [threading.Thread(target=repeat, args=(services.prune, long_ago)) for _ in range(2)]
    threads += [threading.Thread(target=repeat, args=(services.sweep, [500] * 20)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(sample.done) == list(range(200))


def test_keys_that_differ_in_case_or_accent_are_different_jobs(sent):
    keys = ("the one", "The One", "thé one")
    assert len({services.enqueue(sample.note, key, key=key).pk for key in keys}) == 3


def test_one_key_is_one_job_whatever_its_state(sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        first, second = (services.enqueue(sample.note, n, key="the one") for n in (1, 2))
    assert first.pk == second.pk
    services.perform(first.pk)
    third = services.enqueue(sample.note, 3, key="the one")
    assert third.pk == first.pk
    assert third.state == Job.State.DONE
    assert sample.done == [1]


def test_what_may_pass_is_tried_again_with_growing_pauses_and_then_fails():
    job = services.enqueue(sample.refused)
    pauses = []
    for attempt in (1, 2):
        services.perform(job.pk)
        job.refresh_from_db()
        assert (job.state, job.attempts) == (Job.State.WAITING, attempt)
        assert job.error == "ConnectionRefusedError: nobody there"
        pauses.append(job.due - timezone.now())
        later(job, due=timezone.now(), sweep_at=timezone.now())
    assert timedelta(seconds=7) < pauses[0] < timedelta(seconds=13)
    assert timedelta(seconds=15) < pauses[1] < timedelta(seconds=25)
    services.perform(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    assert job.error == "ConnectionRefusedError: nobody there (3 attempts)"


def test_a_job_that_waits_for_its_next_attempt_is_not_taken_before_its_time():
    job = services.enqueue(sample.note, 1, delay=timedelta(minutes=1))
    services.perform(job.pk)
    assert sample.done == []


def test_a_permanent_failure_is_told_to_the_one_who_asked():
    job = services.enqueue(sample.hopeless, "me")
    services.perform(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.error) == (Job.State.FAILED, 1, "no way")
    assert sample.done == [("no way", "me")]


def test_a_bug_fails_the_job_at_once_with_its_reason():
    job = services.enqueue(sample.broken)
    services.perform(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.error) == (Job.State.FAILED, 1, "KeyError: 'a bug'")


@pytest.mark.parametrize(("text", "kept"), [("a\0b", "a\\x00b"), ("a\udce9b", "a\\udce9b"), ("😀", "😀")])
def test_a_reason_is_kept_whatever_characters_it_has(monkeypatch, text, kept):
    def fail(value):
        raise OSError(text)

    fail.options = sample.note.options
    monkeypatch.setattr(sample, "note", fail)
    job = Job.objects.create(task="tests.jobs.sample.note", arguments=[1], sweep_at=timezone.now())
    services.perform(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error) == (Job.State.WAITING, f"OSError: {kept}")


def test_a_job_that_this_release_does_not_know_fails_with_a_reason():
    job = services.enqueue(sample.note, 1)
    later(job, task="apps.gone.tasks.job")
    services.perform(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    assert "apps.gone.tasks.job" in job.error


def test_a_function_that_is_no_job_is_never_called():
    job = services.enqueue(sample.note, "x")
    later(job, task="os.system")
    services.perform(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.FAILED


def test_a_secret_is_erased_when_the_job_is_done():
    job = services.enqueue(sample.whisper, "hush")
    services.perform(job.pk)
    job.refresh_from_db()
    assert sample.done == ["hush"]
    assert job.arguments == []


def test_the_sweeper_publishes_what_nobody_claimed_and_waits_longer_each_time(sent):
    job = services.enqueue(sample.note, 1)
    assert services.sweep() == 0  # the message may still be on its way
    long_ago = timezone.now() - timedelta(minutes=10)
    later(job, due=long_ago, sweep_at=long_ago)
    assert services.sweep() == 1
    assert sent == [job.pk]
    job.refresh_from_db()
    assert job.sweep_at - timezone.now() > timedelta(minutes=9)
    assert services.sweep() == 0
    later(job, due=timezone.now() - timedelta(days=1), sweep_at=long_ago)
    assert services.sweep() == 1
    job.refresh_from_db()
    assert job.sweep_at - timezone.now() <= timedelta(hours=1)  # but never longer than that


def test_the_sweeper_gives_back_the_job_of_a_dead_worker(sent):
    job = services.enqueue(sample.note, 1)
    assert services.claim(job.pk)
    assert services.sweep() == 0  # its lease holds
    later(job, sweep_at=timezone.now())
    assert services.sweep() == 1
    services.perform(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempts, sample.done) == (Job.State.DONE, 2, [1])


def test_a_worker_that_lost_its_job_cannot_end_it():
    job = services.enqueue(sample.note, 1)
    lost = services.claim(job.pk)
    later(job, state=Job.State.WAITING)
    services.claim(job.pk)
    assert not services.finish(lost, Job.State.DONE)
    job.refresh_from_db()
    assert (job.state, job.attempts) == (Job.State.RUNNING, 2)


def test_a_job_that_kills_its_worker_each_time_fails_in_the_end(sent):
    job = services.enqueue(sample.note, 1)
    for _ in range(5):
        services.claim(job.pk)
        later(job, sweep_at=timezone.now())
        services.sweep()
    services.perform(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    assert "worker died" in job.error
    assert sample.done == []


@pytest.mark.django_db(transaction=True)
def test_a_long_job_keeps_its_lease(settings):
    settings.JOBS_LEASE_SECONDS = 1
    job = services.enqueue(sample.note, 1)
    claimed = services.claim(job.pk)
    with services.renewed_lease(claimed):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            job.refresh_from_db()
            if job.sweep_at > claimed.sweep_at + timedelta(seconds=1):  # beyond the first lease
                break
            time.sleep(0.05)
    assert job.sweep_at > claimed.sweep_at + timedelta(seconds=1)


def test_a_failed_publication_is_no_error_and_is_not_repeated_at_once(monkeypatch, caplog):
    from apps.jobs.tasks import run_job

    tries = []

    def away(*args, **kwargs):
        tries.append(args)
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(run_job, "apply_async", away)
    assert not services.publish(1)
    assert not services.publish(2)
    assert len(tries) == 1
    assert "job 1 not published" in caplog.text


def test_a_failed_job_starts_anew_on_request(sent, django_capture_on_commit_callbacks):
    failed, waiting = services.enqueue(sample.broken), services.enqueue(sample.note, 1)
    services.perform(failed.pk)
    with django_capture_on_commit_callbacks(execute=True):
        assert services.retry(Job.objects.all()) == 1
    failed.refresh_from_db()
    assert (failed.state, failed.attempts, failed.error) == (Job.State.WAITING, 0, "")
    assert sent == [failed.pk]
    assert Job.objects.get(pk=waiting.pk).state == Job.State.WAITING


def test_pruning_deletes_what_ended_long_ago_and_nothing_else():
    now = timezone.now()
    old, new, waiting = (services.enqueue(sample.note, n) for n in range(3))
    for job in (old, new):
        services.perform(job.pk)
    later(old, finished=now - timedelta(days=15))
    later(waiting, due=now - timedelta(days=99))
    assert services.prune(now - timedelta(days=14)) == 1
    assert set(Job.objects.values_list("pk", flat=True)) == {new.pk, waiting.pk}


def test_the_request_id_follows_a_job_and_the_jobs_it_starts():
    token = request_id.set("request-0123")
    job = services.enqueue(sample.note, 1)
    request_id.reset(token)
    assert job.request_id == "request-0123"
    later(job, task="tests.jobs.test_services.starts_another")
    services.perform(job.pk)
    assert Job.objects.exclude(pk=job.pk).get().request_id == "request-0123"


@services.job()
def starts_another(value):
    services.enqueue(sample.note, value)
