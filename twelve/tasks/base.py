"""Django's task with the options of a durable one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.tasks import Task, task_backends
from django.tasks import task as django_task
from django.utils.module_loading import import_string

RETRY_ON = (OSError, DatabaseError)


class PermanentFailure(Exception):
    """Raised by a task to fail without another attempt. The text is shown to staff as the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableTask(Task):
    """Django's Task with these options; `unique_key` is set by `using()` alone, the others by `@task`.

    After an exception of `retry_on` the task is run again, with growing pauses, up to `max_attempts` times; any other
    exception fails it at once. `time_limit` is in seconds, and kills the attempt. `secret` hides the arguments from
    staff and erases them when the task is done. `on_failure` is called with the reason and the arguments when the
    task has failed, in the transaction that records it.
    """

    max_attempts: int = 5
    retry_on: tuple[type[Exception], ...] = RETRY_ON
    time_limit: int | None = None
    secret: bool = False
    on_failure: Callable[..., object] | None = None
    unique_key: str | None = None

    def using(self, *, unique_key: str | None = None, **changes: Any) -> "DurableTask":
        """Return the task with these changes: `run_after`, `queue_name`, `backend`, `unique_key`."""
        changed: Any = Task.using(self, **changes)  # super() does not work in a dataclass with slots
        return changed if unique_key is None else replace(changed, unique_key=unique_key)


def task(function: Callable[..., Any] | None = None, *, backend: str = "default", **options: Any) -> Any:
    """Declare a module-level function as a durable task: Django's decorator, with the options of DurableTask as well.

    Raises ImproperlyConfigured if the backend is not durable, and TypeError for an unknown option.
    """
    if "unique_key" in options:
        raise TypeError("A unique key belongs to one call: write function.using(unique_key=…).enqueue(…)")
    if not issubclass(task_backends[backend].task_class, DurableTask):
        raise ImproperlyConfigured(
            f'TASKS["{backend}"] is not durable. Write in the settings: '
            'TASKS = {"default": {"BACKEND": "twelve.tasks.backend.DurableBackend"}}'
        )
    declare: Any = django_task
    return declare(function, backend=backend, **options)


def find_task(path: str) -> DurableTask | None:
    """Return the task with this path; None if this release has no such task."""
    try:
        found = import_string(path)
    except ImportError:
        return None
    return found if isinstance(found, DurableTask) else None
