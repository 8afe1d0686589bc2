"""Time limits for clients and views, so that neither occupies a thread of the web process indefinitely.

Each thread records what it waits for and until when; `twelve.web.worker` calls `check` every second.
"""

import io
import logging
import math
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from django.urls import Resolver404, resolve

from twelve import logs
from twelve.conf import settings

logger = logging.getLogger(__name__)

PIECE = 16_384  # bytes of a body or a response for which a client has WEB_CLIENT_SECONDS
UNSENT = 65_536  # bytes that the kernel takes beyond those on their way: with more, a slow reader looks like none


@cache
def seconds(name: str) -> int:
    """Return a limit of the settings. Django looks for one that a project leaves out anew each time, which is slow."""
    return getattr(settings, name)


class Exchange:
    """A request and its response, as the thread that serves them has noted."""

    def __init__(self, client: socket.socket) -> None:
        self.client, self.thread = client, threading.get_ident()
        self.request: dict[str, Any] = {}  # its WSGI environ
        self.body_ends = math.inf
        self.too_slow = False
        # Until when the thread waits (in monotonic seconds), and how to shut the connection down then, None for a view.
        self.wait: tuple[float, int | None] = (math.inf, None)
        self.exceeded: tuple[float, int | None] = self.wait  # the one that `check` has seen to

    def wait_for_client(self, how: int) -> None:
        self.wait = (min(time.monotonic() + seconds("WEB_CLIENT_SECONDS"), self.body_ends), how)

    def wait_for_view(self) -> None:
        self.wait = (time.monotonic() + seconds("WEB_REQUEST_SECONDS"), None)


exchanges: dict[int, Exchange] = {}  # by the id of their thread


class Body(io.RawIOBase):
    """The body of a request. Reading raises TimeoutError when the client sends too slowly."""

    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self.stream, self.exchange = stream, exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        exchange = self.exchange
        exchange.body_ends = min(exchange.body_ends, time.monotonic() + seconds("WEB_BODY_SECONDS"))
        exchange.wait_for_client(socket.SHUT_RD)
        try:
            data = self.stream.read(min(len(buffer), PIECE))
        finally:
            exchange.wait_for_view()
            if exchange.too_slow:
                raise TimeoutError("the client sends too slowly")
        buffer[: len(data)] = data
        return len(data)


class Response:
    """The response of a view in pieces, each of which the client has to read in time."""

    def __init__(self, parts: Iterable[bytes], exchange: Exchange) -> None:
        self.parts, self.exchange = parts, exchange

    def __iter__(self) -> Iterator[bytes]:
        self.exchange.body_ends = math.inf
        for part in self.parts:
            for start in range(0, len(part) or 1, PIECE):
                self.exchange.wait_for_client(socket.SHUT_RDWR)
                yield part[start : start + PIECE]
            self.exchange.wait_for_view()
        self.exchange.wait_for_client(socket.SHUT_RDWR)  # the end of the response

    def close(self) -> None:
        self.exchange.wait_for_view()
        try:
            getattr(self.parts, "close", lambda: None)()
        finally:
            self.exchange.wait = (math.inf, None)


def respond(application: Callable[..., Any], request: dict[str, Any], start_response: Callable[..., Any]) -> Response:
    """Call the WSGI application within the limits. The response to a body that comes too slowly is 408."""
    exchange = exchanges[threading.get_ident()]
    exchange.request, exchange.client = request, request["gunicorn.socket"]
    with suppress(OSError):  # a Unix socket has no such option
        exchange.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exchange.too_slow:
            status, headers = "408 Request Timeout", [("Content-Length", "0")]
        return start_response(status, headers, exc_info)

    if "CONTENT_LENGTH" in request or "HTTP_TRANSFER_ENCODING" in request:  # it has a body
        request["wsgi.input"] = io.BufferedReader(Body(request["wsgi.input"], exchange), PIECE)
    parts = application(request, start)
    if isinstance(parts, request["wsgi.file_wrapper"]):
        parts.blksize = PIECE  # the file is read here: sendfile does not say how far it came
    if exchange.too_slow and hasattr(parts, "status_code"):
        parts.status_code = 408  # Django's response, of which the event of the request is made
    return Response(parts, exchange)


def check() -> bool:
    """Shut down connections whose clients are too slow, and log the requests that hang; return whether one does."""
    now, hanging = time.monotonic(), False
    for exchange in list(exchanges.values()):
        wait = exchange.wait
        ends, how = wait
        if now < ends or wait is exchange.exceeded:
            continue
        exchange.exceeded = wait
        if how is None:
            log_hanging(exchange)
            hanging = True
        else:
            exchange.too_slow = True
            with suppress(OSError):  # the client has gone
                exchange.client.shutdown(how)
    return hanging


def log_hanging(exchange: Exchange) -> None:
    path, route = exchange.request.get("PATH_INFO", ""), None
    with suppress(Resolver404):
        route = resolve(path).route
    event = {
        "method": exchange.request.get("REQUEST_METHOD"),
        "path": logs.safe_path(path),
        "route": route,
        "traceback": "".join(traceback.format_stack(sys._current_frames().get(exchange.thread))),
    }
    message = "%s %s hangs: no response within %s s. Its process is replaced."
    logger.error(message, event["method"], event["path"], seconds("WEB_REQUEST_SECONDS"), extra={"event": event})
