"""Factor III: a process whose config is missing or wrong says all of it at once, and does not start."""

import pytest
from django.core.management import get_commands

from tests.twelve.processes import GOOD, named, report, run
from twelve.env import REQUIRED, env

pytestmark = pytest.mark.prove

WSGI = ("python", "-c", "import config.wsgi")
# Every process that serves, works or keeps time, as the Procfile or a person starts it.
WEB = (
    ("gunicorn", "-c", "python:config.gunicorn", "-b", "127.0.0.1:0"),
    WSGI,
    ("uvicorn", "config.asgi:application", "--port", "0"),
    ("python", "manage.py", "runserver", "--noreload"),
    ("python", "manage.py", "release"),  # which checks what the web process needs
)
OTHERS = (
    ("celery", "-A", "config", "worker"),
    ("celery", "-A", "config", "beat", "--pidfile="),
    ("python", "manage.py", "run_processes"),
    ("python", "manage.py", "migrate"),
)
ALL = (*WEB, *OTHERS)
# The commands of the project and some of Django's. `collectstatic` is the build, `env` helps to mend the config.
OWN = {name for name, app in get_commands().items() if str(app).startswith(("twelve", "apps."))}
COMMANDS = sorted(OWN - {"collectstatic", "env", "release", "run_processes"} | {"check", "createsuperuser", "shell"})
# What the machinery requires; an app may require more.
ALWAYS = {"SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL", "MEDIA_STORAGE_URL"}
EVERY = {name for name, variable in env.variables.items() if variable.default is REQUIRED}


def assert_refused(result, problems):
    """The process ended with one readable list of exactly these variables."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    assert report(result).count("The configuration has") == 1
    assert named(result) == problems


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_an_empty_environment_is_one_readable_list(command):
    assert ALWAYS | {"ALLOWED_HOSTS"} <= EVERY
    assert_refused(run(command), EVERY if command in WEB else EVERY - {"ALLOWED_HOSTS"})


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_but_the_build_runs_without_a_config(command):
    assert_refused(run(("python", "manage.py", command)), EVERY - {"ALLOWED_HOSTS"})


def test_the_build_and_the_list_of_variables_need_no_config(tmp_path):
    assert run(("python", "manage.py", "collectstatic", "--noinput"), STATIC_ROOT=str(tmp_path)).returncode == 0
    assert (tmp_path / "staticfiles.json").exists()
    assert run(("python", "manage.py", "env")).returncode == 0
    check = run(("python", "manage.py", "env", "--check"))
    assert check.returncode == 1
    assert all(f"{name} is not set" in check.stdout + check.stderr for name in EVERY)


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_several_mistakes_are_reported_together_and_no_secret_with_them(command):
    """A boolean, an integer, a URL and others, each given nonsense: none is guessed."""
    mistakes = {
        "DEBUG": "maybe",
        "LOG_LEVEL": "loud",
        "CELERY_WORKER_CONCURRENCY": "1e3",
        "CSRF_TRUSTED_ORIGINS": "www.example.com",
        "DATABASE_URL": "postgres://user:hunter#2@host/db",
        "EMAIL_URL": "pigeon://user:hunter2@host",
        "CELERY_BROKER_URL_FILE": "/nowhere/broker",
        "MEDIA_STORAGE_URL": "",
        "SECRT_KEY": "hunter2",
    }
    result = run(command, **{**GOOD, **mistakes})
    assert "hunter" not in result.stderr + result.stdout
    expected = set(mistakes) - {"CELERY_BROKER_URL_FILE", "SECRT_KEY"} | {"CELERY_BROKER_URL"}
    assert_refused(result, expected | {"SECRT_KEY:"})
    assert "SECRT_KEY: did you mean SECRET_KEY?" in report(result)


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEBUG", "maybe"), ("CELERY_WORKER_CONCURRENCY", "1e3"), ("DATABASE_URL", "nosql://user:password@host/db")],
)
def test_nonsense_is_reported_and_not_guessed(name, value):
    assert_refused(run(WSGI, **{**GOOD, name: value}), {name})
