"""What platforms read, docs/deploy and app.json: well formed, in step with the Procfile and the declared variables.

These tests are the site's own: delete those of platforms that it leaves.
"""

import json
import re
import subprocess
import tomllib

import pytest
import yaml

from config import gunicorn, settings
from tests.twelve.builds import STEPS
from tests.twelve.kit import STOP_SECONDS, procfile
from tests.twelve.processes import ROOT, program
from twelve.env import REQUIRED, env

DEPLOY = ROOT / "docs/deploy"
LINES = {name: line for name, line in procfile().items() if name in ("release", "web", "worker", "clock")}
HEALTH = "/health/ready/"
# Seconds that a platform has to give at least between SIGTERM and SIGKILL.
STOPS = max(gunicorn.graceful_timeout, settings.CELERY["worker_soft_shutdown_timeout"] + STOP_SECONDS)
# Variables of platforms and tools that are not ours to declare.
THEIRS = {
    "ACCESS_KEY_ID",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "FORWARDED_ALLOW_IPS",
    "GUNICORN_CMD_ARGS",
    "RAILWAY_DEPLOYMENT_DRAINING_SECONDS",
    "RAILWAY_DOCKERFILE_PATH",
    "SECRET_ACCESS_KEY",
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
    assert re.findall(r"^RUN (.+)$", text, re.MULTILINE) == [*STEPS]
    assert text.rstrip().endswith(WEB_LINE)
    assert json.loads(WEB_LINE.removeprefix("CMD ")) == LINES["web"].split()
    assert text.index("USER nobody") > text.index("collectstatic")
    assert (
        re.search(r"^FROM python:(\S+)-slim$", text, re.MULTILINE)[1] == (ROOT / ".python-version").read_text().strip()
    )
    assert {".env", ".git", ".venv", "var"} <= set((DEPLOY / "Dockerfile.dockerignore").read_text().splitlines())


def test_flys_file():
    content = tomllib.loads((DEPLOY / "fly.toml").read_text())
    assert content["processes"].items() >= {(name, line) for name, line in LINES.items() if name != "release"}
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
    commands = {name: service["startCommand"] for name, service in services.items()}
    assert commands.items() >= {(name, line) for name, line in LINES.items() if name != "release"}
    types = {name: service["type"] for name, service in services.items()}
    assert types.items() >= {("web", "web"), ("worker", "worker"), ("clock", "worker")}
    assert services["web"]["preDeployCommand"] == LINES["release"]
    assert services["web"]["healthCheckPath"] == HEALTH
    group = {variable["key"] for variable in content["envVarGroups"][0]["envVars"]}
    needed = {"SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL", "MEDIA_STORAGE_URL"}
    for service in services.values():
        assert service["buildCommand"] == " && ".join(STEPS)
        assert STOPS < service["maxShutdownDelaySeconds"] <= 300
        assert needed <= group | {variable.get("key") for variable in service["envVars"]}
        for variable in service["envVars"]:
            assert sum(way in variable for way in ("fromGroup", "fromDatabase", "fromService", "sync")) == 1, variable


@pytest.mark.prove
def test_the_units_of_systemd(tmp_path):
    units = {name: DEPLOY / f"systemd/site-{name}.service" for name in LINES if name != "release"}
    for name, path in units.items():
        start = re.search(r"^ExecStart=/usr/bin/env (.+)$", path.read_text(), re.MULTILINE)[1]
        assert start == LINES[name].removeprefix("env ")
    common = (DEPLOY / "systemd/site-.service.d/common.conf").read_text()
    assert "KillMode=mixed" in common
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", common, re.MULTILINE)[1]) > STOPS
    verify = subprocess.run(
        [program("systemd-analyze"), "verify", *units.values()],
        env={"SYSTEMD_UNIT_PATH": f"{DEPLOY / 'systemd'}:"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (verify.returncode, verify.stderr) == (0, "")


PAGES = [DEPLOY / f"{name}.md" for name in ("dokku", "fly", "heroku", "railway", "render", "systemd")]
FILES = [DEPLOY / name for name in ("Dockerfile", "fly.toml", "railway.json", "render.yaml")]
UNITS = [DEPLOY / f"systemd/site-{name}" for name in (".service.d/common.conf", "web.service", "worker.service",
                                                      "clock.service")]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_each_platform_needs(page):
    text = page.read_text()
    for word in ("Scaling", "Rollback", "One-offs", "Logs", "Stopping", "ADMIN_USER", "manage.py"):
        assert word in text, word


def test_every_variable_that_is_named_is_declared_or_a_platforms():
    known = set(env.variables) | set(env.fallbacks) | THEIRS
    for path in [*PAGES, *FILES, *UNITS]:
        named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", path.read_text()))
        assert named <= known, f"{path.name}: {sorted(named - known)}"


def test_every_file_is_explained():
    pages = "".join(page.read_text() for page in PAGES)
    assert [path.name for path in FILES if path.name not in pages] == []
    assert "docs/deploy" in (ROOT / "README.md").read_text()
