"""Record each one-off command: an event at its start, an event at its end, and a row in the database."""

import getpass
import logging
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.utils import timezone

from twelve import logs
from twelve.conf import settings

logger = logging.getLogger(__name__)
WRITE_SECONDS = 3
OPTION = re.compile(r"--[a-z_-]{1,40}(?==|\Z)|-[a-zA-Z](?=\S*\Z)")  # -v2 is a name with its value


class Signalled(SystemExit):
    """Raised wherever the process is when a signal stops it, so that it cleans up as after any exception."""


@contextmanager
def record(command: str, arguments: list[str]) -> Iterator[None]:
    """Log the start and the end of the command that runs inside, and write its row."""
    called = {"command": safe(logs.masked(command)), "options": option_names(arguments)}
    user, started = current_user(), timezone.now()
    event: dict[str, Any] = called | {"who": user.partition("@")[0]}  # events have no mail addresses
    stop_on_signals()
    logger.info("started: %s", called["command"], extra={"event": event})
    status, ending = 0, ""
    try:
        yield
    except BaseException as error:
        status, ending = status_and_ending(error)
        raise
    finally:
        seconds = round((timezone.now() - started).total_seconds(), 3)
        event |= {"duration_ms": round(seconds * 1000, 1), "status": status, "ending": ending}
        level = logging.WARNING if status else logging.INFO
        logger.log(level, "finished: %s with status %s", called["command"], status, extra={"event": event})
        names = {name: safe(logs.process_fields.get(name, "")) for name in ("process", "release", "commit")}
        write(**called, **names, who=user, started=started, seconds=seconds, status=status, ending=ending)


def current_user() -> str:
    """Return ADMIN_USER, else the name of the system's user, else its number."""
    try:
        return safe(settings.ADMIN_USER or getpass.getuser())
    except (OSError, KeyError):  # a container may run under a number without a name
        return f"user {os.getuid()}"


def option_names(arguments: list[str]) -> str:
    """Return the names of the options, without values, which may be secrets; after "--", they are another program's."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return " ".join(match[0] for match in map(OPTION.match, own) if match)


def safe(text: str) -> str:
    """Return the text as every database and terminal accepts it, cut to 200 characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).encode(errors="backslashreplace").decode()[:200]


def stop_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise, unless they are handled or ignored; a command may still set its own handler."""

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a platform may send it more than once
        raise Signalled(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def status_and_ending(error: BaseException) -> tuple[int, str]:
    """Return the exit status that Python makes of the error, and the name of the signal or exception, if any."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, "SIGINT"
    if not isinstance(error, SystemExit):
        return 1, safe(type(error).__name__)  # the text of the error may contain a secret; the log has it masked
    status = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
    return status, signal.Signals(status - 128).name if isinstance(error, Signalled) else ""


def write(**fields: Any) -> None:
    """Write the row on a connection of its own, since that of the command may be broken; log why it cannot."""
    try:
        from twelve.models import Run

        connection = connections["default"] = connections["default"].copy()
        options = connection.settings_dict["OPTIONS"]
        options["timeout" if connection.vendor == "sqlite" else "connect_timeout"] = WRITE_SECONDS
        Run.objects.create(**fields, host=safe(os.uname().nodename))
        connection.close()
    except Exception as error:
        from twelve.services import probe

        logger.warning("this run is not in the database, only in the log: %s", probe.reason(error, "database"))
