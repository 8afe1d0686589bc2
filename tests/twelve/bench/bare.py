"""Bare Celery with late acknowledgement, whose task writes its result into the site's database."""

from celery import Celery
from django.conf import settings
from django.db import connection

app = Celery("bare", broker=settings.CELERY["broker_url"])
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)
app.conf.update(task_ignore_result=True, task_default_queue="bare", broker_connection_retry_on_startup=True)


@app.task(name="plain")
def plain():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO bench_result DEFAULT VALUES")
