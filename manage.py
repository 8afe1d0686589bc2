#!/usr/bin/env python
"""Runs the administrative commands, Django's and the project's."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from twelve.management import main
    except ImportError as error:
        if error.name != "django":
            raise
        sys.exit("Django is not installed here. Run `make setup`, then use .venv/bin/python.")
    main()


if __name__ == "__main__":
    main()
