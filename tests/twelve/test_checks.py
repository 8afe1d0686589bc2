"""The system checks: whatever this version needs of the project around it is named, with what to write."""

import re

import pytest
from django.core.checks.registry import registry

from twelve import checks
from twelve.env import env, files
from twelve.env.reader import Problem

REQUEST, HEALTH = "twelve.logs.RequestMiddleware", "twelve.web.HealthMiddleware"
SECURITY, COMMON = "django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"


def found(check):
    """The messages of a check: id, what is wrong, what to write."""
    return [(message.id, message.msg, message.hint) for message in check()]


def test_every_check_is_registered():
    names = [name for name in vars(checks) if name.startswith("check_")]
    assert len(names) == 8
    assert {getattr(checks, name) for name in names} <= set(registry.get_checks())


@pytest.mark.parametrize(
    ("middleware", "ids"),
    [
        ([REQUEST, HEALTH, SECURITY, COMMON], []),
        ([REQUEST, "theirs.Middleware", HEALTH, SECURITY], []),
        ([REQUEST, HEALTH], []),
        ([HEALTH, REQUEST, SECURITY], ["twelve.W001"]),
        ([SECURITY, REQUEST, HEALTH], ["twelve.W001", "twelve.W002"]),
        ([REQUEST, COMMON, HEALTH], ["twelve.W002"]),
        ([REQUEST, SECURITY], ["twelve.W002"]),
        ([], ["twelve.W001", "twelve.W002"]),
    ],
    ids=["ours", "theirs-between", "alone", "second", "both-late", "after-the-host-check", "no-health", "none"],
)
def test_the_middleware_stand_before_djangos_own(middleware, ids, settings):
    settings.MIDDLEWARE = middleware
    messages = found(checks.check_middleware)
    assert [id_ for id_, _, _ in messages] == ids
    for id_, text, hint in messages:
        name = {"twelve.W001": REQUEST, "twelve.W002": HEALTH}[id_]
        assert name in text
        assert f'Write "{name}" as the ' in hint


def test_a_log_that_is_no_stream_of_events_is_named(settings):
    assert found(checks.check_logging) == []
    for logging in ({}, {"version": 1, "handlers": {"console": {"class": "logging.StreamHandler"}}}):
        settings.LOGGING = logging
        [(id_, text, hint)] = found(checks.check_logging)
        assert (id_, "twelve.logs.EventHandler" in text) == ("twelve.W003", True)
        assert "LOGGING = logs.from_environment()" in hint


@pytest.mark.parametrize(
    "tasks",
    [
        {},
        {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}},
        {"default": {"BACKEND": checks.BACKEND, "QUEUES": ["slow"]}},
    ],
    ids=["none", "another", "no-queue"],
)
def test_tasks_need_a_durable_backend(settings, tasks):
    assert found(checks.check_tasks) == []
    settings.TASKS = tasks
    [(id_, text, hint)] = found(checks.check_tasks)
    assert (id_, checks.BACKEND in text, checks.BACKEND in hint) == ("twelve.E003", True, True)


@pytest.mark.parametrize("path", ["tests.twelve.tasks.sample.nothing", "os.system"], ids=["name", "function"])
def test_an_entry_of_the_schedule_that_is_no_task_is_named(settings, path):
    assert found(checks.check_schedule) == []
    settings.TASKS_SCHEDULE = {path: "* * * * *"}
    [(id_, text, _)] = found(checks.check_schedule)
    assert (id_, path in text) == ("twelve.E004", True)


def test_a_broker_needs_the_clock_that_sweeps(settings):
    assert found(checks.check_celery) == []
    settings.CELERY = {"broker_url": "redis://localhost"}
    [(id_, text, hint)] = found(checks.check_celery)
    assert (id_, "beat_scheduler" in text) == ("twelve.E002", True)
    assert "CELERY = queue.from_environment(TLS)" in hint
    settings.CELERY = {"task_always_eager": True}
    assert found(checks.check_celery) == []
    del settings.CELERY
    assert found(checks.check_celery) == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(env, "base_dir", tmp_path)
    return tmp_path


GIVEN = """
release: python manage.py release
web: gunicorn -c python:config.gunicorn
worker: celery -q -A config worker --without-gossip --without-mingle --without-heartbeat
clock: celery -q -A config beat --pidfile=
"""
CHANGED = {
    "an-option-and-a-line-more": (GIVEN.replace("--pidfile=", "--pidfile= -l info") + "mcp: python serve.py\n", ""),
    "another-web-server": (GIVEN.replace("web: gunicorn -c python:config.gunicorn", "web: uvicorn config.asgi"), ""),
    "no-beat": (GIVEN.replace(" beat", ""), "lacks beat"),
    "a-pidfile": (GIVEN.replace("--pidfile=", ""), "lacks --pidfile="),
    "no-release": (GIVEN.replace("manage.py release", "manage.py migrate"), "lacks release"),
}


@pytest.mark.parametrize("name", ["release", "web", "worker", "clock"])
def test_a_line_that_the_procfile_lacks_is_written_out(name, folder):
    (folder / "Procfile").write_text(re.sub(f"^{name}: .*", "", GIVEN, flags=re.MULTILINE))
    [(id_, text, hint)] = found(checks.check_procfile)
    assert (id_, text) == ("twelve.W004", f"The Procfile has no line {name}.")
    assert hint.removeprefix("Write in the Procfile: ") in GIVEN.splitlines()


@pytest.mark.parametrize("case", CHANGED)
def test_what_matters_of_a_line_is_checked_and_nothing_else(case, folder):
    text, lacks = CHANGED[case]
    (folder / "Procfile").write_text(text)
    messages = found(checks.check_procfile)
    assert len(messages) == bool(lacks)
    for id_, message, hint in messages:
        assert id_ == "twelve.W004"
        assert lacks in message
        assert hint.removeprefix("Write in the Procfile: ") in GIVEN.splitlines()


def test_a_project_without_a_procfile_is_not_at_fault(folder):
    assert found(checks.check_procfile) == []


def test_the_files_that_are_written_from_the_declarations_are_compared_in_a_checkout(folder):
    files.write()
    (folder / ".env.example").write_text("LOG_LEVEL=info\n")
    assert found(checks.check_written_files) == []  # a platform's build
    (folder / ".git").mkdir()
    assert found(checks.check_written_files) == [
        (
            "twelve.W005",
            "The declarations of the variables have changed; out of date: .env.example.",
            "Run: python manage.py env --write",
        )
    ]
    files.write()
    assert found(checks.check_written_files) == []


def test_a_broken_config_is_an_error_where_no_entry_point_of_twelve_looks(monkeypatch):
    monkeypatch.setattr(env, "problems", [Problem("WEB_THREADS", "is 'many'", "4", ""), Problem("X", "", "", "web")])
    assert found(checks.check_environment) == [
        ("twelve.E001", "WEB_THREADS is 'many' (for example WEB_THREADS=4)", None)
    ]
