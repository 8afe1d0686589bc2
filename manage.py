#!/usr/bin/env python
"""Runs the administrative commands, Django's and the project's."""

import os
import sys

WITHOUT_CONFIG = {"collectstatic", "env", "help"}  # the build, and what helps to mend a config


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed here. Run `make setup`, then use .venv/bin/python.")

    from config import logs, settings  # the settings declare every variable
    from config.env import env

    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    # A command's result is on stdout, so its events go to stderr; only runserver is a web process.
    serve = command == "runserver"
    # With LOG_FORMAT=console it talks to a person, who may debug in it.
    logs.start("web" if serve else command, fd=1 if serve else 2, capture=serve and settings.LOG_FORMAT == "json")
    if command not in WITHOUT_CONFIG and not {"--help", "-h", "--version"} & set(sys.argv):
        env.exit_on_problems("web" if serve or command == "release" else "")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
