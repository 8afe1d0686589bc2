"""The one message that Celery carries, and the jobs of this app."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from apps.jobs import services
from config.celery import app


@app.task(name="run_job")
def run_job(pk: int) -> None:
    services.perform(pk)


@services.job()
def prune_jobs() -> None:
    services.prune(timezone.now() - timedelta(days=settings.JOBS_KEEP_DAYS))
