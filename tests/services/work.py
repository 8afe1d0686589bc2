"""Work for the tests of the queue."""

import time
from pathlib import Path

from apps.jobs.services import enqueue, job

__all__ = ["enqueue", "slow"]


@job()
def slow(path, seconds):
    with Path(path).open("a") as runs:
        runs.write("run\n")
    time.sleep(seconds)
