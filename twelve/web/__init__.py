"""The web process: its applications, the health probes; gunicorn's settings are twelve.web.gunicorn's."""

from typing import Any

from twelve import logs
from twelve.env import env
from twelve.web.health import HealthMiddleware
from twelve.web.imports import import_for_requests

__all__ = ["HealthMiddleware", "asgi_application", "wsgi_application"]


def start() -> None:
    """Load the settings, which declare every variable, and exit with all problems of the config."""
    logs.start("web")
    env.exit_on_problems("web")


def wsgi_application() -> Any:
    """Return the WSGI application, for gunicorn and every other WSGI server."""
    from django.core.wsgi import get_wsgi_application

    start()
    application = get_wsgi_application()
    import_for_requests()
    return application


def asgi_application() -> Any:
    """Return the ASGI application, for uvicorn and every other ASGI server."""
    from django.core.asgi import get_asgi_application

    start()
    application = get_asgi_application()
    import_for_requests()
    return application
