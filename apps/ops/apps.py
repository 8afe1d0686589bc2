from functools import partial
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.management import call_command
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class OpsConfig(AppConfig):
    name = "apps.ops"

    def ready(self) -> None:
        post_migrate.connect(make_cache_table, sender=self)
        connection_created.connect(limit_wait)


def make_cache_table(using: str, **kwargs: Any) -> None:
    """The table of a database cache comes with `migrate`; a cache elsewhere needs none."""
    call_command("createcachetable", database=using, verbosity=0)


def limit_wait(connection: Any, **kwargs: Any) -> None:
    """Wait for PostgreSQL no longer than a statement may take: libpq knows no such limit, should the server freeze."""
    if connection.vendor == "postgresql" and settings.DATABASE_STATEMENT_TIMEOUT:
        raw = connection.connection
        raw.wait = partial(type(raw).wait, raw, timeout=settings.DATABASE_STATEMENT_TIMEOUT + 5)
