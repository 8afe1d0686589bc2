from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from twelve.models import TaskRecord
from twelve.tasks.scheduler import read_schedule

COLUMNS = "{:48}  {:14}  {:16}  {:16}  {}"


class Command(BaseCommand):
    help = "Lists the schedule: each task, its crontab line, its last and next time, and the last outcome."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(COLUMNS.format("TASK", "WHEN (UTC)", "LAST", "NEXT", "OUTCOME"))
        entries, problems = read_schedule()
        for entry in entries:
            tasks = TaskRecord.objects.filter(unique_key__startswith=f"{entry.task}:").order_by("-pk")
            task, following = tasks.first(), f"{entry.next_slot(timezone.now()):%Y-%m-%d %H:%M}"
            last, outcome = (f"{task.enqueued_at:%Y-%m-%d %H:%M}", task.get_status_display()) if task else ("-", "-")
            self.stdout.write(COLUMNS.format(entry.task, entry.line, last, following, outcome))
        for problem in problems:
            self.stderr.write(problem)
