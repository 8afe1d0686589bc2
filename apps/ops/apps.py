from typing import Any

from django.apps import AppConfig, apps
from django.core.management import call_command
from django.db.models.signals import post_migrate


class OpsConfig(AppConfig):
    name = "apps.ops"

    def ready(self) -> None:
        # Django sends the signal once for each app that has models, which this one has not.
        post_migrate.connect(make_cache_table, sender=apps.get_app_config("sessions"))


def make_cache_table(using: str, **kwargs: Any) -> None:
    """The table of a database cache comes with `migrate`; a cache elsewhere needs none."""
    call_command("createcachetable", database=using, verbosity=0)
