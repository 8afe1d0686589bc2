from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.factors import probes

FLUSH = (
    "Memcached cannot delete one site's keys: everything at {address} goes, other sites' keys too. Go on?",
    "Really flush all of {address}?",
)
DELETE = ("Delete everything that this site has in the cache at {address}?",)


class Command(BaseCommand):
    help = "Empties the cache: on Redis this site's keys alone, on Memcached everything. Nobody is signed out."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--noinput", action="store_false", dest="interactive", help="Do not ask.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be deleted.")

    def handle(self, *args: Any, interactive: bool, dry_run: bool, **options: Any) -> None:
        kind, address = probes.described("cache")
        for question in (FLUSH if kind == "memcached" else DELETE) if interactive and not dry_run else ():
            if not agreed(question.format(address=address)):
                raise CommandError("Nothing was deleted.")
        cache = caches["default"]
        [answer] = probes.probe(3, ["cache"])
        if answer.state != "up":
            raise CommandError(f"The cache is {answer.state}, nothing was deleted: {answer.reason}")
        keys = f" of the keys that begin with {settings.CACHE_KEY_PREFIX}:" if kind.startswith("redis") else ""
        if dry_run:
            self.stdout.write(f"Would empty the cache at {address}{keys}.")
            return
        try:
            getattr(cache, "server", cache).clear()  # not its stand-in, which would be emptied in its place
        except Exception as error:
            raise CommandError(f"The cache failed in the middle, it may not be empty: {error}") from error
        self.stdout.write(f"The cache at {address} is empty{keys}.")


def agreed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there
        return False
