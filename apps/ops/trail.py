"""The trail of a one-off process: an event when it starts, an event when it ends, and a row that stays.

`manage.py` lays it around the command that it was called for, so what that calls in turn leaves none of its own. The
row is written at the end, on a connection of its own and in bounded time: it never changes how a command ends.
"""

import getpass
import logging
import os
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone

from config import logs

logger = logging.getLogger(__name__)

WRITE_SECONDS = 3
ARGUMENTS_LENGTH = 1000
STOP_SIGNALS = ("SIGTERM", "SIGHUP")  # SIGHUP: the terminal is gone; Windows has none
# A password stands in code as a plain text, as in set_password("…"), and in SQL as well.
LITERAL = re.compile(r"""("{3}|'{3}|["'])(?:\\.|(?!\1).)*(?:\1|\Z)""", re.DOTALL)


# Where secrets have no name to know them by: from these arguments on, nothing is told.
CODE = {"shell": r"-c|--command", "dbshell": r"--$"}


class Signalled(SystemExit):
    """Raised wherever the process is when a signal asks it to stop, so that it cleans up as after any exception."""


@contextmanager
def leave(command: str, arguments: list[str]) -> Iterator[None]:
    """Tell of the command that runs inside, and write its row when it ends, however it does."""
    about = {"command": safe(logs.masked(command)), "arguments": shown(arguments, command)}
    name, _at, _host = who().partition("@")  # events have no mail addresses
    started, begun = timezone.now(), time.perf_counter()
    stop_on_signals()
    logger.info(
        "started: %s", f"{about['command']} {about['arguments']}".rstrip(), extra={"event": about | {"who": name}}
    )
    status, ending = 0, ""
    try:
        yield
    except BaseException as error:
        status, ending = how_it_ended(error)
        raise
    finally:
        seconds = round(time.perf_counter() - begun, 3)
        ended = {"status": status, "ending": ending}
        process = {name: safe(logs.Process.fields.get(name, "")) for name in ("process", "release", "commit")}
        with suppress(KeyboardInterrupt, Signalled):  # it has ended already: now only the row is not waited for
            tell_of_end({**about, "who": name, "duration_ms": round(seconds * 1000, 1), **ended})
            host = safe(socket.gethostname())
            if why := write(**about, who=who(), **process, **ended, host=host, started=started, seconds=seconds):
                logger.warning("this run is in the log only, it could not be written to the database: %s", why)


def tell_of_end(fields: dict[str, Any]) -> None:
    level = logging.WARNING if fields["status"] else logging.INFO
    tail = f" ({fields['ending']})" if fields["ending"] else ""
    logger.log(
        level,
        "finished: %s in %s ms with status %s%s",
        fields["command"],
        fields["duration_ms"],
        fields["status"],
        tail,
        extra={"event": fields},
    )


def who() -> str:
    """The person who runs this, as far as the environment or the system knows."""
    try:
        return safe(settings.ADMIN_USER or getpass.getuser())
    except (OSError, KeyError):  # a container may run under a number without a name
        return f"user {os.getuid()}"


def shown(arguments: list[str], command: str = "") -> str:
    """The arguments in one line, without what may be a secret: values of secret names and variables, quoted texts.

    Of code for a shell, and of what goes to the database's own client, only that there was some.
    """
    told, hide = [], False
    for at, argument in enumerate(arguments):
        if command in CODE and re.match(CODE[command], argument):
            length = len(" ".join(arguments[at:]))
            return f"{shown(arguments[:at])} {argument[:2]} *** ({length} characters)".lstrip()
    for argument in arguments:
        name, equals, _value = argument.partition("=")
        secret = logs.is_secret(name) and not re.search(r"\s", name)
        if hide:
            told.append("***")
        elif secret and equals:
            told.append(f"{name}=***")
        else:
            text = safe(LITERAL.sub('"***"', logs.masked(argument)), ARGUMENTS_LENGTH)
            told.append(shlex.quote(text) if re.search(r"\s|^$", text) else text)
        hide = not hide and secret and not equals and name.startswith("-")
    return safe(" ".join(told), ARGUMENTS_LENGTH)


def safe(text: str, length: int = 200) -> str:
    """A text that every database and every terminal takes, cut to that length."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).encode(errors="backslashreplace").decode()
    return text if len(text) <= length else f"{text[: length - 1]}…"


def stop_on_signals() -> None:
    """Have these signals raise, unless something else was made of them; a command may still choose its own way."""

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a platform may send it more than once
        raise Signalled(128 + number)

    for name in STOP_SIGNALS:
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def how_it_ended(error: BaseException) -> tuple[int, str]:
    """The exit status that Python makes of it, and the name of the signal or exception that was the cause."""
    if isinstance(error, Signalled):
        return error.code, signal.Signals(error.code - 128).name  # type: ignore[return-value,operator]
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, "SIGINT"
    if not isinstance(error, SystemExit):
        return 1, safe(type(error).__name__)  # its text may hold a secret; the log has it, masked
    if error.code is None:
        return 0, ""
    return (error.code & 0xFF if isinstance(error.code, int) else 1), ""


def write(**row: Any) -> str:
    """Write the row, waiting for WRITE_SECONDS at most; returns why it was not written, if it was not."""
    written: Future[str] = Future()

    def attempt() -> None:
        try:
            from apps.ops.models import Run

            # This thread's own, since the command's may be broken, and past a pool, which would not tell why.
            connections["default"] = connection = connections["default"].copy()
            connection.settings_dict["OPTIONS"].pop("pool", None)
            try:
                Run.objects.using("default").create(**row)
            finally:
                connection.close()
            written.set_result("")
        except Exception as error:
            from apps.factors import probes

            written.set_result(probes.reason(error, "DATABASE_TLS"))

    try:
        threading.Thread(target=attempt, name="write the run", daemon=True).start()
        return written.result(WRITE_SECONDS)
    except TimeoutError:
        return f"no answer in {WRITE_SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
