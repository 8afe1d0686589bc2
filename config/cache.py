"""The cache that survives its server: while Redis or Memcached is away, each process caches and counts in its memory.

A failure opens the circuit: from then on callers have the memory, and a thread tries the server every PAUSE seconds.
What was written meanwhile is deleted on the server when it is back: what it has of that is old.
"""

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from functools import partial
from itertools import batched
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache

logger = logging.getLogger(__name__)

PAUSE = 5  # seconds between two trials of a server that failed
TELL_EVERY = 60  # seconds between two events that tell of it
SLOW = 1  # seconds; a server that takes longer to answer has failed
MEMORY_ENTRIES = 10_000  # and as many keys are remembered for deletion; beyond them all of the site's are deleted
EVERYTHING: Collection[str] = ("*",)  # in place of the keys that a call changes


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

    def disconnect(self) -> None:
        self._cache.get_client(None, write=True).connection_pool.disconnect()


def is_mistake_on_redis(error: Exception) -> bool:
    """Whether the caller is to blame, not the server: it counts what is no number, for example."""
    from redis.exceptions import DataError, ResponseError

    if type(error) is ResponseError:  # those of the server's state have another class or another code
        return error.status_code == "ERR" or str(error).startswith("WRONGTYPE")
    return isinstance(error, DataError)


def is_mistake_on_memcached(error: Exception) -> bool:
    from pymemcache.exceptions import MemcacheClientError

    return isinstance(error, MemcacheClientError) or "too large" in str(error)


class Circuit:
    """Whether the server may be asked, and what it must forget; one for each process and server."""

    def __init__(self, memory: BaseCache) -> None:
        self.memory = memory
        self.lock = threading.Lock()
        self.open = False
        self.try_at = self.tell_at = 0.0  # monotonic seconds
        self.stale: dict[int | None, set[str]] = defaultdict(set)  # keys by version
        self.all_stale = False

    def is_to_be_tried(self) -> bool:
        """Whether the pause is over; true for one caller alone."""
        with self.lock:
            now = time.monotonic()
            if now < self.try_at:
                return False
            self.try_at = now + TELL_EVERY  # a trial that has not ended by then is lost
            return True

    def failed(self, error: Exception) -> None:
        with self.lock:
            now = time.monotonic()
            if not self.open:
                self.memory.clear()  # of what the last outage left
            self.open, self.try_at = True, now + PAUSE
            if now < self.tell_at:
                return
            self.tell_at = now + TELL_EVERY
        logger.warning("the cache is away, this process uses its memory: %s: %s", type(error).__name__, error)

    def mark(self, keys: Collection[str], version: int | None) -> None:
        """Remember these keys as changed behind the server's back."""
        with self.lock:
            if keys is not EVERYTHING:
                self.stale[version].update(keys)
            if keys is EVERYTHING or sum(map(len, self.stale.values())) > MEMORY_ENTRIES:
                self.all_stale = True
                self.stale.clear()

    def take_stale(self) -> tuple[dict[int | None, set[str]], bool]:
        with self.lock:
            taken = dict(self.stale), self.all_stale
            self.stale, self.all_stale = defaultdict(set), False
            return taken


_circuits: dict[str, Circuit] = {}


class ResilientCache(BaseCache):
    """Django's cache of Redis or Memcached behind the circuit; its LOCATION is a URL.

    LONGEST is the most seconds that set() keeps a value: that long a deletion can be lost, if the process that
    remembers it for the server dies.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.longest: float = params.get("LONGEST", math.inf)
        self.connect: Callable[[], Any]
        self.disconnect: Callable[[Any], None]
        self.failures: tuple[type[Exception], ...]
        if location.startswith("memcached://"):
            from pymemcache.exceptions import MemcacheError

            server = location.removeprefix("memcached://").rstrip("/")
            self.connect, self.disconnect = partial(PyMemcacheCache, server, params), PyMemcacheCache.close
            self.failures, self.is_mistake = (MemcacheError, OSError), is_mistake_on_memcached
        else:
            from redis.exceptions import RedisError

            self.connect, self.disconnect = partial(PrefixedRedisCache, location, params), PrefixedRedisCache.disconnect
            self.failures, self.is_mistake = (RedisError, OSError), is_mistake_on_redis
        self.server = self.connect()
        self.memory = LocMemCache(location, params | {"OPTIONS": {"MAX_ENTRIES": MEMORY_ENTRIES}})
        self.circuit = _circuits.setdefault(location, Circuit(self.memory))

    def _call(self, method: str, *args: Any, changes: Collection[str] = (), **kwargs: Any) -> Any:
        if not self.circuit.open:
            begun = time.monotonic()
            try:
                self._forget_stale(self.server)
                answer = getattr(self.server, method)(*args, **kwargs)
            except self.failures as error:
                if self.is_mistake(error):
                    raise
                self.circuit.failed(error)
            else:
                if (seconds := time.monotonic() - begun) > SLOW:
                    self.circuit.failed(TimeoutError(f"it took {seconds:.1f} s to answer"))
                return answer
        elif self.circuit.is_to_be_tried():
            try:
                threading.Thread(target=self.try_server, name="trial of the cache", daemon=True).start()
            except RuntimeError as error:  # no more threads
                self.circuit.failed(error)
        if changes:
            self.circuit.mark(changes, kwargs.get("version"))
        return getattr(self.memory, method)(*args, **kwargs)

    def try_server(self) -> None:
        """Close the circuit if a new connection is made, and a write is taken, in time: a full server still reads."""
        server = self.connect()
        try:
            begun = time.monotonic()
            server.set("trial", 1, timeout=PAUSE)
            if (seconds := time.monotonic() - begun) > SLOW:
                raise TimeoutError(f"it took {seconds:.1f} s to answer")
            self._forget_stale(server)
        except Exception as error:
            self.circuit.failed(error)
        else:
            self.circuit.open = False
            logger.info("the cache is back")
        finally:
            self.disconnect(server)

    def _forget_stale(self, server: BaseCache) -> None:
        if not self.circuit.stale and not self.circuit.all_stale:
            return
        stale, all_stale = self.circuit.take_stale()
        try:
            if all_stale:
                server.clear()
            for version, keys in stale.items():
                server.delete_many(keys, version=version)
        except self.failures:
            for version, keys in stale.items():
                self.circuit.mark(keys, version)
            if all_stale:
                self.circuit.mark(EVERYTHING, None)
            raise

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._call("add", key, value, timeout=timeout, version=version, changes=[key])

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._call("get", key, default=default, version=version)

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        if isinstance(timeout, int | float):
            timeout = min(timeout, self.longest)
        self._call("set", key, value, timeout=timeout, version=version, changes=[key])

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._call("touch", key, timeout=timeout, version=version, changes=[key])

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._call("delete", key, version=version, changes=[key])

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self._call("has_key", key, version=version)

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self._call("incr", key, delta=delta, version=version, changes=[key])

    def get_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        return self._call("get_many", list(keys), version=version)

    def set_many(self, data: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> list[str]:
        return self._call("set_many", data, timeout=timeout, version=version, changes=list(data))

    def delete_many(self, keys: Any, version: int | None = None) -> None:
        keys = list(keys)
        self._call("delete_many", keys, version=version, changes=keys)

    def clear(self) -> None:
        self._call("clear", changes=EVERYTHING)

    def close(self, **kwargs: Any) -> None:
        self.server.close(**kwargs)
