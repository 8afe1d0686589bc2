import json
import time
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from twelve.env import env
from twelve.services import probe as probes

SECONDS = 3
COLUMNS = "{:8}  {:13}  {:40}  {:20}  {:20}  {:10}  {}"


class Command(BaseCommand):
    help = "Probes each attached backing service and prints a row for each. Exits with 1 if one is unreachable."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print a list of objects.")
        parser.add_argument(
            "--wait", type=int, default=0, metavar="SECONDS", help="Wait up to SECONDS for all of them to answer (0)."
        )

    def handle(self, *args: Any, as_json: bool, wait: int, **options: Any) -> None:
        begun = time.monotonic()
        while True:
            answers = probes.probe(SECONDS)
            missing = [answer.service for answer in answers if answer.state != "up"]
            waited = time.monotonic() - begun
            if not missing or waited >= wait:
                break
            self.stderr.write(f"Waiting for {', '.join(missing)}: {waited:.0f} of {wait} s.")
            time.sleep(min(1, wait - waited))
        rows = [asdict(answer) | {"variable": source(answer.service)} for answer in answers]
        if as_json:
            self.stdout.write(json.dumps(rows, indent=2))
        else:
            self.stdout.write(COLUMNS.format("SERVICE", "KIND", "ADDRESS", "FROM", "SERVER", "ROUND TRIP", "TLS"))
            for row in rows:
                self.stdout.write(format_row(**row))
        if missing:
            raise SystemExit(1)


def source(service: str) -> str:
    """Return the name of the variable that the service's address came from."""
    variable = env.variables[probes.SERVICES[service][0]]
    return variable.source if variable.source in variable.fallbacks else variable.name


def format_row(service: str, kind: str, address: str, variable: str, **answer: Any) -> str:
    found = [answer["server"], f"{answer['milliseconds']} ms", answer["tls"]]
    if answer["state"] != "up":
        found = [f"unreachable: {answer['reason']}", "", ""]
    return COLUMNS.format(service, kind, address, variable, *found).rstrip()
