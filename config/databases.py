"""What Django is told of a database: the words that each client has for the same limits of time and the same TLS."""

from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import dj_database_url

from config.env import BASE_DIR

if TYPE_CHECKING:
    from config.settings.tls import Policy

POSTGRESQL, MYSQL = "django.db.backends.postgresql", "django.db.backends.mysql"


class Limits(NamedTuple):
    """Seconds; but for a connection and a lock, 0 is none."""

    connect: int
    statement: int
    lock: int
    idle: int  # of a transaction


def parse(url: str, limits: Limits, tls: "Policy", *, pooled: bool, max_age: int, pool_size: int) -> Any:
    """Django's settings of one database; `pooled`: its connections come from a pooler, which they share.

    Raises ValueError, without a credential in it, for what cannot work.
    """
    try:
        database: Any = dj_database_url.parse(url, conn_max_age=max_age, conn_health_checks=True)
    except dj_database_url.ParseError as error:
        raise ValueError("cannot be parsed") from error
    if not urlsplit(url).path.strip("/"):
        raise ValueError("names no database; it is the part after the host, as in sqlite:///var/db.sqlite3")
    if "pool" in (options := database.setdefault("OPTIONS", {})):
        raise ValueError("asks for a connection pool; DATABASE_POOL_SIZE does")
    if database["ENGINE"] == POSTGRESQL:
        database["OPTIONS"] = postgresql(database["HOST"], options, limits, tls, pooled)
        database["DISABLE_SERVER_SIDE_CURSORS"] = pooled  # the next statement may run on another connection
        if pool_size:
            database["CONN_MAX_AGE"] = 0  # the pool keeps the connections
            # Who asks next tries again: the pool's own tries have pauses that double, in which it tries nothing.
            again = {"timeout": limits.connect + 1, "reconnect_timeout": 0}
            database["OPTIONS"]["pool"] = {"min_size": 0, "max_size": pool_size, **again}
    elif database["ENGINE"] == MYSQL:
        if find_spec("MySQLdb") is None:
            raise ValueError("needs mysqlclient, which is not installed: pip install -r requirements/mysql.txt")
        if database["HOST"] == "localhost":
            database["HOST"] = "127.0.0.1"  # the client would take a socket, and ignore the port
        database["OPTIONS"] = mysql(database["HOST"], options, limits, tls)
    else:
        database["NAME"] = sqlite_path(database["NAME"])
        database["OPTIONS"] = {
            "timeout": limits.lock,  # seconds that a writer waits for another process's write
            "transaction_mode": "IMMEDIATE",  # wait at BEGIN: a later upgrade to a write would fail at once
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
    return database


def postgresql(host: str, options: dict[str, Any], limits: Limits, policy: "Policy", pooled: bool) -> dict[str, Any]:
    """libpq's parameters. Through a pooler the timeouts are the role's: ALTER ROLE … SET statement_timeout."""
    if "service" in options:
        raise ValueError("names a service, whose host is in a file; write the host in the URL")
    hosts = str(options.get("hostaddr") or host or options.get("host", "")).split(",")  # in libpq's order
    mode = options.get("sslmode", "disable" if all(map(is_private, hosts)) else "require")
    if mode in ("allow", "prefer"):
        raise ValueError(f"has sslmode={mode}, which may mean no TLS without a word; write require or disable")
    tls = {"sslmode": mode}
    if mode != "disable" and policy.verify:
        tls = {"sslmode": "verify-full", "sslrootcert": policy.authorities}
    elif mode != "disable":
        tls = {"sslmode": "require"}
    if not pooled:
        timeouts = {
            "statement_timeout": limits.statement,
            "lock_timeout": limits.lock,
            "idle_in_transaction_session_timeout": limits.idle,
        }
        start_up = [f"-c {name}={seconds}s" for name, seconds in timeouts.items()]
        options = options | {"options": " ".join([*start_up, options.get("options", "")]).strip()}
    # A peer that vanished without a word is noticed within half a minute.
    alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
    return {"connect_timeout": limits.connect} | alive | options | tls


def mysql(host: str, options: dict[str, Any], limits: Limits, policy: "Policy") -> dict[str, Any]:
    """The parameters of MySQL's and MariaDB's client."""
    for name in {"host", "read_default_file", "read_default_group"} & options.keys():
        raise ValueError(f"has {name}, which can lead to another host; write the host in the URL")
    options.pop("reconnect", None)  # in ClearDB's URLs; Django reconnects by itself
    if "sslmode" in options:
        raise ValueError("has sslmode, which is PostgreSQL's; write ssl-mode=REQUIRED or DISABLED")
    mode = options.pop("ssl-mode", options.pop("ssl_mode", "DISABLED" if is_private(host) else "REQUIRED")).upper()
    if mode == "PREFERRED":
        raise ValueError("has ssl-mode=PREFERRED, which may mean no TLS without a word; write REQUIRED or DISABLED")
    tls: dict[str, Any] = {"ssl_mode": mode}
    if mode != "DISABLED" and policy.verify:
        tls = {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": policy.authorities}}
    elif mode != "DISABLED":
        tls = {"ssl_mode": "REQUIRED"}
    # The comments are statements to one of the two servers each, whose names for these differ.
    mariadb = f"/*M!100101 , max_statement_time={limits.statement}, idle_transaction_timeout={limits.idle} */"
    oracle = f"/*!50708 , max_execution_time={limits.statement * 1000} */"
    return {
        "connect_timeout": limits.connect,
        "read_timeout": (limits.statement or 3600) + 5,  # the client's own, should the server fall silent
        "write_timeout": 30,
        "init_command": f"SET SESSION innodb_lock_wait_timeout={limits.lock} {mariadb} {oracle}",
        **options,
        **tls,
    }


def is_private(host: str) -> bool:
    """Whether a host is this machine or a private network's, where a database may speak without TLS."""
    try:
        return ip_address(host or "::1").is_private
    except ValueError:
        private = (".internal", ".flycast", ".local", ".svc")
        return "." not in host or host.startswith("/") or host.endswith(private)


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
