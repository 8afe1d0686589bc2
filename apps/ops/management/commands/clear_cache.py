from typing import Any

from django.conf import settings
from django.core.cache import cache
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

    def handle(self, *args: Any, interactive: bool, **options: Any) -> None:
        kind, address = probes.described("cache")
        for question in (FLUSH if kind == "memcached" else DELETE) if interactive else ():
            if not agreed(question.format(address=address)):
                raise CommandError("Nothing was deleted.")
        [answer] = probes.probe(3, ["cache"])
        if answer.state != "up":
            raise CommandError(f"The cache is {answer.state}, nothing was deleted: {answer.reason}")
        try:
            getattr(cache, "server", cache).clear()  # past what stands in for a server that is away
        except Exception as error:
            raise CommandError(f"The cache failed, it may be half empty; clear it again: {error}") from error
        keys = f" of the keys that begin with {settings.CACHE_KEY_PREFIX}:" if kind.startswith("redis") else ""
        self.stdout.write(f"The cache at {address} is empty{keys}.")


def agreed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there
        return False
