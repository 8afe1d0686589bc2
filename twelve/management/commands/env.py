from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from twelve.env import env
from twelve.env import files as environment


class Command(BaseCommand):
    help = "Lists every variable: its value, where it came from and what it is for."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="Show only the problems; exit with 1 if there is one.")
        parser.add_argument(
            "--write", action="store_true", help="Write .env.example and app.json from the declarations."
        )

    def handle(self, *args: Any, check: bool, write: bool, **options: Any) -> None:
        if write:
            for path in environment.write():
                self.stdout.write(f"Wrote {path}.")
            return
        if not check:
            self.stdout.write(environment.table())
        problems = [*env.problems, *env.near_misses()]
        for problem in problems:
            self.stderr.write(str(problem), self.style.ERROR)
        if problems and check:
            raise SystemExit(1)
        if check:
            self.stdout.write("The configuration has no problems.")
