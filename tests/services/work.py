"""Work for the tests of the queue."""

import time
from pathlib import Path

from django.db import transaction

from apps.jobs.services import enqueue, job

__all__ = ["enqueue", "slow"]


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
