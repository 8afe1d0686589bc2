"""The health probes: `/health/live/` touches nothing, `/health/ready/` asks the backing services.

They stand before the host check and the HTTPS redirect, since a platform probes by IP address and plain http.
"""

import logging
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from twelve.conf import settings
from twelve.services import probe as probes

logger = logging.getLogger(__name__)

PROBE_SECONDS = 2
LOG_INTERVAL = 60  # seconds between two events about the same service
_logged: dict[str, float] = {}  # when each service that is not up was last logged, in monotonic seconds


class HealthMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/health/live/":
            return JsonResponse({"status": "live", "release": settings.RELEASE, "commit": settings.COMMIT})
        if request.path == "/health/ready/":
            return ready()
        return self.get_response(request)


def ready() -> JsonResponse:
    """Return 503 only if the database is not up: without its cache or its queue the site is degraded, and serves."""
    # Pages do without the others: tasks send the mail, and browsers load the media.
    needed = [name for name in probes.attached() if name in ("database", "cache", "queue")]
    answers = probes.probe(PROBE_SECONDS, needed)
    for answer in answers:
        # Once in LOG_INTERVAL, however often the platform asks.
        if answer.state == "up":
            _logged.pop(answer.service, None)
        elif time.monotonic() - _logged.get(answer.service, -LOG_INTERVAL) >= LOG_INTERVAL:
            _logged[answer.service] = time.monotonic()
            logger.warning("health: the %s is %s: %s", answer.service, answer.state, answer.reason)
    states = {answer.service: answer.state for answer in answers}
    status = "ready" if set(states.values()) == {"up"} else "degraded" if states["database"] == "up" else "down"
    return JsonResponse({"status": status, "services": states}, status=503 if status == "down" else 200)
