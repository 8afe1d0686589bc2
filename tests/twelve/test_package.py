"""`pip install ./twelve` puts the machinery into any Django project: what CHANGELOG.md says is enough for that."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.twelve.builds import INDEX, copy_of_the_repository
from tests.twelve.events import events, wait_for_event
from tests.twelve.processes import BIN, DIRECT, ROOT, Process, free_port, status, wait_until
from twelve import __version__

WORK = """
from pathlib import Path

from twelve.tasks import task

@task
def write(name):
    print("working")
    Path(name).write_text("done")
"""
ENQUEUE = """
from pathlib import Path
from django.db import transaction
from bare.work import write
try:
    with transaction.atomic():
        write.enqueue("never")
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
with transaction.atomic():
    write.enqueue({name!r})
    assert not Path({name!r}).exists()
"""


def test_the_packages_are_the_folders_that_hold_python():
    declared = tomllib.loads((ROOT / "twelve/pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    left_over = {"build", "twelve.egg-info"}  # by pip, in a folder that it installed from
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "twelve").rglob("*.py")}
    assert declared == sorted(".".join(folder.parts) for folder in folders if left_over.isdisjoint(folder.parts))


def test_the_package_holds_python_alone():
    """A template or a static file would need a line of package data in twelve/pyproject.toml."""
    names = subprocess.run(["git", "ls-files", "twelve"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    beside = {"twelve/CHANGELOG.md", "twelve/pyproject.toml", "twelve/requirements.in"}
    assert {name for name in names.split() if not name.endswith(".py")} <= beside


def test_the_package_declares_what_it_imports(tmp_path):
    """deptry looks at it as at a project of its own."""
    shutil.copytree(ROOT / "twelve", tmp_path / "twelve")
    optional = [f"requirements/{name}.in" for name in ("sentry", "mysql", "gcs")]
    files = ",".join(str(ROOT / name) for name in ("twelve/requirements.in", *optional))
    ignored = "DEP002=psycopg|mysqlclient"  # loaded by name
    lint = subprocess.run(
        [BIN / "deptry", ".", "--requirements-files", files, "--per-rule-ignores", ignored],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert lint.returncode == 0, lint.stderr


class Bare:
    """What `django-admin startproject` makes, in a virtual environment that has the package alone."""

    def __init__(self, folder):
        self.root, self.bin = folder / "site", folder / "venv/bin"
        self.index = {name: value for name, value in os.environ.items() if INDEX.match(name)}
        self.environment = {
            "PATH": f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": str(folder),
            "DJANGO_SETTINGS_MODULE": "bare.settings",
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "EMAIL_URL": "consolemail://",
            "LOG_FORMAT": "json",
            "RELEASE_VERSION": "v7",
            "PYTHONUNBUFFERED": "1",
        }
        self.processes = []

    def run(self, *command, **variables):
        """Run a program of the virtual environment to its end; returns the completed process."""
        result = subprocess.run(
            [self.bin / command[0], *command[1:]], cwd=self.root, env=self.environment | variables,
            capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result

    def start(self, *command, output, **variables):
        process = Process(
            [self.bin / command[0], *command[1:]],
            environment=self.environment | variables,
            output=output,
            errors=output.with_suffix(".errors"),
            cwd=self.root,
        )
        self.processes.append(process)
        return process


def settings_lines():
    """The settings of another project, as CHANGELOG.md has them: its one block of code."""
    lines = (ROOT / "twelve/CHANGELOG.md").read_text().splitlines()
    return [line.strip() for line in lines if line.startswith("    ")]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    copy_of_the_repository(folder / "checkout")
    bare = Bare(folder)
    bare.root.mkdir()
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    bare.run("pip", "install", "--quiet", str(folder / "checkout/twelve"), **bare.index)
    bare.run("django-admin", "startproject", "bare", ".", DJANGO_SETTINGS_MODULE="")
    with (bare.root / "bare/settings.py").open("a") as file:
        file.write("\n".join(["", *settings_lines(), ""]))
    (bare.root / "bare/work.py").write_text(WORK)
    released = bare.run("python", "manage.py", "release")
    assert re.search(
        r"Applying twelve\.0001_initial\.\.\. OK(.|\n)*Released v7: \d+ migrations applied\.", released.stdout
    )
    yield bare
    for process in bare.processes:
        process.kill()


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_twenty_lines_of_settings_are_enough(bare):
    assert len(settings_lines()) <= 20
    assert "no issues" in bare.run("python", "manage.py", "check").stdout
    assert bare.run("pip", "show", "twelve").stdout.startswith(f"Name: twelve\nVersion: {__version__}\n")
    assert bare.run("pip", "check").stdout.strip() == "No broken requirements found."


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_release_migrates_and_is_recorded(bare):
    assert (
        "Released v8: no migrations applied." in bare.run("python", "manage.py", "release", RELEASE_VERSION="v8").stdout
    )
    show = "from twelve.models import Release; print(*Release.objects.order_by('pk').values_list('version', flat=True))"
    assert bare.run("python", "manage.py", "shell", "--no-imports", "-c", show).stdout.split() == ["v7", "v8"]


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ours", [True, False], ids=["with-the-settings-of-twelve", "plain"])
def test_a_web_process_logs_each_request_and_reports_its_health(bare, ours, tmp_path):
    port = free_port()
    given = ["-c", "python:twelve.web.gunicorn"] if ours else ["--bind", f"127.0.0.1:{port}"]
    web = bare.start("gunicorn", *given, "bare.wsgi", output=tmp_path / "web.log", PORT=str(port), WEB_CONCURRENCY="1")
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: status(f"{address}/health/ready/") == 200, 30, lambda: web.text)
    with DIRECT.open(f"{address}/health/live/") as answer:
        assert answer.read() == b'{"status": "live", "release": "v7", "commit": ""}'
    with DIRECT.open(f"{address}/health/ready/") as answer:
        assert answer.read() == b'{"status": "ready", "services": {"database": "up", "cache": "up"}}'
    assert [status(f"{address}{path}") for path in ("/", "/none", "/admin/login/")] == [200, 404, 200]
    assert web.stop() == 0

    logged = events(web.text)
    access = [(event["path"], event["status"]) for event in logged if event["logger"] == "access"]
    assert access == [("/", 200), ("/none", 404), ("/admin/login/", 200)]
    assert {(event["release"], event["process_type"]) for event in logged} == {("v7", "web" if ours else "gunicorn")}
    if ours:  # otherwise gunicorn has begun to speak before the settings are there
        assert web.errors.read_text() == ""
        assert any("Starting gunicorn" in event["message"] for event in logged)


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_task_is_run_by_a_worker_once_its_transaction_commits(bare, tmp_path):
    variables = {"CELERY_BROKER_URL": f"filesystem://{tmp_path}/broker"}
    worker = bare.start(
        "celery", "-q", "-A", "twelve", "worker", "-c", "1", output=tmp_path / "worker.log", **variables
    )
    clock = bare.start("celery", "-q", "-A", "twelve", "beat", "--pidfile=", output=tmp_path / "clock.log", **variables)
    written = tmp_path / "written"
    enqueue = ENQUEUE.format(name=str(written))
    bare.run("python", "manage.py", "shell", "--no-imports", "-c", enqueue, **variables)
    wait_for_event(worker, task="bare.work.write", outcome="done")
    assert written.read_text() == "done"
    wait_for_event(clock, message="beat: Starting...")
    for process, name in ((worker, "worker"), (clock, "clock")):
        assert process.stop() == 0, process.text
        logged = events(process.text)
        assert {event["process_type"] for event in logged} == {name}
        assert process.errors.read_text() == ""
    assert [event["message"] for event in events(worker.text) if event["logger"] == "stdout"] == ["working"]
    assert not (bare.root / "never").exists()


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_without_a_broker_a_task_is_run_in_the_process_that_enqueued_it(bare, tmp_path):
    written = tmp_path / "written"
    bare.run("python", "manage.py", "shell", "--no-imports", "-c", ENQUEUE.format(name=str(written)))
    assert written.read_text() == "done"
    assert not (bare.root / "never").exists()
