"""The one message that Celery carries: the id of a task."""

from twelve.celery import app
from twelve.tasks import worker


@app.task(name="run_task")
def run_task(pk: int) -> None:
    worker.perform(pk)
