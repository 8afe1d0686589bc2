"""What the job table does: enqueue, publish, claim, perform, give back, retry, prune.

A row is the job; the message that Celery carries is only its id and may be lost, doubled or late. A claim is
one UPDATE, so a job runs in one worker at a time; a worker that dies stops renewing its lease, and the sweeper
gives the job back. So a function may run again after it has done its work: it must be safe to run twice.
"""

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.module_loading import import_string

from apps.jobs.models import Job
from config.logs import request_id

logger = logging.getLogger(__name__)

BACKOFF_START, BACKOFF_LIMIT = 10, 3600  # seconds before the second attempt; the longest pause
CLOCK_SKEW = timedelta(seconds=5)  # how far the clocks of two machines may be apart
SWEEP_LIMIT = timedelta(hours=1)  # the longest pause between two publications of an unclaimed job
PUBLISH_SECONDS = 1.5  # the longest that a publication may hold up its request
BROKER_PAUSE = 5  # seconds without an attempt to publish after one that failed


class PermanentFailure(Exception):
    """Raised by a job that no repetition will mend; its text is the reason that staff read."""


@dataclass(frozen=True)
class Options:
    max_attempts: int
    retry_on: tuple[type[Exception], ...]
    secret: bool
    on_failure: Callable[..., object] | None


UNKNOWN = Options(max_attempts=0, retry_on=(), secret=True, on_failure=None)  # a job that this release does not have


