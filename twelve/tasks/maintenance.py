"""The machinery's own task, which the clock enqueues beside those of TASKS_SCHEDULE."""

from datetime import timedelta

from django.core.management import call_command
from django.utils import timezone

from twelve.conf import settings
from twelve.tasks.base import task

SCHEDULE = {"twelve.tasks.maintenance.clean_up": "12 2 * * *"}
KEEP_RUNS = timedelta(days=90)


@task
def clean_up() -> None:
    """Delete finished tasks, the rows of old one-off processes, and expired sessions."""
    from twelve.models import Run
    from twelve.tasks.table import prune

    now = timezone.now()
    Run.objects.filter(started__lt=now - KEEP_RUNS).delete()
    prune(now - timedelta(days=settings.TASKS_KEEP_DAYS))
    call_command("clearsessions")
