"""Work that makes noise in every way there is: a worker loads it with `-I tests.twelve.factors.noise`."""

import os
import sys
import threading
import warnings

from config.celery import app
from twelve.tasks import PermanentFailure, task


@app.task(name="noise")
def noise():
    print("printed in a task")
    print("a line\nand another", file=sys.stderr)
    warnings.warn("a warning of a task", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


@app.task(name="broken_task")
def broken_task():
    raise LookupError("a bug in a task")


@app.task(name="deadly")
def deadly():
    os._exit(9)


@app.task(name="unfinished")
def unfinished():
    print("without a line break", end="")


@task
def quits():
    sys.exit(3)


@task(max_attempts=1)
def out_of_luck():
    raise ConnectionResetError("the last attempt")


@task
def starts_more():
    quiet.enqueue()
    noise.delay()
    broken_task.delay()


@task
def quiet():
    pass


@task
def buggy():
    raise KeyError("a bug in a durable task")


@task
def hopeless():
    raise PermanentFailure("no way")


@task
def unlucky():
    raise ConnectionResetError("try again")


@task
def indiscreet(address):
    """Fails with all that must not be read in the text of its exception."""
    urls = f"{os.environ['DATABASE_URL']} {os.environ['EMAIL_URL']}"
    raise RuntimeError(f"{urls} {os.environ['SECRET_KEY']} password={address} {address}@example.com")
