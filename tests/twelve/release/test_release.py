"""The release on real servers: one at a time, as long as it needs, and clear about what fails it."""

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from tests.twelve.processes import ROOT, Deploy, free_port, wait_until
from tests.twelve.releases import PRIORITY, Traffic, build
from tests.twelve.servers import USER, MariaDB, PgBouncer, PostgreSQL

pytestmark = pytest.mark.prove

STATEMENT, IDLE = 1, 1  # seconds
MIGRATE = """
import sys, time
import django
django.setup()
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models.signals import post_migrate

done = []

def long_migration(using, **kwargs):
    if not done:
        with transaction.atomic(using), connections[using].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM django_migrations")
            cursor.execute(sys.argv[1])
            done.append(str(cursor.fetchone()[0] or "slept"))
            time.sleep(float(sys.argv[2]))
            cursor.execute("SELECT 1")

post_migrate.connect(long_migration)
call_command("migrate_db", verbosity=0)
print(*done)
"""


@pytest.mark.parametrize(
    ("server", "sleep"),
    [(PostgreSQL, "SELECT pg_sleep({})"), (MariaDB, "SELECT CASE SLEEP({}) WHEN 0 THEN 'slept' ELSE 'was ended' END")],
)
def test_a_migration_may_take_longer_than_a_request(server, sleep, tmp_path):
    limits = {"DATABASE_STATEMENT_TIMEOUT": str(STATEMENT), "DATABASE_IDLE_TIMEOUT": str(IDLE)}
    with server() as database:
        deploy = Deploy(tmp_path, DATABASE_URL=database.url, DJANGO_SETTINGS_MODULE="config.settings", **limits)
        # The client waits 5 s longer than the server.
        slept = subprocess.run(
            [sys.executable, "-c", MIGRATE, sleep.format(STATEMENT + 6), str(IDLE + 1)],
            cwd=ROOT, env=deploy.environment, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    assert slept.stdout.split() == ["slept"], slept.stderr


def test_a_certificate_that_is_not_trusted_is_reported_with_the_variables(certificates, tmp_path):
    with PostgreSQL(certificates=certificates) as postgres:
        url = f"{postgres.url}?sslmode=require"
        deploy = Deploy(tmp_path, DATABASE_URL=url)
        result = deploy.manage("migrate_db", check=False)
    assert result.returncode == 1
    assert "The database is not migrated" in result.stderr
    assert "TLS_CA_FILE" in result.stderr
    assert "TLS_UNVERIFIED=database" in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if not line.startswith("{")]) == 1


def test_a_pooler_that_takes_no_limits_is_reported_with_the_variable(tmp_path):
    with PostgreSQL() as postgres, PgBouncer(postgres) as bouncer:
        deploy = Deploy(tmp_path, DATABASE_URL=bouncer.url)
        for command in "migrate_db", "probe_services":
            result = deploy.manage(command, check=False)
            assert result.returncode == 1
            assert "set DIRECT_DATABASE_URL" in result.stdout + result.stderr


# -- two at a time ----------------------------------------------------------------------------------------------------


class LaxPgBouncer(PgBouncer):
    """A PgBouncer that accepts the limits in the start-up parameters, and ignores them."""

    def prepare(self):
        super().prepare()
        with (self.folder / "pgbouncer.ini").open("a") as file:
            file.write("ignore_startup_parameters = options\n")


@contextlib.contextmanager
def database(kind):
    """The variables that attach a database of that kind."""
    with contextlib.ExitStack() as stack:
        if kind == "mariadb":
            yield {"DATABASE_URL": stack.enter_context(MariaDB()).url}
        else:
            postgres = stack.enter_context(PostgreSQL())
            variables = {"DATABASE_URL": postgres.url}
            if kind == "pgbouncer":
                variables = {"DATABASE_URL": stack.enter_context(LaxPgBouncer(postgres)).url}
            elif kind == "direct":
                bouncer = stack.enter_context(PgBouncer(postgres))
                variables = {"DATABASE_URL": bouncer.url, "DIRECT_DATABASE_URL": postgres.url}
            yield variables


