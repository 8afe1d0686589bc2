"""What a failing database costs: people get a page that says so, nothing is half-written, and all of it heals itself.

On PostgreSQL the same web, worker and clock live through every fault in turn.
"""

import contextlib
import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.photos.faults import (
    CONNECT,
    IDLE,
    LOCK,
    MAIL,
    STATEMENT,
    VARIABLES,
    WEB_PROCESSES,
    WEB_THREADS,
    Visitor,
    assert_nothing_secret,
    assert_unable,
    full,
    needs,
    small_disk,
)
from tests.twelve import servers
from tests.twelve.events import events
from tests.twelve.processes import Deploy, status, wait_until
from tests.twelve.services import work

pytestmark = pytest.mark.prove


class Site:
    """A deploy whose web, worker and clock run, and someone who is signed in."""

    def __init__(self, deploy):
        self.deploy = deploy
        self.web = self.start("web")
        self.visitor = Visitor(deploy.address)
        self.worker, self.clock = self.start("worker"), self.start("clock")

    def start(self, name):
        self.deploy.environment["PGAPPNAME"] = name
        return self.deploy.start_web() if name == "web" else self.deploy.start(name)

    def sql(self, query, *values):
        """The rows of a query, past the site and on a connection of its own."""
        url = self.deploy.environment.get("DIRECT_DATABASE_URL") or self.deploy.environment["DATABASE_URL"]
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def enqueue(self, text):
        """A task that no message announces: the clock finds it, and the worker runs it."""
        self.sql(
            "INSERT INTO twelve_task (task, queue, args, kwargs, status, due, published, sweep_at, token, attempts, "
            "worker_ids, error, errors, request_id, enqueued_at) "
            "VALUES ('tests.twelve.services.work.note', 'default', %s, '{}', 'READY', now(), false, now(), 0, 0, '', "
            "'', '[]', %s, now())",
            json.dumps([text]), f"of-the-task-{text}",
        )  # fmt: skip

    def task(self, text):
        """State and attempts of the task with that text, and how many rows it wrote."""
        (row,) = self.sql("SELECT status, attempts FROM twelve_task WHERE args = %s::jsonb", json.dumps([text]))
        return *row, self.sql("SELECT count(*) FROM notes WHERE text = %s", text)[0][0]

    def logs(self):
        return f"{self.clock.text}\n{self.worker.text}"

    def wait_for_attempt(self, text):
        """The event that says how the first attempt ended."""

        def found():
            return [e for e in events(self.worker.text) if e["request_id"] == f"of-the-task-{text}"]

        return wait_until(found, 100, self.logs)[0]

    def wait_for_task(self, text, *attempts):
        """Wait until it is done, once, in so many attempts; by default at most two."""
        wait_until(lambda: self.task(text)[0] == "SUCCESSFUL", 150, self.logs)
        _, count, rows = self.task(text)
        assert (count in (attempts or (1, 2)), rows) == (True, 1)

    def hurry(self):
        """Skip the pause before the next attempt, which is 8 s at least."""
        self.sql("UPDATE twelve_task SET due = now(), sweep_at = now() WHERE status = 'READY'")

    def photos(self):
        """How many rows there are, and how many tasks for them."""
        rows = self.sql("SELECT count(*) FROM photos_photo")[0][0]
        return rows, self.sql("SELECT count(*) FROM twelve_task WHERE task LIKE '%make_renditions'")[0][0]

    def folders(self):
        return len(list(self.deploy.media.glob("photos/*")))

    def assert_well(self):
        """It is ready, it answers, a photo becomes ready, and every process is the one that it was."""
        wait_until(lambda: status(f"{self.deploy.address}/health/ready/") == 200, 30, lambda: self.web.text)
        assert {self.visitor.ask().status for _ in range(4)} == {200}
        assert self.visitor.upload().status == 200
        unready = "SELECT count(*) FROM photos_photo WHERE state <> 'ready'"
        wait_until(lambda: self.sql(unready) == [(0,)], 60, lambda: self.worker.text)
        rows, tasks = self.photos()
        assert rows == tasks
        for process in (self.web, self.worker, self.clock):
            assert process.child.poll() is None
            events(process.text)  # every line is one


class SmallPostgreSQL(servers.PostgreSQL):
    """A server whose data are on a small disk, where there can be one."""

    def prepare(self):
        self.mounts = contextlib.ExitStack()
        (self.folder / "data").mkdir()
        self.small = self.mounts.enter_context(small_disk(self.folder / "data", 250))
        super().prepare()

    def close(self):
        if self.process:
            self.thaw()
            self.stop()
            self.process = None
        self.mounts.close()
        super().close()


@pytest.fixture(scope="module")
def postgres():
    with SmallPostgreSQL("--max_wal_size=32MB", "--min_wal_size=32MB") as server:
        yield server


