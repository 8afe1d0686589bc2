from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections


class Command(BaseCommand):
    help = "Migrates the database, past its pooler if DIRECT_DATABASE_URL is set, without a limit for a statement."

    def handle(self, *args: Any, verbosity: int, **options: Any) -> None:
        alias = "direct" if "direct" in connections else "default"
        connection = connections[alias]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 0")  # an index of a large table takes its time
            vars(connection.connection).pop("wait", None)  # the limit of apps.ops.apps
        call_command("migrate", database=alias, interactive=False, verbosity=verbosity)
