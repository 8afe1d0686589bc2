"""One event stream: every event of every process is one line, on stdout, with the request's id all the way.

docs/logs.md documents the fields. `start` is called by each entry point before anything else happens; from then
on even a print, a warning or an uncaught exception is an event.
"""

import io
import logging
import logging.config
import os
import re
import socket
import sys
import threading
import time
import warnings
from asyncio import CancelledError
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from inspect import iscoroutinefunction, markcoroutinefunction
from typing import Any

from django.conf import settings
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponseBase, HttpResponseServerError, UnreadablePostError
from django.utils.functional import SimpleLazyObject
from pythonjsonlogger.json import JsonEncoder

request_id: ContextVar[str] = ContextVar("request_id", default="")
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}")
access = logging.getLogger("access")

# The kernel writes this much into a pipe whole or not at all (Linux' PIPE_BUF): lines of processes that share a
# pipe never mix. A longer event loses the middle of its traceback.
LINE_BYTES = 4096


class Process:
    """What this process is, the same in all its events. Set by `start`."""

    started = False
    type = ""
    fields: dict[str, str] = {}
    fd = 1
    trace: Callable[[], dict[str, str]] = staticmethod(dict)  # the ids of the current span; config.telemetry's, if any


def start(process_type: str, *, fd: int = 1, capture: bool = True) -> None:
    """Configure logging for this process, once: events go to the file descriptor `fd`.

    With `capture`, what is printed to stdout and stderr becomes an event as well: for the long-running processes.
    """
    from config import settings as project

    if Process.started:
        return
    Process.started, Process.type, Process.fd = True, process_type, fd
    Process.fields = {
        "process_type": project.PROCESS_TYPE or process_type,
        "process": project.PROCESS_NAME or f"{socket.gethostname()}.{process_type}",
        "release": project.RELEASE,
        "commit": project.COMMIT,
    }
    logging.config.dictConfig(project.LOGGING)
    # What no field needs is not looked up: the calling frame, thread, process and task of each event.
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, name, None)
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, category, *place: f"{category.__name__}: {message} ({place[0]}:{place[1]})"
    sys.excepthook = lambda kind, error, trace: log_uncaught((kind, error, trace))
    threading.excepthook = lambda args: log_uncaught((args.exc_type, args.exc_value, args.exc_traceback))
    sys.unraisablehook = lambda args: log_uncaught((args.exc_type, args.exc_value, args.exc_traceback))
    if capture:
        sys.stdout = sys.__stdout__ = PrintedLines("stdout", logging.INFO)  # type: ignore[misc,assignment]
        sys.stderr = sys.__stderr__ = PrintedLines("stderr", logging.ERROR)  # type: ignore[misc,assignment]
    if project.SENTRY_DSN or project.OTEL_EXPORTER_OTLP_ENDPOINT:
        from config import telemetry

        telemetry.start()


def log_uncaught(exc_info: Any) -> None:
    if issubclass(exc_info[0], (KeyboardInterrupt, SystemExit)):
        return
    logging.getLogger("uncaught").critical("uncaught %s", exc_info[0].__name__, exc_info=exc_info)


