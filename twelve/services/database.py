"""The database, by DATABASE_URL; DIRECT_DATABASE_URL reaches it past a pooler.

PostgreSQL's, MySQL's and MariaDB's clients have different names for the same time limits and the same TLS.
"""

from contextlib import closing
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import dj_database_url
from django.db import connections

from twelve.env import Env, env
from twelve.services.tls import DEFAULT, Policy

POSTGRESQL, MYSQL = "django.db.backends.postgresql", "django.db.backends.mysql"
SQLITE = "django.db.backends.sqlite3"
SCHEMES = ("postgres", "postgresql", "mysql", "sqlite")


class Limits(NamedTuple):
    """Seconds; but for a connection and a lock, 0 is none."""

    connect: int = 3
    statement: int = 30
    lock: int = 10
    idle: int = 60  # of a transaction


DEFAULT_LIMITS = Limits()


def from_environment(
    tls: Policy,
    env: Env = env,
    *,
    max_age: int = 60,
    connect_timeout: int = DEFAULT_LIMITS.connect,
    statement_timeout: int = DEFAULT_LIMITS.statement,
    lock_timeout: int = DEFAULT_LIMITS.lock,
    idle_timeout: int = DEFAULT_LIMITS.idle,
) -> dict[str, Any]:
    """Return DATABASES: `default`, and `direct` where DIRECT_DATABASE_URL is set.

    The arguments are in seconds: how long a connection is kept for the next request, and the limits of Limits.
    """
    limits = Limits(connect_timeout, statement_timeout, lock_timeout, idle_timeout)

    def attach(url: str, *, pooled: bool = False) -> Any:
        database = parse_url(url, limits, tls, pooled=pooled, max_age=max_age)
        if database["ENGINE"] == SQLITE and database["NAME"] != ":memory:":
            path = env.base_dir / database["NAME"]
            if not path.parent.is_dir():
                raise ValueError(f"names a file in {path.parent}, which is not a directory: create it")
            database["NAME"] = str(path)
        return database

    direct = env.url(
        "DIRECT_DATABASE_URL",
        default=None,
        schemes=SCHEMES,
        parse=attach,
        example="postgres://user:password@localhost:5432/name",
        help="The database past a pooler such as pgbouncer, for migrations; set it where DATABASE_URL is a pooler's.",
    )
    default = env.url(
        "DATABASE_URL",
        schemes=SCHEMES,
        parse=lambda url: attach(url, pooled=direct is not None),
        example="postgres://user:password@localhost:5432/name",
        help="The database: PostgreSQL, MySQL or MariaDB (with requirements/mysql.txt), or SQLite for local work.",
    )
    databases = {"default": default or {}}
    if direct:
        databases["direct"] = direct | {"TEST": {"MIRROR": "default"}}
    return databases


