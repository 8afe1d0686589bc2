"""The operations on the table of tasks: sweep, start again, retry, prune."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Count, QuerySet
from django.tasks import TaskResultStatus
from django.utils import timezone

from twelve.conf import settings
from twelve.models import TaskRecord
from twelve.tasks.publish import count_messages, publish

READY, RUNNING, FAILED = TaskResultStatus.READY, TaskResultStatus.RUNNING, TaskResultStatus.FAILED
SWEEP_LIMIT = 500  # tasks that one sweep publishes


def lease() -> timedelta:
    """Return the time for which a claim holds without being renewed, and a message counts as on its way."""
    return timedelta(seconds=settings.TASKS_LEASE_SECONDS)


def sweep() -> int:
    """Make the tasks of dead workers wait again, and publish due ones that have no message in the broker.

    Return how many were published. Any number of clocks may sweep: each publication is claimed by one UPDATE.
    """
    now = timezone.now()
    due = TaskRecord.objects.filter(sweep_at__lte=now)
    # By primary key: an UPDATE by another index locks rows in another order than a claim does, a deadlock on MariaDB.
    for pk in list(due.filter(status=RUNNING).values_list("pk", flat=True)):
        due.filter(pk=pk, status=RUNNING).update(
            status=READY, published=False, sweep_at=now, error="Its worker no longer renewed its claim."
        )
    ready = due.filter(status=READY).order_by("sweep_at").only("task", "queue")  # arguments may be large
    published = publish_all(ready.filter(published=False)[:SWEEP_LIMIT], now)
    # A message is lost where more tasks wait than the queue has messages: the broker lost it, or its publisher died.
    overdue = ready.filter(published=True).order_by().values_list("queue").annotate(Count("pk"))
    for queue, count in overdue:
        messages = count_messages(queue)
        if messages is not None:
            # Without those of which the message may still be on its way.
            waiting = TaskRecord.objects.filter(
                status=READY, published=True, queue=queue, sweep_at__lte=now + lease() / 2
            ).count()
            lost = min(waiting - messages, count, SWEEP_LIMIT)
            published += publish_all(ready.filter(published=True, queue=queue)[: max(lost, 0)], now)
    return published


def publish_all(records: QuerySet[TaskRecord], now: datetime) -> int:
    """Publish the tasks, each if no other clock has, until the broker fails. Return how many."""
    count = 0
    for record in records:
        unclaimed = TaskRecord.objects.filter(pk=record.pk, status=READY, sweep_at__lte=now)
        # From its own publication on: earlier ones may have taken long, and another clock counts messages meanwhile.
        if unclaimed.update(published=True, sweep_at=timezone.now() + lease()):
            if not publish(record):
                break
            count += 1
    return count


def start_again(record: TaskRecord, **values: Any) -> bool:
    """Make a failed task wait as if it were new. Return False if another process has."""
    fresh = {"status": READY, "attempts": 0, "worker_ids": "", "errors": [], "error": "", "enqueued_at": timezone.now()}
    fresh |= dict.fromkeys(("started_at", "last_attempted_at", "finished_at"))
    failed = TaskRecord.objects.filter(pk=record.pk, status=FAILED)
    return bool(failed.update(**fresh | values))


def retry(records: QuerySet[TaskRecord]) -> int:
    """Start failed tasks again. Return how many."""
    count = 0
    for record in records.filter(status=FAILED).only("task", "queue"):
        now = timezone.now()
        if start_again(record, due=now, published=True, sweep_at=now + lease()):
            transaction.on_commit(partial(publish, record))
            count += 1
    return count


def prune(before: datetime) -> int:
    """Delete the tasks that finished before that time. Return how many."""
    count = 0
    while pks := list(TaskRecord.objects.filter(finished_at__lt=before).values_list("pk", flat=True)[:1000]):
        count += TaskRecord.objects.filter(pk__in=pks, finished_at__lt=before).delete()[0]  # by primary key, as sweep()
    return count
