from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from twelve import processes


class Command(BaseCommand):
    help = "Runs the Procfile's web, worker and clock for local work; an edit of the code restarts them."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="Where the web process listens (default: 8000).")

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        processes.run(port)
