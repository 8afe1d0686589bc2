"""The task that tests.twelve.bench.tasks measures."""

from twelve.tasks import task


@task
def durable():
    pass
