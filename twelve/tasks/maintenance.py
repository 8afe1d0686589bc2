"""The machinery's own tasks, which the clock enqueues beside those of TASKS_SCHEDULE."""

from datetime import timedelta

from django.core.management import call_command
from django.utils import timezone

from twelve.conf import settings
from twelve.tasks.base import task

SCHEDULE = {
    "twelve.tasks.maintenance.prune_tasks": "12 2 * * *",
    "twelve.tasks.maintenance.clear_expired_sessions": "22 2 * * *",
    "twelve.tasks.maintenance.prune_runs": "27 2 * * *",
}
KEEP_RUNS = timedelta(days=90)


@task
def prune_tasks() -> None:
    from twelve.tasks.table import prune

    prune(timezone.now() - timedelta(days=settings.TASKS_KEEP_DAYS))


@task
def clear_expired_sessions() -> None:
    call_command("clearsessions")


@task
def prune_runs() -> None:
    from twelve.models import Run

    Run.objects.filter(started__lt=timezone.now() - KEEP_RUNS).delete()
