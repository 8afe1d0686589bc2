from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import connection

from apps.ops import release


class Command(BaseCommand):
    help = (
        "Makes this build ready to run with this config: checks, migrates one release at a time, records the release."
    )
    requires_system_checks = ()  # they come with those of a deploy

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--wait", type=int, default=60, metavar="SECONDS", help="For the database (60).")
        parser.add_argument("--plan", action="store_true", help="Show the migrations to come, change nothing.")

    def handle(self, *args: Any, wait: int, plan: bool, verbosity: int, **options: Any) -> None:
        release.wait_for_database(wait, self.stderr.write)
        if plan:
            self.stdout.write(release.plan_as_sql())
            return
        # SQLite would be asked for its features in a transaction, which another writer makes fail.
        databases = [] if connection.vendor == "sqlite" else [release.alias()]
        try:
            self.check(include_deployment_checks=True, databases=databases)
        except SystemCheckError as error:
            raise CommandError(f"{error}\nNothing was changed. Mend the errors, then release again.") from error
        count = release.migrate(self.stderr.write, verbosity=verbosity, record=True)
        for line in release.others_not_up():
            self.stderr.write(f"Released all the same, though {line}.")
        self.stdout.write(f"Released {release.name()}: {count or 'no'} migrations applied.")
