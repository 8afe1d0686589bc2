from typing import Any

from django.conf import settings
from django.contrib.staticfiles.management.commands import collectstatic
from django.core.management.base import CommandError


class Command(collectstatic.Command):
    help = "Collects static files, hashed and compressed, and keeps the commit of the build. Needs no config."

    def handle(self, *args: Any, **options: Any) -> str | None:
        try:
            result = super().handle(*args, **options)
        except ValueError as error:  # a name in a stylesheet that leads nowhere
            told = str(error).partition("\n\n")[2] or error  # its first paragraph is about objects of Python
            raise CommandError(f"The build is not complete, and nothing that runs is touched.\n{told}") from error
        if not options["dry_run"]:
            settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
            settings.COMMIT_FILE.write_text(f"{settings.BUILD_COMMIT}\n", encoding="utf-8")
        return result