WAIT = """
import time
from pathlib import Path

def wait(apps, schema_editor):
    Path({folder!r}, "begun").touch()
    until = time.monotonic() + 60
    while not Path({folder!r}, "go").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
"""
INDEX = 'AddIndexConcurrently("taskrecord", models.Index(fields=["due"], name="task_due"))'


@pytest.mark.parametrize("kind", ["postgresql", "direct", "pgbouncer", "mariadb"])
def test_a_second_release_waits_for_the_first_and_finds_nothing_to_do(kind, tmp_path):
    """The first one builds an index concurrently while the second one waits, which must not wait for each other."""
    operations = f"migrations.RunPython(wait, migrations.RunPython.noop), {INDEX}"
    root = build(tmp_path / "build", operations, WAIT.format(folder=str(tmp_path)), "atomic = False")
    with database(kind) as variables:
        deploy = Deploy(tmp_path, root=root, RELEASE_VERSION="v7", ADMIN_USER="eve", **variables)
        log = tmp_path / "stderr.log"
        try:
            first = deploy.start("release")
            wait_until((tmp_path / "begun").exists, 60, lambda: first.text + log.read_text())
            second = deploy.start("release")
            wait_until(lambda: "Waiting for another release" in log.read_text(), 30, log.read_text)
            (tmp_path / "go").touch()
            assert (first.child.wait(60), second.child.wait(60)) == (0, 0), log.read_text()
        finally:
            deploy.close()
        assert "Applying twelve.0002_second... OK" in first.text
        assert re.fullmatch(r"Released v7(, commit \w+)?: no migrations applied.\n", second.text)
        assert log.read_text().count("Waiting for another release") == 1
        named = re.search(r"v7(, commit \w+)? by eve", log.read_text()) is not None
        assert named is (kind in ("postgresql", "direct", "pgbouncer"))
        deploy.manage("migrate", "twelve", "0001")
        rows = [row["fields"] for row in json.loads(deploy.manage("dumpdata", "twelve.release").stdout)]
    assert [(row["version"], row["released_by"]) for row in rows] == [("v7", "eve")] * 2


def test_a_release_that_is_killed_leaves_no_lock_behind(tmp_path):
    root = build(tmp_path / "build", "migrations.RunPython(wait)", WAIT.format(folder=str(tmp_path)))
    with PostgreSQL() as postgres:
        deploy = Deploy(tmp_path, root=root, DATABASE_URL=postgres.url)
        first = deploy.start("release")
        wait_until((tmp_path / "begun").exists, 60, lambda: first.text)
        first.kill()
        (tmp_path / "go").touch()
        assert "Applying twelve.0002_second... OK" in deploy.manage("release").stdout


# -- a busy table -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reader_of(url, table):
    """Someone whose open transaction has read a table; yields the number of the connection."""
    if url.startswith("postgres"):
        with psycopg.connect(url) as connection:
            connection.execute(f"SELECT count(*) FROM {table}")
            yield connection.info.backend_pid
        return
    import MySQLdb

    parts = urlsplit(url)
    login = {"user": parts.username, "password": unquote(parts.password), "database": parts.path[1:]}
    connection = MySQLdb.connect(host=parts.hostname, port=parts.port, **login)
    with contextlib.closing(connection):
        connection.cursor().execute(f"SELECT count(*) FROM {table}")
        yield connection.thread_id()


