"""The database, by DATABASE_URL alone."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from config.env import BASE_DIR, env

CONN_MAX_AGE = env.int(
    "CONN_MAX_AGE", default=60, help="Seconds that a database connection is kept for the next request."
)


def parse(url: str) -> Any:
    """Django's settings of one database; a relative SQLite path starts at the project."""
    try:
        database: Any = dj_database_url.parse(url, conn_max_age=CONN_MAX_AGE, conn_health_checks=True)
    except dj_database_url.ParseError as error:
        raise ValueError("cannot be parsed") from error
    if not urlsplit(url).path.strip("/"):
        raise ValueError("names no database; it is the part after the host, as in sqlite:///var/db.sqlite3")
    if "pool" in database.get("OPTIONS", {}):
        raise ValueError("asks for a connection pool, which this project does not install")
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["NAME"] = sqlite_path(database["NAME"])
        database["OPTIONS"] = {
            "timeout": 20,  # seconds that a writer waits for another process's write
            "transaction_mode": "IMMEDIATE",  # wait at BEGIN: a later upgrade to a write would fail at once
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
    else:
        database["OPTIONS"] = {"connect_timeout": 5} | database.get("OPTIONS", {})
    return database


def sqlite_path(name: str) -> str:
    if name == ":memory:":
        return name
    path = BASE_DIR / name
    with suppress(OSError):
        if not Path(name).is_absolute():
            path.parent.mkdir(parents=True, exist_ok=True)  # var/ on a fresh clone
    if not path.parent.is_dir():
        raise ValueError(f"names a file in {path.parent}, which is not a directory")
    return str(path)


DATABASES = {
    "default": env.url(
        "DATABASE_URL",
        schemes=("postgres", "postgresql", "mysql", "sqlite"),
        parse=parse,
        example="postgres://user:password@localhost:5432/name",
        help="The database: PostgreSQL, MariaDB or MySQL, or SQLite for local work.",
    )
    or {}
}
