"""`manage.py env`: every variable, where it came from, and the files that are written from the declarations."""

from apps.ops import environment
from config.env import env
from tests.processes import GOOD, run

ENV = ("python", "manage.py", "env")


def test_the_written_files_are_up_to_date():
    for path, text in environment.written().items():
        assert path.read_text() == text, f"{path.name} is stale: run `python manage.py env --write`"


def test_the_table_names_every_variable_and_masks_secrets():
    result = run(ENV, **GOOD, CACHE_URL="redis://:hunter2@cache:6379/1")
    assert result.returncode == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert set(rows) == set(env.variables)
    assert "redis://***@cache:6379/1" in rows["CACHE_URL"]
    assert "environment" in rows["CACHE_URL"]
    assert "default" in rows["LOG_LEVEL"]
    assert GOOD["SECRET_KEY"] not in result.stdout
    assert "hunter2" not in result.stdout


def test_the_table_is_shown_whatever_is_wrong():
    result = run(ENV, DEBUG="maybe", DATABSE_URL="x")
    assert result.returncode == 0
    assert "DEBUG is 'maybe'" in result.stderr
    assert "DATABSE_URL: did you mean DATABASE_URL?" in result.stderr


def test_check_exits_by_the_problems():
    assert run((*ENV, "--check"), **GOOD).returncode == 0
    broken = run((*ENV, "--check"), **GOOD, WEB_THREADS="many")
    assert (broken.returncode, broken.stdout) == (1, "")
    assert "WEB_THREADS is 'many'" in broken.stderr
