"""The site with pages that go wrong: `gunicorn … tests.twelve.factors.noisy_site`."""

import logging
import time

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from config.wsgi import application  # isort: skip  # noqa: F401  # what gunicorn serves; loads the apps
from config.asgi import application as asgi_application  # isort: skip  # noqa: F401
from config import urls

logger = logging.getLogger(__name__)


@csrf_exempt
def indiscreet(request):
    """Fails with all that a request has in the text of its exception."""
    sent = f"{request.POST} {request.body!r} {request.headers} {request.META}"
    raise RuntimeError(f"{request.build_absolute_uri()} {sent}")


def breaks_off(request):
    def stream():
        yield b"x" * 100_000
        logger.info("in the middle")
        raise LookupError("a bug in a stream")

    return StreamingHttpResponse(stream())


@csrf_exempt
def form(request):
    return HttpResponse(len(request.POST))


def slow(request):
    time.sleep(1)
    return HttpResponse()


urls.urlpatterns += [
    path("indiscreet/", indiscreet),
    path("breaks-off/", breaks_off),
    path("form/", form),
    path("slow/", slow),
]
