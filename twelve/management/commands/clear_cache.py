from typing import Any

from django.core.cache import caches
from django.core.management.base import BaseCommand, CommandError

from twelve.services import probe as probes


class Command(BaseCommand):
    help = "Empties the cache: on Redis this site's keys alone, on Memcached everything. Nobody is signed out."

    def handle(self, *args: Any, **options: Any) -> None:
        [answer] = probes.probe(3, ["cache"])
        if answer.state != "up":
            raise CommandError(f"The cache is {answer.state}, nothing was deleted: {answer.reason}")
        cache = caches["default"]
        try:
            getattr(cache, "server", cache).clear()  # cache.clear() would clear the process's memory after a failure
        except Exception as error:
            raise CommandError(f"The cache failed while it was cleared, and may not be empty: {error}") from error
        keys = f" of the keys that begin with {cache.key_prefix}:" if answer.kind.startswith("redis") else ""
        self.stdout.write(f"The cache at {answer.address} is empty{keys}.")
