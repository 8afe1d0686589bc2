"""Running a task: claim its row, call the function, record the end of the attempt.

A claim is one UPDATE. A dead worker, or one without the database, no longer renews its lease, and the sweeper makes the
task wait again. A function may therefore run again after it has done its work, and must be safe to run twice.
"""

import logging
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from traceback import format_exception
from typing import Any

from django.db import DatabaseError, DataError, connection, transaction
from django.db.models import F, TextField, Value
from django.db.models.functions import Coalesce, Concat
from django.tasks import TaskContext, TaskResultStatus
from django.tasks.signals import task_finished, task_started
from django.utils import timezone
from django.utils.json import normalize_json

from twelve.conf import settings
from twelve.logs import request_id
from twelve.models import TaskRecord
from twelve.tasks.backend import DurableBackend, as_result
from twelve.tasks.base import DurableTask, PermanentFailure, find_task
from twelve.tasks.table import FAILED, READY, RUNNING, lease

logger = logging.getLogger(__name__)

BACKOFF_START, BACKOFF_LIMIT = 10, 3600  # seconds before the second attempt; the longest pause
CLOCK_SKEW = timedelta(seconds=5)  # how far the clocks of two machines may be apart
TRACEBACK_LENGTH = 10_000  # the last characters of each that are kept


def claim(pk: int) -> TaskRecord | None:
    """Claim a waiting task that is due for this process. Return None if another one has it or it is not due."""
    now = timezone.now()
    claimed = TaskRecord.objects.filter(pk=pk, status=READY, due__lte=now + CLOCK_SKEW).update(
        status=RUNNING,
        attempts=F("attempts") + 1,
        token=F("token") + 1,
        worker_ids=Concat("worker_ids", Value(f"{socket.gethostname()}:{os.getpid()} "), output_field=TextField()),
        started_at=Coalesce("started_at", now),
        last_attempted_at=now,
        sweep_at=now + lease(),
    )
    return TaskRecord.objects.get(pk=pk) if claimed else None


def perform(pk: int) -> None:
    """Claim the task, run it and record the outcome. Raise what ends the process: SystemExit and KeyboardInterrupt."""
    record = claim(pk)
    if record is None:
        return
    token = request_id.set(record.request_id or request_id.get())
    begun, queued = time.perf_counter(), timezone.now() - record.due
    outcome, reason, exc_info = "interrupted", "", None
    try:
        with renewed_lease(record):
            outcome, reason, exc_info = run(record)
    except (SystemExit, KeyboardInterrupt):  # the worker's shutdown
        exc_info = sys.exc_info()
        with suppress(DatabaseError):  # else the sweeper gives it back when the lease ends
            finish(record, READY, published=False, sweep_at=timezone.now())
        raise
    except DatabaseError as error:  # the outcome cannot be recorded: the sweeper makes the task wait again
        outcome, reason, exc_info = "retry", f"{type(error).__name__}: {error}", sys.exc_info()
    finally:
        log_attempt(record, outcome, reason, exc_info, queued, time.perf_counter() - begun)
        request_id.reset(token)


def log_attempt(
    record: TaskRecord, outcome: str, reason: str, exc_info: Any, queued: timedelta, seconds: float
) -> None:
    """Log the one event of an attempt: its outcome, how long it waited and how long it took."""
    fields = {
        "task": record.task,
        "id": record.pk,
        "attempt": record.attempts,
        "queue_ms": max(round(queued.total_seconds() * 1000, 1), 0),
        "duration_ms": round(seconds * 1000, 1),
        "outcome": outcome,
    }
    level = {"done": logging.INFO, "failed": logging.ERROR}.get(outcome, logging.WARNING)
    text = f": {reason}" if reason else ""
    message = "task %s: %s in %s ms%s"
    logger.log(level, message, record, outcome, fields["duration_ms"], text, extra={"event": fields}, exc_info=exc_info)


