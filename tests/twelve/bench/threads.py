"""How many threads of a web process serve best: the home page alone, and beside calls of 50 ms to a database."""

import re
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

from tests.twelve.bench.pages import BareSite
from tests.twelve.processes import BIN, PATH, Deploy, Process, status, wait_until
from tests.twelve.servers import PostgreSQL

SITE = "tests.twelve.factors.proof_site"
ROUNDS, SECONDS, CLIENTS, CALLERS = 3, 4, 4, 24


def main() -> None:
    rows: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as name, PostgreSQL() as database:
        folder = Path(name)
        bare = BareSite(folder / "bare")
        site = Deploy(
            folder,
            DATABASE_URL=database.url,
            WEB_CONCURRENCY="2",
            STATIC_ROOT=str(folder / "static"),
            LOG_LEVEL="error",
        )
        site.manage("collectstatic", "--noinput")
        site.manage("release")
        for _ in range(ROUNDS):
            command = [BIN / "gunicorn", "bare.wsgi", "-w2", "-ksync", f"--bind=127.0.0.1:{bare.port}"]
            web = Process(
                [*command, "--no-control-socket"], environment={"PATH": PATH}, output=folder / "log", cwd=bare.folder
            )
            rows.setdefault("bare Django, 2 sync processes", []).append(measure(web, bare, calls=False))
            for threads in (1, 2, 4, 8):
                site.environment["WEB_THREADS"] = str(threads)
                figures = measure(site.start("web", SITE), site, calls=True)
                rows.setdefault(f"2 processes of {threads} threads", []).append(figures)
    print("home requests/s, p50, p99 ms; calls/s, p50, p99 ms; home beside calls p50, p99 ms")
    for title, rounds in rows.items():
        print(f"{title}: " + ", ".join(f"{statistics.median(values):.1f}" for values in zip(*rounds, strict=True)))


def measure(web: Process, site: Deploy | BareSite, calls: bool) -> list[float]:
    wait_until(lambda: status(f"{site.address}/") == 200, 60, lambda: web.text)
    load(site.port, "/", CLIENTS, 1)
    home = load(site.port, "/", CLIENTS, SECONDS)
    figures = [len(home) / SECONDS, *percentiles(home)]
    if calls:
        beside: list[float] = []
        visitor = threading.Thread(target=lambda: beside.extend(load(site.port, "/", 1, SECONDS)))
        visitor.start()
        callers = load(site.port, "/query/?seconds=0.05", CALLERS, SECONDS)
        visitor.join()
        figures += [len(callers) / SECONDS, *percentiles(callers), *percentiles(beside)]
    web.stop()
    return figures


def percentiles(seconds: list[float]) -> list[float]:
    """Return the median and the 99th percentile, in ms."""
    cuts = statistics.quantiles(seconds, n=100)
    return [cuts[49] * 1000, cuts[98] * 1000]


def load(port: int, path: str, clients: int, seconds: float) -> list[float]:
    """Request the page from so many clients, one after the other; return how many seconds each answer took."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    threads = [threading.Thread(target=request, args=(port, path, until, taken)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def request(port: int, path: str, until: float, taken: list[float]) -> None:
    text = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    connection = None
    while (begun := time.perf_counter()) < until:
        connection = connection or socket.create_connection(("127.0.0.1", port))
        connection.sendall(text)
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        missing = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)  # type: ignore[index]
        while missing > 0:
            missing -= len(connection.recv(65536))
        taken.append(time.perf_counter() - begun)
        if b"connection: close" in head.lower():
            connection = connection.close()


if __name__ == "__main__":
    main()
