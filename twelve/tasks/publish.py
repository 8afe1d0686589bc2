"""Publishing: Celery's message with the id of a task, in bounded time."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue

from django.db import DatabaseError
from django.tasks import TaskResultStatus
from django.utils import timezone

from twelve.conf import settings
from twelve.models import TaskRecord
from twelve.tasks.base import find_task

logger = logging.getLogger(__name__)

PUBLISH_SECONDS = 1.5  # the longest that a publication may hold up its request
BROKER_PAUSE = 5  # seconds without an attempt to publish after one that failed

_silent_until = _slow_until = 0.0  # monotonic seconds
_work: SimpleQueue[Callable[[], None]] = SimpleQueue()
_publisher: threading.Thread | None = None


def publish(record: TaskRecord) -> bool:
    """Publish a task within PUBLISH_SECONDS. Return False if that failed.

    Failures are logged, not raised: the sweeper publishes it again. Without a broker, run the task in this process.
    """
    global _silent_until, _slow_until
    if settings.CELERY.get("task_always_eager"):
        from twelve.tasks.worker import perform

        perform(record.pk)
        return True
    begun = time.monotonic()
    if begun < _silent_until:
        postpone(record)
        return False
    sent: Future[tuple[str, float]] = Future()
    context = copy_context()
    submit(lambda: sent.set_result(context.run(send, record)))
    patience = 0 if begun < _slow_until else PUBLISH_SECONDS  # a request may publish many
    try:
        failure, seconds = sent.result(patience)
    except TimeoutError:
        if not patience:
            return True  # the thread goes on; if it fails, the sweeper finds that the message is lost
        failure, seconds = f"no answer in {PUBLISH_SECONDS} s", PUBLISH_SECONDS
    if failure:
        if time.monotonic() >= _silent_until:  # log once in a pause
            _silent_until = time.monotonic() + BROKER_PAUSE
            logger.warning("task %s not published, the sweeper will: %s", record.pk, failure)
        postpone(record)
        return False
    if seconds > PUBLISH_SECONDS / 5:
        _slow_until = time.monotonic() + BROKER_PAUSE
    return True


def postpone(record: TaskRecord) -> None:
    """Leave the task to the sweeper."""
    try:
        TaskRecord.objects.filter(pk=record.pk, status=TaskResultStatus.READY).update(
            published=False, sweep_at=timezone.now()
        )
    except DatabaseError as error:  # the sweeper finds that the message is lost
        logger.warning("task %s not marked as unpublished: %s", record.pk, error)


def submit(work: Callable[[], None]) -> None:
    """Do the work in a thread of this process: no client's time limit covers every fault of a broker."""
    global _publisher
    if _publisher is None or not _publisher.is_alive():  # a fork has no threads
        _publisher = threading.Thread(target=do_work, name="publisher", daemon=True)
        _publisher.start()
    _work.put(work)


def do_work() -> None:
    while True:
        _work.get()()


def send(record: TaskRecord) -> tuple[str, float]:
    """Send the message. Return why that failed, or a blank text, and the seconds that the broker took."""
    from twelve.tasks.message import run_task  # the web process starts without Celery

    begun, failure = time.monotonic(), ""  # without the first import
    task = find_task(record.task)
    # By the anonymous exchange, to the queue itself: a Redis that has lost its data has lost the bindings of others.
    options = {"queue": record.queue, "exchange": "", "routing_key": record.queue}
    try:
        run_task.apply_async([record.pk], time_limit=task.time_limit if task else None, **options)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    return failure, time.monotonic() - begun


def count_messages(queue: str) -> int | None:
    """Return how many messages wait in the queue; None if the broker does not answer."""
    from twelve.celery import app

    with app.connection_for_read() as broker:
        try:
            return broker.default_channel.queue_declare(queue=queue, passive=True).message_count
        except Exception as error:
            if str(getattr(error, "reply_code", "")) == "404":  # there is no such queue
                return 0
            logger.warning("the queue %s is not counted: %s: %s", queue, type(error).__name__, error)
            return None