def job(
    *,
    max_attempts: int = 5,
    retry_on: tuple[type[Exception], ...] = (OSError, DatabaseError),
    secret: bool = False,
    on_failure: Callable[..., object] | None = None,
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Declare a function of an app's `tasks.py` as a job. Its arguments are JSON values.

    An exception of `retry_on` is tried again with growing pauses until `max_attempts`; another one fails the job
    at once. `secret` hides the arguments from staff and erases them when the job is done. `on_failure` is called
    with the reason and then the arguments, once the job has failed for good.
    """

    def mark(function: Callable[..., object]) -> Callable[..., object]:
        function.options = Options(max_attempts, retry_on, secret, on_failure)  # type: ignore[attr-defined]
        return function

    return mark


def options_of(task: str) -> tuple[Callable[..., object], Options]:
    """The function of a job and its options; raises PermanentFailure when there is no such job any more."""
    try:
        function = import_string(task)
        return function, function.options
    except (ImportError, AttributeError) as error:
        raise PermanentFailure(f"There is no job {task} in this release.") from error


def enqueue(
    function: Callable[..., object], *arguments: Any, key: str | None = None, delay: timedelta = timedelta()
) -> Job:
    """Write a job in the transaction of the caller, and have it published when that commits.

    With a `key` there is one job of that key at most, in whatever state: the one that exists is returned.
    """
    now = timezone.now()
    new = Job(
        task=f"{function.__module__}.{function.__qualname__}",
        arguments=list(arguments),
        key=key,
        due=now + delay,
        sweep_at=now + (delay or lease()),
        request_id=request_id.get(),
    )
    if key is None:
        new.save()
    else:
        Job.objects.bulk_create([new], ignore_conflicts=True)  # an IntegrityError would break the caller's transaction
        new = Job.objects.get(key=key)
    if not delay and new.state == Job.State.WAITING:
        transaction.on_commit(lambda: publish(new.pk))
    return new


_broker_silent_until = _broker_slow_until = 0.0  # monotonic seconds


def publish(pk: int) -> bool:
    """Tell a worker of the job, in bounded time. A failure is logged, never raised: the sweeper tells it again."""
    global _broker_slow_until
    if settings.CELERY_TASK_ALWAYS_EAGER:
        perform(pk)
        return True
    begun = time.monotonic()
    if begun < _broker_silent_until:
        return False
    from apps.jobs.tasks import run_job  # the web process starts without Celery

    # No timeout of a client covers all that a broker can do: the message is sent by a thread, which is waited for.
    sent: Future[bool] = Future()

    def send() -> None:
        try:
            run_job.apply_async([pk])
            sent.set_result(True)
        except Exception as error:
            give_up(pk, f"{type(error).__name__}: {error}")
            sent.set_result(False)

    threading.Thread(target=copy_context().run, args=(send,), name=f"publish job {pk}", daemon=True).start()
    patience = 0 if begun < _broker_slow_until else PUBLISH_SECONDS  # a request may publish many
    try:
        published = sent.result(patience)
    except TimeoutError:
        if patience:
            give_up(pk, f"no answer in {PUBLISH_SECONDS} s")
        return not patience  # else it is on its way
    if time.monotonic() - begun > PUBLISH_SECONDS / 5:
        _broker_slow_until = time.monotonic() + BROKER_PAUSE
    return published


def give_up(pk: int, why: str) -> None:
    global _broker_silent_until
    if time.monotonic() >= _broker_silent_until:  # else it has been told
        _broker_silent_until = time.monotonic() + BROKER_PAUSE
        logger.warning("job %s not published, the sweeper will: %s", pk, why)


def claim(pk: int) -> Job | None:
    """Take a waiting job that is due, so that no other worker does; None when there is nothing to take."""
    now = timezone.now()
    claimed = Job.objects.filter(pk=pk, state=Job.State.WAITING, due__lte=now + CLOCK_SKEW).update(
        state=Job.State.RUNNING, attempts=F("attempts") + 1, sweep_at=now + lease()
    )
    return Job.objects.get(pk=pk) if claimed else None


def perform(pk: int) -> None:
    """Claim the job, run it and write down how it ended. Raises nothing of what the job did but the end of the process.

    A job that is interrupted so stays claimed until the sweeper gives it back.
    """
    claimed = claim(pk)
    if claimed is None:
        return
    token = request_id.set(claimed.request_id or request_id.get())
    begun, queued = time.perf_counter(), timezone.now() - claimed.due
    try:
        with renewed_lease(claimed):
            outcome, reason, exc_info = run(claimed)
    except (SystemExit, KeyboardInterrupt):  # a time limit, the worker's shutdown
        tell_of_attempt(claimed, "interrupted", "", sys.exc_info(), queued, time.perf_counter() - begun)
        raise
    except DatabaseError as error:  # how it ended cannot be written: the sweeper gives it back
        reason = f"{type(error).__name__}: {error}"
        tell_of_attempt(claimed, "retry", reason, sys.exc_info(), queued, time.perf_counter() - begun)
    else:
        tell_of_attempt(claimed, outcome, reason, exc_info, queued, time.perf_counter() - begun)
    finally:
        request_id.reset(token)


def tell_of_attempt(job: Job, outcome: str, reason: str, exc_info: Any, queued: timedelta, seconds: float) -> None:
    """The one event of an attempt: what came of it, how long it waited and how long it took."""
    fields = {
        "task": job.task,
        "id": job.pk,
        "attempt": job.attempts,
        "queue_ms": max(round(queued.total_seconds() * 1000, 1), 0),
        "duration_ms": round(seconds * 1000, 1),
        "outcome": outcome,
    }
    level = {"done": logging.INFO, "failed": logging.ERROR}.get(outcome, logging.WARNING)
    text = f": {reason}" if reason else ""
    extra = {"event": fields}
    logger.log(
        level, "job %s: %s in %s ms%s", job, outcome, fields["duration_ms"], text, extra=extra, exc_info=exc_info
    )


def run(claimed: Job) -> tuple[str, str, Any]:
    """Run one attempt and write its end; returns outcome, reason and, of a failure that raised, the exception."""
    options = UNKNOWN
    try:
        function, options = options_of(claimed.task)
        if claimed.attempts > options.max_attempts:
            raise PermanentFailure(f"Its worker died in the last of {options.max_attempts} attempts.")
        function(*claimed.arguments)
    except options.retry_on as error:
        reason = f"{type(error).__name__}: {error}"
        if claimed.attempts >= options.max_attempts:
            return fail(claimed, options, f"{reason} ({claimed.attempts} attempts)", sys.exc_info())
        pause = min(BACKOFF_START * 2 ** (claimed.attempts - 1), BACKOFF_LIMIT)
        due = timezone.now() + timedelta(seconds=pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads a crowd
        finish(claimed, Job.State.WAITING, error=reason, due=due, sweep_at=due)
        return "retry", reason, None
    except PermanentFailure as error:
        return fail(claimed, options, str(error))
    except Exception as error:
        return fail(claimed, options, f"{type(error).__name__}: {error}", sys.exc_info())
    finish(claimed, Job.State.DONE, arguments=[] if options.secret else claimed.arguments)
    return "done", "", None


def fail(claimed: Job, options: Options, reason: str, exc_info: Any = None) -> tuple[str, str, Any]:
    with transaction.atomic():
        if finish(claimed, Job.State.FAILED, error=reason) and options.on_failure:
            options.on_failure(reason, *claimed.arguments)
    return "failed", reason, exc_info


def finish(claimed: Job, state: Job.State, *, error: str = "", **values: Any) -> bool:
    """End an attempt. False when the job was given to another worker meanwhile: its ending counts then."""
    ended = {} if state == Job.State.WAITING else {"finished": timezone.now()}
    # An exception's text may hold what no column takes: half a surrogate pair, and on PostgreSQL a NUL.
    error = error.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
    return bool(
        Job.objects.filter(pk=claimed.pk, state=Job.State.RUNNING, attempts=claimed.attempts).update(
            state=state, error=error, **ended, **values
        )
    )


def lease() -> timedelta:
    """How long a published job may stay unclaimed, and a claimed one unrenewed, before the sweeper acts."""
    return timedelta(seconds=settings.JOBS_LEASE_SECONDS)


@contextmanager
def renewed_lease(claimed: Job) -> Iterator[None]:
    """Renew the lease from a thread while the job runs; the thread ends with the process, however that ends."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(settings.JOBS_LEASE_SECONDS / 3):
            try:
                Job.objects.filter(pk=claimed.pk, state=Job.State.RUNNING, attempts=claimed.attempts).update(
                    sweep_at=timezone.now() + lease()
                )
            except DatabaseError as error:
                logger.warning("lease of job %s not renewed: %s", claimed, error)
            finally:
                connection.close()  # this thread's own

    thread = threading.Thread(target=renew, name=f"lease of job {claimed.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def sweep(limit: int = 500) -> int:
    """Give back the jobs of dead workers and publish what is due and unclaimed; returns how many were published.

    A job that stays unclaimed is published again at growing intervals, so that a long queue is not doubled.
    """
    now = timezone.now()
    due = Job.objects.filter(sweep_at__lte=now)
    # By primary key: what finds its rows by another index locks in another order than a claim, a deadlock on MariaDB.
    for pk in list(due.filter(state=Job.State.RUNNING).values_list("pk", flat=True)):
        due.filter(pk=pk, state=Job.State.RUNNING).update(state=Job.State.WAITING, error="Its worker fell silent.")
    published = 0
    for waiting in due.filter(state=Job.State.WAITING).order_by("sweep_at")[:limit]:
        if not publish(waiting.pk):
            break
        published += 1
        Job.objects.filter(pk=waiting.pk, state=Job.State.WAITING, sweep_at=waiting.sweep_at).update(
            sweep_at=now + min(max(lease(), now - waiting.due), SWEEP_LIMIT)
        )
    return published


def retry(queryset: Any) -> int:
    """Let failed jobs start anew; returns how many."""
    pks = list(queryset.filter(state=Job.State.FAILED).values_list("pk", flat=True))
    now = timezone.now()
    count = Job.objects.filter(pk__in=pks, state=Job.State.FAILED).update(
        state=Job.State.WAITING, attempts=0, error="", finished=None, due=now, sweep_at=now
    )
    for pk in pks:
        transaction.on_commit(lambda pk=pk: publish(pk))  # type: ignore[misc]
    return count


def prune(before: datetime) -> int:
    """Delete the jobs that ended before that moment; returns how many."""
    ended = Q(state=Job.State.DONE) | Q(state=Job.State.FAILED)
    count = 0
    while pks := list(Job.objects.filter(ended, finished__lt=before).values_list("pk", flat=True)[:1000]):
        count += Job.objects.filter(pk__in=pks, finished__lt=before).delete()[0]  # by primary key, as in sweep()
    return count
