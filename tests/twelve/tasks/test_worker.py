"""A worker stops as soon as it may, survives what it runs, and serves its queues in turn; the clocks publish once."""

import os
import signal
import time
from contextlib import closing

import psycopg
import pytest

from tests.twelve.events import events
from tests.twelve.processes import Deploy, wait_until
from tests.twelve.servers import RabbitMQ, Redis

pytestmark = pytest.mark.prove

SOFT = 100  # seconds that a stopping worker gives to its tasks: none of these stops takes so long
EFFECTS = "CREATE TABLE effects (text text PRIMARY KEY, runs int NOT NULL)"


class Site(Deploy):
    def __init__(self, folder, url, broker):
        self.broker_server = broker
        super().__init__(
            folder, DATABASE_URL=url, CELERY_BROKER_URL=broker.url, LOG_FORMAT="json",
            TASKS_LEASE_SECONDS="3", CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT=str(SOFT),
        )  # fmt: skip
        self.manage("migrate", "--noinput", "--verbosity", "0")
        self.query(EFFECTS)

    def query(self, text):
        with psycopg.connect(self.environment["DATABASE_URL"], connect_timeout=5) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    def run(self, code):
        return self.manage("shell", "--no-imports", "-c", f"from tests.twelve.services.work import *; {code}").stdout

    def start_worker(self):
        worker = self.start("worker")
        worker.wait_for("ready")
        return worker

    def begin(self, worker, text, seconds):
        """Have the worker in the middle of a task of so many seconds."""
        self.run(f"write_once.enqueue({text!r}, {seconds})")
        wait_until(lambda: self.tasks(text)[0][0] == "RUNNING", 60, lambda: worker.text)

    def tasks(self, text):
        """Status, attempts and effects of the tasks whose first argument that is."""
        runs = f"(SELECT sum(runs) FROM effects WHERE text = '{text}')"
        return self.query(f"SELECT status, attempts, {runs} FROM twelve_task WHERE args->>0 = '{text}'")

    def messages(self, queue="default"):
        """How many messages wait, by the broker; None if it does not answer."""
        text = self.run(f"from twelve.tasks.publish import count_messages; print(count_messages({queue!r}))").strip()
        return int(text) if text.isdecimal() else None


@pytest.fixture(scope="module", params=[Redis, RabbitMQ], ids=["redis", "rabbitmq"])
def site(request, tmp_path_factory, postgresql):
    name = f"worker_{request.param.__name__.lower()}"
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = f"{postgresql.url.rpartition('/')[0]}/{name}"
    with request.param() as broker, closing(Site(tmp_path_factory.mktemp("site"), url, broker)) as site:
        yield site


@pytest.fixture(autouse=True)
def empty(site):
    yield
    for process in site.processes:
        process.kill()
    site.processes.clear()
    site.query("DELETE FROM twelve_task")
    site.run(
        "from twelve.celery import app; channel = app.connection_for_write().default_channel;"
        "[(queue(channel).declare(), queue(channel).purge()) for queue in app.amqp.queues.values()]"
    )


def signal_all(worker):
    """Send SIGTERM to each process of the worker, as a platform does."""
    os.killpg(worker.child.pid, signal.SIGTERM)


def messages_of(worker):
    """The worker's warnings and errors, but for the one that it runs as root, which a test may."""
    logged = [event for event in events(worker.text) if event["logger"] != "py.warnings"]
    return [event["message"] for event in logged if event["level"] in ("warning", "error", "critical")]


def test_a_worker_leaves_when_its_last_task_ends(site):
    worker = site.start_worker()
    site.begin(worker, "last", 4)
    signal_all(worker)
    assert worker.child.wait(SOFT * 0.8) == 0, worker.text
    assert site.tasks("last") == [("SUCCESSFUL", 1, 1)]
    assert messages_of(worker) == []


def test_an_idle_worker_leaves_at_once(site):
    worker = site.start_worker()
    signal_all(worker)
    assert worker.child.wait(SOFT * 0.8) == 0, worker.text
    assert messages_of(worker) == []


def test_a_second_sigterm_interrupts_nothing(site):
    worker = site.start_worker()
    site.begin(worker, "twice", 5)
    signal_all(worker)
    time.sleep(0.2)  # as platforms do
    signal_all(worker)
    assert worker.child.wait(SOFT * 0.8) == 0, worker.text
    assert site.tasks("twice") == [("SUCCESSFUL", 1, 1)]
    assert messages_of(worker) == []


