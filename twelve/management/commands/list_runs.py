import json
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from twelve.models import Run

HEADER = "STARTED              SECONDS  STATUS                  WHO           RELEASE     COMMAND"
ROW = "{started}  {seconds:7.1f}  {status:22}  {who:12}  {release:10}  {command} {options}"


class Command(BaseCommand):
    help = "Lists the commands of manage.py that were run, the newest first: who, when, how long, exit status."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--failed", action="store_true", help="Only those whose exit status is not 0.")
        parser.add_argument("--days", type=int, default=7, help="Only those of the last DAYS days (7).")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print a list of objects.")

    def handle(self, *args: Any, failed: bool, days: int, as_json: bool, **options: Any) -> str:
        runs = Run.objects.filter(started__gte=timezone.now() - timedelta(days=days)).order_by("-started")
        runs = runs.exclude(status=0) if failed else runs
        rows: Any = [*runs.values()]
        if as_json:
            return json.dumps(rows, cls=DjangoJSONEncoder, indent=2)
        lines = [HEADER if rows else "No such run."]
        for row in rows:
            row["started"] = f"{timezone.localtime(row['started']):%Y-%m-%d %H:%M:%S}"
            row["status"] = f"{row['status']} {row['ending']}"
            lines.append(ROW.format_map(row).rstrip())
        return "\n".join(lines)
