"""What `release` and `migrate_db` do to the database, one of them at a time. Starting a process never does it.

Each error says what was done, what was not, and what to do next.
"""

import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error, connections
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.executor import MigrationExecutor

from apps.factors import probes
from apps.ops import lock
from apps.ops.models import Release
from apps.ops.trail import who
from config import logs

Tell = Callable[[str], object]
DAY = 86_400  # seconds
PROBE_SECONDS = 3
SERVICES = {"default": "database", "direct": "direct"}  # the databases, as apps.factors.probes calls them
# The index of a large table takes its time, and so does what a migration computes between its statements. What stays
# limited is the wait for a lock, on MariaDB and MySQL that of ALTER TABLE as well, which is a day or a year by default.
NO_LIMITS = {
    "postgresql": "SET lock_timeout = '{}s'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    "mariadb": "SET SESSION max_statement_time = 0, idle_transaction_timeout = 0, lock_wait_timeout = {}",
    "mysql": "SET SESSION max_execution_time = 0, lock_wait_timeout = {}",
}
# What a migration does; config.migrations drops the remains of an index, and may do so again.
CHANGES = re.compile(r"\s*(CREATE|ALTER|DROP(?! INDEX CONCURRENTLY IF)|RENAME|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
LOCK_TIMEOUTS = ("55P03", "40P01", 1205, 1213)  # PostgreSQL's, MySQL's; the second of each is a deadlock


def name() -> str:
    """The release and its commit, as far as they are known."""
    commit = f"commit {settings.COMMIT[:7]}" if settings.COMMIT else ""
    return ", ".join(filter(None, [settings.RELEASE, commit])) or "a release of no known id"


def alias() -> str:
    """The database, past its pooler where there is a way."""
    return "direct" if "direct" in connections else "default"


def wait_for_database(seconds: int, tell: Tell) -> None:
    """Return as soon as the one that is migrated answers; raises CommandError after so many seconds."""
    until, told = time.monotonic() + seconds, False
    while away := not_up([SERVICES[alias()]]):
        if time.monotonic() >= until:
            raise CommandError(f"After {seconds} s {away[0]}.\nNothing was changed. Once it answers, release again.")
        if not told:
            tell(f"Waiting for {seconds} s at most, since {away[0]}.")
        told = True
        time.sleep(min(1, max(0, until - time.monotonic())))


def others_not_up() -> list[str]:
    """The services that do not answer and stop no release, the pooler among them, a line each."""
    return not_up([service for service in probes.attached() if service != SERVICES[alias()]])


def not_up(services: list[str]) -> list[str]:
    answers = [answer for answer in probes.probe(PROBE_SECONDS, services) if answer.state != "up"]
    return [f"the {answer.service} ({answer.address}) is {answer.state}: {answer.reason}" for answer in answers]


def migrate(tell: Tell, *, verbosity: int, record: bool = False) -> int:
    """Migrate while no other release does, and record this one; returns how many migrations were applied."""
    connection: Any = connections[alias()]
    try:
        open_without_limits(connection)
        with lock.held(connection, f"{name()} by {who()}", tell) as check:
            return migrate_alone(connection, tell, verbosity, record, check)
    except (Error, sqlite3.Error) as error:
        told = probes.reason(error, "DATABASE_TLS")
        raise CommandError(f"The database is not migrated, since it cannot be reached: {told}") from error


def migrate_alone(connection: Any, tell: Tell, verbosity: int, record: bool, check: Callable[[], None]) -> int:
    executor, plan = pending(connection)
    loader = executor.loader
    unknown = sorted(
        key for key in loader.applied_migrations if key[0] in loader.migrated_apps and key not in loader.disk_migrations
    )
    if unknown:
        tell(f"The database is ahead of this code, as after a rollback: {'.'.join(unknown[-1])}. It is left as it is.")
    statements = Statements(check)
    try:
        with connection.execute_wrapper(statements):
            call_command("migrate", database=connection.alias, interactive=False, verbosity=verbosity if plan else 0)
            if record:
                known = {"version": settings.RELEASE[:200], "commit": settings.COMMIT[:64], "released_by": who()}
                Release.objects.using(connection.alias).create(**known)
    except InconsistentMigrationHistory as error:
        raise CommandError(f"Nothing was migrated: {error}") from error
    except Error as error:
        raise CommandError(explain(connection, error, statements)) from error
    except BaseException as error:  # a mistake in Python, or a signal
        if statements.recorded < len(plan):
            migration = plan[statements.recorded]
            lines = stands(connection, migration, statements)
            tell("\n".join([f"The migration {migration} was stopped by {type(error).__name__}.", *lines]))
        raise
    return len(plan)


def open_without_limits(connection: Any) -> None:
    """Open it anew and past a pool, which would not tell why it cannot."""
    connection.close()
    options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
    if connection.vendor == "mysql":
        options["read_timeout"] = DAY  # the client's own limit, which holds from the start
    connection.settings_dict = connection.settings_dict | {"OPTIONS": options}
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        vars(connection.connection).pop("wait", None)  # the limit of apps.ops.apps
    kind = "mariadb" if getattr(connection, "mysql_is_mariadb", False) else connection.vendor
    if kind in NO_LIMITS:
        with connection.cursor() as cursor:
            cursor.execute(NO_LIMITS[kind].format(settings.DATABASE_LOCK_TIMEOUT))


def pending(connection: Any) -> tuple[Any, list[Any]]:
    """The executor, and the migrations to come."""
    executor = MigrationExecutor(connection)
    return executor, [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def plan_as_sql() -> str:
    """The migrations to come, each with its statements; changes nothing."""
    executor, plan = pending(connections[alias()])
    lines = [] if plan else ["Nothing to migrate."]
    for migration in plan:
        lines += ["", f"-- {migration}"]
        try:
            lines += executor.loader.collect_sql([(migration, False)])
        except Exception as error:
            lines += [f"-- Its statements are known only when those before it have run: {error}"]
    return "\n".join(lines).strip()


class Statements:
    """Sees each statement of the migrations: the last one, and how much of the migration that runs was done before."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check  # that the lock is held still, before each change
        self.last, self.done, self.recorded = "", 0, 0

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        self.last, connection = str(sql), context["connection"]
        changes = CHANGES.match(self.last)
        if changes:
            self.check()
        if changes and connection.vendor == "postgresql" and connection.in_atomic_block:
            # Through a pooler the session's limits may be those of another connection.
            limit = f"SET LOCAL lock_timeout = '{settings.DATABASE_LOCK_TIMEOUT}s'; SET LOCAL statement_timeout = 0"
            execute(limit, None, False, context)
        result = execute(sql, params, many, context)
        if re.match("INSERT INTO .django_migrations", self.last):
            self.done, self.recorded = 0, self.recorded + 1
        elif changes:
            self.done += 1
        return result


def explain(connection: Any, error: Error, statements: Statements) -> str:
    """A failed migration, for someone who is woken by it."""
    cause = error.__cause__ or error
    code = getattr(cause, "sqlstate", None) or (error.args[0] if error.args else None)
    busy = code in LOCK_TIMEOUTS or "locked" in str(error)
    why = f"gave up after {settings.DATABASE_LOCK_TIMEOUT} s: others use the table" if busy else "failed"
    # What the database quotes of its rows is people's.
    told = f"{type(error).__name__}: {' '.join(str(error).split())}\nThe statement: {statements.last}"
    lines = [logs.masked(told)]
    try:
        _, plan = pending(connection)
        lines += holders(connection, statements.last) if busy else []
    except Error as gone:
        lines += [
            "What it had done may stand. Once the database answers, `manage.py release --plan` shows what is left."
        ]
        return "\n".join([f"The database went away meanwhile: {gone}", *lines])
    if not plan:
        lines += [
            "The migrations stand; content types, permissions or the record of the release do not. Release again."
        ]
        return "\n".join([f"What follows the migrations {why}.", *lines])
    lines += stands(connection, plan[0], statements)
    lines += ["Release again when the table is less busy." if busy else "Mend what failed, then release again."]
    return "\n".join([f"The migration {plan[0]} {why}.", *lines])


def stands(connection: Any, migration: Any, statements: Statements) -> list[str]:
    """What is left of a migration that did not come to its end."""
    if connection.features.can_rollback_ddl and migration.atomic:
        return ["Nothing of it is left half done; what came before it stands. The site goes on as it was."]
    if "CONCURRENTLY" in statements.last:
        return ["An index that is not valid may be left: the next release drops it and builds it anew."]
    if statements.done:
        return [f"{statements.done} of its statements had run and STAND: undo them by hand, or finish it by hand."]
    return [
        "This run changed nothing of it. One that was stopped before may have: compare `manage.py release --plan`"
        " with the tables."
    ]


def holders(connection: Any, statement: str) -> list[str]:
    """On PostgreSQL, who has a lock on a table that the statement names."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT 'The lock is held on ' || relname || ' by process ' || a.pid || ' of ' || usename || ', '"
            " || state || ' since ' || date_trunc('second', state_change)"
            " FROM pg_locks l JOIN pg_class c ON c.oid = relation"
            " JOIN pg_stat_activity a USING (pid) WHERE granted AND datname = current_database()"
            " AND a.pid <> pg_backend_pid() AND relname = ANY(%s)",
            [re.findall(r'"(\w+)"', statement)],
        )
        return [row[0] for row in cursor.fetchall()]
