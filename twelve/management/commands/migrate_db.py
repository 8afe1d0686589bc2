from typing import Any

from django.core.management.base import BaseCommand

from twelve.release.migrate import migrate


class Command(BaseCommand):
    help = "Migrates the database as a release does: past its pooler, under a lock, without a limit for a statement."

    def handle(self, *args: Any, verbosity: int, **options: Any) -> None:
        migrate(self.stderr.write, verbosity=verbosity)
