"""What a durable task costs beside one of bare Celery with late acknowledgement and its result in the same database.

Both run on PostgreSQL and Redis, one worker with one process, in turn.
"""

import statistics
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg

from tests.twelve.processes import BIN, Deploy, Process, wait_until
from tests.twelve.servers import PostgreSQL, Redis

ROUNDS, TASKS = 3, 400
RESULTS = "CREATE TABLE bench_result (at timestamptz DEFAULT clock_timestamp())"
# The seconds that a process takes to enqueue the tasks, each in a transaction of its own as a request does.
ENQUEUE = """
import time
from django.db import transaction
from tests.twelve.bench.bare import plain
from tests.twelve.bench.work import durable
{warm}
begun = time.perf_counter()
for _ in range({count}):
    with transaction.atomic():
        {call}
print(time.perf_counter() - begun)
"""
KINDS = {
    "durable": ("durable.enqueue()", "SELECT finished_at FROM twelve_task WHERE status = 'SUCCESSFUL'"),
    "bare": ("plain.delay_on_commit()", "SELECT at FROM bench_result"),
}


def environment(deploy: Deploy) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "config.settings"} | deploy.environment


def measure(deploy: Deploy, kind: str) -> tuple[float, float]:
    """Return the milliseconds to enqueue a task, and the tasks that the worker runs in a second."""
    call, finished = KINDS[kind]

    def query(text: str) -> list[tuple]:
        with psycopg.connect(deploy.environment["DATABASE_URL"]) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    query("DELETE FROM twelve_task; DELETE FROM bench_result")
    code = ENQUEUE.format(count=TASKS, call=call, warm=call)
    milliseconds = float(deploy.manage("shell", "--no-imports", "-c", code).stdout) / TASKS * 1000
    if kind == "durable":
        worker = deploy.start("worker", "-I", "tests.twelve.bench.work")
    else:
        command = [str(BIN / "celery"), "-q", "-A", "tests.twelve.bench.bare", "worker", "-c", "1"]
        worker = Process(command, environment=environment(deploy), output=deploy.folder / "bare.log")
    ended = f"SELECT count(*) FROM ({finished}) AS rows"
    wait_until(lambda: query(ended) == [(TASKS + 1,)], 300, lambda: worker.text[-3000:])
    worker.stop()
    worker.kill()
    column = finished.split()[1]
    times = f"SELECT extract(epoch FROM max({column}) - min({column})) FROM ({finished}) AS rows"
    ((seconds,),) = query(times)
    return milliseconds, TASKS / float(seconds)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, PostgreSQL() as database, Redis() as broker:
        urls = {"DATABASE_URL": database.url, "CELERY_BROKER_URL": broker.url}
        with closing(Deploy(Path(folder), LOG_FORMAT="json", **urls)) as deploy:
            deploy.manage("migrate", "--noinput", "--verbosity", "0")
            with psycopg.connect(database.url) as connection:
                connection.execute(RESULTS)
            deploy.start("clock")  # for what is not published in time on a busy machine
            found = {kind: [measure(deploy, kind) for _ in range(ROUNDS)] for kind in KINDS}
    enqueue = {kind: statistics.median(first for first, _ in pairs) for kind, pairs in found.items()}
    rate = {kind: statistics.median(second for _, second in pairs) for kind, pairs in found.items()}
    for kind in KINDS:
        print(f"tasks: {kind}: enqueued in {enqueue[kind]:.1f} ms, {rate[kind]:.0f} run in a second by one process")
    print(f"tasks: durable runs {rate['durable'] / rate['bare']:.2f} of bare Celery in a second; the aim is 0.7")


if __name__ == "__main__":
    main()
