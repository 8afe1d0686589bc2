#!/usr/bin/env python
"""Runs the administrative commands, Django's and the project's."""

import os
import sys
from contextlib import nullcontext

WITHOUT_CONFIG = {"collectstatic", "env", "help"}  # the build, and what helps to mend a config
# Servers and what changes only the code. Every other command leaves a trail.
WITHOUT_TRAIL = WITHOUT_CONFIG | {"makemigrations", "run_processes", "runserver", "test", "testserver", "version"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed here. Run `make setup`, then use .venv/bin/python.")

    from apps.ops import trail
    from config import logs, settings  # the settings declare every variable
    from config.env import env

    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    # A command's result is on stdout, so its events go to stderr; only runserver is a web process.
    serve = command == "runserver"
    # With LOG_FORMAT=console it talks to a person, who may debug in it.
    logs.start("web" if serve else command, fd=1 if serve else 2, capture=serve and settings.LOG_FORMAT == "json")
    own = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv  # psql's -h is no question for help
    informs = not {"--help", "-h", "--version"}.isdisjoint(own)
    if command not in WITHOUT_CONFIG and not informs:
        env.exit_on_problems("web" if serve or command == "release" else "")
    with nullcontext() if command in WITHOUT_TRAIL or informs else trail.leave(command, sys.argv[2:]):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
