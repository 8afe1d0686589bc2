from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Count, Min, Q
from django.tasks import TaskResultStatus, task_backends
from django.utils import timezone

from twelve.models import TaskRecord

COLUMNS = "{:20}  {:>8}  {:>8}  {:>8}  {}"
SHOWN = [TaskResultStatus.READY, TaskResultStatus.RUNNING, TaskResultStatus.FAILED]


class Command(BaseCommand):
    help = "Lists the queues: how many tasks wait, run and have failed, and when the oldest was due."

    def handle(self, *args: Any, **options: Any) -> None:
        rows = TaskRecord.objects.filter(status__in=SHOWN).values("queue", "status").order_by()
        oldest = Min("due", filter=Q(due__lte=timezone.now()))
        found: dict[Any, Any] = {
            (row["queue"], row["status"]): row for row in rows.annotate(count=Count("pk"), oldest=oldest)
        }
        queues = {queue for backend in task_backends.all() for queue in backend.queues} | {queue for queue, _ in found}
        self.stdout.write(COLUMNS.format("QUEUE", "WAITING", "RUNNING", "FAILED", "OLDEST DUE (UTC)"))
        for queue in sorted(queues):
            counts = [found.get((queue, status), {}).get("count", 0) for status in SHOWN]
            waiting = found.get((queue, TaskResultStatus.READY))
            since = f"{waiting['oldest']:%Y-%m-%d %H:%M:%S}" if waiting and waiting["oldest"] else "-"
            self.stdout.write(COLUMNS.format(queue, *counts, since))