class PrintedLines(io.TextIOBase):
    """A text stream whose lines are events: of print, of a library's banner, of an interpreter's last words."""

    # A traceback is one event: it ends with the first line that is not indented, which says what was raised.
    EVENT = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*\S.*\n|(?!Traceback \(most ).*\n")

    def __init__(self, name: str, level: int) -> None:
        self.logger, self.level, self.begun = logging.getLogger(name), level, threading.local()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        begun = getattr(self.begun, "text", "") + text
        while event := self.EVENT.match(begun):
            begun = begun[event.end() :]
            self.say(event[0])
        self.begun.text = begun
        return len(text)

    def say(self, text: str) -> None:
        if text.strip():
            self.logger.log(self.level, "%s", text.rstrip())

    def flush(self) -> None:
        """Tell what has no end yet: who flushes, as the interpreter does at its end, wants it to be read."""
        begun, self.begun.text = getattr(self.begun, "text", ""), ""
        self.say(begun)

    @property
    def fileno(self) -> Any:
        raise AttributeError("what would be written past this stream is no event")  # so that nobody does


# -- From a record to a line ----------------------------------------------------------------------------------------


# What is ours to say needs no mask, not even when a password is the same word.
OWN = {"timestamp", "level", "logger", "process_type", "process", "release", "commit", "request_id"}
NUMBERS = {int, float, bool, type(None)}


class EventHandler(logging.Handler):
    """Writes each event with one system call, unbuffered, so that a process that is killed has told everything."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception as error:
            text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
            text = f"an event cannot be told, {type(error).__name__}: {text}"
            told = logging.makeLogRecord({"name": record.name, "levelname": "ERROR", "msg": text})
            line = self.format(told).encode() + b"\n"
        try:
            while line:
                line = line[os.write(Process.fd, line) :]
        except OSError:
            pass  # nobody reads any more


class RefusalHandler(EventHandler):
    """Why Django refused a request (django.security) is said in the event of the request; without one, in an event."""

    def emit(self, record: logging.LogRecord) -> None:
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None  # a visitor's fault
        request = getattr(record, "request", None)
        if request is None:
            super().emit(record)
        elif record.name.endswith(".DisallowedHost"):  # its text quotes the host
            request.log_reason = "the Host header is none of ALLOWED_HOSTS"
        else:
            request.log_reason = str(record.args[0] if isinstance(record.args, tuple) and record.args else record.msg)


@lru_cache(maxsize=4)
def utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def as_field(name: str, value: Any) -> Any:
    """A number as it is, anything else as text; nothing of a field whose name says that it is secret."""
    if value.__class__ in NUMBERS:
        return value
    return "***" if is_secret(name) else str(value)


def without_literals(message: str) -> str:
    """Django's report of a query, without its arguments and with `'***'` for each literal in it."""
    query = message.partition("; args=")[0].partition("; (params")[0]
    # Where a backslash may hide the end of a literal, as in MySQL's, all after the first quote is left out.
    return re.sub(r"(?s)'.*" if "\\" in query else r"'[^']*'?", "'***'", query)


class EventFormatter(logging.Formatter):
    """The fields of an event: the process's, the record's, and those that the record carries in `event`."""

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        message = record.getMessage()
        if record.name.startswith("django.db."):  # a query is told without its values
            message = without_literals(message)
        if path := getattr(getattr(record, "request", None), "path", ""):  # Django names it, with a link's token
            message = message.replace(path, safe_path(path))
        return {
            "timestamp": f"{utc(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            **Process.fields,
            "request_id": request_id.get(),
            **Process.trace(),
            **{name: as_field(name, value) for name, value in getattr(record, "event", {}).items()},
        }

    def trace(self, record: logging.LogRecord) -> str:
        text = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return f"{text}\n{record.stack_info}" if record.stack_info else text


class JSONFormatter(EventFormatter):
    """One JSON object a line (RFC 8259), of at most LINE_BYTES."""

    encoder = JsonEncoder(ensure_ascii=True, allow_nan=False)

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        if trace := self.trace(record):
            fields["traceback"] = trace
        if not getattr(record, "verbatim", False):
            # Masked before they are encoded: in a finished line a mask could end in the middle of an escape.
            texts = {name: text for name, text in fields.items() if name not in OWN and text.__class__ is str}
            joined = "\n".join(texts.values())
            if masked(joined) != joined:  # hardly ever, so the texts are searched at once
                fields |= {name: masked(text) for name, text in texts.items()}
        line = self.encoder.encode(fields)
        return line if len(line) < LINE_BYTES else self.shortened(fields)

    def shortened(self, fields: dict[str, Any]) -> str:
        """The line of an event that is too long: each turn cuts a piece out of its longest text."""
        for _ in range(20):
            sizes = {name: len(self.encoder.encode(text)) for name, text in fields.items() if isinstance(text, str)}
            longest = max(sizes, key=sizes.__getitem__)
            excess = len(self.encoder.encode(fields)) + 1 - LINE_BYTES + 40  # 40 for the mark
            keep = int(len(fields[longest]) * max(1 - excess / sizes[longest], 0.25))
            start, end = keep // 4, len(fields[longest]) - (keep - keep // 4)  # the last frames count most
            fields[longest] = f"{fields[longest][:start]}\n… cut …\n{fields[longest][end:]}"
            line = self.encoder.encode(fields)
            if len(line) < LINE_BYTES:
                return line
        return self.encoder.encode({name: value for name, value in fields.items() if name in OWN or name == "message"})


class ConsoleFormatter(EventFormatter):
    """For a person: time, level, message and the start of the request's id; coloured on a terminal."""

    COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        level = f"{fields['level']:<8}"
        if os.isatty(Process.fd):
            level = f"\033[{self.COLOURS.get(fields['level'], '0')}m{level}\033[0m"
        name = "" if record.name in ("access", "stdout", "stderr") else f"{record.name}: "
        tail = f"  [{fields['request_id'][:8]}]" if fields["request_id"] else ""
        text = f"{fields['timestamp'][11:23]} {level} {name}{fields['message']}{tail}"
        if trace := self.trace(record):
            text = f"{text}\n{trace}"
        return text if getattr(record, "verbatim", False) else masked(text)


# -- What must never be read in a log --------------------------------------------------------------------------------

SENSITIVE = (
    r"(?:pass(?:word|wd|phrase)|\bpass\b|(?<![a-z])(?:pwd|otp|jwt)(?![a-z])|secret|token|credential|signature"
    r"|(?:api|auth|access|private)[_-]?key|authorization|cookie|session_?(?:id|key))"
)
HINTS = ("pass", "pwd", "otp", "jwt", "secret", "token", "credential", "signature", "key", "auth", "cookie", "session")
QUOTE = r"[bu]?(?P<{0}>\\*[\"'])"
QUOTED = r"(?:(?!(?P={0}))(?:\\.|[^\\\n]))*"  # up to the quote of that name
# A name, what stands between it and its value, and the value: quoted, a list, a header's whole line, or a word.
NAMED = (
    rf"(?i)(?P<name>(?:{SENSITIVE}\w{{0,40}}\\*[\"']? *[=:]>?|"
    rf"\([bu]?[\"'][\w-]{{0,40}}?{SENSITIVE}[\"'] *,) *(?P<list>[\[(] *)?)"
    rf"(?:(?P<quote>{QUOTE.format('end')}){QUOTED.format('end')}"
    rf"(?(list)(?:\\*[\"'] *, *{(QUOTE + QUOTED).format('more')})*)"
    r"|(?:(?<=cookie: )|(?<=authorization: ))(?:[^\n\"']|[\"'](?=;|[^\n\"']*[\"'];))+"
    r"|(?<=cookie=)[^\s\"'&,;]+(?:; *[^\s\"'&,;]+)*"
    r"|(?:(?:basic|bearer|token) +)?[^\s\"'&,;]+)"
)
# Each pattern with a text that a match has in lower case: to look for that first is twenty times as fast. None of them
# takes more than linear time, however long the text.
PATTERNS = (
    (("@",), re.compile(r"://[^/\s\"']+@"), "://***@"),
    (("@", "%40"), re.compile(r"(?<![\w.+-])[\w.+-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+"), "***@***"),
    (("?",), re.compile(r"\?[\w.%\[\]-]+=[^\s\"'<>]*"), "?***"),
    # PostgreSQL quotes the row that breaks a constraint.
    ((")=(",), re.compile(r"(?<=\))=\([^\n]*\)"), "=(***)"),
    (("failing row",), re.compile(r"(Failing row contains \()(?:[^)]|\)(?!\.?\s*(?:\n|$)))*"), r"\1***"),
    (("$",), re.compile(r"\b(pbkdf2|argon2|bcrypt|scrypt|md5)\w*\$[^\s\"')]*[^\s\"'),]"), r"\1$***"),
    (("$2",), re.compile(r"\$2[abxy]\$\d\d\$[./\w]{53}"), "***"),
    # A scheme and a word that is no word of a language: it has a digit, or a capital after a small letter.
    (
        ("bearer ", "basic "),
        re.compile(r"\b((?i:bearer|basic)) +(?=[^\s\"',;]*?(?:\d|[a-z][A-Z]))[^\s\"'\\,;]+"),
        r"\1 ***",
    ),
    (HINTS, re.compile(NAMED), r"\g<name>\g<quote>***"),
)
SUSPECT = re.compile(r"[@%=:,$]|[Bb](?:earer|asic) |Failing row")  # each match has one of them
_secrets: re.Pattern[str] | None = None


def masked(text: str) -> str:
    """The text without the values of secret variables, credentials in URLs, mail addresses, passwords and tokens."""
    global _secrets
    if _secrets is None:
        from config.env import env

        values = {form for value in env.secret_values() for form in (value, repr(value)[1:-1])}
        _secrets = re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True))) or r"(?!)")
    text = _secrets.sub("***", text)
    if not SUSPECT.search(text):
        return text
    lower = text.lower()
    for hints, pattern, replacement in PATTERNS:
        if any(map(lower.__contains__, hints)):
            text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=256)
