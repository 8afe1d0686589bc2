"""Real processes for the tests: started from the Procfile's own lines, told apart by their id, stopped by signals."""

import contextlib
import http.client
import http.cookiejar
import json
import mimetypes
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PATH = f"{BIN}{os.pathsep}/usr/bin{os.pathsep}/bin"
NO_PROXY = urllib.request.ProxyHandler({})  # the machine's proxy is not for loopback
DIRECT = urllib.request.build_opener(NO_PROXY)


# A config that every process takes, for those that are run to their end.
GOOD = {
    "SECRET_KEY": "for-the-tests-only-and-long-enough-to-count-as-a-key",
    "DATABASE_URL": "sqlite:///:memory:",
    "CELERY_BROKER_URL": "filesystem://",
    "EMAIL_URL": "smtp://localhost:2525",
    "MEDIA_STORAGE_URL": "file://",
    "ALLOWED_HOSTS": "localhost",
}


# Limits of config/settings/ that a test can shorten: the room and argument of each, or "" for a setting.
LIMITS = {
    "CONN_MAX_AGE": ("database", "max_age"),
    "DATABASE_CONNECT_TIMEOUT": ("database", "connect_timeout"),
    "DATABASE_STATEMENT_TIMEOUT": ("database", "statement_timeout"),
    "DATABASE_LOCK_TIMEOUT": ("database", "lock_timeout"),
    "DATABASE_IDLE_TIMEOUT": ("database", "idle_timeout"),
    "MAIL_TIMEOUT": ("mail", "timeout"),
    "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT": ("queue", "soft_shutdown_timeout"),
    "MEDIA_TIMEOUT": ("storage", "timeout"),
    "MEDIA_LINK_SECONDS": ("storage", "link_seconds"),
    "TASKS_LEASE_SECONDS": ("", "TASKS_LEASE_SECONDS"),
    "UPLOAD_MAX_BYTES": ("", "UPLOAD_MAX_BYTES"),
    "WEB_REQUEST_SECONDS": ("", "WEB_REQUEST_SECONDS"),
    "WEB_CLIENT_SECONDS": ("", "WEB_CLIENT_SECONDS"),
    "WEB_BODY_SECONDS": ("", "WEB_BODY_SECONDS"),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


CODE = re.compile(r"(?<![A-Z-])[B-Z]{4}-[B-Z]{4}(?![A-Z-])")  # by which a person confirms an address


def wait_until(condition, seconds, what, every=0.05):
    """Wait for a true answer and return it, asking each `every` seconds; fail with `what` after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := condition():
            return answer
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")


OPEN, HALF_CLOSED = {"01"}, {"04", "05"}  # states of /proc/net/tcp: in the latter the server has closed its end


def connected(port, states=frozenset(OPEN)):
    """How many connections to that port the kernel has accepted and neither end has closed."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] in states for row in rows)


class Crowd:
    """So many threads that each call `go` while the block runs; `ended` is set at its end."""

    def __init__(self, count):
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.go, daemon=True) for _ in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)


