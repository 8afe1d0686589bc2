from typing import Any

from django.core.management.base import BaseCommand, CommandError

from twelve.release import breaking

LAST = 'If one is safe, give the reason in its class: safe_because = "no release since v41 reads it".'


class Command(BaseCommand):
    help = "Refuses migrations that would break the release which runs while they are applied. Needs no database."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if lines := [*breaking.find_breaking(breaking.project_apps())]:
            raise CommandError("\n".join(["Migrations that break the running release:", *lines, LAST]))
