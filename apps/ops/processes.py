"""Local work on the deploy's own processes: those of the Procfile, in one stream, restarted when the code changes.

A platform has its own way of starting processes and never comes here.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from config.env import BASE_DIR, env

TYPES = ("web", "worker", "clock")
COLOURS = {"web": "36", "worker": "33", "clock": "35"}
WATCHED = (".py", ".html", ".txt")  # templates are cached, so they restart the web as well
POLL_SECONDS = 0.2
STOP_SECONDS = 2  # then SIGKILL: a job cut short is given back by the sweeper


def procfile() -> dict[str, str]:
    """The process types of the Procfile, each with its command line."""
    lines = (BASE_DIR / "Procfile").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in pairs}


class Process:
    """One process type, in a process group of its own, each of its lines marked with its name."""

    def __init__(self, name: str, command: str, environment: dict[str, str], write: Callable[[str], object]) -> None:
        self.name = name
        self.child = subprocess.Popen(  # noqa: S603  # the project's own Procfile
            shlex.split(command),
            cwd=BASE_DIR,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches this command alone, which then stops the group
        )
        threading.Thread(target=self._copy, args=(write,), daemon=True).start()

    def _copy(self, write: Callable[[str], object]) -> None:
        mark = f"{self.name:<6} |"
        if sys.stdout.isatty():
            mark = f"\033[{COLOURS[self.name]}m{mark}\033[0m"
        for line in self.child.stdout or ():
            write(f"{mark} {line.rstrip()}")

    def ended_by_itself(self) -> bool:
        """True once, when the process has ended without being asked."""
        return self.child.returncode is None and self.child.poll() is not None

    def terminate(self) -> None:
        self.child.terminate()  # the main process alone; it stops its children in order

    def wait(self, until: float) -> None:
        """Wait for the end, at most until that monotonic time, then kill what is left of the group."""
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(max(until - time.monotonic(), 0))
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


def run(port: int, write: Callable[[str], object]) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; raises CommandError when the port is taken."""
    check_port(port)
    commands = {name: command for name, command in procfile().items() if name in TYPES}
    # The programs of the Procfile are found beside the Python that runs this, in whichever shell it was called.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Without what .env added: each process reads it anew, so that an edit of it counts.
    own = {name: value for name, value in os.environ.items() if name in env.own}
    environment = own | {"PATH": path, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("WEB_CONCURRENCY", "1")  # one person; a restart is quicker
    if settings.CELERY_BROKER_URL is None:
        environment["CELERY_BROKER_URL"] = "filesystem://localhost/"  # worker and clock are real processes here, too
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)

    def start() -> None:
        processes.clear()
        for name, command in commands.items():
            processes.append(Process(name, command, environment, write))

    processes: list[Process] = []
    leaving: list[Process] = []
    seen = modified()
    threading.Thread(target=announce, args=(port, write), daemon=True).start()
    try:
        start()
        while True:
            time.sleep(POLL_SECONDS)
            for process in processes:
                if process.ended_by_itself():
                    write(f"{process.name} ended with status {process.child.returncode}; an edit starts it again.")
            if (now := modified()) != seen:
                seen = now
                write("The code has changed: restarting.")
                stop([process for process in processes if process.name != "worker"])
                # The old worker ends in its own time, beside the new one, as in a deploy.
                leaving += [process for process in processes if process.name == "worker"]
                for worker in leaving:
                    worker.terminate()
                start()
    except KeyboardInterrupt:
        write("Stopping.")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stop(processes + leaving)


def stop(processes: list[Process]) -> None:
    """End them all: asked first, killed after STOP_SECONDS."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + STOP_SECONDS
    for process in processes:
        process.wait(until)


def modified() -> dict[str, float]:
    """When each file of the code, and .env, was last changed."""
    times = {}
    with suppress(FileNotFoundError):
        times[".env"] = (BASE_DIR / ".env").stat().st_mtime
    for folder in ("config", "apps"):
        for directory, _, names in os.walk(BASE_DIR / folder):
            for name in names:
                if name.endswith(WATCHED):
                    with suppress(FileNotFoundError):
                        file = Path(directory, name)
                        times[str(file)] = file.stat().st_mtime
    return times


def check_port(port: int) -> None:
    both = socket.has_dualstack_ipv6()  # as config/gunicorn.py binds it
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise CommandError(f"Port {port} is taken. Choose another: make run PORT={port + 1}") from error


def announce(port: int, write: Callable[[str], object]) -> None:
    """Say where to look as soon as the site answers."""
    address = f"http://localhost:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through the machine's proxy
    for _ in range(300):
        with suppress(OSError), opener.open(f"{address}/health/ready/", timeout=5):
            write(f"\nReady: {address}  (mails are printed here; Ctrl-C stops)")
            write("The first admin: .venv/bin/python manage.py createsuperuser\n")
            return
        time.sleep(0.2)
