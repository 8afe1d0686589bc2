"""Factor X: development runs the processes, settings and kinds of services that a deploy runs.

tests/twelve/services/test_databases.py proves that the suite passes on each kind of database.
"""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.twelve.builds import copy_of_the_repository
from tests.twelve.factors.test_04_backing_services import ROWS
from tests.twelve.processes import BIN, PATH, ROOT, Deploy, Person, Process, free_port, program, status, wait_until
from twelve import processes

ENTRY_POINTS = [ROOT / name for name in ("manage.py", "config/wsgi.py", "config/asgi.py", "config/celery.py",
                                         "config/gunicorn.py")]  # fmt: skip
CODE = [*sorted((ROOT / "twelve").rglob("*.py")), ROOT / "manage.py"]  # a site looks at its own in tests/config
KIT = ROOT / "twelve/testing.py"  # what the tests of a project call, and no deploy
ENVIRONMENTS = {"production", "prod", "staging", "stage", "development", "develop", "dev", "testing", "ci"}


@pytest.mark.prove
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


@pytest.mark.prove
def test_honcho_starts_them_with_the_env_file_that_setup_writes(tmp_path):
    """And so do Node's foreman and `heroku local`, which read the same two files."""
    site, port = tmp_path / "my site", free_port()
    copy_of_the_repository(site)
    # A short lease, after which the clock publishes a task that no worker received.
    given = {"PATH": PATH, "HOME": str(tmp_path), "TASKS_LEASE_SECONDS": "2"}

    def call(*command, **variables):
        subprocess.run(command, cwd=site, env=given | variables, check=True, capture_output=True, timeout=120)

    def mail(name, **variables):
        call(BIN / "python", "manage.py", "sendtestemail", f"{name}@example.com", **variables)

    call(program("make"), "setup", f"PYTHON={BIN}/python", "--assume-old=.venv/.installed")
    command = [BIN / "honcho", "start", "--port", str(port), "web", "worker", "clock"]
    honcho = Process(command, environment=given, output=tmp_path / "log", cwd=site)
    try:
        wait_until(lambda: status(f"http://localhost:{port}/health/ready/") == 200, 60, lambda: honcho.text)
        mail("worker")
        honcho.wait_for(r"worker\.1 .* mail to worker@example\.com")
        mail("clock", CELERY_BROKER_URL=f"filesystem://{tmp_path}/elsewhere")
        honcho.wait_for(r"worker\.1 .* mail to clock@example\.com")
    finally:
        honcho.stop()
    assert "Traceback" not in honcho.text


@pytest.mark.prove
def test_runserver_alone_runs_the_tasks_too(tmp_path):
    """The variables are those of the .env that `make setup` writes."""
    deploy = Deploy(tmp_path, DEBUG="true", LOG_FORMAT="console")
    deploy.manage("release")
    command = [deploy.bin / "python", "manage.py", "runserver", "--noreload", str(deploy.port)]
    server = Process(command, environment=deploy.environment, output=tmp_path / "run.log")
    try:
        wait_until(lambda: status(f"{deploy.address}/health/ready/") == 200, 60, lambda: server.text)
        Person(deploy.address).sign_up("eve@example.com", "a long enough passphrase", lambda: server.text)
    finally:
        server.kill()
    assert deploy.sql("SELECT status, count(*) FROM twelve_task GROUP BY status") == [("SUCCESSFUL", 1)]


def plain(words):
    """A command line without `env NAME=value`."""
    return [word for word in words if word != "env" and not re.match(r"[A-Z_]+=", word)]


def children(pid):
    return (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()


def command_of(pid):
    return (Path("/proc") / pid / "cmdline").read_text().rstrip("\0").split("\0")


def test_no_setting_knows_the_name_of_an_environment():
    """Nothing is compared with one, and no module is named after one."""
    assert len(CODE) > 50
    for path in CODE:
        assert path.stem not in ENVIRONMENTS or path == KIT, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.lower() not in ENVIRONMENTS, f"{path}:{node.lineno}"


def test_every_entry_point_takes_the_same_settings():
    """Each entry point names config.settings as Django's settings, and the Procfile names none."""
    for path in ENTRY_POINTS:
        assert re.findall(r'"DJANGO_SETTINGS_MODULE", "([^"]+)"', path.read_text()) == ["config.settings"], path
    assert 'DJANGO_SETTINGS_MODULE = "config.settings"' in (ROOT / "pyproject.toml").read_text()
    assert "settings" not in (ROOT / "Procfile").read_text()


def test_the_servers_for_local_work_are_of_kinds_that_are_tested():
    images = re.findall(r"image: (?:\S+/)?(\w+)", (ROOT / "docs/compose.yaml").read_text())
    kinds = {kind.rstrip("+") for row in ROWS for kind in row}
    assert {{"postgres": "postgresql", "mailpit": "smtp"}.get(image, image) for image in images} <= kinds
    assert len(images) == 4
