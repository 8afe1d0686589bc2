"""A cache that falls back to the process's memory while Redis or Memcached is unreachable.

A value from before an outage is in use again after it, until it expires, even if it was changed or deleted meanwhile.
So the cache holds nothing whose staleness hurts: sessions are rows of the database.
"""

import contextlib
import glob
import logging
import time
from functools import partial, partialmethod
from itertools import batched
from typing import Any
from urllib.parse import urlsplit

import environ
from django.conf import settings
from django.core import signing
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache, RedisSerializer
from django.db import connections

from twelve.env import Env, env
from twelve.services.tls import DEFAULT, Policy, redis_options, refuse_parameters

logger = logging.getLogger(__name__)

PAUSE = 5  # seconds from a failure of the server to the next attempt
LOG_INTERVAL = 60  # log a failure at most once in this many seconds
INVALID = object()  # in place of a value whose signature is wrong


def from_environment(tls: Policy, env: Env = env, *, prefix: str = "site", timeout: float = 1) -> dict[str, Any]:
    """Return CACHES. Keys begin with `prefix`; `timeout` limits connecting and each answer, in seconds."""
    default = env.url(
        "CACHE_URL",
        default="dbcache://cache?max_entries=100000",
        schemes=(*SERVERS, "dbcache", "locmemcache"),
        parse=lambda url: parse_url(url, tls, prefix, timeout),
        fallbacks=("REDIS_URL",),
        example="redis://localhost:6379/1",
        help="The cache: Redis, Memcached (memcached://host:11211), or a table of the database.",
    )
    return {"default": default or {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}


def parse_url(url: str, policy: Policy = DEFAULT.redis, prefix: str = "site", timeout: float = 1) -> Any:
    """Return Django's settings of the cache at a URL."""
    parts = urlsplit(url)
    url = parts.geturl()  # with the scheme in lower case, as the clients want it
    if parts.scheme not in SERVERS:
        return environ.Env.cache_url_config(url)
    return {
        "BACKEND": "twelve.services.cache.ResilientCache",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        "OPTIONS": SERVERS[parts.scheme].build_options(url, policy, timeout),
    }


class ResilientCache(BaseCache):
    """The cache on a server of SERVERS; LOCATION is its URL.

    After a failure the memory answers for PAUSE seconds. The next caller then tries the server, within its timeouts.
    """

    retry_at = 0.0  # of the process, by the monotonic clock: until then the memory answers; 0 while the server does
    log_at = 0.0  # of the process: no warning before

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.server = SERVERS[urlsplit(location).scheme](location, params)
        self.memory = LocMemCache(location, params | {"OPTIONS": {"MAX_ENTRIES": 10_000}})

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        retry_at = ResilientCache.retry_at
        if time.monotonic() >= retry_at:
            try:
                if retry_at:
                    self._try_server()
                return getattr(self.server, method)(*args, **kwargs)
            except self.server.failures as error:
                if self.server.is_programming_error(error):
                    raise
                self._record_failure(error)
        return getattr(self.memory, method)(*args, **kwargs)

    def _try_server(self) -> None:
        ResilientCache.retry_at = time.monotonic() + PAUSE  # other callers do not wait for this attempt
        self.server.set(__name__, 1, timeout=PAUSE)  # a server that is full still reads
        ResilientCache.retry_at = 0.0
        logger.info("the cache is in use again")

    def _record_failure(self, error: Exception) -> None:
        now = time.monotonic()
        if not ResilientCache.retry_at:
            self.memory.clear()  # what the last outage left is old
        ResilientCache.retry_at = now + PAUSE
        if now >= ResilientCache.log_at:
            ResilientCache.log_at = now + LOG_INTERVAL
            logger.warning("the cache failed, this process uses its memory: %s: %s", type(error).__name__, error)

    add: Any = partialmethod(_call, "add")
    set: Any = partialmethod(_call, "set")
    touch: Any = partialmethod(_call, "touch")
    delete: Any = partialmethod(_call, "delete")
    incr: Any = partialmethod(_call, "incr")
    set_many: Any = partialmethod(_call, "set_many")
    delete_many: Any = partialmethod(_call, "delete_many")
    clear: Any = partialmethod(_call, "clear")

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self.get_many([key], version).get(key, default)

    def get_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        values = self._call("get_many", list(keys), version)
        if invalid := [key for key, value in values.items() if value is INVALID]:
            self.delete_many(invalid, version)  # so that add() can replace them
        return {key: value for key, value in values.items() if value is not INVALID}

    def close(self, **kwargs: Any) -> None:
        self.server.close(**kwargs)


class SignedSerializer:
    """Signs pickles and unpickles only what this site signed: a pickle runs code, and others may write to the server.

    Django's Redis cache calls dumps() and loads(), pymemcache serialize() and deserialize(). Integers stay plain, since
    the server increments them. SECRET_KEY signs, SECRET_KEY_FALLBACKS are valid as well.
    """

    def dumps(self, obj: Any) -> Any:
        return obj if type(obj) is int else signing.dumps(obj, salt=__name__, serializer=RedisSerializer)

    def loads(self, data: bytes) -> Any:
        with contextlib.suppress(ValueError):
            return int(data)
        try:
            return signing.loads(data.decode("latin-1"), salt=__name__, serializer=RedisSerializer)
        except signing.BadSignature:
            logger.warning("a cached value has a wrong signature and counts as missing; SECRET_KEY may have changed")
            return INVALID

    def serialize(self, key: bytes, value: Any) -> tuple[bytes, int]:
        return str(self.dumps(value)).encode(), 0

    def deserialize(self, key: bytes, value: bytes, flags: int) -> Any:
        return self.loads(value)


class RedisServer(RedisCache):
    def __init__(self, url: str, params: dict[str, Any]) -> None:
        import redis  # the whole package first: twelve.web.imports says why

        super().__init__(url, params | {"OPTIONS": params["OPTIONS"] | {"serializer": SignedSerializer}})
        self.failures = (redis.RedisError, OSError)
        self.connect = partial(redis.Redis.from_url, url, **params["OPTIONS"])

    @staticmethod
    def build_options(url: str, policy: Policy, timeout: float) -> dict[str, Any]:
        refuse_parameters(url)
        return {"socket_connect_timeout": timeout, "socket_timeout": timeout} | redis_options(url, policy)

    @staticmethod
    def is_programming_error(error: Exception) -> bool:
        """Return True for an error of the caller, for example incr() on a string, and not of the server."""
        from redis.exceptions import DataError, ResponseError

        if type(error) is ResponseError:  # those of the server's state have another class or another code
            return error.status_code == "ERR" or str(error).startswith("WRONGTYPE")
        return isinstance(error, DataError)

    def clear(self) -> None:
        """Delete this site's keys: Django's own way is FLUSHDB, and the queue may live beside them."""
        with self.connect() as client:
            keys = client.scan_iter(match=f"{glob.escape(self.key_prefix)}:*", count=1000)
            for batch in batched(keys, 1000):
                client.unlink(*batch)

    def probe(self, answer: Any) -> None:
        with self.connect() as client:
            server, tls = f"Redis {client.info('server')['redis_version']}", answer.kind == "rediss"
            answer.record(server, client.ping, tls)


class MemcachedServer(PyMemcacheCache):
    """Its clear() deletes the keys of other sites as well: Memcached does not list keys."""

    def __init__(self, url: str, params: dict[str, Any]) -> None:
        import pymemcache

        address, limits = urlsplit(url).netloc, params["OPTIONS"]
        # Without retries and pauses of the client's own, which would hide a failure.
        client = {"serde": SignedSerializer(), "retry_attempts": 0, "dead_timeout": 0}
        super().__init__(address, params | {"OPTIONS": limits | client})
        self.failures = (pymemcache.MemcacheError, OSError)
        self.connect = partial(pymemcache.Client, address, **limits)

    @staticmethod
    def build_options(url: str, policy: Policy, timeout: float) -> dict[str, Any]:
        parts = urlsplit(url)
        if not parts.port or parts.username is not None or parts.path.strip("/") or parts.query:
            raise ValueError("is not memcached://host:port; Memcached takes no user name and password here")
        return {"connect_timeout": timeout, "timeout": timeout}

    @staticmethod
    def is_programming_error(error: Exception) -> bool:
        from pymemcache.exceptions import MemcacheClientError

        return isinstance(error, MemcacheClientError) or "too large" in str(error)

    def probe(self, answer: Any) -> None:
        with contextlib.closing(self.connect()) as client:
            answer.record(f"Memcached {client.version().decode()}", client.version, False)


# The servers by the scheme of the URL. To add a kind, write a class like these two and a line here.
SERVERS: dict[str, Any] = {"redis": RedisServer, "rediss": RedisServer, "memcached": MemcachedServer}


def probe(answer: Any) -> None:
    """Ask the server on a connection of its own; fill in the answer of twelve.services.probe."""
    cache: Any = caches.create_connection("default")
    location = str(settings.CACHES["default"].get("LOCATION", ""))
    answer.locate(location)
    answer.policy = "redis"
    if isinstance(cache, ResilientCache):
        cache.server.probe(answer)
        return
    answer.kind = type(cache).__name__
    try:
        answer.record("", partial(cache.get, "probe"), None)
    finally:
        connections.close_all()  # of a cache in the database