@pytest.fixture(scope="module")
def make_site(postgres, tmp_path_factory):
    made, template = [], []

    def make(name, **variables):
        url = postgres.url.replace("/postgres", "/")
        folder = tmp_path_factory.mktemp(name)
        if not template:
            deploy = Deploy(folder, DATABASE_URL=f"{url}template", **VARIABLES)
            run_sql(postgres, "CREATE DATABASE template")
            deploy.manage("migrate_db", "--verbosity", "0")
            deploy.manage("createsuperuser", "--noinput", "--email", MAIL)
            with psycopg.connect(f"{url}template") as connection:
                connection.execute(work.TABLES)
            template.append(deploy)
        run_sql(postgres, f"CREATE DATABASE {name} TEMPLATE template")
        deploy = Deploy(folder, **{"DATABASE_URL": f"{url}{name}", **VARIABLES, **variables})
        made.append(deploy)
        return Site(deploy)

    yield make
    for deploy in made:
        deploy.close()


def run_sql(server, query):
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(query)


@pytest.fixture(scope="module")
def shared_site(make_site):
    return make_site("site")


@pytest.fixture
def site(shared_site, postgres):
    """The site in good health, before the fault and after it."""
    yield shared_site
    postgres.thaw()
    if postgres.process.child.poll() is not None:
        postgres.start()
    shared_site.assert_well()
    assert_nothing_secret(shared_site.deploy)


@contextlib.contextmanager
def in_background(function, *arguments):
    """What the function will return, a Future, while it runs."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function, *arguments)


def ask_all_threads(site):
    """Ask until every web thread has a connection; returns the statuses of the answers."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'web'"
    statuses = set()
    with ThreadPoolExecutor(2 * WEB_THREADS * WEB_PROCESSES) as crowd:

        def all_have_asked():
            statuses.update(crowd.map(lambda _: site.visitor.ask().status, range(24)))
            return site.sql(query) == [(WEB_PROCESSES * WEB_THREADS,)]

        wait_until(all_have_asked, 30, "every web thread has a connection")
    return statuses


@contextlib.contextmanager
def slow(site, seconds):
    """Each upload and each note sleeps in the database, in the middle of its transaction."""
    sleeper = f"BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END"
    site.sql(f"CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $${sleeper}$$")
    site.sql("CREATE TRIGGER slow AFTER INSERT ON photos_photo FOR EACH ROW EXECUTE FUNCTION sleep()")
    site.sql(f"UPDATE pace SET busy = {seconds}")
    try:
        yield
    finally:
        site.sql("UPDATE pace SET busy = 0; DROP FUNCTION sleep CASCADE")


@contextlib.contextmanager
def locked(site):
    """Somebody else is about to change the photos."""
    with psycopg.connect(site.deploy.environment["DATABASE_URL"]) as connection:
        connection.execute("LOCK TABLE photos_photo IN EXCLUSIVE MODE")
        yield


def test_refused(site, postgres):
    site.enqueue("refused")
    postgres.stop()
    assert_unable(site, site.visitor.ask(), CONNECT, "refused")
    assert_unable(site, site.visitor.upload(), CONNECT, "refused")
    assert status(f"{site.deploy.address}/health/live/") == status(f"{site.deploy.address}/") == 200
    assert status(f"{site.deploy.address}/health/ready/") == 503
    probe = site.deploy.manage("probe_services", check=False)
    assert probe.returncode == 1
    assert re.search(r"database .* unreachable: .*refused", probe.stdout)
    site.clock.wait_for("the clock waits for the database")
    postgres.start()
    site.wait_for_task("refused")


def test_silent_for_a_moment(site, postgres):
    ask_all_threads(site)
    before, _ = site.photos()
    postgres.freeze()
    with in_background(site.visitor.upload) as upload:
        time.sleep(1)
        assert not upload.done()
        postgres.thaw()
        assert upload.result(60).status == 200
    assert site.photos() == (before + 1, before + 1)


def test_silent_from_the_start(site, postgres):
    postgres.stop()
    postgres.start()
    postgres.freeze()
    assert_unable(site, site.visitor.ask(), CONNECT, "timeout")
    probe = site.deploy.manage("probe_services", check=False)
    assert "unreachable: " in probe.stdout
    postgres.thaw()


@pytest.mark.parametrize(
    ("fault", "within", "why"),
    [(lambda site: slow(site, 60), STATEMENT, "statement timeout"), (locked, LOCK, "lock timeout")],
    ids=["a statement", "a lock"],
)
def test_slow(site, fault, within, why):
    before, folders = site.photos(), site.folders()
    with fault(site):
        assert_unable(site, site.visitor.upload(), within, why)
        assert (site.photos(), site.folders()) == (before, folders)
        assert site.visitor.ask().status == 200


