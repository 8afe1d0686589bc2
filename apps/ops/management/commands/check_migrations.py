from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.ops import breaking

LAST = 'Who knows better says why in the migration\'s class: safe_because = "no release since v41 reads it".'


class Command(BaseCommand):
    help = "Refuses migrations that would break the release which runs while they are applied. Asks no database."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if lines := [*breaking.found(breaking.project_apps())]:
            raise CommandError("\n".join(["Migrations that break the running release:", *lines, LAST]))
