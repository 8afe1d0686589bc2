"""The lock of a release: of the releases of one database, one migrates at a time. SQLite has none.

A second connection holds the lock, on PostgreSQL in an open transaction, so that it also works through a pooler. The
lock is polled: a statement that waits for it would block the index that the other release builds concurrently.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from django.core.management.base import CommandError

Log = Callable[[str], object]
WAIT_SECONDS = 600  # for another release
KEY = 1_734_052_909  # any number, the same in each release
NAME = "CONCAT('release ', MD5(DATABASE()))"  # the locks of MariaDB and MySQL belong to the server, not to a database
SESSIONS = """
    SELECT DISTINCT coalesce('The lock is held on ' || relname || ' by', application_name || ',') || ' process ' || pid
        || ' of ' || usename || ', ' || state || ' since ' || date_trunc('second', state_change)
    FROM pg_locks JOIN pg_stat_activity USING (pid) LEFT JOIN pg_class ON pg_class.oid = relation WHERE granted
        AND pid <> pg_backend_pid() AND datname = current_database() AND (objid = ANY(%s) OR relname = ANY(%s))
"""


@contextmanager
def hold(connection: Any, owner: str, log: Log) -> Iterator[Callable[[], object]]:
    """Hold the lock, and yield a function that raises Error once the lock is lost.

    Raises CommandError if another release still holds the lock after WAIT_SECONDS.
    """
    with closing(connection.copy()) as holder:
        if other := poll(lambda: try_lock(holder, owner), WAIT_SECONDS, "another release to end", log):
            raise CommandError(
                f"Another release ({other}) still holds the lock after {WAIT_SECONDS} s. Nothing was changed. Wait"
                " until it ends, or end its connection to the database if it hangs. Then release again."
            )
        yield lambda: holder.cursor().execute("SELECT 1")


def poll(attempt: Any, seconds: float, awaited: str, log: Log, give_up: Any = lambda reason: False) -> str:
    """Call `attempt` until it returns ""; after so many seconds, or to give up, return the reason that it returned."""
    deadline, logged = time.monotonic() + seconds, False
    while (reason := attempt()) and not give_up(reason) and time.monotonic() < deadline:
        if not logged:
            log(f"Waiting for {awaited}, {seconds} s at most: {reason}.")
        logged = True
        time.sleep(0.3)
    return reason


def try_lock(holder: Any, owner: str) -> str:
    """Take the lock until the connection closes and return "", or return which process holds it."""
    with holder.cursor() as cursor:
        if holder.vendor == "mysql":
            cursor.execute("SET SESSION wait_timeout = 86400")  # seconds
            cursor.execute(f"SELECT GET_LOCK({NAME}, 0), IS_USED_LOCK({NAME})")
            taken, process = cursor.fetchone()
            return "" if taken else f"process {process} of the database"
        if holder.vendor == "postgresql":
            cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED")  # keeps no snapshot that an index has to wait for
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [KEY])
            if not cursor.fetchone()[0]:
                other = next(iter(sessions(holder, [KEY], [])), "one that just ended")
                cursor.execute("ROLLBACK")
                return other
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT set_config('application_name', left(%s, 60), true)", [owner])
    return ""


def sessions(connection: Any, keys: list[int], tables: list[str]) -> list[str]:
    """Return a line for each session of PostgreSQL that holds an advisory lock or a lock on a table."""
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS, [keys, tables])
        return [row[0] for row in cursor.fetchall()]
