"""The Procfile is understood wherever it is read, and each process type runs from it and writes nothing."""

import shlex
import subprocess

import pytest

from tests.twelve.builds import a_stylesheet
from tests.twelve.processes import ROOT, Deploy, Person, Process, status, wait_until
from twelve.processes import procfile


def test_the_process_types():
    assert set(procfile()) >= {"release", "web", "worker", "clock"}


@pytest.mark.parametrize("name", ["release", "web", "worker", "clock"])
def test_a_line_means_the_same_to_every_reader(name):
    """A buildpack runs `exec $(eval echo LINE)`, others split it or give it to a shell."""
    line = procfile()[name]
    echoed = subprocess.run(["bash", "-c", f"eval echo {line}"], capture_output=True, text=True, check=True).stdout
    assert echoed.split() == shlex.split(line) == line.split()


@pytest.fixture
def deploy(tmp_path):
    deploy = Deploy(tmp_path, DJANGO_SUPERUSER_PASSWORD="a long enough passphrase")
    deploy.manage("migrate", "--noinput", "--verbosity", "0")
    yield deploy
    deploy.close()


@pytest.mark.prove
def test_the_clock_writes_no_file(deploy):
    def files():
        # Of a folder the name alone: other tests may write below it meanwhile.
        return {(path, path.is_file() and path.stat().st_mtime) for path in ROOT.iterdir()}

    before = files()
    clock = deploy.start("clock")
    clock.wait_for("beat: Starting")
    assert clock.stop() == 0
    assert {(path, changed) for path, changed in files() if path.name != "var"} <= before


@pytest.mark.prove
def test_the_same_site_is_served_over_asgi(deploy, build, tmp_path):
    deploy.manage("createsuperuser", "--noinput", "--email", "eve@example.com")
    command = ["uvicorn", "config.asgi:application", "--port", str(deploy.port), "--lifespan", "off"]
    server = Process(["/usr/bin/env", *command], environment=deploy.environment, output=tmp_path / "uvicorn.log")
    deploy.processes.append(server)
    wait_until(lambda: status(f"{deploy.address}/health/ready/") == 200, 30, lambda: server.text)
    person = Person(deploy.address)
    person.post("/accounts/login/", {"login": "eve@example.com", "password": "a long enough passphrase"})
    _name, stylesheet = a_stylesheet(build)
    assert person.fetch(f"/static/{stylesheet}") == (build / stylesheet).read_bytes()
    assert "Sign out" in person.get("/")
    assert server.stop() in (0, -15), server.text
    assert "Traceback" not in server.text
