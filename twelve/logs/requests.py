"""The event of a request, and its id."""

import logging
import os
import re
import sys
import time
from asyncio import CancelledError
from contextlib import AbstractContextManager
from copy import copy
from typing import Any

from django.http import HttpRequest, HttpResponseServerError, UnreadablePostError
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

from twelve.conf import settings
from twelve.logs.events import request_id, safe_path


class RequestMiddleware(MiddlewareMixin):
    """The outermost middleware: gives each request an id, and logs it in exactly one event once it is answered."""

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.respond_async(request)
        with RequestEvent(request) as event:
            event.response = self.get_response(request)
        return event.response

    async def respond_async(self, request: HttpRequest) -> Any:
        with RequestEvent(request) as event:
            event.response = await self.get_response(request)  # type: ignore[misc]
        return event.response


class RequestEvent(AbstractContextManager["RequestEvent"]):
    """The event of one request: it begins here, and is logged when the server closes the response."""

    def __init__(self, request: HttpRequest) -> None:
        self.request, self.begun = request, time.perf_counter()
        self.response: Any = None
        # The id of a trusted proxy is kept. Without a proxy the header is the client's.
        given = request.META.get("HTTP_X_REQUEST_ID", "") if settings.TRUSTED_PROXY_COUNT else ""
        self.id = given if re.fullmatch(r"[A-Za-z0-9._-]{8,64}", given) else os.urandom(16).hex()
        request_id.set(self.id)  # until the response is closed, since a streamed one is made after this

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if error:  # the error page itself failed, or the request ends without a response
            self.request.log_error = error  # type: ignore[attr-defined]
            if not isinstance(error, Exception) or settings.DEBUG_PROPAGATE_EXCEPTIONS:
                self.log()
                return False
            self.response = HttpResponseServerError(f"Server error, request {self.id}", content_type="text/plain")
        self.response["X-Request-ID"] = self.id
        self.close, self.response.close = self.response.close, self.log_and_close
        return True

    def log_and_close(self) -> None:
        self.response.close = self.close
        error = sys.exc_info()[1]  # the server closes the response while it handles a broken connection
        self.log(isinstance(error, ConnectionError | TimeoutError))
        self.close()
        if error is None:  # the server logs an error after this
            request_id.set("")

    def log(self, client_left: bool = False) -> None:
        request, status = self.request, self.response.status_code if self.response else None
        if status and status < 400 and request.path in ("/health/live/", "/health/ready/"):
            return
        request_id.set(self.id)  # a server may close the response in another context
        error = getattr(request, "log_error", None)
        interrupted = isinstance(error, UnreadablePostError | CancelledError)  # by the client
        failed = not interrupted and (not status or status >= 500)
        level = logging.ERROR if failed else logging.WARNING if status in (400, 403, 429) else logging.INFO
        length = self.response.headers.get("Content-Length", "") if self.response else ""
        user = copy(getattr(request, "user", None))  # a copy of a lazy user is lazy too: the event makes no query
        fields = {
            "method": request.method,
            "route": request.resolver_match.route if request.resolver_match else None,
            "path": safe_path(request.path),
            "status": status,
            "duration_ms": round((time.perf_counter() - self.begun) * 1000, 1),
            "bytes": 0 if request.method == "HEAD" else int(length) if length.isdecimal() else None,
            "client": client_address(request),
            "user_id": None if isinstance(user, SimpleLazyObject) else getattr(user, "pk", None),
            "client_left": client_left or interrupted or None,
            "reason": getattr(request, "log_reason", None),
        }
        detail = ": the client left" if fields["client_left"] else f": {fields['reason']}" if fields["reason"] else ""
        text = f"{request.method} {fields['path']} {status or 'unanswered'} in {fields['duration_ms']} ms{detail}"
        event = {name: value for name, value in fields.items() if value is not None}
        logging.getLogger("access").log(level, "%s", text, extra={"event": event}, exc_info=error if failed else None)


def client_address(request: HttpRequest) -> str:
    """Return the address that the trusted proxies name, else that of the connection."""
    proxies, forwarded = settings.TRUSTED_PROXY_COUNT, request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    address = forwarded[-proxies] if 0 < proxies <= len(forwarded) else ""
    return (address.strip() or request.META.get("REMOTE_ADDR", "")).removeprefix("::ffff:")[:45]
