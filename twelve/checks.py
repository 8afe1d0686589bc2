"""System checks of what this version of twelve needs of the project, each with a hint of what to write."""

import shlex
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning

from twelve.conf import settings
from twelve.env import env
from twelve.tasks.base import find_task

REQUEST, HEALTH = "twelve.logs.RequestMiddleware", "twelve.web.HealthMiddleware"
# These answer a probe themselves: with a redirect to https, or with 400 for its host.
REFUSING = ("django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware")
BACKEND = "twelve.tasks.backend.DurableBackend"
SCHEDULER = "twelve.tasks.scheduler:DatabaseScheduler"
# The lines of the Procfile, {} is the package that wires the project.
LINES = {
    "release": "python manage.py release",
    "web": "gunicorn -c python:{}.gunicorn",
    "worker": "celery -q -A {} worker --without-gossip --without-mingle --without-heartbeat",
    "clock": "celery -q -A {} beat --pidfile=",
}
# The words that matter in each line: without --pidfile= the clock writes a file.
WORDS = {"release": ["release"], "worker": ["worker"], "clock": ["beat", "--pidfile="]}


@register
def check_environment(**kwargs: Any) -> list[CheckMessage]:
    """The entry points of twelve exit with these problems before any check runs; those of a project may not."""
    return [Error(str(problem), id="twelve.E001") for problem in env.problems_for("")]


@register
def check_middleware(**kwargs: Any) -> Iterator[CheckMessage]:
    found = list(settings.MIDDLEWARE)
    if found[:1] != [REQUEST]:
        yield CheckWarning(
            f"MIDDLEWARE does not begin with {REQUEST}: a request may have no event and no id.",
            hint=f'Write "{REQUEST}" as the first line of MIDDLEWARE.',
            id="twelve.W001",
        )
    before = found[: found.index(HEALTH)] if HEALTH in found else found
    if HEALTH not in found or not set(before).isdisjoint(REFUSING):
        yield CheckWarning(
            f"MIDDLEWARE does not have {HEALTH} before Django's own: probes of /health/ready/ fail.",
            hint=f'Write "{HEALTH}" as the second line of MIDDLEWARE, after "{REQUEST}".',
            id="twelve.W002",
        )


@register
def check_logging(**kwargs: Any) -> Iterator[CheckMessage]:
    handlers = settings.LOGGING.get("handlers", {}).values()
    if "twelve.logs.EventHandler" not in [handler.get("class") for handler in handlers]:
        yield CheckWarning(
            "LOGGING has no handler twelve.logs.EventHandler: events are not written as a stream.",
            hint="Write in the settings: from twelve import logs; LOGGING = logs.from_environment()",
            id="twelve.W003",
        )


@register
def check_celery(**kwargs: Any) -> Iterator[CheckMessage]:
    if not settings.CELERY.get("task_always_eager") and settings.CELERY.get("beat_scheduler") != SCHEDULER:
        yield Error(
            f"CELERY has a broker, and no beat_scheduler {SCHEDULER}: lost tasks are not published again.",
            hint="Write in the settings: from twelve.services import queue, tls; TLS = tls.from_environment();"
            " CELERY = queue.from_environment(TLS)",
            id="twelve.E002",
        )


@register
def check_tasks(**kwargs: Any) -> Iterator[CheckMessage]:
    default = settings.TASKS.get("default", {})
    if default.get("BACKEND") != BACKEND or "default" not in default.get("QUEUES", ["default"]):
        yield Error(
            f"TASKS does not have {BACKEND} with a queue default as its default: tasks and mails get lost.",
            hint=f'Write in the settings: TASKS = {{"default": {{"BACKEND": "{BACKEND}"}}}}',
            id="twelve.E003",
        )


@register
def check_schedule(**kwargs: Any) -> Iterator[CheckMessage]:
    """The clock checks the crontab lines: a release runs without Celery, which parses them."""
    for path in settings.TASKS_SCHEDULE:
        if find_task(path) is None:
            yield Error(
                f"TASKS_SCHEDULE names {path}, which is not a durable task: the clock leaves it out.",
                hint="Write the dotted path of a function with @task of twelve.tasks.",
                id="twelve.E004",
            )


@register
def check_procfile(**kwargs: Any) -> Iterator[CheckMessage]:
    """A project without a Procfile starts its processes in another way."""
    if not (env.base_dir / "Procfile").exists():
        return
    from twelve import processes

    package, lines = settings.ROOT_URLCONF.partition(".")[0], processes.procfile()
    for name, line in LINES.items():
        words = shlex.split(lines.get(name, ""))
        missing = [word for word in WORDS.get(name, ()) if word not in words]
        if name not in lines or missing:
            what = f"The line {name} of the Procfile lacks {' and '.join(missing)}."
            yield CheckWarning(
                what if name in lines else f"The Procfile has no line {name}.",
                hint=f"Write in the Procfile: {name}: {line.format(package)}",
                id="twelve.W004",
            )


@register
def check_written_files(**kwargs: Any) -> Iterator[CheckMessage]:
    """Check only a checkout: on a platform, its own variables change which ones are required."""
    if not (env.base_dir / ".git").exists():
        return
    from twelve.env import files

    stale = [path.name for path in files.stale()]
    if stale:
        yield CheckWarning(
            f"The declarations of the variables have changed; out of date: {', '.join(stale)}.",
            hint="Run: python manage.py env --write",
            id="twelve.W005",
        )
