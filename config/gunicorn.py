"""The web server: gunicorn's settings, each from the environment or with its reason.

gunicorn reads PORT, WEB_CONCURRENCY and GUNICORN_CMD_ARGS itself before this file; a malformed
WEB_CONCURRENCY or GUNICORN_CMD_ARGS is therefore gunicorn's own error.
"""

import os
import socket
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from config import logs, machine, settings  # noqa: F401  # the settings declare every variable, so that all problems are told
from config.env import env

port = env.int("PORT", default=8000, maximum=65535, platform=True, help="The port that the web process binds.")
# A web worker has 70 MB, 120 with the client of a bucket; at 256, as Heroku's buildpack counts, it has room to grow.
workers = env.int(
    "WEB_CONCURRENCY",
    default=None,
    minimum=1,
    example="2",
    help="Web worker processes; without it as many as memory and processors allow.",
) or machine.processes(256)
threads = env.int("WEB_THREADS", default=4, minimum=1, help="Threads of each web worker process.")
timeout = env.int("WEB_TIMEOUT", default=30, minimum=1, help="Seconds after which a silent web worker is replaced.")
# Platforms kill 30 s after SIGTERM: stop before.
graceful_timeout = env.int(
    "WEB_GRACEFUL_TIMEOUT", default=25, minimum=1, help="Seconds a stopping web worker has to finish its requests."
)


class EventLogger(Logger):
    """Its events go through the project's logging, and none of them is an access log.

    The event of a request is config.logs.RequestMiddleware's, whatever a platform asks for in GUNICORN_CMD_ARGS.
    """

    def setup(self, cfg: Any) -> None:
        logs.start("web")  # before gunicorn has said anything
        self.cfg = cfg
        self.error_log.propagate = True
        self._access_log_enabled = False

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """A request that is no HTTP is quoted, headers and all: only what is wrong with it is told."""
        if msg.startswith("Invalid request"):
            msg = msg.partition("'")[0]
            logs.request_id.set("")  # of another request, which this thread served before
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """The address of the request is told without its query and the token of a link."""
        args = tuple(logs.safe_path(text.partition("?")[0]) if isinstance(text, str) else text for text in args)
        super().exception(msg, *args, **kwargs)
        logs.request_id.set("")  # the request ends with this event


logger_class = EventLogger
wsgi_app = "config.wsgi"
worker_class = "gthread"
bind = f"[::]:{port}" if socket.has_dualstack_ipv6() else f"0.0.0.0:{port}"  # IPv6 and IPv4 at once
keepalive = 95  # longer than a router keeps an idle connection (Heroku: 90 s), so that the router closes it
control_socket_disable = True  # it would write below $HOME
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a heartbeat file, never on a disk


def on_starting(server: Any) -> None:
    """Refuse a broken configuration once, in the master: a worker that exits would be started for ever."""
    env.exit_on_problems("web")
