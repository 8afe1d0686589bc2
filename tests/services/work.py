"""Jobs for the tests of what fails, whose work can be counted."""

import time
from pathlib import Path

from django.db import connection, transaction

from apps.jobs.services import enqueue, job

__all__ = ["enqueue", "slow"]

# For `note`: its rows, and how long it takes.
TABLES = "CREATE TABLE notes (text text); CREATE TABLE pace (busy real, idle real); INSERT INTO pace VALUES (0, 0)"


@job()
def note(text):
    """Write one row, in a transaction that is as slow as the tests want it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (%s)", [text])
        cursor.execute("SELECT idle, pg_sleep(busy) FROM pace")
        time.sleep(cursor.fetchone()[0])


@job()
def nothing():
    pass


def many(ready, go):
    """Ten jobs in one transaction, once the file `go` is there and a first one has made the connection; seconds."""
    enqueue(nothing)
    Path(ready).touch()
    while not Path(go).exists():
        time.sleep(0.05)
    begun = time.monotonic()
    with transaction.atomic():
        for _ in range(10):
            enqueue(nothing)
    return time.monotonic() - begun


@job()
def slow(path, seconds):
    with Path(path).open("a") as runs:
        runs.write("run\n")
    time.sleep(seconds)
