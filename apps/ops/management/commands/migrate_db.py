from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.ops import release


class Command(BaseCommand):
    help = "Migrates the database as a release does: past its pooler, one at a time, without a limit for a statement."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Show the migrations to come, change nothing.")

    def handle(self, *args: Any, dry_run: bool, verbosity: int, **options: Any) -> None:
        if dry_run:
            self.stdout.write(release.plan_as_sql())
            return
        count = release.migrate(self.stderr.write, verbosity=verbosity)
        if verbosity:
            self.stdout.write(f"Migrations applied: {count}.")
