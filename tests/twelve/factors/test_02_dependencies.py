"""Factor II: every package is declared, locked with its hash and installed into isolation."""

import re
import subprocess

import pytest

from tests.twelve.builds import STEPS, copy_of_the_repository
from tests.twelve.processes import BIN, ROOT


def pins(path):
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ]+)", path.read_text(), re.MULTILINE))


def test_development_builds_on_the_production_lock():
    production, development = pins(ROOT / "requirements.txt"), pins(ROOT / "requirements/dev.txt")
    assert len(production) > 20
    assert production.items() <= development.items()


@pytest.mark.parametrize("name", ["twelve/requirements.in", "tests/twelve/requirements.in"])
def test_each_requirement_of_the_machinery_has_its_reason(name):
    lines = (ROOT / name).read_text().splitlines()
    assert len(lines) > 10
    for line in lines:
        if line and not line.startswith("#"):
            assert re.search(r" # \w+", line), line


@pytest.mark.prove
def test_the_production_lock_alone_is_enough(built):
    """What development installs beside it must not hide a missing package: test_05 runs every process from here."""
    assert any("--require-hashes -r requirements.txt" in step for step in STEPS)
    assert built.run("python -m pip check").strip() == "No broken requirements found."
    listed = built.run("python -m pip freeze").lower().replace("_", "-")
    installed = dict(re.findall(r"^(\S+)==(\S+)$", listed, re.MULTILINE))
    assert installed.items() <= pins(ROOT / "requirements.txt").items()
    assert "pytest" not in installed
    assert built.run("python -c 'import sys; print(sys.prefix != sys.base_prefix)'") == "True\n"


@pytest.mark.prove
@pytest.mark.parametrize(
    ("line", "message"),
    [("", ""), ("import numpy\n", "DEP001 'numpy'"), ("import billiard\n", "DEP003 'billiard'")],
    ids=["declared", "not-installed", "another-packages"],
)
def test_an_import_that_is_not_declared_makes_lint_fail(line, message, tmp_path):
    copy_of_the_repository(tmp_path)
    urls = tmp_path / "config/urls.py"
    urls.write_text(line + urls.read_text())
    lint = subprocess.run([BIN / "deptry", "."], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert lint.returncode == bool(line), lint.stderr
    assert message in re.sub(r"\x1b\[[0-9;]*m", "", lint.stderr)
