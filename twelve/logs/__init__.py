"""The event stream: each event of each process is one line on stdout, with the id of its request: docs/logs.md."""

from twelve.logs.events import EventHandler, masked, process_fields, request_id, safe_path
from twelve.logs.process import from_environment, identify, sentry_from_environment, start
from twelve.logs.requests import RequestMiddleware

__all__ = [
    "EventHandler",
    "RequestMiddleware",
    "from_environment",
    "identify",
    "masked",
    "process_fields",
    "request_id",
    "safe_path",
    "sentry_from_environment",
    "start",
]
