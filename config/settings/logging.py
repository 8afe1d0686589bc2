"""Logs are an event stream on stdout, which the platform keeps: level, format, and who speaks."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from config.env import env

LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMAT = env.str(
    "LOG_FORMAT", default="json", debug="console", choices=("json", "console"), help="One JSON object a line, or text."
)
LOG_LEVEL = env.str("LOG_LEVEL", default="info", choices=LEVELS, help="The least level logged.")


def check_levels(text: str) -> None:
    for item in text.split(","):
        name, equals, level = item.strip().partition("=")
        if not name or not equals or level.lower() not in LEVELS:
            raise ValueError(
                f"has the part {item.strip()!r}, which is not logger=level with one of {', '.join(LEVELS)}"
            )


LOG_LEVELS = env.str(
    "LOG_LEVELS",
    default="",
    check=check_levels,
    example="django.db=debug,urllib3=error",
    help="The least level of single loggers.",
)


def needs(package: str, lock: str) -> Callable[[str], str]:
    """A check that the optional package is there, without importing it."""

    def check(url: str) -> str:
        if find_spec(package) is None:
            raise ValueError(f"is set, but {package} is not installed: pip install -r requirements/{lock}.txt")
        return url

    return check


SENTRY_DSN = env.url(
    "SENTRY_DSN",
    default=None,
    schemes=("https", "http"),
    parse=needs("sentry_sdk", "sentry"),
    example="https://key@sentry.example.com/1",
    help="Where events of level error go, too; needs requirements/sentry.txt.",
)
OTEL_EXPORTER_OTLP_ENDPOINT = env.url(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    default=None,
    schemes=("https", "http"),
    parse=needs("opentelemetry", "otel"),
    secret=False,
    example="http://localhost:4318",
    help="Where traces go, as OTLP over HTTP; needs requirements/otel.txt.",
)

QUIET: dict[str, Any] = {"handlers": ["nobody"], "propagate": False}
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "config.logs.JSONFormatter"},
        "console": {"()": "config.logs.ConsoleFormatter"},
    },
    "handlers": {
        "events": {"class": "config.logs.EventHandler", "formatter": LOG_FORMAT or "json"},
        "refusals": {"class": "config.logs.RefusalHandler", "formatter": LOG_FORMAT or "json"},
        "nobody": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["events"], "level": (LOG_LEVEL or "info").upper()},
    "loggers": {
        # Each has handlers of its own, which would tell an event a second time and in another shape.
        **{
            name: {"handlers": [], "propagate": True}
            for name in ("django", "gunicorn.error", "uvicorn", "uvicorn.error", "celery", "celery.task")
        },
        # One event tells of a request: that of config.logs.RequestMiddleware, with the traceback.
        **dict.fromkeys(("django.request", "django.server", "gunicorn.access", "uvicorn.access"), QUIET),
        "django.security": {"handlers": ["refusals"], "propagate": False},
        "gunicorn.http.wsgi": {"level": "ERROR"},  # it warns of each HEAD that Django answers with a body
        # One event tells of a task: that of config.celery, or of apps.jobs.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "CRITICAL"},
        "kombu.connection": {"level": "ERROR"},  # a folder as a broker has no host name, which it warns of
    },
}
for _item in filter(None, LOG_LEVELS.split(",")):
    _name, _, _level = _item.strip().partition("=")
    LOGGING["loggers"][_name] = LOGGING["loggers"].get(_name, {}) | {"level": _level.upper()}
