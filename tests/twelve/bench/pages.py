"""What the site's pages, start and memory cost beside bare Django on the same server.

Bare Django is what `startproject` writes, with DEBUG off and one page that has what every page has: a base template, a
stylesheet, and links that depend on who is signed in.
"""

import re
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.shortcuts import resolve_url

from tests.twelve.processes import BIN, PATH, Deploy, Process, free_port, status, wait_until

ROUNDS, SECONDS, CONNECTIONS = 15, 0.5, 4

BASE = """{% load static %}<!doctype html>
<html lang="en">
<head>
  <title>{% block title %}{% endblock %}</title>
  <link rel="stylesheet" href="{% static 'admin/css/base.css' %}">
</head>
<body>
  <nav>
    {% if user.is_authenticated %}{{ user }} <a href="{% url 'admin:logout' %}">Sign out</a>
    {% else %}<a href="{% url 'admin:login' %}">Sign in</a>{% endif %}
    <a href="{% url 'admin:index' %}">Admin</a>
  </nav>
  {% for message in messages %}<p>{{ message }}</p>{% endfor %}
  {% block content %}{% endblock %}
</body>
</html>"""
PAGE = '{% extends "base.html" %}{% block title %}Home{% endblock %}{% block content %}<h1>Hello</h1>{% endblock %}'
URLS = """
from django.shortcuts import render
urlpatterns.append(path("", lambda request: render(request, "page.html")))
"""
SETTINGS = """
DEBUG, ALLOWED_HOSTS = False, ["*"]
TEMPLATES[0]["DIRS"] = [BASE_DIR / "templates"]
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
"""


class BareSite:
    """A project in the folder, served by one process with as many threads as the site has."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        (folder / "templates").mkdir(parents=True)
        subprocess.run([BIN / "django-admin", "startproject", "bare", folder], check=True)
        (folder / "templates/base.html").write_text(BASE)
        (folder / "templates/page.html").write_text(PAGE)
        for name, text in {"urls": URLS, "settings": SETTINGS}.items():
            with (folder / f"bare/{name}.py").open("a") as file:
                file.write(text)

    def start(self) -> Process:
        command = [BIN / "gunicorn", "bare.wsgi", "--threads=8", f"--bind=127.0.0.1:{self.port}", "--no-control-socket"]
        return Process(command, environment={"PATH": PATH}, output=self.folder / "log", cwd=self.folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare, site = BareSite(folder / "bare"), Deploy(folder, STATIC_ROOT=str(folder / "static"))
        site.manage("collectstatic", "--noinput")
        site.manage("release")
        starts = [
            (seconds_to_first_page(lambda: site.start("web"), site), seconds_to_first_page(bare.start, bare))
            for _ in range(ROUNDS)
        ]
        processes = site.start("web"), bare.start()
        try:
            for process, address in zip(processes, (site.address, bare.address), strict=True):
                wait_until(lambda address=address: status(address) == 200, 60, lambda process=process: process.text)
            for title, path in {"home": "/", "sign-in page": resolve_url(settings.LOGIN_URL)}.items():
                rates = [(requests_per_second(site, path), requests_per_second(bare, "/")) for _ in range(ROUNDS)]
                report(f"{title}, requests/s", rates)
            report("cold start, ms", [(ours * 1000, bares * 1000) for ours, bares in starts])
            report("memory of a web worker, MB", [tuple(map(megabytes, processes))])
        finally:
            for process in processes:
                process.kill()


def report(title: str, pairs: list[tuple[float, float]]) -> None:
    """Print the medians of the site and of bare Django, and the median of their ratios."""
    ours, bare = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratio = statistics.median(our / bare for our, bare in pairs)
    print(f"{title}: {ours:.0f}, bare Django {bare:.0f}, ratio {ratio:.2f}")


def requests_per_second(site: Deploy | BareSite, path: str) -> float:
    """Request the page on CONNECTIONS that stay open, for SECONDS."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as clients:
        counts = clients.map(lambda _: count_answers(site.port, path, begun + SECONDS), range(CONNECTIONS))
    return sum(counts) / (time.perf_counter() - begun)


def count_answers(port: int, path: str, until: float) -> int:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    count = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while time.perf_counter() < until:
            connection.sendall(request)
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            missing = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)
            while missing > 0:
                missing -= len(connection.recv(65536))
            count += 1
    return count


def seconds_to_first_page(start: Callable[[], Process], site: Deploy | BareSite) -> float:
    """Start a web process, wait for its first page, and stop it."""
    begun = time.perf_counter()
    process = start()
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", site.port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")  # the server listens before it is ready
            assert connection.recv(65536).startswith(b"HTTP/1.1 200"), process.text
            break
        assert process.child.poll() is None, process.text
        time.sleep(0.005)
    seconds = time.perf_counter() - begun
    process.stop()
    return seconds


def megabytes(process: Process) -> float:
    """Return the resident memory of the worker that the process has."""
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,rss="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return sum(int(rss) for parent, rss in rows if int(parent) == process.child.pid) / 1024
