"""The health probes: `/health/live/` touches nothing, `/health/ready/` asks the backing services.

They stand before the host check and the HTTPS redirect, since a platform probes by IP address and plain http.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

logger = logging.getLogger(__name__)

PROBE_SECONDS = 2


class HealthMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/health/live/":
            return JsonResponse({"status": "live"})
        if request.path == "/health/ready/":
            return ready()
        return self.get_response(request)


def probe_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()  # the probe's thread has one of its own


def probe_cache() -> None:
    try:
        cache.get("health")
    finally:
        connection.close()


def probe_broker() -> None:
    from config.celery import app

    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=PROBE_SECONDS)


PROBES: dict[str, Callable[[], None]] = {"database": probe_database, "cache": probe_cache, "broker": probe_broker}
_running: dict[str, Future[None]] = {}
_lock = threading.Lock()


def ready() -> JsonResponse:
    """503 only when the database is away: the site answers without its cache and its broker, if worse."""
    names = [name for name in PROBES if name != "broker" or not settings.CELERY_TASK_ALWAYS_EAGER]
    answers = {name: start(name) for name in names}
    wait(answers.values(), timeout=PROBE_SECONDS)
    states = {name: state_of(name, answer) for name, answer in answers.items()}
    status = "ready" if set(states.values()) == {"up"} else "degraded" if states["database"] == "up" else "down"
    return JsonResponse({"status": status, "services": states}, status=503 if status == "down" else 200)


def start(name: str) -> Future[None]:
    """The running probe of that service, or a new one: a silent service never holds more than one thread."""
    with _lock:
        answer = _running.get(name)
        if answer is None or answer.done():
            answer = _running[name] = Future()
            threading.Thread(target=run, args=(name, answer), daemon=True).start()
        return answer


def run(name: str, answer: Future[None]) -> None:
    try:
        PROBES[name]()
        answer.set_result(None)
    except Exception as error:
        answer.set_exception(error)


def state_of(name: str, answer: Future[None]) -> str:
    if not answer.done():
        logger.warning("health: the %s does not answer within %s s", name, PROBE_SECONDS)
        return "silent"
    if error := answer.exception():
        logger.warning("health: the %s is away: %s: %s", name, type(error).__name__, error)
        return "away"
    return "up"
