"""gunicorn's settings, each from the environment or with its reason; `config/gunicorn.py` takes them all.

gunicorn reads PORT, WEB_CONCURRENCY and GUNICORN_CMD_ARGS itself before this file; a malformed
WEB_CONCURRENCY or GUNICORN_CMD_ARGS is therefore gunicorn's own error.
"""

import socket
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

from twelve import logs
from twelve.env import env

port = env.int("PORT", default=8000, maximum=65535, platform=True, help="The port that the web process binds.")
workers = env.int("WEB_CONCURRENCY", default=2, minimum=1, help="Web worker processes, about 120 MB each.")
threads = env.int("WEB_THREADS", default=8, minimum=1, help="Threads of each web worker process.")
timeout = 30  # seconds after which a silent web worker is replaced
graceful_timeout = 25  # seconds that a stopping web worker has for its requests; platforms kill 30 s after SIGTERM


class EventLogger(Logger):
    """Its events go through the project's logging, and none of them is an access log.

    twelve.logs.RequestMiddleware logs each request, whatever a platform sets in GUNICORN_CMD_ARGS.
    """

    def setup(self, cfg: Any) -> None:
        logs.start("web")  # before gunicorn logs anything
        self.cfg = cfg
        self.error_log.propagate = True
        self._access_log_enabled = False

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Log only the reason of a malformed request: gunicorn quotes its headers, which may hold credentials."""
        if msg.startswith("Invalid request"):
            msg = msg.partition("'")[0]
            logs.request_id.set("")  # that of the former request of this thread
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Log the path of the request without its query and the token of a link."""
        args = tuple(logs.safe_path(text.partition("?")[0]) if isinstance(text, str) else text for text in args)
        super().exception(msg, *args, **kwargs)
        logs.request_id.set("")  # the request ends with this event


logger_class = EventLogger
try:
    import twelve.web.worker  # noqa: F401

    worker_class, difference = "twelve.web.worker.WebWorker", ""
except ImportError as error:
    worker_class, difference = "gthread", str(error)
bind = f"[::]:{port}" if socket.has_dualstack_ipv6() else f"0.0.0.0:{port}"  # IPv6 and IPv4 at once
keepalive = 95  # longer than a router keeps an idle connection (Heroku: 90 s), so that the router closes it
forwarder_headers = ""  # no SCRIPT_NAME or PATH_INFO of a client: FORWARDED_ALLOW_IPS=* takes anyone for the proxy
control_socket_disable = True  # it would write below $HOME
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a heartbeat file, never on a disk


def on_starting(server: Any) -> None:
    """Exit on an invalid configuration in the master, since it would restart a worker that exits for ever."""
    env.exit_on_problems("web")
    if difference:
        server.log.warning(
            "%s: twelve.web.worker does not support it. Plain gthread serves instead: connections may be reset at a "
            "stop, slow clients and requests that hang occupy its threads. Install the gunicorn of requirements.txt.",
            difference,
        )


def child_exit(server: Any, worker: Any) -> None:
    """Lower the number of workers again after `WebWorker.replace` has started an additional one."""
    server.num_workers = min(server.num_workers, server.cfg.workers)