@pytest.mark.parametrize(
    ("column", "seconds", "why"),
    [("busy", 60, "statement timeout"), ("idle", IDLE + 2, "idle-in-transaction timeout")],
    ids=["a statement", "an idle transaction"],
)
def test_slow_in_a_task(site, column, seconds, why):
    site.sql(f"UPDATE pace SET {column} = {seconds}")
    site.enqueue(column)
    event = site.wait_for_attempt(column)
    assert (event["outcome"], event["level"]) == ("retry", "warning")
    assert why in event["message"]
    assert site.task(column) == ("READY", 1, 0)
    site.sql(f"UPDATE pace SET {column} = 0")
    site.hurry()
    site.wait_for_task(column, 2)


def wait_for_sleep(site, name):
    """Wait until that process type is in the middle of a slow transaction."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = %s"
    wait_until(lambda: site.sql(query, name), 30, f"{name} is in its transaction")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL], ids=["immediate shutdown", "killed"])
def test_dies_in_the_middle(site, postgres, number):
    before = site.photos()
    with slow(site, 3), in_background(site.visitor.upload) as upload:
        wait_for_sleep(site, "web")
        postgres.stop(number)
        assert_unable(site, upload.result(60), CONNECT, "server closed the connection|terminating connection")
        postgres.start()
        assert site.photos() == before


def test_dies_in_the_middle_of_a_task(site, postgres):
    """Its work is undone. No row says that it ended, so the sweeper gives it back."""
    with slow(site, 3):
        site.enqueue("dies")
        wait_for_sleep(site, "worker")
        postgres.stop(signal.SIGKILL)
        event = site.wait_for_attempt("dies")
        assert (event["outcome"], event["level"]) == ("retry", "warning")
        assert "refused" in event["message"]
        assert "server closed the connection" in event["traceback"]
        postgres.start()
        assert site.task("dies") == ("RUNNING", 1, 0)
    site.wait_for_task("dies", 2)


def test_wrong_password(site, postgres):
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        site.enqueue("password")
        connection.execute(f"ALTER ROLE {servers.USER} PASSWORD 'changed'")
        others = "datname = 'site' AND backend_type = 'client backend'"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        assert_unable(site, site.visitor.ask(), CONNECT, "password authentication failed")
        assert status(f"{site.deploy.address}/health/ready/") == 503
        connection.execute(f"ALTER ROLE {servers.USER} PASSWORD '{servers.PASSWORD}'")
    site.wait_for_task("password")


def test_full(site, postgres):
    needs(postgres.small)
    site.sql("SELECT pg_switch_wal()")
    site.sql("CHECKPOINT")  # the next file of the log has its room
    (before, _), folders, uploaded = site.photos(), site.folders(), 0
    with full(postgres.folder / "data"):
        while (answer := site.visitor.upload()).status == 200:
            uploaded += 1
            assert uploaded < 200
        assert_unable(site, answer, STATEMENT, "No space left on device")
        assert site.photos() == (before + uploaded, before + uploaded)
        assert site.folders() == folders + uploaded
        assert site.visitor.ask().status == 200  # what is there can be seen
    site.hurry()


def test_restarted(site, postgres):
    ask_all_threads(site)
    postgres.stop()
    postgres.start()
    assert ask_all_threads(site) == {200}
    site.enqueue("restarted")
    site.wait_for_task("restarted", 1)


SHOW = """
from django.db import connection
with connection.cursor() as cursor:
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        cursor.execute("SHOW " + name)
        print(cursor.fetchone()[0])
print(connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"])
"""


def test_the_timeouts_are_in_force(site):
    shown = site.deploy.manage("shell", "--no-imports", "-c", SHOW).stdout.split()
    assert shown == [f"{STATEMENT}s", f"{LOCK}s", f"{IDLE}s", "False"]


def test_pgbouncer_in_transaction_mode(postgres, tmp_path):
    run_sql(postgres, "CREATE DATABASE bounced")
    with servers.PgBouncer(postgres) as bouncer:
        urls = {
            "DATABASE_URL": bouncer.url.replace("/postgres", "/bounced"),
            "DIRECT_DATABASE_URL": postgres.url.replace("/postgres", "/bounced"),
        }
        deploy = Deploy(tmp_path, **urls, **VARIABLES)
        try:
            bouncer.stop()  # the release goes past it
            assert deploy.start("release").child.wait(60) == 0
            bouncer.start()
            deploy.manage("createsuperuser", "--noinput", "--email", MAIL)
            shown = deploy.manage("shell", "--no-imports", "-c", SHOW).stdout.split()
            assert shown == ["0", "0", "0", "True"]  # they are the role's
            site = Site(deploy)
            site.sql(work.TABLES)
            assert {site.visitor.ask().status for _ in range(20)} == {200}
            bouncer.stop()
            bouncer.start()
            assert {site.visitor.ask().status for _ in range(20)} == {200}
            site.enqueue("bounced")
            site.wait_for_task("bounced", 1)
            site.assert_well()
            assert_nothing_secret(deploy)
        finally:
            deploy.close()
