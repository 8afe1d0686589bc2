"""The cache that survives its server: while Redis or Memcached is away, each process caches and counts in its memory.

A failure opens the circuit: nobody asks the server any more, but a thread, every PAUSE seconds. When it is back, what
was written meanwhile is deleted there: what the server has of that is old.
"""

import logging
import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import batched
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache

logger = logging.getLogger(__name__)

# The caller's, not the server's: another type of value, a number that is none, a value or key that is too large.
MISTAKE = re.compile(r"WRONGTYPE|value is not|increment or decrement|.*cannot increment|.*too large|Key ", re.DOTALL)

PAUSE = 5  # seconds between two trials of a server that failed
SLOW = 2  # seconds of an answer that is one failure more
TELL_EVERY = 60  # seconds between two events that tell of it
MEMORY_ENTRIES = 10_000  # and as many keys are remembered for deletion; beyond them all of the site's are deleted


class PrefixedRedisCache(RedisCache):
    def __init__(self, server: str, params: dict[str, Any]) -> None:
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as Refused
        from redis.retry import Retry

        # A connection that the server has closed is made anew at once; silence is not waited for twice.
        options = params["OPTIONS"] | {"retry": Retry(NoBackoff(), 1, (Refused,))}
        super().__init__(server, params | {"OPTIONS": options})

    def clear(self) -> None:
        """Delete this site's keys: Django's own way is FLUSHDB, and the queue may live beside them."""
        client = self._cache.get_client(None, write=True)
        for keys in batched(client.scan_iter(match=f"{self.key_prefix}:*", count=1000), 1000):
            client.unlink(*keys)


class Circuit:
    """Whether the server is in use, and what it must forget; one for each process and server."""

    def __init__(self) -> None:
        self.lock, self.trial = threading.Lock(), threading.Lock()
        self.open = False
        self.try_at = self.tell_at = 0.0  # monotonic seconds
        self.stale: dict[int | None, set[str]] = defaultdict(set)  # keys by version
        self.all_stale = False

    def failed(self, error: Exception) -> bool:
        """Open the circuit; whether it was closed."""
        with self.lock:
            now = time.monotonic()
            was_open, self.open, self.try_at = self.open, True, now + PAUSE
            tells, self.tell_at = now >= self.tell_at, max(self.tell_at, now)
            self.tell_at += TELL_EVERY * tells
        if tells:
            logger.warning("the cache is away, this process uses its memory: %s: %s", type(error).__name__, error)
        return not was_open

    def mark(self, keys: Iterable[str] | None, version: int | None) -> None:
        """Remember these keys, or all (None), as changed behind the server's back."""
        with self.lock:
            if keys is not None:
                self.stale[version].update(keys)
            if keys is None or sum(map(len, self.stale.values())) > MEMORY_ENTRIES:
                self.all_stale = True
                self.stale.clear()

    def take_stale(self) -> tuple[dict[int | None, set[str]], bool]:
        with self.lock:
            taken = dict(self.stale), self.all_stale
            self.stale, self.all_stale = defaultdict(set), False
            return taken


_circuits: dict[str, Circuit] = defaultdict(Circuit)

READS: tuple[str, ...] = ()  # the keys that a reading method writes
EVERYTHING = None  # and those of clear()


class ResilientCache(BaseCache):
    """Django's cache of Redis or Memcached behind the circuit; its LOCATION is a URL.

    LONGEST is the most seconds that set() keeps a value: that long a deletion can be lost, if the process that
    remembers it for the server dies.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.longest: float = params.get("LONGEST", math.inf)
        self.location, self.params = location, params
        self.server: BaseCache
        self.failures: tuple[type[Exception], ...]
        if location.startswith("memcached://"):
            from pymemcache.exceptions import MemcacheError

            server = location.removeprefix("memcached://").rstrip("/")
            self.server, self.failures = PyMemcacheCache(server, params), (MemcacheError, OSError)
        else:
            from redis.exceptions import RedisError

            self.server, self.failures = PrefixedRedisCache(location, params), (RedisError, OSError)
        self.memory = LocMemCache(location, params | {"OPTIONS": {"MAX_ENTRIES": MEMORY_ENTRIES}})
        self.circuit = _circuits[location]

    def _call(self, method: str, *args: Any, writes: Iterable[str] | None = READS, **kwargs: Any) -> Any:
        if self.circuit.open:
            self._try_server()
        else:
            begun = time.monotonic()
            try:
                self._forget_stale()
                answer = getattr(self.server, method)(*args, **kwargs)
            except self.failures as error:
                if MISTAKE.match(str(error)):
                    raise
                self._failed(error)
            else:
                if (seconds := time.monotonic() - begun) > SLOW:
                    self._failed(TimeoutError(f"it took {seconds:.1f} s to answer"))
                return answer
        if writes != READS:
            self.circuit.mark(writes, kwargs.get("version"))
        return getattr(self.memory, method)(*args, **kwargs)

    def _failed(self, error: Exception) -> None:
        if self.circuit.failed(error):
            self.memory.clear()  # what is in it is of an earlier time

    def _try_server(self) -> None:
        """Try the server again, once in PAUSE and in a thread: nobody waits for it."""
        if time.monotonic() >= self.circuit.try_at and self.circuit.trial.acquire(blocking=False):
            threading.Thread(target=self._try, name="try the cache", daemon=True).start()

    def _try(self) -> None:
        twin = ResilientCache(self.location, self.params)  # a client is one thread's
        try:
            twin.server.set("circuit", 1, PAUSE)  # a server that is full reads, and counts nothing
            twin._forget_stale()
        except self.failures as error:
            self.circuit.failed(error)
        else:
            self.circuit.open = False
            self.circuit.tell_at = 0
            logger.info("the cache is back")
        finally:
            self.circuit.trial.release()
            twin.close()

    def _forget_stale(self) -> None:
        if not self.circuit.stale and not self.circuit.all_stale:
            return
        stale, all_stale = self.circuit.take_stale()
        try:
            if all_stale:
                self.server.clear()
            for version, keys in stale.items():
                self.server.delete_many(keys, version=version)
        except self.failures:
            for version, keys in stale.items():
                self.circuit.mark(keys, version)
            if all_stale:
                self.circuit.mark(EVERYTHING, None)
            raise

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._call("add", key, value, timeout=timeout, version=version, writes=[key])

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._call("get", key, default=default, version=version)

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        if isinstance(timeout, int | float):
            timeout = min(timeout, self.longest)
        self._call("set", key, value, timeout=timeout, version=version, writes=[key])

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._call("touch", key, timeout=timeout, version=version, writes=[key])

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._call("delete", key, version=version, writes=[key])

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self._call("has_key", key, version=version)

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self._call("incr", key, delta=delta, version=version, writes=[key])

    def get_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        return self._call("get_many", list(keys), version=version)

    def set_many(self, data: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> list[str]:
        return self._call("set_many", data, timeout=timeout, version=version, writes=list(data))

    def delete_many(self, keys: Any, version: int | None = None) -> None:
        keys = list(keys)
        self._call("delete_many", keys, version=version, writes=keys)

    def clear(self) -> None:
        self._call("clear", writes=EVERYTHING)

    def close(self, **kwargs: Any) -> None:
        with suppress(OSError):
            self.server.close(**kwargs)