@pytest.mark.parametrize("server", [PostgreSQL, MariaDB])
def test_a_busy_table_fails_the_release_and_not_the_site(server, tmp_path):
    root = build(tmp_path / "build", PRIORITY)
    with server() as running:
        deploy = Deploy(tmp_path, root=ROOT, DATABASE_URL=running.url, DATABASE_LOCK_TIMEOUT="2")
        try:
            deploy.manage("release")
            deploy.start_web()
            deploy.root = root
            with Traffic(deploy.address) as traffic:
                with reader_of(running.url, "twelve_task") as process:
                    failed = deploy.manage("release", check=False)
                    traffic.wait_for_more()  # the table is still read, and the site goes on
                assert failed.returncode == 1
                for words in (
                    "The migration twelve.0002_second gave up after 2 s",
                    "ADD COLUMN",
                    "This run applied none of its statements" if server is MariaDB else "It was rolled back.",
                    "Release again",
                ):
                    assert words in failed.stderr
                if server is PostgreSQL:
                    assert f"The lock is held on twelve_task by process {process} " in failed.stderr
                assert "Traceback" not in failed.stderr
                assert "Applying twelve.0002_second... OK" in deploy.manage("release").stdout
                traffic.wait_for_more()
        finally:
            deploy.close()


def test_what_mariadb_cannot_undo_is_reported(tmp_path):
    other = 'migrations.RunSQL("ALTER TABLE users_user ADD COLUMN nick integer NULL")'
    root = build(tmp_path / "build", f"{PRIORITY}, {other}")
    with MariaDB() as running:
        deploy = Deploy(tmp_path, root=ROOT, DATABASE_URL=running.url, DATABASE_LOCK_TIMEOUT="1")
        deploy.manage("release")
        deploy.root = root
        with reader_of(running.url, "users_user"):
            failed = deploy.manage("release", check=False)
    assert failed.returncode == 1
    assert "ALTER TABLE users_user" in failed.stderr
    assert "1 of its statements" in failed.stderr
    assert "rolled back." not in failed.stderr


def test_a_database_that_stops_meanwhile_is_reported(tmp_path):
    root = build(tmp_path / "build", f"migrations.RunPython(wait), {PRIORITY}", WAIT.format(folder=str(tmp_path)))
    with PostgreSQL() as running:
        deploy = Deploy(tmp_path, root=root, DATABASE_URL=running.url)
        release = deploy.start("release")
        wait_until((tmp_path / "begun").exists, 60, lambda: release.text)
        running.stop()
        (tmp_path / "go").touch()
        assert release.child.wait(60) == 1
    stderr = (tmp_path / "stderr.log").read_text()
    assert "The lock was lost: the database is unreachable, or ended the connection" in stderr
    assert "migrate --plan" in stderr
    assert "Traceback" not in stderr


def test_a_database_that_stops_during_a_statement_is_reported(tmp_path):
    operations = "migrations.RunPython(wait, migrations.RunPython.noop), migrations.RunSQL('SELECT pg_sleep(60)')"
    with under_way(PostgreSQL, tmp_path, operations) as (running, _deploy, release, read_stderr):
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        with psycopg.connect(running.url, autocommit=True) as connection:
            (tmp_path / "go").touch()
            wait_until(lambda: connection.execute(asleep).fetchone() == (1,), 30, read_stderr)
        running.stop()
        assert release.child.wait(60) == 1
        assert "The lock was lost: the database is unreachable, or ended the connection" in read_stderr()
        assert "migrate --plan" in read_stderr()
        assert "Traceback" not in read_stderr()


def test_what_follows_the_migrations_is_told_apart_from_them(tmp_path):
    deploy = Deploy(tmp_path, root=ROOT)
    deploy.manage("release")
    deploy.sql("ALTER TABLE twelve_release RENAME TO somewhere_else")
    failed = deploy.manage("release", check=False)
    assert failed.returncode == 1
    assert "What follows the migrations failed" in failed.stderr
    assert "All migrations are applied" in failed.stderr


def test_through_a_pooler_a_busy_table_fails_the_release_as_well(tmp_path):
    with PostgreSQL() as postgres, LaxPgBouncer(postgres) as pooler:
        deploy = Deploy(tmp_path, root=ROOT, DATABASE_URL=pooler.url, DATABASE_LOCK_TIMEOUT="2")
        deploy.manage("release")
        deploy.root = build(tmp_path / "build", PRIORITY)
        with reader_of(postgres.url, "twelve_task"):
            failed = deploy.manage("release", check=False)
        assert "The migration twelve.0002_second gave up after 2 s" in failed.stderr
        assert "Applying twelve.0002_second... OK" in deploy.manage("release").stdout


