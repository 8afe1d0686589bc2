"""The cache and the sessions; without CACHE_URL both are in the database."""

import re
from typing import Any
from urllib.parse import urlsplit

from environ import Env

from config.env import env

from .tls import redis_tls, refuse_tls_options


def check_prefix(text: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise ValueError(f"is {text!r}, which has other characters than letters, digits, _, . and -")


CACHE_KEY_PREFIX = env.str(
    "CACHE_KEY_PREFIX", default="site", check=check_prefix, help="What the cache's keys begin with: one for each site."
)


def parse(url: str) -> Any:
    """Django's settings of the cache."""
    parts = urlsplit(url)
    if parts.scheme in ("dbcache", "locmemcache"):
        return Env.cache_url_config(url)
    url = parts.scheme + url[len(parts.scheme) :]  # in lower case, which is what the clients know
    shared = {"BACKEND": "config.cache.ResilientCache", "LOCATION": url, "KEY_PREFIX": CACHE_KEY_PREFIX, "VERSION": 1}
    # A server that falls silent costs each process 2 s, once; the backend alone decides when it is tried again.
    if parts.scheme == "memcached":
        if not re.fullmatch(r"memcached://[^/?#@]+:[0-9]+/?", url):
            raise ValueError("is not memcached://host:port; Memcached takes no user name, password and query here")
        return shared | {"OPTIONS": {"connect_timeout": 1, "timeout": 1, "retry_attempts": 0, "dead_timeout": 0}}
    refuse_tls_options(url)
    return shared | {"OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1} | redis_tls(url)}


CACHES = {
    "default": env.url(
        "CACHE_URL",
        default="dbcache://cache?max_entries=100000",
        schemes=("redis", "rediss", "memcached", "dbcache", "locmemcache"),
        parse=parse,
        fallbacks={"REDIS_URL": str},
        example="redis://localhost:6379/1",
        help="The cache: Redis, Memcached (memcached://host:11211), or a table of the database.",
    )
    or {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
}

# A session is a row of the database; a cache that is not the database itself saves the query, for a while.
SESSION_ENGINE, SESSION_CACHE_ALIAS = "django.contrib.sessions.backends.db", "default"
if CACHES["default"]["BACKEND"] == "config.cache.ResilientCache":
    SESSION_ENGINE, SESSION_CACHE_ALIAS = "django.contrib.sessions.backends.cached_db", "sessions"
    CACHES["sessions"] = CACHES["default"] | {"LONGEST": 300}
