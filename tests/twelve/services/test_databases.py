"""What asks the database, of the site and of the machinery, on each kind that is served: one variable differs."""

import os
import subprocess
import sys

import pytest

from tests.twelve.processes import ROOT
from tests.twelve.servers import MariaDB, PostgreSQL


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("server", [PostgreSQL, MariaDB])
def test_what_asks_the_database_passes(server):
    command = ["pytest", "-q", "-n", "2", "-m", "database and not prove", "-p", "no:cacheprovider"]
    with server() as database:
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT, env=outside_of_xdist() | {"DATABASE_URL": database.url}, capture_output=True, text=True,
        )  # fmt: skip
    assert result.returncode == 0, result.stdout[-8000:]
    assert " passed" in result.stdout


def outside_of_xdist():
    """The environment of these tests, without what makes a process a worker of pytest-xdist."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "STATIC_ROOT"))}