@contextlib.contextmanager
def under_way(server, tmp_path, operations, options=""):
    """A site on that server, its release that has begun with these operations, and a function that reads its stderr."""
    root = build(tmp_path / "build", operations, WAIT.format(folder=str(tmp_path)), options)
    with server() as running:
        deploy = Deploy(tmp_path, root=ROOT, DATABASE_URL=running.url)
        deploy.manage("release")
        deploy.root = root
        release, read_stderr = deploy.start("release"), (tmp_path / "stderr.log").read_text
        wait_until((tmp_path / "begun").exists, 60, lambda: release.text + read_stderr())
        yield running, deploy, release, read_stderr


@pytest.mark.parametrize(("server", "options"), [(PostgreSQL, "atomic = False"), (MariaDB, "")])
def test_a_release_that_is_stopped_says_what_stands_and_so_does_the_next(server, options, tmp_path):
    operations = f"{PRIORITY}, migrations.RunPython(wait, migrations.RunPython.noop)"
    with under_way(server, tmp_path, operations, options) as (_running, deploy, release, read_stderr):
        assert release.stop() == 143
        assert "The migration twelve.0002_second was stopped by Signalled." in read_stderr()
        assert "1 of its statements are applied and NOT rolled back" in read_stderr()
        failed = deploy.manage("release", check=False)
        assert failed.returncode == 1
        assert "This run applied none of its statements. An earlier one may have" in failed.stderr


def test_a_release_that_lost_its_lock_changes_nothing_more(tmp_path):
    operations = f"migrations.RunPython(wait, migrations.RunPython.noop), {PRIORITY}"
    with under_way(PostgreSQL, tmp_path, operations) as (running, deploy, release, read_stderr):
        with psycopg.connect(running.url) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        (tmp_path / "go").touch()
        assert release.child.wait(30) == 1
        assert "Another release may be under way" in read_stderr()
        assert "It was rolled back." in read_stderr()
        assert "Applying twelve.0002_second... OK" in deploy.manage("release").stdout


def test_a_failed_migration_shows_nothing_of_the_rows(tmp_path):
    statement = "UPDATE users_user SET is_active = NULL"
    root = build(tmp_path / "build", f"migrations.RunSQL({statement!r})")
    with PostgreSQL() as running:
        deploy = Deploy(tmp_path, root=ROOT, DATABASE_URL=running.url)
        deploy.environment["DJANGO_SUPERUSER_PASSWORD"] = "a long enough passphrase"
        deploy.manage("release")
        deploy.manage("createsuperuser", "--noinput", "--email", "eve@example.com")
        deploy.root = root
        failed = deploy.manage("release", check=False)
        assert "The migration twelve.0002_second failed." in failed.stderr
        assert "It was rolled back." in failed.stderr
        assert not re.search("pbkdf2|eve@example.com", failed.stderr)


