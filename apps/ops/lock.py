"""The lock of a release, which all releases of one database respect.

It is held on a second connection, on PostgreSQL by an open transaction, so that it holds through a pooler as well. No
statement waits for it: one that waits keeps PostgreSQL from building an index concurrently, for which it would wait.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from django.core.management.base import CommandError
from django.db import Error

SECONDS = 600  # that another release may take
KEY = 1_734_052_909  # any number, the same in each release
NAME = "CONCAT('release ', MD5(DATABASE()))"  # MariaDB's and MySQL's locks are the whole server's


@contextmanager
def held(connection: Any, mine: str, tell: Callable[[str], object]) -> Iterator[Callable[[], None]]:
    """Hold it as `mine`; tell of another release that has it. Raises CommandError when that one takes too long.

    Gives a function that raises CommandError once the lock is lost.
    """
    open_, take = VENDORS[connection.vendor]
    with closing(open_(connection)) as holder:
        until, told = time.monotonic() + SECONDS, False
        while (other := take(holder, mine)) is not None:
            if time.monotonic() >= until:
                raise CommandError(
                    f"Another release ({other}) still holds the lock after {SECONDS} s. Nothing was changed. Wait for "
                    "its end; if it is dead, end its connection to the database. Then release again."
                )
            if not told:
                tell(f"Waiting for another release to end, {SECONDS} s at most: {other}.")
            told = True
            time.sleep(0.3)

        def check() -> None:
            try:
                holder.cursor().execute("SELECT 1")
            except (Error, sqlite3.Error) as error:
                raise CommandError(
                    "The lock was lost: the database went away, or ended its connection, and another release may be"
                    f" under way: {error}\nNothing more was changed. Once the database answers, `manage.py release"
                    " --plan` shows what is left; then release again."
                ) from error

        yield check


# Each of these takes the lock, for as long as the connection is open, and returns None; or else who has it.


def take_postgresql(holder: Any, mine: str) -> str | None:
    with holder.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED")  # it keeps no snapshot, so that nobody waits for it
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [KEY])
        if cursor.fetchone()[0]:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT set_config('application_name', left(%s, 60), true)", [mine])
            return None
        cursor.execute(
            "SELECT application_name || ', process ' || pid FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE"
            " locktype = 'advisory' AND granted AND classid = 0 AND objid = %s AND datname = current_database()",
            [KEY],
        )
        row = cursor.fetchone()
        cursor.execute("ROLLBACK")
    return row[0] if row else "which ends"


def take_mysql(holder: Any, mine: str) -> str | None:
    with holder.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK({NAME}, 0), IS_USED_LOCK({NAME})")
        taken, thread = cursor.fetchone()
        if taken:
            cursor.execute("SET SESSION wait_timeout = 86400")  # seconds
            return None
        cursor.execute("SELECT host FROM information_schema.processlist WHERE id = %s", [thread])
        row = cursor.fetchone()
    return f"from {row[0]}, process {thread}" if row else "which ends"


def open_sqlite(connection: Any) -> sqlite3.Connection:
    """A database beside the database, of which only the lock is used: Python's only one that works on every system."""
    path = ":memory:" if connection.is_in_memory_db() else f"{connection.settings_dict['NAME']}-release"
    return sqlite3.connect(path, timeout=0, isolation_level=None)


def take_sqlite(holder: sqlite3.Connection, mine: str) -> str | None:
    try:
        holder.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return "on this machine"
    return None


def copy(connection: Any) -> Any:
    return connection.copy()


VENDORS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, str], str | None]]] = {
    "postgresql": (copy, take_postgresql),
    "mysql": (copy, take_mysql),
    "sqlite": (open_sqlite, take_sqlite),
}
