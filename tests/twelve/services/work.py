"""Tasks for the tests of failures, whose work can be counted."""

import os
import signal
import time
from pathlib import Path

from django.core.files.storage import default_storage
from django.db import connection, transaction

from twelve.tasks import task

__all__ = ["deadly", "endless", "heavy", "nothing", "slow", "write_once"]

# For `note`: its rows, and how long it takes.
TABLES = "CREATE TABLE notes (text text); CREATE TABLE pace (busy real, idle real); INSERT INTO pace VALUES (0, 0)"


@task
def note(text):
    """Write one row, in a transaction that is as slow as the tests want it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (%s)", [text])
        cursor.execute("SELECT idle, pg_sleep(busy) FROM pace")
        time.sleep(cursor.fetchone()[0])


@task(max_attempts=20)
def write_once(text, seconds):
    """Write a row that stands once, however often this runs."""
    time.sleep(float(seconds))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO effects VALUES (%s, 1) ON CONFLICT (text) DO UPDATE SET runs = effects.runs + 1", [text]
        )


@task
def copy(source, target):
    """Copy a file of the default storage."""
    if not default_storage.exists(target):
        with default_storage.open(source) as file:
            default_storage.save(target, file)


@task
def nothing():
    pass


def many(ready, go):
    """Fifty tasks in one transaction, once the file `go` is there and a first one has made the connection; seconds."""
    nothing.enqueue()
    Path(ready).touch()
    while not Path(go).exists():
        time.sleep(0.05)
    begun = time.monotonic()
    with transaction.atomic():
        for _ in range(50):
            nothing.enqueue()
    return time.monotonic() - begun


@task(max_attempts=2)
def deadly():
    """Kill the process that runs it, as the kernel does when one takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(queue_name="slow", time_limit=2, max_attempts=1)
def endless():
    time.sleep(600)


@task(queue_name="slow")
def heavy():
    time.sleep(1)


@task
def slow(path, seconds):
    with Path(path).open("a") as runs:
        runs.write("run\n")
    time.sleep(float(seconds))
