"""Factor IX: processes start fast, since each imports what it uses and no client of a service that nobody attached."""

import re

import pytest

from tests.twelve.processes import Deploy, status, wait_until

pytestmark = pytest.mark.prove

IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\w+)", re.MULTILINE)  # written by PYTHONPROFILEIMPORTTIME
CLIENTS = {
    "MySQLdb", "psycopg", "redis", "pymemcache",  # the database is SQLite, the cache a table, the broker a folder
    "boto3", "botocore", "s3transfer", "storages", "google",  # uploads are files
    "sentry_sdk", "opentelemetry",
}  # fmt: skip


@pytest.fixture
def deploy(tmp_path):
    deploy = Deploy(tmp_path, PYTHONPROFILEIMPORTTIME="1")
    yield deploy
    deploy.close()


def imported(deploy):
    """The packages that the processes of the deploy have imported, or looked for, up to now."""
    packages = set(IMPORTED.findall((deploy.folder / "stderr.log").read_text()))
    assert "django" in packages
    return packages


def test_a_web_process_has_no_client_and_no_celery(deploy):
    web = deploy.start("web")
    wait_until(lambda: status(f"{deploy.address}/health/live/") == 200, 60, lambda: web.text)
    assert imported(deploy) & {*CLIENTS, "celery"} == set()


@pytest.mark.parametrize("name", ["worker", "clock"])
def test_worker_and_clock_have_no_client(deploy, name):
    deploy.manage("release")
    process = deploy.start(name)
    process.wait_for("ready|beat: Starting")
    assert imported(deploy) & CLIENTS == set()


def test_a_release_has_no_client_and_no_celery(deploy):
    deploy.start("release").wait_for("Released")
    assert imported(deploy) & {*CLIENTS, "celery"} == set()


def test_a_web_process_starts_without_the_client_of_its_bucket_and_of_its_broker(deploy):
    deploy.environment |= {
        "MEDIA_STORAGE_URL": "s3://bucket?region=eu-central-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "CELERY_BROKER_URL": "amqp://127.0.0.1:1",
    }
    web = deploy.start("web")
    wait_until(lambda: status(f"{deploy.address}/health/live/") == 200, 60, lambda: web.text)
    assert imported(deploy) & {*CLIENTS, "celery"} == set()
