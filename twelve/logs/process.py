"""The log of a process: its settings, its start, what is printed, and Sentry."""

import io
import logging.config
import socket
import sys
import threading
from importlib.util import find_spec
from typing import Any

from twelve.conf import settings
from twelve.env import Env, env
from twelve.logs import events
from twelve.logs.events import process_fields, request_id

LEVELS = ("debug", "info", "warning", "error", "critical")
LOGGERS: dict[str, dict[str, Any]] = {
    # These have handlers of their own, which would log each event twice.
    **{name: {"propagate": True} for name in ("django", "gunicorn.error", "uvicorn", "uvicorn.error")},
    # The event of the request has what these log; EventHandler takes it from the first two.
    **{name: {"level": "INFO"} for name in ("django.request", "django.security")},
    **{name: {"level": "CRITICAL"} for name in ("django.server", "gunicorn.access", "uvicorn.access")},
    "gunicorn.http.wsgi": {"level": "ERROR"},  # it warns of each HEAD that Django answers with a body
    "celery.worker.strategy": {"level": "WARNING"},
    **{name: {"level": "CRITICAL"} for name in ("celery.app.trace", "django.tasks")},  # one event has the outcome
    "kombu.connection": {"level": "ERROR"},  # it warns that a folder as a broker has no host name
}
started = False


def check_level(item: str) -> None:
    name, _, level = item.partition("=")
    if not name or level.lower() not in LEVELS:
        raise ValueError(f"has the part {item!r}, which is not logger=level with one of {', '.join(LEVELS)}")


def from_environment(env: Env = env) -> dict[str, Any]:
    """Return LOGGING."""
    formatter = env.str("LOG_FORMAT", "json", debug="console", choices=("json", "console"), help="JSON lines, or text.")
    level = env.str("LOG_LEVEL", "info", choices=LEVELS, help="The least level logged.")
    example, text = "django.db=debug,urllib3=error", "The least level of single loggers."
    levels = [item.split("=") for item in env.list("LOG_LEVELS", [], check=check_level, example=example, help=text)]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": events.JSONFormatter}, "console": {"()": events.ConsoleFormatter}},
        "handlers": {"events": {"class": "twelve.logs.EventHandler", "formatter": formatter or "json"}},
        "root": {"handlers": ["events"], "level": (level or "info").upper()},
        "loggers": LOGGERS | {name: LOGGERS.get(name, {}) | {"level": level.upper()} for name, level in levels},
    }


def identify(process_type: str) -> None:
    """Set the fields that say which process an event is of, unless `start` has."""
    if not started:
        process_fields.update(
            process_type=settings.PROCESS_TYPE or process_type,
            process=settings.PROCESS_NAME or f"{socket.gethostname()}.{process_type}",
            release=settings.RELEASE,
            commit=settings.COMMIT,
        )


def start(process_type: str, *, fd: int = 1, capture: bool = True) -> None:
    """Configure logging for this process, once: events go to the file descriptor `fd`, with `capture` prints too."""
    global started
    if started:
        return
    identify(process_type)
    started, events.EventHandler.fd = True, fd
    if settings.LOGGING:
        logging.config.dictConfig(settings.LOGGING)
    logging.captureWarnings(True)
    sys.excepthook = log_uncaught
    threading.excepthook = lambda args: log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    if capture:
        sys.stdout = sys.__stdout__ = PrintedLines("stdout", logging.INFO)  # type: ignore[misc,assignment]
        sys.stderr = sys.__stderr__ = PrintedLines("stderr", logging.ERROR)  # type: ignore[misc,assignment]
    if settings.SENTRY_DSN:
        start_sentry(settings.SENTRY_DSN)


def log_uncaught(kind: Any, error: Any, traceback: Any) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("uncaught").critical("uncaught %s", kind.__name__, exc_info=(kind, error, traceback))


class PrintedLines(io.TextIOBase):
    """A text stream that logs each line as an event."""

    fileno = property()  # it has none: Celery would write to it past the log

    def __init__(self, name: str, level: int) -> None:
        self.logger, self.level, self.unfinished = logging.getLogger(name), level, threading.local()

    def write(self, text: str) -> int:
        *lines, unfinished = (getattr(self.unfinished, "line", "") + text).split("\n")
        self.unfinished.line = unfinished
        for line in filter(str.strip, lines):
            self.logger.log(self.level, "%s", line)
        return len(text)

    def flush(self) -> None:
        """Log the unfinished line: the interpreter flushes at its end."""
        self.write("\n")


def check_package(dsn: str) -> str:
    if find_spec("sentry_sdk") is None:
        raise ValueError("is set, but sentry_sdk is not installed: pip install -r requirements/sentry.txt")
    return dsn


def sentry_from_environment(env: Env = env) -> str | None:
    """Return SENTRY_DSN."""
    example = "https://key@sentry.example.com/1"
    text = "The Sentry DSN to which errors are reported; needs requirements/sentry.txt."
    return env.url("SENTRY_DSN", None, schemes=("https", "http"), parse=check_package, example=example, help=text)


def start_sentry(dsn: str) -> None:
    """Send each event of level error. The log is its only source, so that Sentry gets no error twice."""
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger

    for name in ("django.request", "django.security.*"):  # the event of the request has the same
        ignore_logger(name)
    sentry_sdk.init(
        dsn,
        release=settings.RELEASE or settings.COMMIT or None,
        default_integrations=False,
        integrations=[LoggingIntegration(level=None), AtexitIntegration(callback=lambda pending, timeout: None)],
        before_send=lambda event, hint: mask(event | {"tags": process_fields | {"request_id": request_id.get()}}),
        include_local_variables=False,
    )


def mask(value: Any) -> Any:
    """Return an event of Sentry masked as in the log."""
    if isinstance(value, str):
        return events.masked(value)
    if isinstance(value, dict):  # `client` is an IP address, which is personal data
        return {
            key: "***" if events.is_secret(str(key)) else mask(item) for key, item in value.items() if key != "client"
        }
    return [mask(item) for item in value] if isinstance(value, list | tuple) else value
