"""What `manage.py` does around a command: it starts the log, checks the config and records the run."""

import sys
from contextlib import nullcontext

from django.core.management import execute_from_command_line

from twelve import logs
from twelve.conf import settings
from twelve.env import env
from twelve.release import trail

WITHOUT_CONFIG = {"collectstatic", "env", "help"}  # the build, and what helps to correct a config
# Servers, and what changes only the code. Every other command is recorded.
WITHOUT_TRAIL = WITHOUT_CONFIG | {"makemigrations", "run_processes", "runserver", "test", "testserver", "version"}


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    # A command's result is on stdout, so its events go to stderr; only runserver is a web process.
    serve = command == "runserver"
    # With LOG_FORMAT=console a person reads the output, and may use a debugger.
    as_json = settings.LOGGING.get("handlers", {}).get("events", {}).get("formatter") == "json"
    logs.start("web" if serve else command, fd=1 if serve else 2, capture=serve and as_json)
    own = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv  # after "--", -h is an option of psql
    informs = not {"--help", "-h", "--version"}.isdisjoint(own)
    if command not in WITHOUT_CONFIG and not informs:
        env.exit_on_problems("web" if serve or command == "release" else "")
    if serve and settings.DEBUG and str(settings.CELERY.get("broker_url")).startswith("filesystem:"):
        settings.CELERY["task_always_eager"] = True  # it runs alone: no worker reads the folder
    with nullcontext() if command in WITHOUT_TRAIL or informs else trail.record(command, sys.argv[2:]):
        execute_from_command_line(sys.argv)