def test_a_task_that_kills_its_process_each_time_fails_and_the_worker_lives(site):
    worker = site.start_worker()
    site.start("clock")
    site.run("deadly.enqueue(); write_once.enqueue('beside', 0)")
    failed = "SELECT error FROM twelve_task WHERE task LIKE '%deadly' AND status = 'FAILED'"
    ((error,),) = wait_until(lambda: site.query(failed), 150, lambda: worker.text)
    assert error == "Its worker died in the last of 2 attempts."
    wait_until(lambda: site.tasks("beside")[0][0] == "SUCCESSFUL", 60, lambda: worker.text)
    assert worker.child.poll() is None


def test_a_task_is_ended_at_its_time_limit(site):
    worker = site.start_worker()
    site.start("clock")
    site.run("endless.enqueue()")
    failed = "SELECT error FROM twelve_task WHERE status = 'FAILED'"
    ((error,),) = wait_until(lambda: site.query(failed), 100, lambda: worker.text)
    assert error == "Its worker died in the last of 1 attempts."


def test_a_task_waits_for_at_most_one_of_another_queue(site):
    """One process takes from both queues in turn."""
    worker = site.start_worker()
    site.run("[heavy.enqueue() for _ in range(8)]")
    wait_until(lambda: site.query("SELECT 1 FROM twelve_task WHERE status = 'RUNNING'"), 60, lambda: worker.text)
    site.run("write_once.enqueue('quick', 0)")
    wait_until(lambda: site.tasks("quick")[0][0] == "SUCCESSFUL", 60, lambda: worker.text)
    ((started, enqueued),) = site.query("SELECT started_at, enqueued_at FROM twelve_task WHERE args->>0 = 'quick'")
    between = "SELECT count(*) FROM twelve_task WHERE queue = 'slow' AND started_at BETWEEN '{}' AND '{}'"
    ((begun,),) = site.query(between.format(enqueued, started))
    assert begun <= 1
    assert site.query("SELECT 1 FROM twelve_task WHERE status = 'READY'")


def wait_for_sweeps(site, seconds):
    """Wait until the clocks have published a task that is due after so many seconds."""
    site.run(
        "from datetime import timedelta; from django.utils import timezone;"
        f"nothing.using(run_after=timezone.now() + timedelta(seconds={seconds}), unique_key='{seconds}').enqueue()"
    )
    published = f"SELECT 1 FROM twelve_task WHERE unique_key = '{seconds}' AND published"
    wait_until(lambda: site.query(published), 60, "a clock has swept")


def test_two_clocks_do_not_multiply_a_backlog_and_publish_what_was_kept_back_or_lost(site):
    clocks = [site.start("clock") for _ in range(2)]
    for clock in clocks:
        clock.wait_for("beat: Starting")
    site.run("[nothing.enqueue() for _ in range(40)]")
    wait_for_sweeps(site, 8)  # more than two leases of 3 s
    wait_until(lambda: site.messages() == 41, 30, lambda: f"{site.messages()} messages")

    site.broker_server.stop()
    site.run("[nothing.enqueue() for _ in range(20)]")
    site.broker_server.start()
    kept_back = "SELECT 1 FROM twelve_task WHERE NOT published"
    wait_until(lambda: not site.query(kept_back), 60, lambda: "\n".join(clock.text for clock in clocks))
    # What the broker has lost in its restart is published again, and no more.
    wait_until(lambda: site.messages() == 61, 60, lambda: f"{site.messages()} messages")
    wait_for_sweeps(site, 9)
    assert site.messages() == 62

    site.run("from twelve.celery import app; app.connection_for_write().default_channel.queue_purge('default')")
    wait_until(lambda: site.messages() == 62, 60, lambda: f"{site.messages()} messages")
    wait_for_sweeps(site, 10)
    assert site.messages() == 63


def test_a_backlog_is_worked_off_and_leaves_no_message(site):
    site.run("[write_once.enqueue(str(number), 0) for number in range(60)]")
    workers = [site.start_worker() for _ in range(2)]
    clocks = [site.start("clock") for _ in range(2)]
    left = "SELECT count(*) FROM twelve_task WHERE status <> 'SUCCESSFUL'"
    wait_until(lambda: site.query(left) == [(0,)], 120, lambda: workers[0].text)
    assert site.query("SELECT count(*), sum(runs), max(runs) FROM effects WHERE text ~ '^[0-9]+$'") == [(60, 60, 1)]
    wait_until(lambda: site.messages() == 0, 60, lambda: clocks[0].text)