def test_another_writer_of_sqlite_fails_the_release_cleanly(tmp_path):
    deploy = Deploy(tmp_path, root=ROOT, DATABASE_LOCK_TIMEOUT="1")
    deploy.manage("release")
    deploy.root = build(tmp_path / "build", PRIORITY)
    with contextlib.closing(sqlite3.connect(deploy.database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        failed = deploy.manage("release", check=False)
    assert failed.returncode == 1
    assert "twelve.0002_second gave up after 1 s" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "Applying twelve.0002_second... OK" in deploy.manage("release").stdout


def test_an_index_whose_building_failed_is_built_by_the_next_release(tmp_path):
    root = build(tmp_path / "build", INDEX, options="atomic = False")
    with PostgreSQL() as running:
        deploy = Deploy(tmp_path, root=ROOT, DATABASE_URL=running.url, DATABASE_LOCK_TIMEOUT="1")
        deploy.manage("release")
        deploy.root = root
        with psycopg.connect(running.url) as writer:
            writer.execute("LOCK TABLE twelve_task IN ROW EXCLUSIVE MODE")
            failed = deploy.manage("release", check=False)
        assert failed.returncode == 1
        assert "An index that is not valid may be left: the next release drops it" in failed.stderr
        deploy.manage("release")
        with psycopg.connect(running.url) as connection:
            valid = connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'task_due'::regclass")
            assert valid.fetchall() == [(True,)]


# -- what is unreachable ----------------------------------------------------------------------------------------------


def test_it_waits_for_a_database_that_starts(tmp_path):
    with PostgreSQL() as postgres:
        postgres.stop(signal.SIGINT)
        deploy = Deploy(tmp_path, DATABASE_URL=postgres.url)
        release = deploy.start("release")
        log = tmp_path / "stderr.log"
        try:
            wait_until(lambda: "Waiting for the database, 60 s at most" in log.read_text(), 30, log.read_text)
            postgres.start()
            assert release.child.wait(60) == 0, log.read_text()
        finally:
            deploy.close()


def refusal_of(url, tmp_path):
    """The message of a release that ends without waiting for the database of this URL."""
    result = Deploy(tmp_path, DATABASE_URL=url).manage("release", check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Waiting for" not in result.stderr
    assert "Nothing was changed, and waiting does not help. Correct DATABASE_URL" in result.stderr
    assert "hunter2" not in result.stderr
    return result.stderr


WRONG_LOGIN = f"{USER}:hunter2@"


def test_what_a_pooler_refuses_ends_the_wait_at_once(tmp_path):
    with PostgreSQL() as postgres, PgBouncer(postgres) as strict, LaxPgBouncer(postgres) as lax:
        assert "set DIRECT_DATABASE_URL to the database behind it" in refusal_of(strict.url, tmp_path)
        assert "authentication failed" in refusal_of(lax.url.replace(lax.login, WRONG_LOGIN), tmp_path)
        assert 'database "nowhere" does not exist' in refusal_of(lax.url.replace(lax.path, "/nowhere"), tmp_path)


@pytest.mark.parametrize(("server", "login", "name"), [
    (PostgreSQL, "password authentication failed", 'database "nowhere" does not exist'),
    (MariaDB, "(1045,", "(1049,"),
])  # fmt: skip
def test_what_a_database_refuses_ends_the_wait_at_once(server, login, name, tmp_path):
    with server() as database:
        assert login in refusal_of(database.url.replace(database.login, WRONG_LOGIN), tmp_path)
        assert name in refusal_of(database.url.replace(database.path, "/nowhere"), tmp_path)


def test_a_database_that_stays_unreachable_is_one_message(tmp_path):
    deploy = Deploy(tmp_path, DATABASE_URL=f"postgres://user:hunter2-hunter2@127.0.0.1:{free_port()}/site")
    result = deploy.manage("release", "--wait", "2", check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Nothing was changed. Once it answers, release again." in result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 3  # that it waits; why, and what to do
    assert "hunter2" not in result.stderr


def test_other_services_that_are_unreachable_stop_no_release(tmp_path):
    port = free_port()
    deploy = Deploy(
        tmp_path, CACHE_URL=f"redis://127.0.0.1:{port}/0", CELERY_BROKER_URL=f"amqp://127.0.0.1:{port}//",
        EMAIL_URL=f"smtp://127.0.0.1:{port}",
    )  # fmt: skip
    result = deploy.manage("release")
    assert "Released" in result.stdout


def test_a_pooler_that_is_unreachable_stops_no_release_that_goes_past_it(tmp_path):
    with PostgreSQL() as postgres:
        unreachable = f"postgres://user:hunter2-hunter2@127.0.0.1:{free_port()}/postgres"
        deploy = Deploy(tmp_path, DATABASE_URL=unreachable, DIRECT_DATABASE_URL=postgres.url)
        result = deploy.manage("release")
    assert "Released" in result.stdout
    assert "hunter2" not in result.stderr
