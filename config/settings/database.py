"""The database, by DATABASE_URL; DIRECT_DATABASE_URL is the way to it past a pooler."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from config.env import BASE_DIR, env

from .tls import DATABASE_TLS, is_private

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

POSTGRESQL, MYSQL = "django.db.backends.postgresql", "django.db.backends.mysql"


def parse_database(url: str, pooled: bool) -> Any:
    """Django's settings of one database; `pooled`: its connections come from a pooler, which they share."""
    try:
        database: Any = dj_database_url.parse(url, conn_max_age=CONN_MAX_AGE, conn_health_checks=True)
    except dj_database_url.ParseError as error:
        raise ValueError("cannot be parsed") from error
    if not urlsplit(url).path.strip("/"):
        raise ValueError("names no database; it is the part after the host, as in sqlite:///var/db.sqlite3")
    if "pool" in (options := database.setdefault("OPTIONS", {})):
        raise ValueError("asks for a connection pool; DATABASE_POOL_SIZE does")
    if database["ENGINE"] == POSTGRESQL:
        database["OPTIONS"] = postgresql(database["HOST"], options, pooled)
        database["DISABLE_SERVER_SIDE_CURSORS"] = pooled  # the next statement may run on another connection
        if DATABASE_POOL_SIZE:
            database["CONN_MAX_AGE"] = 0  # the pool keeps the connections
            database["OPTIONS"]["pool"] = {
                "min_size": 0,
                "max_size": DATABASE_POOL_SIZE,
                "timeout": DATABASE_CONNECT_TIMEOUT + 1,
            }
    elif database["ENGINE"] == MYSQL:
        if find_spec("MySQLdb") is None:
            raise ValueError("needs mysqlclient, which is not installed: pip install -r requirements/mysql.txt")
        if database["HOST"] == "localhost":
            database["HOST"] = "127.0.0.1"  # the client would take a socket, and ignore the port
        database["OPTIONS"] = mysql(database["HOST"], options)
    else:
        database["NAME"] = sqlite_path(database["NAME"])
        database["OPTIONS"] = {
            "timeout": DATABASE_LOCK_TIMEOUT,  # seconds that a writer waits for another process's write
            "transaction_mode": "IMMEDIATE",  # wait at BEGIN: a later upgrade to a write would fail at once
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
    return database


def postgresql(host: str, options: dict[str, Any], pooled: bool) -> dict[str, Any]:
    """libpq's parameters. Through a pooler the timeouts are the role's: ALTER ROLE … SET statement_timeout."""
    mode = options.get("sslmode", "disable" if is_private(host) else "require")
    if mode in ("allow", "prefer"):
        raise ValueError(f"has sslmode={mode}, which may mean no TLS without a word; write require or disable")
    tls = {"sslmode": mode}
    if mode != "disable" and DATABASE_TLS.verify:
        tls = {"sslmode": "verify-full", "sslrootcert": DATABASE_TLS.authorities}
    elif mode != "disable":
        tls = {"sslmode": "require"}
    if not pooled:
        timeouts = {
            "statement_timeout": DATABASE_STATEMENT_TIMEOUT,
            "lock_timeout": DATABASE_LOCK_TIMEOUT,
            "idle_in_transaction_session_timeout": DATABASE_IDLE_TIMEOUT,
        }
        start_up = [f"-c {name}={seconds}s" for name, seconds in timeouts.items()]
        options = options | {"options": " ".join([*start_up, options.get("options", "")]).strip()}
    # A peer that vanished without a word is noticed within half a minute.
    alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
    return {"connect_timeout": DATABASE_CONNECT_TIMEOUT} | alive | options | tls


def mysql(host: str, options: dict[str, Any]) -> dict[str, Any]:
    """The parameters of MySQL's and MariaDB's client."""
    if "sslmode" in options:
        raise ValueError("has sslmode, which is PostgreSQL's; write ssl-mode=REQUIRED or DISABLED")
    mode = options.pop("ssl-mode", options.pop("ssl_mode", "DISABLED" if is_private(host) else "REQUIRED")).upper()
    if mode == "PREFERRED":
        raise ValueError("has ssl-mode=PREFERRED, which may mean no TLS without a word; write REQUIRED or DISABLED")
    tls: dict[str, Any] = {"ssl_mode": mode}
    if mode != "DISABLED" and DATABASE_TLS.verify:
        tls = {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": DATABASE_TLS.authorities}}
    elif mode != "DISABLED":
        tls = {"ssl_mode": "REQUIRED"}
    # The comments are statements to one of the two servers each, whose names for these differ.
    mariadb = (
        f"/*M!100101 , max_statement_time={DATABASE_STATEMENT_TIMEOUT}"
        f", idle_transaction_timeout={DATABASE_IDLE_TIMEOUT} */"
    )
    oracle = f"/*!50708 , max_execution_time={DATABASE_STATEMENT_TIMEOUT * 1000} */"
    return {
        "connect_timeout": DATABASE_CONNECT_TIMEOUT,
        "read_timeout": (DATABASE_STATEMENT_TIMEOUT or 3600) + 5,  # the client's own, should the server fall silent
        "write_timeout": 30,
        "init_command": f"SET SESSION innodb_lock_wait_timeout={DATABASE_LOCK_TIMEOUT} {mariadb} {oracle}",
        **options,
        **tls,
    }


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
        parse=lambda url: parse_database(url, pooled=_direct is not None),
        example="postgres://user:password@localhost:5432/name",
        help="The database: PostgreSQL, MySQL or MariaDB (with requirements/mysql.txt), or SQLite for local work.",
    )
    or {}
}
if _direct:
    DATABASES["direct"] = _direct | {"TEST": {"MIRROR": "default"}}
