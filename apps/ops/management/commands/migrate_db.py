from typing import Any

from django.core.management.base import BaseCommand

from apps.ops import release


class Command(BaseCommand):
    help = "Migrates the database as a release does: past its pooler, one at a time, without a limit for a statement."

    def handle(self, *args: Any, verbosity: int, **options: Any) -> None:
        count = release.migrate(self.stderr.write, verbosity=verbosity)
        if verbosity:
            self.stdout.write(f"Migrations applied: {count}.")