def run(record: TaskRecord) -> tuple[str, str, Any]:
    """Run one attempt and record it. Return outcome, reason and, if the task raised and failed, the exception."""
    task = find_task(record.task)
    try:
        if task is None:
            raise PermanentFailure(f"There is no task {record.task} in this release.")
        if record.attempts > task.max_attempts:
            raise PermanentFailure(f"Its worker died in the last of {task.max_attempts} attempts.")
        result = as_result(record, task)
        task_started.send(DurableBackend, task_result=result)
        context: list[Any] = [TaskContext(task_result=result)] if task.takes_context else []
        with transaction.atomic() if connection.in_atomic_block else nullcontext():  # of a test, which goes on
            value = normalize_json(task.call(*context, *record.args, **record.kwargs))
    except Exception as error:
        return record_error(record, task, error)
    erased: dict[str, Any] = {"args": [], "kwargs": {}} if task.secret else {}
    try:
        finished = finish(record, TaskResultStatus.SUCCESSFUL, return_value=value, **erased)
    except DataError as error:
        return record_error(record, task, PermanentFailure(f"Its return value cannot be stored: {error}"))
    if finished:
        task_finished.send(DurableBackend, task_result=as_result(record, task))
    return "done", "", None


def record_error(record: TaskRecord, task: DurableTask | None, error: Exception) -> tuple[str, str, Any]:
    """Let the task wait for another attempt, or fail. Return what run() does."""
    permanent = isinstance(error, PermanentFailure)
    exc_info: Any = type(error), error, error.__traceback__
    reason = str(error) if permanent else f"{type(error).__name__}: {error}"
    class_path = f"{type(error).__module__}.{type(error).__qualname__}"
    traceback = storable("".join(format_exception(error))[-TRACEBACK_LENGTH:])
    errors = [*record.errors, {"exception_class_path": class_path, "traceback": traceback}]
    if task and not permanent and isinstance(error, task.retry_on):
        if record.attempts < task.max_attempts:
            pause = min(BACKOFF_START * 2 ** (record.attempts - 1), BACKOFF_LIMIT)
            due = timezone.now() + timedelta(seconds=pause * random.uniform(0.8, 1.2))  # noqa: S311  # spread retries
            finish(record, READY, error=reason, errors=errors, due=due, published=False, sweep_at=due)
            return "retry", reason, None
        reason += f" ({record.attempts} attempts)"
    try:
        with transaction.atomic():
            failed = finish(record, FAILED, error=reason, errors=errors)
            if failed and task and task.on_failure:
                task.on_failure(storable(reason), *record.args, **record.kwargs)
    except Exception as second:
        reason += f". Then its on_failure raised {type(second).__name__}: {second}"
        permanent, exc_info = False, (type(second), second, second.__traceback__)
        failed = finish(record, FAILED, error=reason, errors=errors)
    if failed and task:
        task_finished.send(DurableBackend, task_result=as_result(record, task))
    return "failed", reason, None if permanent else exc_info


def storable(text: str) -> str:
    """Escape what databases refuse: a lone surrogate, and on PostgreSQL a NUL."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def finish(record: TaskRecord, status: TaskResultStatus, *, error: str = "", **values: Any) -> bool:
    """Record the end of an attempt. Return False if another worker has claimed the task since: its outcome counts."""
    values |= {"status": status, "error": storable(error)}
    if status != READY:
        values["finished_at"] = timezone.now()
    for name, value in values.items():
        setattr(record, name, value)
    claimed = TaskRecord.objects.filter(pk=record.pk, status=RUNNING, token=record.token)
    return bool(claimed.update(**values))


@contextmanager
def renewed_lease(record: TaskRecord) -> Iterator[None]:
    """Renew the lease from a daemon thread while the task runs."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(settings.TASKS_LEASE_SECONDS / 3):
            try:
                TaskRecord.objects.filter(pk=record.pk, status=RUNNING, token=record.token).update(
                    sweep_at=timezone.now() + lease()
                )
            except DatabaseError as error:
                logger.warning("lease of task %s not renewed: %s", record, error)
            finally:
                connection.close()  # this thread's own

    thread = threading.Thread(target=renew, name=f"lease of task {record.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
