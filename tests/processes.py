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
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PATH = f"{BIN}{os.pathsep}/usr/bin{os.pathsep}/bin"
NO_PROXY = urllib.request.ProxyHandler({})  # the machine's proxy is not for loopback
DIRECT = urllib.request.build_opener(NO_PROXY)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds, what):
    """Wait for a true answer and return it; fail with `what` after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")


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
        return self.output.read_text(errors="replace")

    def wait_for(self, pattern, seconds=30):
        """Wait until the output has the pattern; returns the match."""

        def found():
            match = re.search(pattern, self.text)
            if not match and self.child.poll() is not None:
                raise AssertionError(f"the process ended with {self.child.returncode}:\n{self.text}")
            return match

        return wait_until(found, seconds, lambda: f"{pattern!r} in\n{self.text}")

    def stop(self, number=signal.SIGTERM, seconds=30):
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
            **variables,
        }
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
        wait_until(lambda: status(f"{self.address}/health/ready/") == 200, 30, lambda: web.text)
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
        with DIRECT.open(url, timeout=5) as answer:
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

    def open(self, request):
        if isinstance(request, str):
            request = urllib.request.Request(request)
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
        """Sign up, confirm by the link of the mail that appears in `mails()`, sign in."""
        self.post("/accounts/signup/", {"email": email, "password1": password})
        link = wait_until(lambda: re.search(r"(http://\S+/confirm-email/[^\s/]+/)", mails()), 60, mails)[1]
        self.post(urllib.parse.urlsplit(link).path)
        self.post("/accounts/login/", {"login": email, "password": password})


# A config that every process takes, for those that are run to their end.
GOOD = {
    "SECRET_KEY": "for-the-tests-only-and-long-enough-to-count-as-a-key",
    "DATABASE_URL": "sqlite:///:memory:",
    "CELERY_BROKER_URL": "filesystem://",
    "EMAIL_URL": "smtp://localhost:2525",
    "MEDIA_STORAGE_URL": "file://",
    "ALLOWED_HOSTS": "localhost",
}


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
    return {line.split()[0] for line in told(result).splitlines() if line.startswith("  ")}


def told(result):
    """What the process said of its config: text from a command, events from a long-running process."""
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
