"""The Celery application: `celery -A config worker` and `celery -A config beat`.

The web process imports this only to publish, so that it starts without Celery. A task that may be lost is a
plain one: `from config.celery import app`, then `@app.task`. What must not be lost is a job (apps.jobs).
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.signals import (
    beat_init,
    before_task_publish,
    celeryd_init,
    setup_logging,
    task_failure,
    task_postrun,
    task_prerun,
    worker_shutting_down,
)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from config import logs, settings  # noqa: F401  # the settings declare every variable
from config.env import env, exit_with

for program, process_type in (("worker", "worker"), ("beat", "clock")):
    if program in sys.argv:
        logs.start(process_type)
env.exit_on_problems("worker")

logger = logging.getLogger(__name__)
app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_configure.connect
def make_broker_folder(sender: Celery, **kwargs: Any) -> None:
    if folder := sender.conf.broker_transport_options.get("data_folder_in"):
        Path(folder).mkdir(parents=True, exist_ok=True)


@celeryd_init.connect
@beat_init.connect
def refuse_to_wait_for_nothing(**kwargs: Any) -> None:
    if app.conf.task_always_eager:
        exit_with("CELERY_BROKER_URL is not set, so no job comes here: with DEBUG on they run in the web process.")


@setup_logging.connect
def use_djangos_logging(**kwargs: Any) -> None:
    """Keep Celery from configuring logging a second time: Django's settings hold for every process."""


@worker_shutting_down.connect
def tell_of_the_end(sig: str, how: str, **kwargs: Any) -> None:
    logger.info("the worker stops on %s: %s shutdown", sig, how.lower())


# -- The request id travels with a task, and one event tells how it ended ---------------------------------------------


@before_task_publish.connect
def send_request_id(headers: dict[str, Any], **kwargs: Any) -> None:
    headers |= {"request_id": logs.request_id.get(), "published_at": time.time()}


@task_prerun.connect
def begin(task: Task, **kwargs: Any) -> None:
    task.request.update(begun=time.perf_counter(), exc_info=None)
    logs.request_id.set(task.request.get("request_id") or "")


@task_failure.connect
def remember(sender: Task, exception: BaseException, traceback: Any, **kwargs: Any) -> None:
    sender.request.exc_info = (type(exception), exception, traceback)


@task_postrun.connect
def tell(task: Task, task_id: str, state: str | None = None, **kwargs: Any) -> None:
    request = task.request
    if task.name == "run_job" and state == "SUCCESS":
        return  # the job has told of itself
    fields = {
        "task": task.name,
        "id": task_id,
        "attempt": request.retries + 1,
        "outcome": (state or "unknown").lower(),
        "duration_ms": round((time.perf_counter() - request.begun) * 1000, 1),
    }
    if published := request.get("published_at"):
        fields["queue_ms"] = max(round((time.time() - published) * 1000 - fields["duration_ms"], 1), 0)
    level = logging.ERROR if state == "FAILURE" else logging.INFO
    logger.log(
        level, "task %s: %s in %s ms", task.name, fields["outcome"], fields["duration_ms"],
        extra={"event": fields}, exc_info=request.exc_info,
    )  # fmt: skip
