"""Migrate the database for `release` and `migrate_db`: one of them at a time, with lock timeouts."""

import re
import sqlite3
from collections.abc import Callable
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor

from twelve import logs
from twelve.conf import settings
from twelve.models import Release
from twelve.release import lock
from twelve.release.trail import current_user
from twelve.services import probe as probes
from twelve.services.database import limits_of

# What waiting does not mend, by the text of the probe: libpq has no error codes for a connection that fails.
REFUSED = re.compile(
    r"unsupported startup parameter|authentication failed|does not exist|no such (user|database)|no pg_hba\.conf entry"
    r"|certificate|\((1044|1045|1049),"  # the numbers are MySQL's
)
# An index of a large table takes its time, and so does Python code between two statements. Waiting for a lock stays
# limited, for ALTER TABLE on MariaDB and MySQL as well, whose own default is a day or a year.
LIMITS = {
    "postgresql": "SET lock_timeout = '{}s'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    "mysql": "SET SESSION lock_wait_timeout = {} /*M!100101 , max_statement_time = 0, idle_transaction_timeout = 0 */"
    " /*!50708 , max_execution_time = 0 */",  # MariaDB executes the one comment, MySQL the other
}
CHANGES = ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "INSERT", "UPDATE", "DELETE")
# Lock timeouts and deadlocks of PostgreSQL, of MariaDB and MySQL, and of SQLite.
LOCK_ERRORS = {"55P03", "40P01", 1205, 1213, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def release_name() -> str:
    """Return the release and its commit, as far as the platform provides them."""
    commit = f"commit {settings.COMMIT[:7]}" if settings.COMMIT else ""
    return ", ".join(filter(None, [settings.RELEASE, commit])) or "a release without an id"


def database() -> Any:
    """Return the connection to the database, past its pooler if DIRECT_DATABASE_URL is set."""
    return connections["direct" if "direct" in connections else "default"]


def wait_for_database(seconds: int, log: lock.Log) -> None:
    """Return once the database is up; raise CommandError after so many seconds, or at once if waiting does not help."""
    service = "direct" if "direct" in connections else "database"
    reason = lock.poll(lambda: probes.probe(3, [service])[0].reason, seconds, "the database", log, REFUSED.search)
    if reason:
        advice = ", and waiting does not help. Correct DATABASE_URL or DIRECT_DATABASE_URL, then"
        advice = advice if REFUSED.search(reason) else ". Once it answers,"
        raise CommandError(f"No connection to the database: {reason}.\nNothing was changed{advice} release again.")


def connect() -> Any:
    """Return a new connection without time limits."""
    connection = database()
    connection.close()
    if connection.vendor == "mysql":
        options = connection.settings_dict["OPTIONS"] | {"read_timeout": 86_400}  # seconds, a limit of the client
        connection.settings_dict = connection.settings_dict | {"OPTIONS": options}
    if connection.vendor in LIMITS:
        with connection.cursor() as cursor:
            cursor.execute(LIMITS[connection.vendor].format(limits_of(connection).lock))
    return connection


def pending(connection: Any) -> list[Any]:
    """Return the migrations to apply."""
    executor = MigrationExecutor(connection)
    return [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def migrate(log: lock.Log, *, verbosity: int, record: bool = False) -> int:
    """Migrate under the lock, `record` the release, and return the number of migrations applied."""
    try:
        connection = connect()
        with lock.hold(connection, f"{release_name()} by {current_user()}", log) as check_lock:
            count = len(pending(connection))
            Migrate(connection, check_lock, log).run(verbosity if count else 0, record)
            return count
    except Error as error:
        reason = probes.reason(error, "database")
        raise CommandError(f"The database is not migrated, and nothing was changed: {reason}") from error


class Migrate:
    """One run of Django's `migrate`, which describes what a failure or a signal leaves."""

    def __init__(self, connection: Any, check_lock: Callable[[], object], log: lock.Log) -> None:
        self.connection, self.check_lock, self.log = connection, check_lock, log
        self.statement, self.changes = "", 0  # the last statement; the changes since the last migration was recorded

    def run(self, verbosity: int, record: bool) -> None:
        try:
            with self.connection.execute_wrapper(self.execute):
                call_command("migrate", database=self.connection.alias, interactive=False, verbosity=verbosity)
                if record:
                    fields = {"version": settings.RELEASE[:200], "commit": settings.COMMIT[:64]}
                    Release.objects.using(self.connection.alias).create(**fields, released_by=current_user())
        except Error as error:
            raise CommandError(self.describe(error, "failed. Correct it, then release again")) from error
        except BaseException as error:  # an error in Python, or a signal
            self.log(self.describe(error, f"was stopped by {type(error).__name__}"))
            raise

    def execute(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Execute a statement, and change nothing once the lock is lost."""
        self.statement = str(sql)
        if not self.statement.lstrip().upper().startswith(CHANGES):
            return execute(sql, params, many, context)
        self.check_lock()
        if self.connection.vendor == "postgresql" and self.connection.in_atomic_block:
            # Through a pooler, the session of the transaction may be another one, with other limits.
            limits = LIMITS["postgresql"].replace("SET", "SET LOCAL")
            execute(limits.format(limits_of(self.connection).lock), None, False, context)
        result = execute(sql, params, many, context)
        self.changes = 0 if "django_migrations" in self.statement else self.changes + 1
        return result

    def describe(self, error: BaseException, outcome: str) -> str:
        """Return which migration and which statement failed, what stands, and what to do."""
        cause: Any = error.__cause__
        codes = [getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorcode", 0) & 0xFF, *error.args[:1]]
        if busy := not LOCK_ERRORS.isdisjoint(codes):
            seconds = limits_of(self.connection).lock
            outcome = f"gave up after {seconds} s: another session locks the table. Release again later"
        reason = " ".join(logs.masked(str(error)).split())  # databases quote rows in their errors
        lines = [f"{type(error).__name__}: {reason}\nThe statement: {logs.masked(self.statement)}"]
        try:
            migration = next(iter(pending(self.connection)), None)
            subject = f"The migration {migration}" if migration else "What follows the migrations"
            lines.insert(0, f"{subject} {outcome}.")
            if busy and self.connection.vendor == "postgresql":
                lines += lock.sessions(self.connection, [], re.findall(r"\w+", self.statement))
            lines.append(self.describe_state(migration))
            self.check_lock()
        except Error as lost:
            lines.append(f"The lock was lost: the database is unreachable, or ended the connection: {lost}")
            lines.append("Another release may be under way. `manage.py migrate --plan` prints what is left.")
        return "\n".join(lines)

    def describe_state(self, migration: Any) -> str:
        """Return what is left of a migration that did not finish."""
        if not migration:
            return "All migrations are applied. Content types, permissions or the release's record may be missing."
        if self.connection.features.can_rollback_ddl and migration.atomic:
            return "It was rolled back. The migrations before it are applied, and the running release is not affected."
        if "CONCURRENTLY" in self.statement:
            return "An index that is not valid may be left: the next release drops it and builds it again."
        if self.changes:
            return f"{self.changes} of its statements are applied and NOT rolled back: undo or complete them by hand."
        return "This run applied none of its statements. An earlier one may have: compare it with the tables."
