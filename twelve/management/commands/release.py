from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError

from twelve.release import migrate as release


class Command(BaseCommand):
    help = "Checks the config, migrates the database under a lock, and records the release."
    requires_system_checks = ()  # the deployment checks include them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--wait", type=int, default=60, metavar="SECONDS", help="Wait for the database (60).")

    def handle(self, *args: Any, wait: int, verbosity: int, **options: Any) -> None:
        release.wait_for_database(wait, self.stderr.write)
        # Django detects the features of SQLite in a transaction, which fails while another process writes.
        databases = [] if release.database().vendor == "sqlite" else [release.database().alias]
        try:
            self.check(include_deployment_checks=True, databases=databases)
        except SystemCheckError as error:
            raise CommandError(f"{error}\nNothing was changed. Correct the errors, then release again.") from error
        count = release.migrate(self.stderr.write, verbosity=verbosity, record=True)
        migrations = "1 migration" if count == 1 else f"{count or 'no'} migrations"
        self.stdout.write(f"Released {release.release_name()}: {migrations} applied.")
