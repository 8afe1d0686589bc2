import sys
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.core.management import call_command
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from twelve import logs


class TwelveConfig(AppConfig):
    name = "twelve"
    verbose_name = _("Operations")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from twelve import checks  # noqa: F401  # registers them

        logs.identify(Path(sys.argv[0]).stem)  # where no entry point of twelve has started the log
        post_migrate.connect(make_cache_table, sender=self)


def make_cache_table(using: str, **kwargs: Any) -> None:
    """The table of a database cache comes with `migrate`; a cache elsewhere needs none."""
    call_command("createcachetable", database=using, verbosity=0)