class Process:
    """A process in a group of its own, whose output goes to a file; what it writes to stderr to `errors`, if given."""

    def __init__(self, command, *, environment, output, errors=None, cwd=ROOT):
        self.output, self.errors = Path(output), Path(errors or output)
        with self.output.open("wb") as stream, self.errors.open("ab") as errors_stream:
            self.child = subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=stream, stderr=errors_stream if errors else stream,
                start_new_session=True,
            )  # fmt: skip

    @property
    def text(self):
        lives = self.child.poll() is None
        text = self.output.read_text(errors="replace")
        lines, end, rest = text.rpartition("\n")
        # A reader may see a part of an event that is being written.
        return lines + end if lives and rest.startswith("{") else text

    def wait_for(self, pattern, seconds=60):
        """Wait until the output has the pattern; returns the match."""

        def found():
            match = re.search(pattern, self.text)
            if not match and self.child.poll() is not None:
                raise AssertionError(f"the process ended with {self.child.returncode}:\n{self.text}")
            return match

        return wait_until(found, seconds, lambda: f"{pattern!r} in\n{self.text}")

    def stop(self, number=signal.SIGTERM, seconds=60):
        """Send a signal to the main process and wait for its end; returns its exit status."""
        if self.child.poll() is None:
            self.child.send_signal(number)
        try:
            return self.child.wait(seconds)
        finally:
            self.kill()

    def kill(self):
        """SIGKILL the whole group, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


class Deploy:
    """One deploy in a folder of its own: its variables, and processes started from the Procfile."""

    prefix: list[str] = []  # the command that every command is started by

    def __init__(self, folder, root=ROOT, bin_=BIN, **variables):
        self.folder, self.root, self.bin = Path(folder), Path(root), bin_
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.database = self.folder / "db.sqlite3"
        self.media = self.folder / "media"
        self.broker = self.folder / "broker"
        self.environment = {
            **GOOD,
            "PATH": f"{bin_}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "READ_DOT_ENV": "false",
            "SECRET_KEY": uuid.uuid4().hex * 2,
            "DATABASE_URL": f"sqlite:///{self.database}",
            "CELERY_BROKER_URL": f"filesystem://{self.broker}",
            "MEDIA_STORAGE_URL": f"file://{self.media}",
            "EMAIL_URL": "consolemail://",
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "SECURE_SSL_REDIRECT": "false",
            "SESSION_COOKIE_SECURE": "false",
            "STATIC_ROOT": os.environ.get("STATIC_ROOT", "staticfiles"),
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            "CELERY_WORKER_CONCURRENCY": "1",
            "PYTHONUNBUFFERED": "1",
            **{name: value for name, value in variables.items() if name not in LIMITS},
        }
        if limits := {name: int(value) for name, value in variables.items() if name in LIMITS}:
            self.environment |= {"DJANGO_SETTINGS_MODULE": "tests.twelve.settings", "TEST_LIMITS": json.dumps(limits)}
        self.processes = []

    def start(self, name, *more):
        """Start the process type of that name from the Procfile, with `more` arguments."""
        line = re.search(rf"^{name}: (.+)$", (self.root / "Procfile").read_text(), re.MULTILINE)[1]
        program, *arguments = shlex.split(line)
        process = Process(
            [*self.prefix, "/usr/bin/env", program, *arguments, *more],
            environment=self.environment,
            output=self.folder / f"{name}-{len(self.processes)}.log",
            errors=self.folder / "stderr.log",
            cwd=self.root,
        )
        self.processes.append(process)
        return process

    def start_web(self, *more):
        web = self.start("web", *more)
        wait_until(lambda: status(f"{self.address}/health/ready/") == 200, 60, lambda: web.text)
        return web

    def manage(self, *arguments, check=True):
        """Run a command of manage.py to its end; returns the completed process."""
        result = subprocess.run(
            [*self.prefix, str(self.bin / "python"), "manage.py", *arguments],
            cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert not check or result.returncode == 0, result.stderr
        return result

    def sql(self, query):
        """The rows of a query, past the site."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as connection:
            rows = connection.execute(query).fetchall()
            connection.commit()
            return rows

    def ask(self, path, method="GET", body=None, **headers):
        """One request on a connection of its own; returns the answer with its body read."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer

    def close(self):
        for process in self.processes:
            process.kill()


def status(url):
    """The status of an answer, None without one."""
    try:
        with DIRECT.open(url, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Person:
    """Someone who walks through the pages by plain HTTP, with cookies, without JavaScript.

    `host` is the name of the site, where that is not the address: several processes may serve one site.
    """

    def __init__(self, address, host=""):
        self.address, self.host = address, host
        self.cookies = http.cookiejar.CookieJar()
        cookies = urllib.request.HTTPCookieProcessor(self.cookies)
        self.opener = urllib.request.build_opener(NO_PROXY, cookies)
        self.url = self.page = ""

    def open(self, request, body=None):
        if isinstance(request, str):
            request = urllib.request.Request(request, body)
        if self.host:
            request.add_unredirected_header("Host", self.host)
        with self.opener.open(request, timeout=60) as answer:
            self.url, body = answer.url, answer.read()
        return body

    def get(self, path):
        self.page = self.open(urllib.parse.urljoin(self.address, path)).decode()
        return self.page

    def fetch(self, path):
        """The bytes at a path."""
        return self.open(urllib.parse.urljoin(self.url or self.address, path))

    def post(self, path, fields=None, files=()):
        """Fill in and send the form of the page at `path`; `files` are (field, filename, bytes)."""
        page = self.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        boundary = uuid.uuid4().hex
        body = b""
        for name, value in {"csrfmiddlewaretoken": token, **(fields or {})}.items():
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, filename, content in files:
            kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
            head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}'
            body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Referer": self.url}
        self.page = self.open(urllib.request.Request(self.url, body, headers)).decode()
        return self.page

    def sign_up(self, email, password, mails):
        """Sign up, and enter the code of the mail that appears in `mails()`, which signs in."""
        self.post("/accounts/signup/", {"email": email, "password1": password})
        code = wait_until(lambda: CODE.search(mails()), 60, mails)[0]
        self.post("/accounts/confirm-email/", {"code": code})


# For a program that is not an entry point: those name the settings themselves.
SITE = {"DJANGO_SETTINGS_MODULE": "config.settings"}


def run(command, **variables):
    """Run a program of the virtual environment with these variables alone; returns the completed process."""
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env={"PATH": PATH, "READ_DOT_ENV": "false", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def named(result):
    """The variables that the report complains of."""
    return {line.split()[0] for line in report(result).splitlines() if line.startswith("  ")}


def report(result):
    """What the process reports of its config: text from a command, events from a long-running process."""
    lines = (result.stderr + result.stdout).splitlines()
    return "\n".join(json.loads(line)["message"] if line.startswith("{") else line for line in lines)


def program(*names):
    """The path of an installed program; without it the test is skipped, or fails where REQUIRE_SERVICES is set."""
    for name in names:
        if found := shutil.which(name):
            return found
    return missing(f"{names[0]} is not installed")


def missing(reason):
    """Skip the test for what is not installed, or fail it where REQUIRE_SERVICES is set."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
