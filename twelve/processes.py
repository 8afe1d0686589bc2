"""The processes of the Procfile for local work: in one stream, restarted when the code changes."""

import errno
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path

from django.apps import apps
from django.core.management.base import CommandError

from twelve.conf import settings
from twelve.env import env

TYPES = ("web", "worker", "clock")  # the process types that run
WATCHED = (".html", ".txt", ".env")  # beside .py; templates are cached, so they restart the web as well
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 2  # then SIGKILL: a task cut short is given back by the sweeper

write = partial(print, flush=True)


def procfile() -> dict[str, str]:
    """Return the process types of the Procfile, each with its command line."""
    lines = (env.base_dir / "Procfile").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in pairs}


def start(name: str, command: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process type in a process group of its own; each of its lines is written with its name."""
    child = subprocess.Popen(  # noqa: S603  # the project's own Procfile
        shlex.split(command),
        cwd=env.base_dir,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this command alone, which then stops the group
    )
    threading.Thread(target=copy, args=(name, child), daemon=True).start()
    return child


def copy(name: str, child: subprocess.Popen[str]) -> None:
    for line in child.stdout or ():
        write(f"{name:<6} | {line.rstrip()}")
    write(f"{name:<6} | ended with status {child.wait()}")


def run(port: int) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; raises CommandError when the port is taken."""
    from watchfiles import PythonFilter, watch  # of no use to a deploy, whose checks read the Procfile here

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs each change
    check_port(port)
    # Without what .env added: each process reads it anew, so that an edit of it counts.
    environment = {name: value for name, value in os.environ.items() if name in env.own}
    environment.setdefault("WEB_CONCURRENCY", "1")  # one person; a restart is quicker
    # The programs of the Procfile are found beside the Python that runs this, in whichever shell it was called.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment |= {"PATH": path, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=announce, args=(port,), daemon=True).start()
    children: list[subprocess.Popen[str]] = []
    try:
        while True:
            children.clear()
            for name, command in procfile().items():
                if name in TYPES:
                    children.append(start(name, command, environment))
            next(watch(*watched_paths(), watch_filter=PythonFilter(extra_extensions=WATCHED)))
            write("The code has changed: restarting.")
            stop(children)
    except KeyboardInterrupt:
        write("Stopping.")
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        stop(children)


def stop(children: list[subprocess.Popen[str]]) -> None:
    """Send SIGTERM to each main process, which stops its own children; after STOP_SECONDS, SIGKILL to its group."""
    for child in children:
        child.terminate()
    until = time.monotonic() + STOP_SECONDS
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(until - time.monotonic(), 0))
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def watched_paths() -> list[Path]:
    """Return .env and the project's top folders of code: those of its settings and of its apps."""
    folders = [Path(app.path) for app in apps.get_app_configs() if "site-packages" not in app.path]
    names = {path.relative_to(env.base_dir).parts[0] for path in folders if path.is_relative_to(env.base_dir)}
    names |= {".env", settings.SETTINGS_MODULE.partition(".")[0]}
    return [env.base_dir / name for name in sorted(names) if (env.base_dir / name).exists()]


def check_port(port: int) -> None:
    both = socket.has_dualstack_ipv6()  # as twelve/web/gunicorn.py binds it
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise CommandError(f"Port {port} is taken. Choose another: make run PORT={port + 1}") from error
        raise CommandError(f"Port {port} cannot be used: {error}. Choose another: make run PORT=8000") from error


def announce(port: int) -> None:
    """Write the site's address as soon as it is ready."""
    address = f"http://localhost:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through the machine's proxy
    for _ in range(300):
        with suppress(OSError), opener.open(f"{address}/health/ready/", timeout=5):
            write(f"\nReady: {address}  (mails are printed here; Ctrl-C stops)")
            write("The first admin: .venv/bin/python manage.py createsuperuser\n")
            return
        time.sleep(0.2)
