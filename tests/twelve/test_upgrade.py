"""README's "Staying up to date": a site with an app of its own takes newer machinery, without a conflict."""

import os
import re
import shutil
import subprocess

import pytest

from tests.twelve.builds import copy_of_the_repository
from tests.twelve.processes import BIN, ROOT
from twelve.env import env

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

MODEL = """
import humanize
from django.db import models


class Item(models.Model):
    size = models.PositiveIntegerField()

    def __str__(self) -> str:
        return str(humanize.naturalsize(self.size))
"""
OWNERS_TEST = """
import pytest

from apps.shop.models import Item


@pytest.mark.django_db
def test_an_item():
    assert str(Item.objects.create(size=2000)) == "2.0 kB"
"""
CURRENCY = """
CURRENCY = env.str("CURRENCY", help="The currency of all prices.")
"""
# The newer machinery: a field with its migration, a variable, and a dependency without which nothing starts.
MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("twelve", "0001_initial")]
    operations = [migrations.AddField("release", "note", models.TextField(db_default="", blank=True))]
"""
VARIABLE = """
backlog = env.int("WEB_BACKLOG", default=2048, minimum=1, help="Connections that wait for a web worker.")
"""
NEWER_TEST = """
import iso8601
import pytest

from twelve.models import Release


@pytest.mark.django_db
def test_a_release_has_a_note():
    released = iso8601.parse_date("2030-01-01T00:00:00Z")
    assert Release.objects.create(released_at=released, note="newer").note == "newer"
