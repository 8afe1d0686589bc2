import json
import time
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.factors import probes
from config.env import env

VARIABLES = {
    "database": "DATABASE_URL",
    "direct": "DIRECT_DATABASE_URL",
    "cache": "CACHE_URL",
    "queue": "CELERY_BROKER_URL",
    "mail": "EMAIL_URL",
    "media": "MEDIA_STORAGE_URL",
}
SECONDS = 3


class Command(BaseCommand):
    help = "Asks each attached backing service: one row each; exits with 1 if one does not answer."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print a list of objects instead of the table.")
        parser.add_argument(
            "--wait", type=int, default=0, metavar="SECONDS", help="Ask again for so long until all of them answer."
        )

    def handle(self, *args: Any, json: bool, wait: int, **options: Any) -> None:
        begun = time.monotonic()
        while True:
            answers = probes.probe(SECONDS)
            missing = [answer.service for answer in answers if answer.state != "up"]
            waited = time.monotonic() - begun
            if not missing or waited >= wait:
                break
            self.stderr.write(f"Waiting for {', '.join(missing)}: {waited:.0f} of {wait} s.")
            time.sleep(min(1, wait - waited))
        self.stdout.write(as_json(answers) if json else as_table(answers))
        if missing:
            raise SystemExit(1)


def source(service: str) -> str:
    """The variable that a service's address came from."""
    variable = env.variables[VARIABLES[service]]
    return variable.source if variable.source in variable.fallbacks else variable.name


def as_json(answers: list[probes.Answer]) -> str:
    return json.dumps([asdict(answer) | {"variable": source(answer.service)} for answer in answers], indent=2)


def as_table(answers: list[probes.Answer]) -> str:
    rows = [("SERVICE", "KIND", "ADDRESS", "FROM", "SERVER", "ROUND TRIP", "TLS")]
    for answer in answers:
        first = (answer.service, answer.kind, answer.address, source(answer.service))
        if answer.state == "up":
            rows.append((*first, answer.server, f"{answer.milliseconds} ms", answer.tls))
        else:
            rows.append((*first, f"unreachable: {answer.reason}", "", ""))
    # What is wrong may be long: it does not widen its column.
    widths = [max(len(row[i]) for row in rows if not row[i].startswith("unreachable")) for i in range(7)]
    return "\n".join("  ".join(f"{cell:{widths[i]}}" for i, cell in enumerate(row)).rstrip() for row in rows)
