import json
import re
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error
from django.utils import timezone

from apps.factors import probes
from apps.ops.models import Run

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def ago(text: str) -> datetime:
    """The moment so long ago: 30m, 12h, 7d, 2w."""
    if not (match := re.fullmatch(r"([0-9]{1,4})([mhdw])", text)):
        raise ArgumentTypeError(f"{text!r} is not a number followed by m, h, d or w, such as 7d")
    return timezone.now() - timedelta(**{UNITS[match[2]]: int(match[1])})


class Command(BaseCommand):
    help = "Lists the commands of manage.py that were run, the newest first: who, when, how long, how they ended."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--failed", action="store_true", help="Only those whose exit status is not 0.")
        parser.add_argument("--since", type=ago, default="7d", help="How far to look back: 30m, 12h, 7d, 2w (7d).")
        parser.add_argument("--command", help="Only those of this command.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print a list of objects.")

    def handle(self, *args: Any, failed: bool, since: datetime, command: str, as_json: bool, **options: Any) -> None:
        runs = Run.objects.filter(started__gte=since, **{"command": command} if command else {}).order_by("-started")
        if failed:
            runs = runs.exclude(status=0)
        try:
            self.stdout.write(json.dumps([*runs.values()], cls=DjangoJSONEncoder, indent=2) if as_json else table(runs))
        except Error as error:
            told = probes.reason(error, "DATABASE_TLS")
            raise CommandError(f"The runs cannot be read; the log has them as apps.ops.trail: {told}") from error


def table(runs: Any) -> str:
    rows = [("STARTED", "SECONDS", "STATUS", "WHO", "RELEASE", "COMMAND")]
    for run in runs:
        started = f"{timezone.localtime(run.started):%Y-%m-%d %H:%M:%S}"
        status, called = f"{run.status} {run.ending}".rstrip(), f"{run.command} {run.arguments}".rstrip()
        rows.append((started, f"{run.seconds:.1f}", status, run.who, run.release, called))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    line = "  ".join(f"{{:{width}}}" for width in widths) + "  {}"
    return "\n".join(line.format(*row) for row in rows) if len(rows) > 1 else "No such run."
