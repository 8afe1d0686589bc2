"""The cache and the sessions; without CACHE_URL both are in the database."""

from environ import Env

from config.env import env

CACHES = {
    "default": env.url(
        "CACHE_URL",
        default="dbcache://cache?max_entries=100000",
        schemes=("redis", "rediss", "dbcache", "locmemcache"),
        parse=Env.cache_url_config,
        example="redis://localhost:6379/1",
        help="The cache: redis, or a table of the database.",
    )
    or {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
}

SESSION_ENGINE = "django.contrib.sessions.backends.db"
