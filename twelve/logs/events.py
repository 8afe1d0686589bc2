"""An event: what is masked in it, the handler that writes it, and its two formats."""

import json
import logging
import os
import re
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Any

from twelve.env import env

# Linux writes this much into a pipe as a whole (PIPE_BUF), so that lines of processes that share a pipe never mix.
LINE_BYTES = 4096
request_id: ContextVar[str] = ContextVar("request_id", default="")
process_fields: dict[str, str] = {}  # the same in all events of a process; `identify` sets them
encode = json.JSONEncoder(allow_nan=False).encode

SENSITIVE = (
    r"(?:pass(?:word|wd|phrase)|pwd|\botp\b|secret|token|jwt|credential|signature|cookie"
    r"|authorization|(?:api|auth|access|private)[_-]?key|session_?(?:id|key))"
)
is_secret = cache(re.compile(SENSITIVE, re.IGNORECASE).search)  # whether a field of this name is masked
# Name and value in a query, a header or JSON, or as Python shows a dictionary or a list of one.
NAMED_VALUE = (
    rf"(?i)({SENSITIVE}\w{{0,40}}[\"']? *[=:] *\[?)"
    r"(?:([\"'])(?:\\.|(?!\2)[^\\\n])*|(?:(?:basic|bearer) +)?[^\s\"'&,;]+)"
)
# All take linear time, and each match has one of the characters of MAY_MATCH, which are faster to look for.
MASKS = {
    re.compile(r"://[^/\s\"']+@"): "://***@",
    re.compile(r"(?<![\w.+-])[\w.+-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+"): "***@***",
    # PostgreSQL quotes the values of a row that breaks a constraint, a password's hash as well.
    re.compile(r"(?s)DETAIL:.*?(?=\n\n|\nCONTEXT:|\Z)"): "DETAIL: ***",
    re.compile(r"\?[\w.%\[\]-]+=[^\s\"'<>]*"): "?***",
    re.compile(NAMED_VALUE): r"\1\2***",
}
MAY_MATCH = re.compile(r"[@%=:]")
# The literals and arguments of a query. A backslash may escape the end of a literal, as in MySQL: the rest goes too.
LITERALS = re.compile(r"(?s)(; args=|; \(params).*|'(?:[^'\\]*'|.*)")


@cache
def secret_values() -> re.Pattern[str]:
    """Return a pattern of the values of secret variables, as they are and as `repr` escapes them."""
    values = {form for value in env.secret_values() for form in (value, repr(value)[1:-1])}
    return re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True))) or r"(?!)")


def masked(text: str) -> str:
    """Return the text with `***` in place of secrets and email addresses."""
    text = secret_values().sub("***", text)
    if MAY_MATCH.search(text):
        for pattern, replacement in MASKS.items():
            text = pattern.sub(replacement, text)
    return text


def safe_path(path: str) -> str:
    """Return the path without segments of 24 characters or more, which may be tokens; a UUID is none."""
    return re.sub(r"(?<=/)(?![0-9a-f]{8}-[0-9a-f]{4}-)[^/]{24,}", "***", path)


class EventHandler(logging.Handler):
    """Writes each event unbuffered, in one system call, so that no event is lost when the process is killed."""

    fd = 1

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep what Django logs of a request for the request's one event: its error, and why it was refused."""
        request = getattr(record, "request", None)
        if request is None or not record.name.startswith(("django.request", "django.security")):
            return True
        if record.exc_info:
            request.log_error = record.exc_info[1]
        if record.name.endswith(".DisallowedHost"):  # its text quotes the host
            request.log_reason = "the Host header is none of ALLOWED_HOSTS"
        elif record.name != "django.request":
            request.log_reason = str(record.args[0] if record.args else record.msg)  # type: ignore[index]
        return False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # the arguments do not fit the message, for example
            message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
            message = f"an event cannot be formatted, {type(error).__name__}: {message}"
            text = self.format(logging.makeLogRecord({"name": record.name, "levelname": "ERROR", "msg": message}))
        with suppress(OSError):  # the reader has closed the pipe
            os.write(self.fd, text.encode("utf-8", "backslashreplace") + b"\n")


class JSONFormatter(logging.Formatter):
    """One JSON object a line (RFC 8259), shorter than LINE_BYTES: longer texts lose their middle."""

    def format(self, record: logging.LogRecord) -> str:
        fields, limit = self.fields(record), LINE_BYTES
        while len(line := encode(fields)) >= LINE_BYTES and limit > 10:
            limit = limit * 4 // 5  # characters of a text; most are kept at its end, which names the error
            for name, text in fields.items():
                if isinstance(text, str) and len(text) > limit + 20:
                    fields[name] = f"{text[: limit // 4]}\n… cut …\n{text[-limit * 3 // 4 :]}"
        return line

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the fields of an event: those of the record, of the process, and of the record's `event`."""
        message = record.getMessage()
        if record.name.startswith("django.db."):
            message = LITERALS.sub(r"\1'***'", message)
        timestamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "timestamp": timestamp.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message if getattr(record, "verbatim", False) else masked(message),
            **process_fields,
            "request_id": request_id.get(),
        }
        for name, value in getattr(record, "event", {}).items():
            is_number = value is None or isinstance(value, int | float)
            fields[name] = value if is_number else "***" if is_secret(name) else masked(str(value))
        if record.exc_info and record.exc_info[0]:
            fields["traceback"] = masked(self.formatException(record.exc_info))
        return fields


class ConsoleFormatter(JSONFormatter):
    """For a person: time, level, message and the start of the request's id."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        tail = f"  [{fields['request_id'][:8]}]" if fields["request_id"] else ""
        text = f"{fields['timestamp'][11:23]} {fields['level']:<8} {record.name}: {fields['message']}{tail}"
        return f"{text}\n{fields['traceback']}" if "traceback" in fields else text
