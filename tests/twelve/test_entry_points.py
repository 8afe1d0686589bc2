"""What the entry points make of their config; factors/test_03_config.py proves that they refuse a broken one."""

import pytest

from tests.twelve.attached import complaints
from tests.twelve.builds import a_stylesheet
from tests.twelve.processes import GOOD, report, run
from twelve import platforms
from twelve.env import Env

GUNICORN = ("gunicorn", "-c", "python:config.gunicorn", "-b", "127.0.0.1:0")
WSGI = ("python", "-c", "import config.wsgi")
WORKER = ("celery", "-A", "config", "worker")
CLOCK = ("celery", "-A", "config", "beat", "--pidfile=")
# What the machinery requires; the site may require more.
OURS = {"SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL", "MEDIA_STORAGE_URL", "ALLOWED_HOSTS"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///manage.py/db.sqlite3"),
        ("DATABASE_URL", "postgres://host"),
        ("DATABASE_URL", "postgres://host/db?pool=true"),
        ("EMAIL_URL", "smtp://:25"),
        ("MEDIA_STORAGE_URL", "file://srv/media"),
    ],
)
def test_what_would_fail_later_is_reported_at_once(name, value):
    assert set(complaints(GOOD | {name: value})) == {name}


@pytest.mark.parametrize("command", [WSGI, ("python", "-c", "import config.asgi")], ids=["wsgi", "asgi"])
def test_a_right_config_passes(command, tmp_path):
    result = run(command, **GOOD, STATIC_ROOT=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["PORT", "WEB_THREADS"])
def test_the_web_servers_own_numbers_are_checked(name):
    result = run(GUNICORN, **GOOD, **{name: "many"})
    assert result.returncode == 1
    assert f"{name} is 'many'" in report(result)
    assert "Traceback" not in result.stderr + result.stdout


@pytest.mark.parametrize("command", [WORKER, CLOCK], ids=["worker", "clock"])
def test_worker_and_clock_need_a_broker_even_with_debug(command):
    own = {name: value for name, value in GOOD.items() if name not in OURS}  # what the site alone requires
    result = run(command, **own, DEBUG="true", SECRET_KEY="x", DATABASE_URL="sqlite:///:memory:")
    assert result.returncode == 1
    assert "CELERY_BROKER_URL is not set" in report(result)
    assert "Traceback" not in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("name", "value", "host"),
    [
        ("HEROKU_APP_DEFAULT_DOMAIN_NAME", "a.herokuapp.com", "a.herokuapp.com"),
        ("RENDER_EXTERNAL_HOSTNAME", "a.onrender.com", "a.onrender.com"),
        ("RAILWAY_PUBLIC_DOMAIN", "a.up.railway.app", "a.up.railway.app"),
        ("FLY_APP_NAME", "a", "a.fly.dev"),
    ],
)
def test_the_host_that_a_platform_announces_is_known(name, value, host):
    assert platforms.hosts(Env({name: value})) == [host]


@pytest.mark.parametrize("arguments", [("help",), ("help", "migrate"), ("migrate", "--help"), ("--version",), ()])
def test_help_needs_no_config(arguments):
    result = run(("python", "manage.py", *arguments))
    assert result.returncode == 0
    assert result.stdout


@pytest.mark.prove
def test_the_build_needs_no_config(build):
    """The fixture ran it with an empty environment: here is what it left."""
    name, hashed = a_stylesheet(build)
    assert hashed != name
    for suffix in ("", ".gz", ".br"):
        assert (build / f"{hashed}{suffix}").exists()
