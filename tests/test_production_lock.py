"""The production lock alone is enough: what development installs beside it must not hide a missing package."""

import re
import subprocess
import sys

import pytest

from tests.processes import ROOT, Deploy, Person, wait_until


def pins(path):
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ]+)", path.read_text(), re.MULTILINE))


def test_development_builds_on_the_production_lock():
    production, development = pins(ROOT / "requirements.txt"), pins(ROOT / "requirements/dev.txt")
    assert len(production) > 20
    assert production.items() <= development.items()


def test_each_requirement_has_its_reason():
    for name in ("base.in", "dev.in"):
        for line in (ROOT / "requirements" / name).read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                assert re.search(r" # \w+", line), line


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_every_process_type_runs_from_the_production_lock_alone(tmp_path):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip", "--disable-pip-version-check"]
    lock = ROOT / "requirements.txt"
    subprocess.run([*pip, "install", "-q", "--only-binary=:all:", "--require-hashes", "-r", lock], check=True)
    subprocess.run([*pip, "check"], check=True)
    installed = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    assert "pytest" not in installed

    deploy = Deploy(tmp_path, bin_=venv / "bin", STATIC_ROOT=str(tmp_path / "static"))
    try:
        deploy.manage("collectstatic", "--noinput", "--verbosity", "0")
        release = deploy.start("release")
        assert release.child.wait(60) == 0, release.text
        web, worker, clock = deploy.start_web(), deploy.start("worker"), deploy.start("clock")
        worker.wait_for("ready")
        clock.wait_for("beat: Starting")
        person = Person(deploy.address)
        person.sign_up("eve@example.com", "a long enough passphrase", lambda: worker.text)
        wait_until(lambda: "Good to see you" in person.get("/"), 10, lambda: person.page + web.text)
        for process in (web, worker, clock):
            assert process.stop() == 0, process.text
    finally:
        deploy.close()