def is_secret(name: str) -> bool:
    """Whether what has this name is to be masked."""
    return bool(re.search(SENSITIVE, name, re.IGNORECASE))


LONG_SEGMENT = re.compile(r"(?<=/)(?![0-9a-f]{8}-[0-9a-f]{4}-)[^/]{24,}")


def safe_path(path: str) -> str:
    """The path without its query, and without segments as long as a token; a UUID is none."""
    return LONG_SEGMENT.sub("***", path)


# -- Requests --------------------------------------------------------------------------------------------------------


class RequestMiddleware:
    """The outermost middleware: gives the request its id and tells of it in exactly one event, once it is answered.

    The id is the router's X-Request-ID when it is well-formed, else a new one; the answer carries it.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        got_request_exception.connect(remember_exception)

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self.answer_async(request)
        event = RequestEvent(request)
        try:
            response = self.get_response(request)
        except BaseException as error:
            response = event.answer_to(error)
        return event.told_when_closed(response)

    async def answer_async(self, request: HttpRequest) -> HttpResponseBase:
        event = RequestEvent(request)
        try:
            response = await self.get_response(request)
        except BaseException as error:
            response = event.answer_to(error)
        return event.told_when_closed(response)


class RequestEvent:
    """The event of one request, from its beginning on."""

    def __init__(self, request: HttpRequest) -> None:
        self.request, self.begun = request, time.perf_counter()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        self.id = given if WELL_FORMED.fullmatch(given) else os.urandom(16).hex()
        request_id.set(self.id)  # until the answer is closed: a streamed one is made after this
        self.ids = {"request_id": self.id, **Process.trace()}  # the span has ended when the event is told

    def answer_to(self, error: BaseException) -> HttpResponseBase:
        """The answer when the error page itself fails. What ends the request unanswered is told and raised again."""
        remember_exception(self.request)
        if isinstance(error, Exception) and not settings.DEBUG_PROPAGATE_EXCEPTIONS:
            return HttpResponseServerError(f"Server error, request {self.id}", content_type="text/plain")
        self.tell(None)
        request_id.set("")
        raise error

    def told_when_closed(self, response: HttpResponseBase) -> HttpResponseBase:
        response["X-Request-ID"] = self.id
        close = response.close

        def close_and_tell() -> None:
            response.close = close  # type: ignore[method-assign]
            error = sys.exc_info()[1]  # the server closes it while the broken connection is raised
            try:
                close()
            finally:
                self.tell(response, isinstance(error, (ConnectionError, TimeoutError)))
                if error is None:  # which the server tells next
                    request_id.set("")

        response.close = close_and_tell  # type: ignore[method-assign]
        return response

    def tell(self, response: HttpResponseBase | None, client_left: bool = False) -> None:
        request, status = self.request, None if response is None else response.status_code
        if status and status < 400 and request.path.startswith("/health/"):
            return
        exc_info = getattr(request, "log_exc_info", None)
        if exc_info and isinstance(exc_info[1], (UnreadablePostError, CancelledError)):  # no error of ours
            client_left, exc_info, level = True, None, logging.INFO
        elif status is None or status >= 500:
            level = logging.ERROR
        else:
            level, exc_info = logging.WARNING if status in (400, 403, 429) else logging.INFO, None
        user = request.__dict__.get("user")
        if isinstance(user, SimpleLazyObject):
            user = request.__dict__.get("_cached_user")  # looked up already, or not: the event asks no database
        match = request.resolver_match
        fields = {
            **self.ids,
            "method": request.method,
            "route": match.route if match else None,
            "path": safe_path(request.path),
            "status": status,
            "duration_ms": round((time.perf_counter() - self.begun) * 1000, 1),
            "bytes": size(request, response),
            "client": client_address(request),
            "user_id": user.pk if user is not None else None,
            "client_left": client_left or None,
            "reason": getattr(request, "log_reason", None),
        }
        access.log(
            level,
            "%s %s %s in %s ms%s%s",
            fields["method"],
            fields["path"],
            status or "unanswered",
            fields["duration_ms"],
            ", the client left" if client_left else "",
            f": {fields['reason']}" if fields["reason"] else "",
            extra={"event": {name: value for name, value in fields.items() if value is not None}},
            exc_info=exc_info,
        )


def remember_exception(request: HttpRequest | None = None, **kwargs: Any) -> None:
    if request is not None:
        request.log_exc_info = sys.exc_info()  # type: ignore[attr-defined]


def client_address(request: HttpRequest) -> str:
    """Whom the trusted proxies say they speak for, else who is connected."""
    proxies = settings.ALLAUTH_TRUSTED_PROXY_COUNT
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    address = forwarded[-proxies] if 0 < proxies <= len(forwarded) else ""
    return (address.strip() or request.META.get("REMOTE_ADDR", "")).removeprefix("::ffff:")[:45]


def size(request: HttpRequest, response: HttpResponseBase | None) -> int | None:
    """The bytes of the answer's body, None where they are not known."""
    if response is None:
        return None
    if request.method == "HEAD":
        return 0
    if response.streaming:  # a file says its length
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    return len(response.content)  # type: ignore[attr-defined]
