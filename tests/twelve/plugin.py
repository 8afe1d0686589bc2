"""What all tests share, wherever they stand: pyproject.toml loads this for pytest."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.files.base import File
from django.db import connection

from tests.twelve.processes import GOOD, Deploy
from twelve.env import REQUIRED, env

# A shell starts background commands with these ignored, and every process that a test stops would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's


def pytest_configure() -> None:
    """Let the processes of the tests have what the site requires beside what the machinery does."""
    for name, variable in env.variables.items():
        if variable.default is REQUIRED and name in os.environ:
            GOOD.setdefault(name, os.environ[name])


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks the database, which a proof runs again on the other kinds of databases."""
    for item in items:
        if item.get_closest_marker("django_db") or {"db", "transactional_db"} & set(item.fixturenames):
            item.add_marker("database")


@pytest.fixture(scope="session", autouse=True)
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files of a build, collected with no config at all, once for all workers of pytest-xdist.

    Where no test starts a process the folder is empty: pages in process take the files of the sources.
    """
    folder = tmp_path_factory.mktemp("static", numbered=False)
    if any(item.get_closest_marker("prove") for item in request.session.items):
        shared = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            shared = shared.parent
        folder = shared / "build"
        with (shared / "build.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                collect(folder)
    settings.STATIC_ROOT = os.environ["STATIC_ROOT"] = str(folder)
    return folder


def collect(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"],
        cwd=settings.BASE_DIR,
        env={"STATIC_ROOT": str(folder), "READ_DOT_ENV": "false"},
        check=True,
    )


class SourceStaticFiles(ManifestStaticFilesStorage):
    """The static files of the sources under hashed names, without a build; a name of no file fails, as after one."""

    manifest_strict = False

    def exists(self, name: str) -> bool:
        return finders.find(name) is not None

    def open(self, name: str, mode: str = "rb") -> File:
        if not self.exists(name):
            raise FileNotFoundError(name)
        return File(Path(finders.find(name)).open(mode))


@pytest.fixture(scope="session", autouse=True)  # before pytest-django makes the database
def collation() -> None:
    """On MariaDB, a database whose texts differ when their case does, as on the others; its default says otherwise."""
    if connection.vendor == "mysql":
        connection.settings_dict["TEST"] |= {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}


@pytest.fixture(autouse=True)
def test_settings(settings) -> None:  # type: ignore[no-untyped-def]
    """Passwords that are quick to hash, static files without a build, and mail as a task in front of the outbox."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MAILERS = settings.MAILERS | {"default": {"BACKEND": "twelve.services.mail.backends.TaskBackend"}}
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "tests.twelve.plugin.SourceStaticFiles"}}


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings) -> Path:  # type: ignore[no-untyped-def]
    """Where this test's uploads go."""
    folder = tmp_path / "media"
    settings.STORAGES = settings.STORAGES | {
        "default": settings.STORAGES["default"] | {"OPTIONS": {"location": str(folder)}}
    }
    return folder


@pytest.fixture
def make_deploy(tmp_path):  # type: ignore[no-untyped-def]
    """Make a deploy with a superuser, eve@example.com; its processes are ended with the test."""
    made = []

    def make(name="deploy", **variables):
        folder = tmp_path / name
        folder.mkdir()
        deploy = Deploy(
            folder, DJANGO_SUPERUSER_PASSWORD="a long enough passphrase", RELEASE_VERSION="v42", **variables
        )
        deploy.manage("migrate", "--noinput", "--verbosity", "0")
        deploy.manage("createsuperuser", "--noinput", "--email", "eve@example.com")
        made.append(deploy)
        return deploy

    yield make
    for deploy in made:
        deploy.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):  # type: ignore[no-untyped-def]
    """An authority and a certificate of localhost for the servers of tests/twelve/servers.py."""
    from tests.twelve.servers import Certificates

    return Certificates(tmp_path_factory.mktemp("certificates"))


# Servers for all tests of a worker that leave them as they were. A test that stops or fills one starts its own.


@pytest.fixture(scope="session")
def postgresql():  # type: ignore[no-untyped-def]
    from tests.twelve.servers import PostgreSQL

    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def redis():  # type: ignore[no-untyped-def]
    from tests.twelve.servers import Redis

    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def s3():  # type: ignore[no-untyped-def]
    from tests.twelve.object_storage import S3

    with S3() as server:
        yield server


@pytest.fixture
def also_on_each_service():
    """What else a site shows on each combination of backing services: its own tests/conftest.py may say."""
    return lambda person, worker: None
