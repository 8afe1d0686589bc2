from pathlib import Path
from typing import Any

from django.contrib.staticfiles.management.commands import collectstatic

from twelve.conf import settings
from twelve.env import env
from twelve.platforms import COMMIT_FILE, commit_of_checkout


class Command(collectstatic.Command):
    help = "Collects static files, hashed and compressed, and keeps the commit of the build. Needs no config."

    def handle(self, *args: Any, **options: Any) -> str | None:
        result = super().handle(*args, **options)
        if not options["dry_run"]:
            root = Path(settings.STATIC_ROOT)
            root.mkdir(parents=True, exist_ok=True)
            commit = settings.BUILD_COMMIT or commit_of_checkout(env.base_dir)
            (root / COMMIT_FILE).write_text(f"{commit}\n", encoding="utf-8")
        return result
