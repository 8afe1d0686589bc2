"""What the tests of a site take from the machinery. These names stay while what is behind them changes."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.utils import timezone

from twelve.celery import STOP_SECONDS  # a stopping worker's, after the soft shutdown
from twelve.models import TaskRecord
from twelve.processes import procfile
from twelve.services.storage.directory import SignedFileSystemStorage
from twelve.services.storage.s3 import BucketStorage
from twelve.tasks.backend import DurableBackend
from twelve.tasks.table import retry
from twelve.tasks.worker import perform
from twelve.testing import mails

__all__ = [
    "DIRECTORY",
    "STOP_SECONDS",
    "BucketStorage",
    "DurableBackend",
    "SignedFileSystemStorage",
    "TaskRecord",
    "enqueue",
    "mails",
    "perform",
    "procfile",
    "refuse_mails",
    "retry",
    "take_the_broker_away",
]

DIRECTORY = f"{SignedFileSystemStorage.__module__}.{SignedFileSystemStorage.__qualname__}"


def enqueue(task: Any, *args: Any, key: str | None = None, delay: timedelta | None = None) -> TaskRecord:
    """Enqueue a task; return its row."""
    if key is not None:
        task = task.using(unique_key=key)
    if delay is not None:
        task = task.using(run_after=timezone.now() + delay)
    return TaskRecord.objects.get(pk=task.enqueue(*args).id)


def refuse_mails(monkeypatch: Any) -> None:
    """Let no mail be written: sending one raises RuntimeError."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no task can be written")

    monkeypatch.setattr("twelve.services.mail.backends.deliver", SimpleNamespace(enqueue=fail))


def take_the_broker_away(monkeypatch: Any) -> None:
    """Let no task be published: the broker refuses the connection."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr("twelve.tasks.publish._silent_until", 0.0)
    monkeypatch.setattr("twelve.tasks.message.run_task.apply_async", refuse)
