"""What a failing file of SQLite costs: the same as a failing server. The same processes live through it all."""

import contextlib
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.photos.faults import (
    LOCK,
    MAIL,
    VARIABLES,
    Visitor,
    assert_nothing_secret,
    assert_unable,
    full,
    needs,
    small_disk,
)
from tests.twelve.processes import Deploy, wait_until

pytestmark = pytest.mark.prove


@dataclass
class Lite:
    deploy: Deploy
    disk: Path
    small: bool  # whether the disk is a small file system

    def begin(self):
        self.web = self.deploy.start_web()
        self.worker = self.deploy.start("worker")
        self.visitor = Visitor(self.deploy.address)

    def wait_until_closed(self):
        """Wait until no process has the database open: the last one to close it deletes its log."""
        log = self.deploy.database.with_name("db.sqlite3-wal")
        wait_until(lambda: not log.exists(), 20, "the database is closed")

    def photos(self):
        """How many rows there are, how many tasks for them, and how many folders with their objects."""
        return (
            self.deploy.sql("SELECT count(*) FROM photos_photo")[0][0],
            self.deploy.sql("SELECT count(*) FROM twelve_task WHERE task LIKE '%make_renditions'")[0][0],
            len(list(self.deploy.media.glob("photos/*"))),
        )


@pytest.fixture(scope="module")
def shared_lite(tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    deploy = Deploy(tmp_path_factory.mktemp("lite"), **VARIABLES, CONN_MAX_AGE="0")
    deploy.database = disk / "db" / "db.sqlite3"
    deploy.environment["DATABASE_URL"] = f"sqlite:///{deploy.database}"
    with small_disk(disk, 8) as small:
        deploy.database.parent.mkdir()
        deploy.manage("migrate_db", "--verbosity", "0")
        deploy.manage("createsuperuser", "--noinput", "--email", MAIL)
        lite = Lite(deploy, disk, small)
        lite.begin()
        yield lite
        deploy.close()


@pytest.fixture
def lite(shared_lite):
    """A site on SQLite in good health, before the fault and after it."""
    shared_lite.wait_until_closed()
    yield shared_lite
    assert shared_lite.visitor.upload().status == 200
    query = "SELECT count(*) FROM twelve_task WHERE status <> 'SUCCESSFUL'"
    wait_until(lambda: shared_lite.deploy.sql(query) == [(0,)], 60, lambda: shared_lite.worker.text)
    assert shared_lite.deploy.sql("SELECT count(*) FROM photos_photo WHERE state <> 'ready'") == [(0,)]
    rows, tasks, folders = shared_lite.photos()
    assert rows == tasks == folders
    assert_nothing_secret(shared_lite.deploy)


@contextlib.contextmanager
def moved(path):
    """The file, or the folder, is not where it was."""
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.replace(path)


@contextlib.contextmanager
def read_only(folder):
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True, timeout=10)


def test_locked_by_another_writer(lite):
    """It waits for its turn, as long as for any lock."""
    before = lite.photos()
    with contextlib.closing(sqlite3.connect(lite.deploy.database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        answer = lite.visitor.upload()
        assert lite.visitor.ask().status == 200  # a reader does not wait
    assert_unable(lite, answer, LOCK, "database is locked")
    assert lite.photos() == before


def test_read_only(lite):
    needs(lite.small)
    before = lite.photos()
    with read_only(lite.disk):
        assert_unable(lite, lite.visitor.upload(), 1, "readonly|unable to open")
    assert lite.photos() == before


@pytest.mark.parametrize("gone", ["the file", "its folder"])
def test_gone(lite, gone):
    before = lite.photos()
    with moved(lite.deploy.database if gone == "the file" else lite.deploy.database.parent):
        answer = lite.visitor.ask()
        if gone == "its folder":
            assert_unable(lite, answer, 1, "unable to open")
        else:
            assert answer.status == 500  # SQLite makes a new, empty file: no such table
        lite.wait_until_closed()
    assert lite.photos() == before


def test_on_a_full_disk(lite):
    needs(lite.small)
    rows, tasks, folders = lite.photos()
    uploaded = 0
    with full(lite.disk):
        while (answer := lite.visitor.upload()).status == 200:
            uploaded += 1
            assert uploaded < 200
        assert_unable(lite, answer, LOCK, "full|disk I/O error")
    assert lite.photos() == (rows + uploaded, tasks + uploaded, folders + uploaded)
