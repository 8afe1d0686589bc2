"""The release: `migrate_db` takes the time that it needs, and tells what to do when it cannot reach the database."""

import subprocess
import sys

import pytest

from tests.processes import ROOT, Deploy
from tests.servers import MariaDB, PgBouncer, PostgreSQL

pytestmark = pytest.mark.e2e

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


@pytest.mark.parametrize("pool", ["0", "2"], ids=["without a pool", "with a pool"])
def test_a_certificate_that_is_not_trusted_is_told_with_the_variables(certificates, tmp_path, pool):
    with PostgreSQL(certificates=certificates) as postgres:
        url = f"{postgres.url}?sslmode=require"
        deploy = Deploy(tmp_path, DATABASE_URL=url, DATABASE_POOL_SIZE=pool)
        result = deploy.manage("migrate_db", check=False)
    assert result.returncode == 1
    assert "The database is not migrated" in result.stderr
    assert "DATABASE_TLS_CA" in result.stderr
    assert "DATABASE_TLS_VERIFY=false" in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if not line.startswith("{")]) == 1


def test_a_pooler_that_takes_no_limits_is_told_with_the_variable(tmp_path):
    with PostgreSQL() as postgres, PgBouncer(postgres) as bouncer:
        deploy = Deploy(tmp_path, DATABASE_URL=bouncer.url)
        for command in "migrate_db", "probe_services":
            result = deploy.manage(command, check=False)
            assert result.returncode == 1
            assert "set DIRECT_DATABASE_URL" in result.stdout + result.stderr
