"""Builds with migrations of their own, and people who use the site while they are released."""

import threading
import urllib.parse

from tests.twelve.builds import copy_of_the_repository
from tests.twelve.processes import Person, wait_until

MIGRATION = """
from django.db import migrations, models
from twelve.release import AddIndexConcurrently
{before}

class Migration(migrations.Migration):
    {options}
    dependencies = [("twelve", "0001_initial"), ("users", "0001_initial")]
    operations = [{operations}]
"""
PRIORITY = 'migrations.AddField("taskrecord", "priority", models.IntegerField(db_default=0))'


def build(folder, operations=None, before="", options=""):
    """A copy of the code, in which twelve has a second migration of these operations; returns its root."""
    copy_of_the_repository(folder)
    if operations:
        write_migration(folder / "twelve/migrations", operations, before, options)
    return folder


def write_migration(folder, operations, before="", options=""):
    text = MIGRATION.format(before=before, options=options, operations=operations)
    (folder / "0002_second.py").write_text(text)


class Traffic:
    """People who sign up, one after the other, at a site of this address; each request must be answered."""

    def __init__(self, address):
        self.address, self.count, self.failures, self.ended = address, 0, [], threading.Event()
        self.thread = threading.Thread(target=self.go, daemon=True)

    def go(self):
        while not self.ended.is_set():
            person = Person(self.address)
            person.opener.addheaders.append(("X-Forwarded-For", f"192.0.2.{self.count % 250}"))
            try:
                person.post(
                    "/accounts/signup/",
                    {"email": f"person{self.count}@example.com", "password1": "a long enough passphrase"},
                )
                assert urllib.parse.urlsplit(person.url).path == "/accounts/confirm-email/", person.page
            except Exception as error:
                self.failures.append(repr(error))
            self.count += 1

    def __enter__(self):
        self.thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join(60)
        assert error[0] or not self.failures, self.failures

    def wait_for_more(self):
        """Wait until someone has come and gone since now."""
        former = self.count
        wait_until(lambda: self.count > former + 1, 60, lambda: f"people come: {self.failures}")