"""


class Site:
    """A clone of the repository, in the hands of somebody whose shell has uv."""

    def __init__(self, folder):
        self.root = folder / "site"
        programs = folder / "programs"
        programs.mkdir()
        (programs / "uv").symlink_to(BIN / "uv")
        theirs = {name: value for name, value in os.environ.items() if name not in env.variables}
        for name in [*theirs]:
            if re.match(r"PYTEST|MAKE|MFLAGS|VIRTUAL_ENV|DJANGO_SETTINGS_MODULE|PYTHON|REQUIRE_SERVICES", name):
                del theirs[name]
        path = [str(programs), *(place for place in theirs["PATH"].split(os.pathsep) if place != str(BIN))]
        self.environment = theirs | {"PATH": os.pathsep.join(path)}
        copy_of_the_repository(self.root)

    def run(self, line):
        """Run a line of a shell; returns what it said."""
        result = subprocess.run(
            ["bash", "-c", line], cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=600
        )
        assert result.returncode == 0, f"{line}: {result.stdout}{result.stderr}"
        return result.stdout + result.stderr

    def edit(self, path, *changes):
        """Replace texts of a file, each of which is there once."""
        text = (self.root / path).read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} in {path}"
            text = text.replace(old, new)
        (self.root / path).write_text(text)

    def delete(self, path, pattern):
        """Delete what matches from the beginning of a line on."""
        text = (self.root / path).read_text()
        shorter = re.sub(f"^{pattern}", "", text, flags=re.MULTILINE)
        assert len(shorter) < len(text), f"{pattern} in {path}"
        (self.root / path).write_text(shorter)

    def write(self, path, text):
        (self.root / path).write_text(text.lstrip())

    def append(self, path, text):
        with (self.root / path).open("a") as file:
            file.write(text)

    def commit(self, about):
        """Commit everything, in a repository that is made for the first commit."""
        self.run("git init --quiet; git add --all")
        self.run(f"git -c user.name=Eve -c user.email=eve@example.com commit --quiet --message '{about}'")

    def pins(self):
        """The locked version of each package, of all locks."""
        texts = [path.read_text() for path in (self.root / "requirements.txt", self.root / "requirements/dev.txt")]
        return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ]+)", "".join(texts), re.MULTILINE))


def delete_the_sample(site):
    """What README says in "Without the sample", unless it has been done."""
    if not (site.root / "apps/photos").exists():
        return
    step = re.search(r"Without the sample: (.*?)\n\d\.", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    folders, says_photos = re.search(
        r"delete (.*?), pillow.*what says `photos` in\s+(.*?)\. Then", step, re.DOTALL
    ).groups()
    for folder in re.findall(r"`(.*?)`", folders):
        path = site.root / folder
        path.unlink() if path.is_file() else shutil.rmtree(path)
    site.delete("requirements/base.in", r"pillow.*\n")
    site.delete("config/settings/services.py", r"IMAGE_MAX_PIXELS = .*\n")
    for path in re.findall(r"`(.*?)`", says_photos):
        if path == "pyproject.toml":
            site.edit(path, ('"photos", ', ""))
        else:
            site.delete(path, r".*photos.*\n")
    site.run(r"! grep -r --exclude-dir=__pycache__ 'photos\|IMAGE_MAX_PIXELS' config pyproject.toml")
    site.run("make lock && .venv/bin/python manage.py env --write")


def start_an_app(site):
    """What README says in "Start your own"; its dependency stays behind its newest version from then on."""
    site.run(".venv/bin/python manage.py startapp shop apps/shop")
    site.edit("apps/shop/apps.py", ("name = 'shop'", 'name = "apps.shop"'))
    site.edit("config/settings/base.py", ('    "apps.users",\n', '    "apps.users",\n    "apps.shop",\n'))
    site.write("apps/shop/models.py", MODEL)
    site.write("apps/shop/tests.py", OWNERS_TEST)
    site.run("rm apps/shop/admin.py apps/shop/views.py")
    site.append("requirements/base.in", "humanize<4.10  # sizes that people read\n")
    site.run("make lock")
    site.run(".venv/bin/python manage.py makemigrations shop")
    site.edit("requirements/base.in", ("humanize<4.10", "humanize"))
    # A variable that each deploy has to set: development, lint, the tests and the proofs' processes as well.
    site.append("config/settings/services.py", CURRENCY)
    site.edit("pyproject.toml", ('READ_DOT_ENV = "false"\n', 'READ_DOT_ENV = "false"\nCURRENCY = "EUR"\n'))
    site.edit("Makefile", ("DEPLOY := ", "DEPLOY := CURRENCY=EUR "))
    site.append(".env", "CURRENCY=EUR\n")
    site.run(".venv/bin/python manage.py env --write")


def newer_machinery(folder):
    """Another repository, with a tag v1.1.0: its machinery is newer, and its owned half is another one."""
    newer = Site(folder)
    newer.edit("twelve/__init__.py", ('__version__ = "1.0.0"', '__version__ = "1.1.0"'))
    for path in ("twelve/management/commands/list_runs.py", "tests/twelve/release/test_list_runs.py"):
        (newer.root / path).unlink()
    newer.edit(
        "twelve/models.py",
        (
            '    released_by = models.CharField(_("released by"), max_length=200)\n',
            '    released_by = models.CharField(_("released by"), max_length=200)\n'
            '    note = models.TextField(db_default="", blank=True)\n',
        ),
    )
    newer.write("twelve/migrations/0002_release_note.py", MIGRATION)
    newer.append("twelve/web/gunicorn.py", VARIABLE)
    newer.append("twelve/requirements.in", "iso8601>=2  # times of a release\n")
    newer.edit(
        "twelve/conf.py", ("from typing import Any\n", "from typing import Any\n\nimport iso8601  # noqa: F401\n")
    )
    newer.write("tests/twelve/release/test_note.py", NEWER_TEST)
    newer.write("config/urls.py", "this must not come along")
    newer.write("README.md", "nor this")
    newer.commit("Version 1.1.0")
    newer.run("git tag v1.1.0")
    return newer


def readme_commands():
    section = (ROOT / "README.md").read_text().partition("## Staying up to date")[2].partition("\n## ")[0]
    return re.findall(r"^    (.+)$", section, re.MULTILINE)


def test_a_site_takes_newer_machinery_and_keeps_what_is_its_own(tmp_path):
    for name in ("eve", "newer"):
        (tmp_path / name).mkdir()
    site, newer = Site(tmp_path / "eve"), newer_machinery(tmp_path / "newer")
    site.run("make setup")
    start_an_app(site)
    delete_the_sample(site)
    site.commit("A site of its own")
    site.run("make lint")
    before = site.pins()

    fetch, restore, make = readme_commands()
    assert make == "make lock test"
    site.run(re.sub(r"URL v\S+", f"file://{newer.root} v1.1.0", fetch))
    site.run(restore)
    said = site.run(make)
    proof = site.run("make prove ARGS=tests/twelve/factors/test_06_processes.py")

    # All tests of both halves ran and a proof, with the new package; the owner's versions are what they were.
    for text in (said, proof):
        assert re.search(r"^=* ?\d+ passed(, \d+ (deselected|skipped))* in ", text, re.MULTILINE), text
    own = "apps/shop/tests.py tests/twelve/release/test_note.py"
    assert "2 passed" in site.run(f"make test ARGS='{own}'")
    after = site.pins()
    assert before["humanize"].startswith("4.9.")
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"iso8601"}
    # Nothing but the machinery and the locks has changed, and nothing is left to merge.
    changed = {line[3:] for line in site.run("git status --porcelain --untracked-files=all").splitlines()}
    assert {name for name in changed if not name.startswith(("twelve/", "tests/twelve/"))} == {
        "requirements.txt",
        "requirements/dev.txt",
    }
    assert site.run("git diff --name-only --diff-filter=U") == ""
    assert site.run("git ls-files twelve tests/twelve") == newer.run("git ls-files twelve tests/twelve")
    # What is gone is gone, what is new is there.
    assert not (site.root / "twelve/management/commands/list_runs.py").exists()
    assert site.run(".venv/bin/python -c 'import twelve; print(twelve.__version__)'") == "1.1.0\n"
    assert re.search(r"^WEB_BACKLOG +2048 +default ", site.run(".venv/bin/python manage.py env"), re.MULTILINE)
    plan = site.run(".venv/bin/python manage.py showmigrations twelve shop")
    assert re.findall(r"\[X\] (\w+)", plan) == ["0001_initial", "0002_release_note", "0001_initial"]
    # What the owner's half lacks is named, with what to write.
    assert "(twelve.W005)" in said
    assert "HINT: Run: python manage.py env --write" in said
    assert "Wrote .env.example." in site.run(".venv/bin/python manage.py env --write")
    assert "no issues" in site.run(".venv/bin/python manage.py check")
