from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.photos.services import purge_orphaned_media
from twelve.services.storage import StorageError


class Command(BaseCommand):
    help = "Deletes stored objects that belong to no photo and are older than a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be deleted.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        try:
            orphans, total = purge_orphaned_media(dry_run)
        except StorageError as error:
            raise CommandError(f"{error} Objects deleted before stay deleted: run the command again.") from error
        done, objects = "Would delete" if dry_run else "Deleted", "object" if orphans == 1 else "objects"
        self.stdout.write(f"{done} {orphans} orphaned {objects} of {total}.")
