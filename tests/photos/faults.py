"""A failing database: the limits of the deploys that live through it, someone who visits them, and what he must see."""

import contextlib
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.photos.pictures import picture
from tests.twelve import servers
from tests.twelve.events import events
from tests.twelve.processes import Person, wait_until

MAIL, PASSPHRASE = "eve@example.com", "a long enough passphrase"
WEB_PROCESSES, WEB_THREADS = 2, 2
CONNECT, STATEMENT, LOCK, IDLE = 2, 4, 2, 2  # seconds
VARIABLES = {
    "DATABASE_CONNECT_TIMEOUT": str(CONNECT),
    "DATABASE_STATEMENT_TIMEOUT": str(STATEMENT),
    "DATABASE_LOCK_TIMEOUT": str(LOCK),
    "DATABASE_IDLE_TIMEOUT": str(IDLE),
    "TASKS_LEASE_SECONDS": "6",
    "WEB_CONCURRENCY": str(WEB_PROCESSES),
    "WEB_THREADS": str(WEB_THREADS),
    "DJANGO_SUPERUSER_PASSWORD": PASSPHRASE,
}
BUSY, SLACK = 10, 5  # a busy machine may take so many times as long as a limit, and as the half second of a page
UNABLE = "We cannot do that right now."


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of that size at the folder, and whether there is one: only root may mount it."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tests", str(folder)]
    mounted = os.getuid() == 0 and not subprocess.run(mount, capture_output=True, timeout=10).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


def needs(small):
    if not small:
        pytest.skip("only root can mount a small file system")


@contextlib.contextmanager
def full(folder):
    """The file system of that folder has no room left."""
    filler = Path(folder) / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    try:
        yield
    finally:
        filler.unlink()


@dataclass
class Answer:
    status: int
    page: str
    headers: Any
    seconds: float
    id: str


class Visitor(Person):
    """Someone who is signed in and keeps the form's token, so that one request is one request."""

    def __init__(self, address):
        super().__init__(address)
        self.post("/accounts/login/", {"login": MAIL, "password": PASSPHRASE})
        page = self.get("/photos/")
        self.token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]

    def ask(self, path="/photos/", body=None, **headers):
        request = urllib.request.Request(self.address + path, body, {"X-Request-ID": uuid.uuid4().hex, **headers})
        begun = time.monotonic()
        try:
            with self.opener.open(request, timeout=200) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            with error as answer:
                body = answer.read()
        own = request.get_header("X-request-id")
        return Answer(answer.status, body.decode(), answer.headers, time.monotonic() - begun, own)

    def upload(self, name="small.png", content=b""):
        """Send a photo; 200 is the list that follows."""
        parts = {'name="csrfmiddlewaretoken"': self.token.encode()}
        parts[f'name="photo"; filename="{name}"\r\nContent-Type: image/png'] = content or picture("PNG")
        body = b"".join(
            f"--limit\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
            for head, content in parts.items()
        )
        kind = "multipart/form-data; boundary=limit"
        return self.ask(body=body + b"--limit--\r\n", **{"Content-Type": kind})


def assert_unable(site, answer, within, why):
    """The page says so with 503 within that limit, and exactly one event has the reason, without a secret."""
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert UNABLE in answer.page
    assert answer.id in answer.page
    # Without its limit it takes two minutes, or the 200 s after which the visitor leaves; or it has another reason.
    assert answer.seconds < BUSY * within + SLACK

    def found():
        return [e for e in events(site.web.text) if e["request_id"] == answer.id and e["logger"] == "access"]

    (event,) = wait_until(found, 60, lambda: site.web.text)
    assert (event["level"], event["status"]) == ("error", 503)
    assert re.search(why, event["traceback"]), event["traceback"]


def assert_nothing_secret(deploy):
    for process in deploy.processes:
        for secret in (servers.PASSWORD, quote(servers.PASSWORD, safe=""), deploy.environment["SECRET_KEY"]):
            assert secret not in process.text
