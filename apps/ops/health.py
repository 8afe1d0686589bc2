"""The health probes: `/health/live/` touches nothing, `/health/ready/` asks the backing services.

They stand before the host check and the HTTPS redirect, since a platform probes by IP address and plain http.
"""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.factors import probes

logger = logging.getLogger(__name__)

PROBE_SECONDS = 2
TELL_EVERY = 60  # seconds


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
    """503 only when the database is away: the site answers without its cache and its queue, if worse."""
    # Of no use to a page: mail, which jobs send, media, which a browser loads, and the way of migrations.
    asked = [name for name in probes.attached() if name not in ("mail", "media", "direct")]
    answers = probes.probe(PROBE_SECONDS, asked)
    for answer in answers:
        tell(answer)
    states = {answer.service: answer.state for answer in answers}
    status = "ready" if set(states.values()) == {"up"} else "degraded" if states["database"] == "up" else "down"
    return JsonResponse({"status": status, "services": states}, status=503 if status == "down" else 200)


_told: dict[str, float] = {}  # when each service that is not up was last told of, in monotonic seconds


def tell(answer: probes.Answer) -> None:
    """Once a minute, however often the platform asks."""
    now = time.monotonic()
    if answer.state == "up":
        _told.pop(answer.service, None)
    elif now - _told.get(answer.service, -TELL_EVERY) >= TELL_EVERY:
        _told[answer.service] = now
        logger.warning("health: the %s is %s: %s", answer.service, answer.state, answer.reason)
