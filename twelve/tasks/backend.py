"""The backend of Django's Tasks API: enqueue() inserts a row of the caller's transaction.

The row is the task. Celery carries only its id, in a message that may be lost, doubled or late.
"""

from contextlib import suppress
from functools import partial
from typing import Any

from django.db import transaction
from django.tasks import TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued
from django.utils import timezone
from django.utils.json import normalize_json

from twelve.logs import request_id
from twelve.tasks.base import DurableTask, find_task

# twelve.models is imported in functions: an app's models may import its tasks.


class DurableBackend(BaseTaskBackend):
    """OPTIONS={"immediate": True} runs each task in enqueue(): for tests."""

    task_class = DurableTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> TaskResult:
        """Insert the task, and publish its id after the commit. The arguments are JSON values.

        With a `unique_key`, return the task that has the key, and start it again if it has failed. Raise ValueError if
        the key is that of another function.
        """
        from twelve.models import TaskRecord
        from twelve.tasks.publish import publish
        from twelve.tasks.table import lease, start_again
        from twelve.tasks.worker import perform

        self.validate_task(task)
        now = timezone.now()
        deferred = task.run_after is not None and task.run_after > now
        values = {
            "task": task.module_path,
            "queue": task.queue_name,
            "args": normalize_json(list(args)),
            "kwargs": normalize_json(kwargs),
            "run_after": task.run_after,
            "due": task.run_after if deferred else now,
            "published": not deferred,
            "sweep_at": task.run_after if deferred else now + lease(),
            "request_id": request_id.get(),
        }
        if task.unique_key is None:
            record = TaskRecord.objects.create(**values)
        else:
            record, created = TaskRecord.objects.get_or_create(unique_key=task.unique_key, defaults=values)
            if record.task != task.module_path:
                raise ValueError(f"The unique key {task.unique_key!r} belongs to a task {record.task}.")
            if not created:
                started = record.status == TaskResultStatus.FAILED and start_again(record, **values)
                record.refresh_from_db()
                if not started:
                    return as_result(record, task)
        task_enqueued.send(type(self), task_result=as_result(record, task))
        if self.options.get("immediate"):
            perform(record.pk)
            record.refresh_from_db()
        elif not deferred:
            transaction.on_commit(partial(publish, record))
        return as_result(record, task)

    def get_result(self, result_id: str) -> TaskResult:
        from twelve.models import TaskRecord

        record = TaskRecord.objects.filter(pk=result_id).first() if str(result_id).isdecimal() else None
        task = find_task(record.task) if record else None
        if record is None or task is None:
            raise TaskResultDoesNotExist(result_id)
        with suppress(InvalidTask):  # a queue of another release
            task = task.using(backend=self.alias, queue_name=record.queue, run_after=record.run_after)
        return as_result(record, task)


def as_result(record: Any, task: DurableTask) -> TaskResult:
    """Return Django's result of a task's row."""
    result: Any = TaskResult(
        task=task,
        id=str(record.pk),
        status=TaskResultStatus(record.status),
        enqueued_at=record.enqueued_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        last_attempted_at=record.last_attempted_at,
        args=record.args,
        kwargs=record.kwargs,
        backend=task.backend,
        errors=[TaskError(**error) for error in record.errors],
        worker_ids=record.worker_ids.split(),
    )
    object.__setattr__(result, "_return_value", record.return_value)  # what Django's own backends do
    return result