def parse_url(
    url: str, limits: Limits = DEFAULT_LIMITS, tls: Policy = DEFAULT.database, pooled: bool = False, max_age: int = 60
) -> Any:
    """Return Django's settings of one database; with `pooled`, a pooler such as pgbouncer is in front of it.

    Raises ValueError, without a credential in its text, for a URL that cannot work.
    """
    try:
        database: Any = dj_database_url.parse(url, conn_max_age=max_age, conn_health_checks=True)
    except dj_database_url.ParseError as error:
        raise ValueError("cannot be parsed") from error
    if not urlsplit(url).path.strip("/"):
        raise ValueError("names no database; it is the part after the host, as in sqlite:///var/db.sqlite3")
    if "pool" in (options := database.setdefault("OPTIONS", {})):
        raise ValueError("has the parameter pool; put a pooler such as pgbouncer in front of the database instead")
    if database["ENGINE"] == POSTGRESQL:
        database["OPTIONS"] = postgresql(database["HOST"], options, limits, tls, pooled)
        database["DISABLE_SERVER_SIDE_CURSORS"] = pooled  # the next statement may run on another connection
    elif database["ENGINE"] == MYSQL:
        if find_spec("MySQLdb") is None:
            raise ValueError("needs mysqlclient, which is not installed: pip install -r requirements/mysql.txt")
        if database["HOST"] == "localhost":
            database["HOST"] = "127.0.0.1"  # the client would use a socket, and ignore the port
        database["OPTIONS"] = mysql(database["HOST"], options, limits, tls)
    else:
        database["OPTIONS"] = {
            "timeout": limits.lock,  # seconds that a writer waits for another process's write
            "transaction_mode": "IMMEDIATE",  # wait at BEGIN: a later upgrade to a write would fail at once
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
    database["LIMITS"] = limits  # for twelve.release
    return database


def limits_of(connection: Any) -> Limits:
    """Return the limits of a connection of Django's."""
    return connection.settings_dict.get("LIMITS", DEFAULT_LIMITS)


def postgresql(host: str, options: dict[str, Any], limits: Limits, policy: Policy, pooled: bool) -> dict[str, Any]:
    """Return libpq's parameters. Behind a pooler the timeouts are those of the role."""
    if "service" in options:
        raise ValueError("names a service, whose host is in a file; write the host in the URL")
    hosts = str(options.get("hostaddr") or host or options.get("host", "")).split(",")  # in libpq's order
    mode = options.get("sslmode", "disable" if all(map(is_private, hosts)) else "require")
    if mode in ("allow", "prefer"):
        raise ValueError(f"has sslmode={mode}, which may mean no TLS, silently; write require or disable")
    tls = {"sslmode": "disable" if mode == "disable" else "require"}
    if mode != "disable" and policy.verify:
        tls = {"sslmode": "verify-full", "sslrootcert": policy.authorities}
    if not pooled:
        start_up = f"-c statement_timeout={limits.statement}s -c lock_timeout={limits.lock}s"
        start_up += f" -c idle_in_transaction_session_timeout={limits.idle}s {options.get('options', '')}"
        options = options | {"options": start_up.strip()}
    # Notice within half a minute that the peer is unreachable.
    alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
    return {"connect_timeout": limits.connect} | alive | options | tls


def mysql(host: str, options: dict[str, Any], limits: Limits, policy: Policy) -> dict[str, Any]:
    """Return the parameters of the client of MySQL and MariaDB."""
    for name in {"host", "read_default_file", "read_default_group"} & options.keys():
        raise ValueError(f"has {name}, which can lead to another host; write the host in the URL")
    options.pop("reconnect", None)  # in ClearDB's URLs; Django reconnects by itself
    if "sslmode" in options:
        raise ValueError("has sslmode, which is PostgreSQL's; write ssl-mode=REQUIRED or DISABLED")
    mode = options.pop("ssl-mode", options.pop("ssl_mode", "DISABLED" if is_private(host) else "REQUIRED")).upper()
    if mode == "PREFERRED":
        raise ValueError("has ssl-mode=PREFERRED, which may mean no TLS, silently; write REQUIRED or DISABLED")
    tls: dict[str, Any] = {"ssl_mode": "DISABLED" if mode == "DISABLED" else "REQUIRED"}
    if mode != "DISABLED" and policy.verify:
        tls = {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": policy.authorities}}
    # Each comment is executed by one of the two servers only, whose names for these differ.
    mariadb = f"/*M!100101 , max_statement_time={limits.statement}, idle_transaction_timeout={limits.idle} */"
    oracle = f"/*!50708 , max_execution_time={limits.statement * 1000} */"
    return {
        "connect_timeout": limits.connect,
        "read_timeout": (limits.statement or 3600) + 5,  # of the client, for a server that stops answering
        "write_timeout": 30,
        "init_command": f"SET SESSION innodb_lock_wait_timeout={limits.lock} {mariadb} {oracle}",
        **options,
        **tls,
    }


def is_private(host: str) -> bool:
    """Return True for this machine and hosts of private networks, to which a connection needs no TLS."""
    try:
        return ip_address(host or "::1").is_private
    except ValueError:
        private = (".internal", ".flycast", ".local", ".svc")
        return "." not in host or host.startswith("/") or host.endswith(private)


def probe(answer: Any, alias: str = "default") -> None:
    """Ask the server on a connection of its own; fill in the answer of twelve.services.probe."""
    connection: Any = connections[alias].copy()
    server, answer.kind, answer.policy = connection.settings_dict, connection.vendor, "database"
    host = ":".join(filter(None, [server["HOST"], str(server["PORT"])]))
    answer.address = "/".join(filter(None, [host, server["NAME"]]))
    with closing(connection), connection.cursor() as cursor:
        tls = None
        if connection.vendor == "postgresql":
            tls = connection.connection.pgconn.ssl_in_use
        elif connection.vendor == "mysql":
            cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
            tls = bool(cursor.fetchone()[1])
        version = ".".join(map(str, connection.get_database_version()))
        answer.record(f"{connection.display_name} {version}", lambda: cursor.execute("SELECT 1"), tls)
