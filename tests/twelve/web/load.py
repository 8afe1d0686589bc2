"""Clients that request one page without a pause, and note what became of each request."""

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

END = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")


def read_answer(connection):
    """Read one answer with a length from a socket; returns its head, b"" if the server closed before the first byte."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            if data:
                raise ConnectionError("a part of an answer")
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    missing = int(END.search(head + b"\r\n")[1]) - len(body)
    while missing > 0:
        if not (more := connection.recv(65536)):
            raise ConnectionError("a part of an answer")
        missing -= len(more)
    return head


class Load:
    """So many clients, every other one on a connection that it keeps; at `mark()` something begins to happen.

    `early` counts what became of the requests sent before that, `late` of those on connections opened after it, and
    `kept` of those sent after it on a kept connection: "answered", "refused" (nothing listens), else "lost".
    """

    def __init__(self, port, path="/", count=24):
        self.port, self.count = port, count
        self.request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
        self.early, self.late, self.kept, self.details = Counter(), Counter(), Counter(), []
        self.marked, self.ended, self.lock = float("inf"), threading.Event(), threading.Lock()
        self.pool = ThreadPoolExecutor(count)

    def __enter__(self):
        self.clients = [self.pool.submit(self.go, keep) for keep in [True, False] * (self.count // 2)]
        return self

    def __exit__(self, *error):
        self.ended.set()
        for client in self.clients:
            client.result()
        self.pool.shutdown()

    def mark(self):
        self.marked = time.monotonic()

    def go(self, keep):
        while not self.ended.is_set():
            opened = time.monotonic()
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
            except OSError:
                self.count_one(self.late if opened > self.marked else self.early, "refused", "")
                time.sleep(0.05)
                continue
            with contextlib.closing(connection):
                self.talk(connection, keep, opened)

    def talk(self, connection, keep, opened):
        """Send requests until the server closes the connection."""
        while not self.ended.is_set():
            begun = time.monotonic()
            try:
                connection.sendall(self.request + (b"\r\n" if keep else b"Connection: close\r\n\r\n"))
                head, error = read_answer(connection), ""
            except OSError as lost:
                head, error = b"", repr(lost)
            counts = self.late if opened > self.marked else self.early if begun < self.marked else self.kept
            self.count_one(counts, "answered" if b" 200 " in head else "lost", error or head[:30])
            if not keep or not head or b"connection: close" in head.lower():
                return

    def count_one(self, counts, what, detail):
        with self.lock:
            counts[what] += 1
            if what == "lost":
                self.details.append((round(time.monotonic() - self.marked, 4), detail))
