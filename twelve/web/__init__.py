"""The web process: its applications, the health probes; gunicorn's settings are twelve.web.gunicorn's."""

import gc
from collections.abc import Callable
from typing import Any

from twelve import logs
from twelve.env import env
from twelve.web.health import HealthMiddleware
from twelve.web.imports import import_for_requests

__all__ = ["HealthMiddleware", "asgi_application", "wsgi_application"]


def load(get_application: Callable[[], Any]) -> Any:
    """Return the application. Exits with all problems of the config, once the settings have declared every variable.

    Garbage is not collected meanwhile, and never looked for in what is imported.
    """
    gc.disable()
    try:
        logs.start("web")
        env.exit_on_problems("web")
        application = get_application()
        import_for_requests()
        return application
    finally:
        gc.freeze()
        gc.enable()


def wsgi_application() -> Any:
    """Return the WSGI application, for gunicorn and every other WSGI server."""
    from django.core.wsgi import get_wsgi_application

    return load(get_wsgi_application)


def asgi_application() -> Any:
    """Return the ASGI application, for uvicorn and every other ASGI server."""
    from django.core.asgi import get_asgi_application

    return load(get_asgi_application)
