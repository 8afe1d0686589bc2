"""The unit suite on each database that is served, with the same settings: one variable differs."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT
from tests.servers import MariaDB, PostgreSQL

# What asks no database of this suite: it need not be asked twice more.
OTHERS = (
    "tests/config/test_s3.py",
    "tests/config/test_gcs.py",
    "tests/config/test_buckets.py",
    "tests/test_object_storage.py",
    "tests/test_servers.py",
)


@pytest.mark.e2e
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", [PostgreSQL, MariaDB])
def test_the_unit_suite_passes(server):
    ignored = [f"--ignore={name}" for name in OTHERS]
    with server() as database:
        suite = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "not e2e", "-p", "no:cacheprovider", *ignored],
            cwd=ROOT, env=os.environ | {"DATABASE_URL": database.url}, capture_output=True, text=True, timeout=850,
        )  # fmt: skip
    assert suite.returncode == 0, suite.stdout[-8000:]
    assert " passed" in suite.stdout
