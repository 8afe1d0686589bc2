"""What all tests share: static files as the build leaves them, and media in a temporary folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.processes import Deploy

# Who starts the tests in the background of a shell has these ignored, and so would every process that a test stops.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's


@pytest.fixture(scope="session", autouse=True)
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build of a deploy, once for all tests: static files, collected with no config at all."""
    folder = tmp_path_factory.mktemp("static")
    environment = {"STATIC_ROOT": str(folder), "READ_DOT_ENV": "false"}
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"],
        cwd=settings.BASE_DIR,
        env=environment,
        check=True,
    )
    settings.STATIC_ROOT = os.environ["STATIC_ROOT"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """On MariaDB, a database whose texts differ when their case does, as on the others; its default says otherwise."""
    if connection.vendor == "mysql":
        connection.settings_dict["TEST"] |= {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}


@pytest.fixture(autouse=True)
def test_settings(settings) -> None:  # type: ignore[no-untyped-def]
    """Passwords that are quick to hash, and mail as a job in front of the outbox that Django's runner puts in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MAILERS = settings.MAILERS | {"default": {"BACKEND": "apps.jobs.mail.JobBackend"}}


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
    """An authority and a certificate of localhost for the servers of tests/servers.py."""
    from tests.servers import Certificates

    return Certificates(tmp_path_factory.mktemp("certificates"))
