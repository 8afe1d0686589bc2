"""Factor X: development runs the processes, settings and kinds of services that a deploy runs.

That the suite passes on each kind of database is tests/services/test_databases.py's.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest

from apps.ops import processes
from config.env import env
from tests.processes import ROOT, Deploy, Process
from tests.twelve.test_04_backing_services import ROWS

CODE = [path for folder in ("config", "apps") for path in sorted((ROOT / folder).rglob("*.py"))] + [ROOT / "manage.py"]
ENVIRONMENTS = {"production", "prod", "staging", "stage", "development", "develop", "dev", "testing", "ci"}


@pytest.mark.e2e
def test_make_run_starts_the_lines_of_the_procfile(tmp_path):
    expected = {name: shlex.split(line) for name, line in processes.procfile().items() if name != "release"}
    deploy = Deploy(tmp_path, DEBUG="true")
    deploy.manage("release")
    command = [deploy.bin / "python", "manage.py", "run_processes", "--port", str(deploy.port)]
    run = Process(command, environment=deploy.environment, output=tmp_path / "run.log")
    try:
        run.wait_for("Ready: ")
        run.wait_for("beat: Starting")
        started = [command_of(pid) for pid in children(run.child.pid)]
    finally:
        run.stop()
        run.kill()
    # A script is started by its interpreter, and `env` becomes what it starts.
    assert sorted(words[2:] for words in started) == sorted(plain(words)[1:] for words in expected.values())
    assert sorted(Path(words[1]).name for words in started) == sorted(plain(words)[0] for words in expected.values())


def plain(words):
    """A command line without `env NAME=value`."""
    return [word for word in words if word != "env" and not re.match(r"[A-Z_]+=", word)]


def children(pid):
    return (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()


def command_of(pid):
    return (Path("/proc") / pid / "cmdline").read_text().rstrip("\0").split("\0")


def test_no_code_knows_the_name_of_an_environment():
    """Nothing is compared with one, no module and no variable is named after one."""
    assert len(CODE) > 50
    for path in CODE:
        assert path.stem not in ENVIRONMENTS, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.lower() not in ENVIRONMENTS, f"{path}:{node.lineno}"
    words = {word for name in env.variables for word in name.lower().split("_")}
    assert not words & (ENVIRONMENTS | {"environment", "stage"})


def test_every_entry_point_takes_the_same_settings():
    """Wherever a module is named for Django's settings, it is the one; and the Procfile names none."""
    named = {match for path in CODE for match in re.findall(r'"DJANGO_SETTINGS_MODULE", "([^"]+)"', path.read_text())}
    assert named == {"config.settings"}
    assert sum('"DJANGO_SETTINGS_MODULE"' in path.read_text() for path in CODE) == 5
    assert 'DJANGO_SETTINGS_MODULE = "config.settings"' in (ROOT / "pyproject.toml").read_text()
    assert "settings" not in (ROOT / "Procfile").read_text()


def test_the_servers_for_local_work_are_of_kinds_that_are_tested():
    images = re.findall(r"image: (?:\S+/)?(\w+)", (ROOT / "docs/compose.yaml").read_text())
    kinds = {kind.rstrip("+") for row in ROWS for kind in row}
    assert {{"postgres": "postgresql", "mailpit": "smtp"}.get(image, image) for image in images} <= kinds
    assert len(images) == 4
