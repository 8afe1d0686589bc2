"""The Celery application: `celery -A config worker` and `celery -A config beat`.

The web process imports this only to publish, so that it starts without Celery. A task that may be lost is a
plain one: `from config.celery import app`, then `@app.task`. What must not be lost is a job (apps.jobs).
"""

import atexit
import logging
import os
import re
import sys
import threading
import time
from datetime import datetime
from itertools import pairwise
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
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from config import logs, settings  # noqa: F401  # the settings declare every variable
from config.env import env, exit_with

# The sub-command is the first word that is no option's value.
WITH_VALUE = ("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir")
words = (word for before, word in pairwise(sys.argv) if before not in WITH_VALUE and not word.startswith("-"))
if process_type := {"worker": "worker", "beat": "clock"}.get(next(words, "")):
    logs.start(process_type)
env.exit_on_problems("worker")

logger = logging.getLogger(__name__)
TRANSPORT_ALIASES["filesystem"] = "config.broker:Transport"
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


@beat_init.connect
def tell_of_the_clocks_end(**kwargs: Any) -> None:
    atexit.register(logger.info, "the clock stops")


STOP_SECONDS = 3  # for the farewell to the broker, after the soft shutdown: a platform kills after 30


@worker_shutting_down.connect
def end_in_time(sig: str, how: str, **kwargs: Any) -> None:
    """A silent broker is asked again and again, 5 s each time: the worker leaves, and its messages come again."""
    logger.info("the worker stops on %s: %s shutdown", sig, how.lower())

    def leave() -> None:
        logger.warning("the worker leaves without the broker, which does not answer")
        os._exit(0)

    if how == "Cold":  # the soft shutdown is over; a warm one waits for the jobs at hand
        timer = threading.Timer(STOP_SECONDS, leave)
        timer.daemon = True
        timer.start()


# -- The request id travels with a task, and one event tells how it ended ---------------------------------------------


@before_task_publish.connect
def send_request_id(headers: dict[str, Any], **kwargs: Any) -> None:
    eta = headers.get("eta")  # an ISO date of a task that is to wait
    headers |= {
        "request_id": logs.request_id.get(),
        "due": datetime.fromisoformat(eta).timestamp() if eta else time.time(),
    }


@task_prerun.connect
def begin(task: Task, **kwargs: Any) -> None:
    task.request.update(begun=time.perf_counter(), exc_info=None)
    if not task.request.is_eager:
        logs.request_id.set(task.request.get("request_id") or "")


@task_failure.connect
def remember(sender: Task, exception: BaseException, traceback: Any, **kwargs: Any) -> None:
    sender.request.exc_info = (type(exception), exception, traceback)


LEVELS = {"FAILURE": logging.ERROR, "INTERRUPTED": logging.WARNING, "RETRY": logging.WARNING}


@task_postrun.connect
def tell_of_task(task: Task, task_id: str, state: str | None = None, **kwargs: Any) -> None:
    """The one event of a plain task. Without a state it was ended from outside: a time limit, a shutdown."""
    sys.stdout.flush()  # what was printed without a line break
    sys.stderr.flush()
    request, outcome = task.request, state or "INTERRUPTED"
    if task.name == "run_job" and outcome in ("SUCCESS", "INTERRUPTED"):
        return  # the job has told of itself
    fields = {
        "task": task.name,
        "id": task_id,
        "attempt": request.retries + 1,
        "outcome": outcome.lower(),
        "duration_ms": round((time.perf_counter() - request.begun) * 1000, 1),
    }
    if due := request.get("due"):
        fields["queue_ms"] = max(round((time.time() - due) * 1000 - fields["duration_ms"], 1), 0)
    logger.log(
        LEVELS.get(outcome, logging.INFO),
        "task %s: %s in %s ms", task.name, fields["outcome"], fields["duration_ms"],
        extra={"event": fields}, exc_info=request.exc_info or (None if state else sys.exc_info()),
    )  # fmt: skip


def cut_arguments(record: logging.LogRecord) -> bool:
    """A message that no task understands is told without its body, which has the arguments."""
    record.msg, record.args = re.split(r"The full contents|\n\nbody: ", record.getMessage())[0].rstrip(), ()
    return True


logging.getLogger("celery.worker.consumer.consumer").addFilter(cut_arguments)
