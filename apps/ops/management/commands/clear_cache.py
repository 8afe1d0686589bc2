from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.factors import probes

QUESTIONS = {
    "memcached": (
        "Memcached cannot delete one site's keys: everything in {address} will go, other sites' keys too. Go on?",
        "Really flush all of {address}?",
    ),
}


class Command(BaseCommand):
    help = "Empties the cache: on Redis this site's keys alone, on Memcached everything. Sessions stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--noinput", action="store_false", dest="interactive", help="Do not ask.")

    def handle(self, *args: Any, interactive: bool, **options: Any) -> None:
        kind, address = probes.described("cache")
        questions = QUESTIONS.get(kind, ("Delete everything that this site has in the cache at {address}?",))
        for question in questions if interactive else ():
            if input(f"{question.format(address=address)} [y/N] ").strip().lower() not in ("y", "yes"):
                raise CommandError("Nothing was deleted.")
        [answer] = probes.probe(3, ["cache"])
        if answer.state != "up":
            raise CommandError(f"The cache is {answer.state}, nothing was deleted: {answer.reason}")
        cache.clear()
        self.stdout.write(
            f"The cache at {address} is empty"
            + (f" of the keys that begin with {settings.CACHE_KEY_PREFIX}:." if kind.startswith("redis") else ".")
        )
