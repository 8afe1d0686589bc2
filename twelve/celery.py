"""The Celery application, with the events of worker, clock and tasks; `config/celery.py` takes it.

The web process imports this only to publish, so that it starts without Celery.
"""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from celery import Celery, Task
from celery.signals import (
    beat_init,
    before_task_publish,
    celeryd_after_setup,
    setup_logging,
    task_failure,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_shutting_down,
)
from django.db import close_old_connections, connections
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from twelve import logs
from twelve.conf import settings
from twelve.env import env, exit_with

logger = logging.getLogger(__name__)


# Celery's command line imports this for its sub-command; another process, which only publishes, has no such context.
context = click.get_current_context(silent=True)
process_type = {"worker": "worker", "beat": "clock"}.get(str(context.invoked_subcommand)) if context else None
if process_type:
    logs.start(process_type)
    env.exit_on_problems("worker")
    if settings.CELERY.get("task_always_eager"):
        exit_with(
            "CELERY_BROKER_URL is not set, so tasks run in the web process and this one has nothing to do.",
            "Set it: CELERY_BROKER_URL=filesystem:// in .env is enough for local work.",
        )

TRANSPORT_ALIASES["filesystem"] = "twelve.services.folder:Transport"
app = Celery("twelve", include=["twelve.tasks.message"])
app.conf.update(settings.CELERY)
app.conf.task_default_queue = "default"
app.conf.CELERY_DB_REUSE_MAX = sys.maxsize  # a new connection for each task costs more than the task: see begin()
app.conf.task_queues = [
    Queue(name, Exchange(name, type="topic"), name, queue_arguments={"x-queue-type": "quorum"})
    for name in sorted({name for backend in settings.TASKS.values() for name in backend.get("QUEUES", ["default"])})
]
app.autodiscover_tasks()


@app.on_after_configure.connect
def make_broker_folder(sender: Celery, **kwargs: Any) -> None:
    if folder := sender.conf.broker_transport_options.get("data_folder_in"):
        Path(folder).mkdir(parents=True, exist_ok=True)


@app.on_after_finalize.connect
def import_scheduler(sender: Celery, **kwargs: Any) -> None:
    """Import what beat needs before it handles SIGTERM, since its handler uses the scheduler.

    A signal in the middle of these imports would find a module half initialized, and beat would end with an error.
    """
    if process_type == "clock":
        from twelve.tasks.scheduler import DatabaseScheduler

        DatabaseScheduler(sender, lazy=True)


@celeryd_after_setup.connect
def close_connections(**kwargs: Any) -> None:
    """Close what the checks opened, before the processes of the pool are forked."""
    connections.close_all()


@setup_logging.connect
def use_djangos_logging(**kwargs: Any) -> None:
    """Keep Celery from configuring logging a second time: Django's settings hold for every process."""


@beat_init.connect
def log_the_clocks_end(**kwargs: Any) -> None:
    atexit.register(logger.info, "the clock stops")


# -- The end of a worker ----------------------------------------------------------------------------------------------

STOP_SECONDS = 3  # to close the connection to the broker, when the last task has ended: a platform kills after 30
stopping = threading.Event()


@worker_process_init.connect
def end_with_the_worker(**kwargs: Any) -> None:
    """Leave the stop to the main process, which sends SIGQUIT: a platform sends SIGTERM to every process."""
    logs.start("worker")  # where the system does not fork, as on macOS
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@worker_shutting_down.connect
def stop_in_time(sig: str, how: str, **kwargs: Any) -> None:
    """Celery's warm shutdown waits without a limit for its tasks and for the broker: limit both."""
    if not stopping.is_set():  # platforms may send the signal several times
        stopping.set()
        logger.info("the worker stops on %s: %s shutdown", sig, how.lower())
        threading.Thread(target=limit_stop, name="stop", daemon=True).start()


def limit_stop() -> None:
    from celery.worker.state import active_requests, reserved_requests  # those that run, and all that a process has

    deadline = time.monotonic() + app.conf.worker_soft_shutdown_timeout
    while reserved_requests and time.monotonic() < deadline:
        time.sleep(0.05)
    for request in list(active_requests) if reserved_requests else []:
        logger.warning("the worker interrupts %s, which has not ended in time", request.id)
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(request.worker_pid, signal.SIGQUIT)
    time.sleep(STOP_SECONDS)
    logger.warning("the worker exits before Celery's shutdown is complete")
    os._exit(0)  # ends the processes of the pool as well


# -- The request id travels with a task, and one event has its outcome ------------------------------------------------


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
        close_old_connections()  # as Django does for a request: by age, or if it is broken
        logs.request_id.set(task.request.get("request_id") or "")


@task_failure.connect
def remember(sender: Task, exception: BaseException, traceback: Any, **kwargs: Any) -> None:
    sender.request.exc_info = (type(exception), exception, traceback)


LEVELS = {"FAILURE": logging.ERROR, "INTERRUPTED": logging.WARNING, "RETRY": logging.WARNING}


@task_postrun.connect
def log_task(task: Task, task_id: str, state: str | None = None, **kwargs: Any) -> None:
    """The one event of a plain task. Without a state it was ended from outside: a time limit, a shutdown."""
    if not task.request.is_eager:
        close_old_connections()
    sys.stdout.flush()  # what was printed without a line break
    sys.stderr.flush()
    request, outcome = task.request, state or "INTERRUPTED"
    if task.name == "run_task" and outcome in ("SUCCESS", "INTERRUPTED"):
        return  # twelve.tasks.worker has logged it
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


def without_contents(record: logging.LogRecord) -> bool:
    """Log a message that is not a task without its contents, which have the arguments."""
    from celery.worker.consumer import consumer

    texts = {
        consumer.UNKNOWN_TASK_ERROR: "a message names a task that this release does not have: %s",
        consumer.INVALID_TASK_ERROR: "a message is not a task: %s",
        consumer.MESSAGE_DECODE_ERROR: "a message cannot be decoded: %r",
        consumer.UNKNOWN_FORMAT: "a message was not sent by Celery",
    }
    if record.msg in texts:
        record.msg = texts[record.msg]
        record.args = record.args[:1] if "%" in record.msg and isinstance(record.args, tuple) else ()
    return True


logging.getLogger("celery.worker.consumer.consumer").addFilter(without_contents)
