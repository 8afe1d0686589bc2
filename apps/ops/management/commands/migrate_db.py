from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connections

from apps.factors import probes

DAY = 86_400  # seconds
# The index of a large table takes its time, and so does what a migration computes between its statements.
NO_LIMITS = {
    "postgresql": "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    "mariadb": "SET SESSION max_statement_time = 0, idle_transaction_timeout = 0",
    "mysql": "SET SESSION max_execution_time = 0",
}


class Command(BaseCommand):
    help = "Migrates the database, past its pooler if DIRECT_DATABASE_URL is set, without a limit for a statement."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only show what would be migrated.")

    def handle(self, *args: Any, dry_run: bool, verbosity: int, **options: Any) -> None:
        alias = "direct" if "direct" in connections else "default"
        try:
            open_without_limits(connections[alias])
        except Error as error:
            told = probes.reason(error, "DATABASE_TLS")
            raise CommandError(f"The database is not migrated, since it cannot be reached: {told}") from error
        call_command("migrate", database=alias, plan=dry_run, interactive=False, verbosity=verbosity)


def open_without_limits(connection: Any) -> None:
    """Open it anew and past a pool, which would not tell why it cannot; only the wait for a lock stays limited."""
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
            cursor.execute(NO_LIMITS[kind])
