"""The unit suite on each database that is served, with the same settings: one variable differs."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT
from tests.servers import MariaDB, PostgreSQL

# The tests of the apps; those of config/ and of the servers ask nothing of a database.
SUITE = ("tests/jobs", "tests/ops", "tests/pages", "tests/photos", "tests/users", "tests/config/test_cache.py")


@pytest.mark.e2e
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", [PostgreSQL, MariaDB])
def test_the_unit_suite_passes(server):
    suite = [name for name in SUITE if (ROOT / name).exists()]  # the sample may be gone
    with server() as database:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "not e2e", "-p", "no:cacheprovider", *suite],
            cwd=ROOT, env=os.environ | {"DATABASE_URL": database.url}, capture_output=True, text=True, timeout=850,
        )  # fmt: skip
    assert result.returncode == 0, result.stdout[-8000:]
    assert " passed" in result.stdout
