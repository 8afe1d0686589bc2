from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.photos.services import purge_orphaned_media


class Command(BaseCommand):
    help = "Deletes stored objects that belong to no photo and are older than a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be deleted.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        orphans, total = purge_orphaned_media(dry_run=dry_run)
        verb = "Would delete" if dry_run else "Deleted"
        self.stdout.write(f"{verb} {orphans} orphaned object{'' if orphans == 1 else 's'} of {total}.")
