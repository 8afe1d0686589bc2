"""What platforms read, docs/deploy and app.json: well formed, in step with the Procfile and the declared variables."""

import json
import re
import subprocess
import tomllib

import pytest
import yaml

from apps.ops.processes import procfile
from config import gunicorn, settings
from config.celery import STOP_SECONDS
from config.env import REQUIRED, env
from tests.builds import steps
from tests.processes import ROOT, program

DEPLOY = ROOT / "docs/deploy"
LINES = procfile()
HEALTH = "/health/ready/"
# Seconds that a platform has to give at least between SIGTERM and SIGKILL.
STOPS = max(gunicorn.graceful_timeout, settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT + STOP_SECONDS)
# Variables of platforms and tools that are not ours to declare.
THEIRS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "FORWARDED_ALLOW_IPS",
    "GUNICORN_CMD_ARGS",
    "RAILWAY_DEPLOYMENT_DRAINING_SECONDS",
    "RAILWAY_DOCKERFILE_PATH",
    "REMAP_SIGTERM",
}
WEB_LINE = 'CMD ["gunicorn", "-c", "python:config.gunicorn"]'


def test_app_json_is_one_of_heroku_and_of_dokku():
    """By Heroku's schema (devcenter, "app.json Schema") and the healthchecks of Dokku's."""
    content = json.loads((ROOT / "app.json").read_text())
    # A quantity in `formation` would keep Dokku from scaling.
    assert set(content) == {"name", "description", "addons", "healthchecks", "env"}
    assert {"heroku-postgresql", "heroku-redis"} == set(content["addons"])
    for name, entry in content["env"].items():
        assert set(entry) <= {"description", "value", "required", "generator"}, name
        assert isinstance(entry["description"], str)
        assert isinstance(entry.get("value", ""), str)
        assert sum(key in entry for key in ("value", "required", "generator")) == 1
    assert content["env"]["SECRET_KEY"]["generator"] == "secret"
    required = {name for name, variable in env.variables.items() if variable.default is REQUIRED}
    assert required <= set(content["env"])
    # The add-ons set these, one under a name that counts as it.
    optional = {name for name, entry in content["env"].items() if entry.get("required") is False}
    assert optional == {"DATABASE_URL", "CELERY_BROKER_URL"}
    assert "REDIS_URL" in env.variables["CELERY_BROKER_URL"].fallbacks
    (check,) = content["healthchecks"]["web"]
    assert set(check) == {"type", "name", "description", "path", "attempts", "wait", "timeout"}
    assert (check["type"], check["path"]) == ("startup", HEALTH)


def test_the_image_is_built_by_two_steps_and_carries_no_secret():
    text = (DEPLOY / "Dockerfile").read_text()
    assert steps() == [
        "pip install --no-cache-dir --require-hashes -r requirements.txt",
        "python manage.py collectstatic --noinput",
    ]
    assert text.rstrip().endswith(WEB_LINE)
    assert json.loads(WEB_LINE.removeprefix("CMD ")) == LINES["web"].split()
    assert text.index("USER nobody") > text.index("collectstatic")
    assert (
        re.search(r"^FROM python:(\S+)-slim$", text, re.MULTILINE)[1] == (ROOT / ".python-version").read_text().strip()
    )
    assert {".env", ".git", ".venv", "var"} <= set((DEPLOY / "Dockerfile.dockerignore").read_text().splitlines())


def test_flys_file():
    content = tomllib.loads((DEPLOY / "fly.toml").read_text())
    assert content["processes"] == {name: line for name, line in LINES.items() if name != "release"}
    assert content["deploy"]["release_command"] == LINES["release"]
    assert all((DEPLOY / content["build"][name]).is_file() for name in ("dockerfile", "ignorefile"))
    service = content["http_service"]
    assert (service["processes"], str(service["internal_port"])) == (["web"], content["env"]["PORT"])
    assert [check["path"] for check in service["checks"]] == [HEALTH]
    assert content["kill_signal"] == "SIGTERM"
    assert STOPS < content["kill_timeout"] <= 300  # the most that Fly gives
    assert set(content["env"]) <= set(env.variables)


