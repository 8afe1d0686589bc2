from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandParser
from tqdm import tqdm

from apps.photos.services import orphaned_media


class Command(BaseCommand):
    help = "Deletes stored objects that belong to no photo and are older than a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be deleted.")
        parser.add_argument("--after", default="", metavar="KEY", help="Go on after this key, where a run was stopped.")

    def handle(self, *args: Any, dry_run: bool, after: str, **options: Any) -> None:
        orphans = total = 0
        stopped, done = f"Stopped; go on with --after '{after}'. ", "Would delete" if dry_run else "Deleted"
        try:
            with tqdm(unit=" objects", disable=None) as progress:  # None: only on a terminal
                for page in orphaned_media(after):
                    for key in page.orphans:
                        if not dry_run:
                            default_storage.delete(key)
                        orphans += 1
                    total += page.total
                    stopped = f"Stopped; go on with --after '{page.last}'. "
                    progress.update(page.total)
            stopped = ""
        finally:  # a signal raises, too
            plural = "" if orphans == 1 else "s"
            self.stdout.write(f"{stopped}{done} {orphans} orphaned object{plural} of {total}.")
