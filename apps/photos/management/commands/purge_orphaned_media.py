from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from tqdm import tqdm

from apps.photos.services import purge_orphaned_media


class Command(BaseCommand):
    help = "Deletes stored objects that belong to no photo and are older than a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be deleted.")
        parser.add_argument("--after", default="", metavar="KEY", help="Go on after this key, where a run was stopped.")

    def handle(self, *args: Any, dry_run: bool, after: str, **options: Any) -> None:
        orphans = total = 0
        told = "Would delete" if dry_run else "Deleted"
        try:
            with tqdm(unit=" objects", disable=None) as progress:  # None: only on a terminal
                for page in purge_orphaned_media(after, dry_run=dry_run):
                    orphans, total, after = orphans + page.orphans, total + page.total, page.last
                    progress.update(page.total)
                    progress.set_postfix(orphans=orphans)
        except BaseException:
            told = f"Stopped (go on with --after {after}). {told}"
            raise
        finally:
            self.stdout.write(f"{told} {orphans} orphaned object{'' if orphans == 1 else 's'} of {total}.")
