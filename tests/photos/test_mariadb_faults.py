"""What a failing MariaDB costs: the same as a failing PostgreSQL. The same web process lives through it all."""

import contextlib
from types import SimpleNamespace

import pytest

from tests.photos.faults import (
    CONNECT,
    IDLE,
    LOCK,
    MAIL,
    STATEMENT,
    VARIABLES,
    Visitor,
    assert_nothing_secret,
    assert_unable,
)
from tests.twelve import servers
from tests.twelve.processes import Deploy, status, wait_until

pytestmark = pytest.mark.prove


@contextlib.contextmanager
def connect(server):
    """A cursor past the site."""
    login = {"user": servers.USER, "password": servers.PASSWORD, "database": "site"}
    import MySQLdb

    connection = MySQLdb.connect(host="127.0.0.1", port=server.port, connect_timeout=5, autocommit=True, **login)
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor


@pytest.fixture(scope="module")
def mariadb():
    with servers.MariaDB() as server:
        yield server


@pytest.fixture(scope="module")
def shared_site(mariadb, tmp_path_factory):
    deploy = Deploy(tmp_path_factory.mktemp("mariadb"), DATABASE_URL=mariadb.url, **VARIABLES)
    try:
        deploy.manage("migrate_db", "--verbosity", "0")
        deploy.manage("createsuperuser", "--noinput", "--email", MAIL)
        web = deploy.start_web()
        yield SimpleNamespace(deploy=deploy, web=web, visitor=Visitor(deploy.address))
    finally:
        deploy.close()


@pytest.fixture
def site(shared_site, mariadb):
    """The site in good health, before the fault and after it."""
    yield shared_site
    mariadb.thaw()
    if mariadb.process.child.poll() is not None:
        mariadb.start()
    ready = f"{shared_site.deploy.address}/health/ready/"
    wait_until(lambda: status(ready) == 200, 30, lambda: shared_site.web.text)
    assert {shared_site.visitor.ask().status for _ in range(8)} == {200}
    assert shared_site.web.child.poll() is None
    assert_nothing_secret(shared_site.deploy)


def photos(server):
    with connect(server) as cursor:
        cursor.execute("SELECT count(*) FROM photos_photo")
        return cursor.fetchone()[0]


SHOW = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT @@max_statement_time, @@innodb_lock_wait_timeout, @@idle_transaction_timeout")
    print(*map(int, cursor.fetchone()))
"""


def test_the_timeouts_are_in_force(site):
    assert site.deploy.manage("shell", "--no-imports", "-c", SHOW).stdout.split() == [
        str(STATEMENT),
        str(LOCK),
        str(IDLE),
    ]


def test_refused(site, mariadb):
    mariadb.stop()
    assert_unable(site, site.visitor.ask(), CONNECT, "Can't connect|Lost connection|gone away")
    assert_unable(site, site.visitor.upload(), CONNECT, "Can't connect")
    assert status(f"{site.deploy.address}/health/live/") == status(f"{site.deploy.address}/") == 200
    assert status(f"{site.deploy.address}/health/ready/") == 503


def test_silent_in_the_middle(site, mariadb):
    """A connected client waits a little longer than a statement may take."""
    before = photos(mariadb)
    mariadb.freeze()
    assert_unable(
        site, site.visitor.upload(), STATEMENT + 5 + CONNECT, "Lost connection|timeout|gone away|Can't connect"
    )
    assert status(f"{site.deploy.address}/health/ready/") == 503
    mariadb.thaw()
    assert photos(mariadb) == before


def test_waiting_for_a_lock(site, mariadb):
    before = photos(mariadb)
    with connect(mariadb) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM users_user FOR UPDATE")
        cursor.execute("SELECT * FROM photos_photo FOR UPDATE")
        assert_unable(site, site.visitor.upload(), LOCK, "Lock wait timeout")
        cursor.execute("ROLLBACK")
    assert photos(mariadb) == before


def test_wrong_password(site, mariadb):
    with connect(mariadb) as cursor:
        cursor.execute(f"SET PASSWORD FOR '{servers.USER}'@'%' = PASSWORD('changed')")
        cursor.execute("SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'tester'")
        for (number,) in cursor.fetchall():
            with contextlib.suppress(Exception):  # it has gone by itself
                cursor.execute(f"KILL {number}")
        assert_unable(site, site.visitor.ask(), CONNECT, "Access denied")
        cursor.execute(f"SET PASSWORD FOR '{servers.USER}'@'%' = PASSWORD('{servers.PASSWORD}')")


def test_restarted(site, mariadb):
    assert {site.visitor.ask().status for _ in range(12)} == {200}
    mariadb.stop()
    mariadb.start()
    assert {site.visitor.ask().status for _ in range(12)} == {200}
