"""The database, by DATABASE_URL; DIRECT_DATABASE_URL is the way to it past a pooler."""

from typing import Any

from config import databases
from config.env import env

from .tls import DATABASE_TLS

CONN_MAX_AGE = env.int(
    "CONN_MAX_AGE", default=60, help="Seconds that a database connection is kept for the next request."
)
DATABASE_POOL_SIZE = env.int(
    "DATABASE_POOL_SIZE",
    default=0,
    help="PostgreSQL connections that the threads of a process share, instead of one each; 0: no pool.",
)
DATABASE_CONNECT_TIMEOUT = env.int(
    "DATABASE_CONNECT_TIMEOUT", default=3, minimum=1, help="Seconds to wait for a connection to the database."
)
DATABASE_STATEMENT_TIMEOUT = env.int(
    "DATABASE_STATEMENT_TIMEOUT", default=30, help="Seconds after which the database ends a statement; 0: never."
)
DATABASE_LOCK_TIMEOUT = env.int(
    "DATABASE_LOCK_TIMEOUT",
    default=10,
    minimum=1,
    help="Seconds that a statement waits for another's lock; on SQLite, for another writer.",
)
DATABASE_IDLE_TIMEOUT = env.int(
    "DATABASE_IDLE_TIMEOUT", default=60, help="Seconds after which the database ends an idle transaction; 0: never."
)


def parse_database(url: str, pooled: bool) -> Any:
    """Django's settings of the database at a URL, with the limits and the TLS of all."""
    limits = databases.Limits(
        DATABASE_CONNECT_TIMEOUT, DATABASE_STATEMENT_TIMEOUT, DATABASE_LOCK_TIMEOUT, DATABASE_IDLE_TIMEOUT
    )
    return databases.parse(url, limits, DATABASE_TLS, pooled=pooled, max_age=CONN_MAX_AGE, pool_size=DATABASE_POOL_SIZE)


def parse_default(url: str) -> Any:
    database = parse_database(url, pooled=_direct is not None)
    if _direct and _direct["ENGINE"] != database["ENGINE"]:
        raise ValueError("is another kind of database than DIRECT_DATABASE_URL, which is the same one past its pooler")
    return database


SCHEMES = ("postgres", "postgresql", "mysql", "sqlite")
_direct = env.url(
    "DIRECT_DATABASE_URL",
    default=None,
    schemes=SCHEMES,
    parse=lambda url: parse_database(url, pooled=False),
    example="postgres://user:password@localhost:5432/name",
    help="The database past a pooler such as pgbouncer, for migrations; set it where DATABASE_URL leads to a pooler.",
)
DATABASES = {
    "default": env.url(
        "DATABASE_URL",
        schemes=SCHEMES,
        parse=parse_default,
        example="postgres://user:password@localhost:5432/name",
        help="The database: PostgreSQL, MySQL or MariaDB (with requirements/mysql.txt), or SQLite for local work.",
    )
    or {}
}
if _direct:
    DATABASES["direct"] = _direct | {"TEST": {"MIRROR": "default"}}
