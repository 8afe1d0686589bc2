from datetime import timedelta

from django.core.management import call_command
from django.utils import timezone

from apps.jobs.services import job
from apps.ops.models import Run

KEEP_RUNS = timedelta(days=90)


@job()
def clear_expired_sessions() -> None:
    call_command("clearsessions")


@job()
def prune_runs() -> None:
    Run.objects.filter(started__lt=timezone.now() - KEEP_RUNS).delete()
