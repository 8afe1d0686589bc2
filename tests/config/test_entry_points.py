"""Every process tells all that is wrong with its config, once and readably, and then exits."""

import json

import pytest

from tests.processes import GOOD, named, run, told

COMMAND = ("python", "manage.py", "migrate")
GUNICORN = ("gunicorn", "-c", "python:config.gunicorn", "-b", "127.0.0.1:0")
WSGI = ("python", "-c", "import config.wsgi")
UVICORN = ("uvicorn", "config.asgi:application", "--port", "0")
WORKER = ("celery", "-A", "config", "worker")
CLOCK = ("celery", "-A", "config", "beat", "--pidfile=")
WEB = (GUNICORN, WSGI, UVICORN, ("python", "manage.py", "runserver", "--noreload"))
ALL = (COMMAND, *WEB, WORKER, CLOCK)
REQUIRED = {"SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL", "MEDIA_STORAGE_URL"}


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_an_empty_environment_is_one_readable_list(command):
    result = run(command)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    assert told(result).count("The configuration has") == 1
    assert named(result) == REQUIRED | ({"ALLOWED_HOSTS"} if command in WEB else set())


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_several_mistakes_are_told_together_and_no_secret_with_them(command):
    mistakes = {
        "DEBUG": "maybe",
        "LOG_LEVEL": "loud",
        "UPLOAD_MAX_BYTES": "1e3",
        "TIME_ZONE": "Mars/Olympus",
        "DATABASE_URL": "postgres://user:hunter#2@host/db",
        "EMAIL_URL": "pigeon://user:hunter2@host",
        "CELERY_BROKER_URL_FILE": "/nowhere/broker",
        "MEDIA_STORAGE_URL": "",
        "SECRT_KEY": "hunter2",
    }
    result = run(command, **{**GOOD, **mistakes})
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    assert "hunter" not in result.stderr + result.stdout
    expected = set(mistakes) - {"CELERY_BROKER_URL_FILE", "SECRT_KEY"} | {"CELERY_BROKER_URL"}
    assert named(result) - {"SECRT_KEY:"} == expected
    assert "SECRT_KEY: did you mean SECRET_KEY?" in told(result)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LANGUAGE_CODE", "xx"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///manage.py/db.sqlite3"),
        ("DATABASE_URL", "postgres://host"),
        ("DATABASE_URL", "postgres://host/db?pool=true"),
        ("CSRF_TRUSTED_ORIGINS", "www.example.com"),
        ("ALLOWED_HOSTS", "https://www.example.com"),
        ("EMAIL_URL", "smtp://:25"),
        ("MEDIA_STORAGE_URL", "file://srv/media"),
    ],
)
def test_what_would_fail_later_is_told_at_once(name, value):
    result = run(WSGI, **{**GOOD, name: value})
    assert result.returncode == 1
    assert named(result) == {name}
    assert "Traceback" not in result.stderr


def test_a_deploy_without_a_proxy_trusts_no_header_of_a_client():
    show = (
        "python",
        "-c",
        "from config import env, settings; env.env.exit_on_problems('web'); print(settings.SECURE_PROXY_SSL_HEADER)",
    )
    assert run(show, **GOOD).stdout.strip() == "('HTTP_X_FORWARDED_PROTO', 'https')"
    assert run(show, **GOOD, SECURE_PROXY_SSL_HEADER="").stdout.strip() == "None"


@pytest.mark.parametrize("command", [WSGI, ("python", "-c", "import config.asgi")], ids=["wsgi", "asgi"])
def test_a_right_config_passes(command, tmp_path):
    result = run(command, **GOOD, STATIC_ROOT=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["PORT", "WEB_THREADS", "WEB_TIMEOUT"])
def test_the_web_servers_own_numbers_are_checked(name):
    result = run(("gunicorn", "-c", "python:config.gunicorn", "-b", "127.0.0.1:0"), **GOOD, **{name: "many"})
    assert result.returncode == 1
    assert f"{name} is 'many'" in told(result)
    assert "Traceback" not in result.stderr + result.stdout


@pytest.mark.parametrize("command", [WORKER, CLOCK], ids=["worker", "clock"])
def test_worker_and_clock_need_a_broker_even_with_debug(command):
    result = run(command, DEBUG="true", SECRET_KEY="x", DATABASE_URL="sqlite:///:memory:")
    assert result.returncode == 1
    assert "CELERY_BROKER_URL is not set" in told(result)
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
def test_the_host_that_a_platform_announces_counts_as_given(name, value, host):
    variables = {key: text for key, text in GOOD.items() if key != "ALLOWED_HOSTS"} | {name: value}
    show = (
        "python",
        "-c",
        "from config import env, settings; env.env.exit_on_problems('web'); print(settings.ALLOWED_HOSTS)",
    )
    result = run(show, **variables)
    assert (result.returncode, result.stdout.strip()) == (0, str([host]))


@pytest.mark.parametrize("arguments", [("help",), ("help", "migrate"), ("migrate", "--help"), ("--version",), ()])
def test_help_needs_no_config(arguments):
    result = run(("python", "manage.py", *arguments))
    assert result.returncode == 0
    assert result.stdout


def test_the_build_needs_no_config(build):
    """The fixture ran it with an empty environment: here is what it left."""
    manifest = json.loads((build / "staticfiles.json").read_text())["paths"]
    stylesheet = manifest["pages/site.css"]
    assert stylesheet != "pages/site.css"
    for suffix in ("", ".gz", ".br"):
        assert (build / f"{stylesheet}{suffix}").exists()