def test_railways_file():
    content = json.loads((DEPLOY / "railway.json").read_text())
    assert content["build"] == {"builder": "DOCKERFILE", "dockerfilePath": "docs/deploy/Dockerfile"}
    deploy = content["deploy"]
    assert (deploy["startCommand"], deploy["preDeployCommand"]) == (LINES["web"], [LINES["release"]])
    assert deploy["healthcheckPath"] == HEALTH
    assert deploy["drainingSeconds"] > STOPS


def test_renders_file():
    content = yaml.safe_load((DEPLOY / "render.yaml").read_text())
    assert set(content) == {"services", "databases", "envVarGroups"}
    services = {service["name"].removeprefix("site-"): service for service in content["services"]}
    queue = services.pop("queue")
    assert (queue["type"], queue["maxmemoryPolicy"], queue["ipAllowList"]) == ("keyvalue", "noeviction", [])
    assert {name: service["startCommand"] for name, service in services.items()} == {
        name: line for name, line in LINES.items() if name != "release"
    }
    assert {name: service["type"] for name, service in services.items()} == {
        "web": "web", "worker": "worker", "clock": "worker"
    }  # fmt: skip
    assert services["web"]["preDeployCommand"] == LINES["release"]
    assert services["web"]["healthCheckPath"] == HEALTH
    group = {variable["key"] for variable in content["envVarGroups"][0]["envVars"]}
    needed = {name for name, variable in env.variables.items() if variable.default is REQUIRED} - {"ALLOWED_HOSTS"}
    for service in services.values():
        assert service["buildCommand"] == " && ".join(steps())
        assert STOPS < service["maxShutdownDelaySeconds"] <= 300
        assert needed <= group | {variable.get("key") for variable in service["envVars"]}
        for variable in service["envVars"]:
            assert sum(way in variable for way in ("fromGroup", "fromDatabase", "fromService", "sync")) == 1, variable


def test_the_units_of_systemd(tmp_path):
    units = {path.stem.removeprefix("site-"): path for path in (DEPLOY / "systemd").glob("*.service")}
    for name, path in units.items():
        start = re.search(r"^ExecStart=/usr/bin/env (.+)$", path.read_text(), re.MULTILINE)[1]
        assert start == LINES[name].removeprefix("env ")
    assert set(units) == set(LINES) - {"release"}
    common = (DEPLOY / "systemd/site-.service.d/common.conf").read_text()
    assert "KillMode=mixed" in common
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", common, re.MULTILINE)[1]) > STOPS
    verify = subprocess.run(
        [program("systemd-analyze"), "verify", *units.values()],
        env={"SYSTEMD_UNIT_PATH": f"{DEPLOY / 'systemd'}:"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (verify.returncode, verify.stderr) == (0, "")


PAGES = sorted(DEPLOY.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_a_screen_and_says_what_each_platform_needs(page):
    text = page.read_text()
    assert len(text.splitlines()) <= 45
    for word in ("Scaling", "Rollback", "One-offs", "Logs", "Stopping", "ADMIN_USER", "manage.py"):
        assert word in text, word


def test_every_variable_that_is_named_is_declared_or_a_platforms():
    known = set(env.variables) | set(env.fallbacks) | THEIRS
    for path in (path for path in DEPLOY.rglob("*") if path.is_file()):
        named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", path.read_text()))
        assert named <= known, f"{path.name}: {sorted(named - known)}"


def test_every_file_is_explained():
    pages = "".join(page.read_text() for page in PAGES)
    names = [path.name for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".toml", ".json")] + ["Dockerfile"]
    assert [name for name in names if name not in pages] == []
    assert "docs/deploy" in (ROOT / "README.md").read_text()
