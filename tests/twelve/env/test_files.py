"""`manage.py env`: every variable, where it came from, and the files that are written from the declarations."""

import json
import re
from pathlib import Path

import pytest

from tests.twelve.attached import attach
from tests.twelve.processes import GOOD, run
from twelve import logs, platforms
from twelve.env import env
from twelve.env import files as environment

ENV = ("python", "manage.py", "env")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project's folder with an app.json, in which nothing was written."""
    (tmp_path / "app.json").write_text('{"name": "A site", "env": {"GONE": {"description": "Of a former version."}}}')
    monkeypatch.setattr(env, "base_dir", tmp_path)
    return tmp_path


def test_the_files_are_written_from_the_declarations(folder):
    """A system check, twelve.W005, which `make lint` refuses, says whether those of the project are up to date."""
    assert environment.write() == [".env.example", "app.json"]
    assert environment.write() == []
    example = (folder / ".env.example").read_text()
    assert re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE) == [
        variable.name for variable in env.variables.values() if not variable.platform
    ]
    content = json.loads((folder / "app.json").read_text())
    assert content["name"] == "A site"
    assert {"SECRET_KEY", "DATABASE_URL"} <= set(content["env"])
    assert "GONE" not in content["env"]


def test_a_project_without_an_app_json_gets_none(folder):
    (folder / "app.json").unlink()
    assert environment.write() == [".env.example"]
    assert [path.name for path in folder.iterdir()] == [".env.example"]


def test_a_file_is_stale_once_it_says_something_else(folder):
    environment.write()
    assert environment.stale() == []
    (folder / ".env.example").write_text("LOG_LEVEL=info\n")
    assert environment.stale() == [folder / ".env.example"]
    (folder / ".env.example").unlink()
    assert environment.stale() == []


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


def test_every_variable_of_the_machinery_says_what_it_is_for():
    env = attach({}).env
    platforms.hosts(env)
    platforms.from_environment(Path("nowhere"), env)
    logs.from_environment(env)
    logs.sentry_from_environment(env)
    assert len(env.variables) > 35
    for variable in env.variables.values():
        assert variable.help.endswith("."), variable.name


def test_only_the_reader_touches_the_environment():
    reads = {"twelve/env/reader.py", "twelve/processes.py"}  # which starts processes with one
    for path in Path("twelve").rglob("*.py"):
        if str(path) not in reads:
            for word in ("environ[", "os.environ", "getenv"):
                assert word not in path.read_text(), path
