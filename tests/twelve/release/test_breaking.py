"""What stops a release, what it leaves behind, and the migrations that would break the release before it."""

import importlib
import shutil
import sys

import pytest
from django.core import checks
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import connection

from tests.twelve.processes import GOOD, ROOT, Deploy, named, run
from tests.twelve.releases import PRIORITY, build, write_migration
from twelve.models import Release
from twelve.release import breaking, lock
from twelve.release import migrate as release


def test_a_broken_config_stops_it_with_all_that_is_wrong():
    good = {name: value for name, value in GOOD.items() if name != "ALLOWED_HOSTS"}
    result = run(("python", "manage.py", "release"), **good | {"LOG_LEVEL": "loud"})
    assert result.returncode == 1
    assert named(result) == {"ALLOWED_HOSTS", "LOG_LEVEL"}
    assert "Traceback" not in result.stderr


@pytest.fixture
def in_process(monkeypatch):
    """Releases in this process, whose part in the database is only counted."""
    migrated = []
    monkeypatch.setattr(release, "migrate", lambda *arguments, **options: migrated.append(options) or 0)
    monkeypatch.setattr(release, "wait_for_database", lambda seconds, log: None)
    return migrated


@pytest.mark.parametrize(("level", "stops"), [(checks.ERROR, True), (checks.WARNING, False)])
def test_an_error_of_a_check_stops_it_and_a_warning_is_printed(in_process, monkeypatch, capsys, level, stops):
    def found(**options):
        return [checks.CheckMessage(level, "The sky is falling.", id="tests.X001")]

    found.tags = {checks.Tags.security}
    monkeypatch.setattr(checks.registry.registry, "deployment_checks", {found})
    if stops:
        with pytest.raises(CommandError, match=r"(?s)The sky is falling.*Nothing was changed") as caught:
            call_command("release")
        assert isinstance(caught.value.__cause__, SystemCheckError)
    else:
        call_command("release")
        assert "The sky is falling." in capsys.readouterr().err
    assert bool(in_process) is not stops


@pytest.mark.django_db
def test_staff_see_the_releases_the_current_one_first(admin_client):
    for version in ("v1", "v2"):
        Release.objects.create(version=version, commit="c" * 40, released_by="eve")
    Release.objects.create(released_by="eve")  # of no known id
    page = admin_client.get("/admin/twelve/release/").content.decode()
    rows = page.partition("<tbody>")[2].split("</tr>")
    assert ["True" in row for row in rows[:3]] == [True, False, False]
    assert [name in row for name, row in zip(("#", "v2", "v1"), rows, strict=False)] == [True] * 3
    assert admin_client.get("/admin/twelve/release/add/").status_code == 403
    first = admin_client.get("/admin/twelve/release/?q=v1").content.decode()
    assert 'alt="True"' not in first.partition("<tbody>")[2]


def test_who_runs_it_is_the_admin_or_the_systems_user(settings, monkeypatch):
    settings.ADMIN_USER = "eve"
    assert release.current_user() == "eve"
    settings.ADMIN_USER = ""
    monkeypatch.setattr("getpass.getuser", lambda: "deployer")
    assert release.current_user() == "deployer"

    def fail():
        raise OSError("no user of that number")

    monkeypatch.setattr("getpass.getuser", fail)
    assert release.current_user().startswith("user ")


def test_it_does_not_wait_for_another_release_for_ever(monkeypatch):
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(lock, "try_lock", lambda holder, owner: "v6 by bob")
    logged = []
    refused = pytest.raises(CommandError, match=r"\(v6 by bob\) still holds the lock.*Nothing was changed")
    with refused, lock.hold(connection, "v7", logged.append):
        pytest.fail("it holds the lock")
    assert logged == ["Waiting for another release to end, 0.5 s at most: v6 by bob."]


@pytest.mark.prove
def test_a_former_build_is_released_on_a_newer_schema(tmp_path):
    new = build(tmp_path / "new", PRIORITY)
    deploy = Deploy(tmp_path, root=new)
    deploy.manage("release")
    deploy.root = build(tmp_path / "old")
    back = deploy.manage("release")
    assert back.stdout.endswith(": no migrations applied.\n")
    deploy.root = new
    assert deploy.manage("release").stdout.endswith(": no migrations applied.\n")


# -- migrations that break the running release ------------------------------------------------------------------------

DROP = 'migrations.RemoveField("taskrecord", "error")'
BAD = {
    "a column dropped": DROP,
    "a column renamed": 'migrations.RenameField("taskrecord", "error", "reason")',
    "a column with another name": 'migrations.AlterField("taskrecord", "error", models.TextField(db_column="reason"))',
    "a table dropped": 'migrations.DeleteModel("ClockEntry")',
    "a table renamed": 'migrations.RenameModel("ClockEntry", "Tick")',
    "a table with another name": 'migrations.AlterModelTable("taskrecord", "work")',
    "a column that must have a value": 'migrations.AddField("taskrecord", "priority", models.IntegerField(default=0))',
    "a column that must have one now": 'migrations.AlterField("taskrecord", "finished_at", models.DateTimeField())',
    "an index": 'migrations.AddIndex("taskrecord", models.Index(fields=["due"], name="task_due"))',
    "an index with a column": 'migrations.AddField("taskrecord", "n", models.IntegerField(null=True, db_index=True))',
    "an index on a column": 'migrations.AlterField("taskrecord", "due", models.DateTimeField(db_index=True))',
    "an index of a constraint":
        'migrations.AddConstraint("taskrecord", models.UniqueConstraint(fields=["due"], name="task_one"))',
    "a table without rows that are equal in one":
        'migrations.AlterUniqueTogether("taskrecord", {("task", "due")})',
    "a column dropped on the database alone": f"migrations.SeparateDatabaseAndState([{DROP}], [])",
}  # fmt: skip
GOOD_ONES = {
    "a column with a value of the database's": PRIORITY,
    "a column without a value": 'migrations.AddField("taskrecord", "note", models.TextField(null=True))',
    "an index that lets writes go on":
        'AddIndexConcurrently("taskrecord", models.Index(fields=["due"], name="task_due"))',
    "a column that the code forgets first": f"migrations.SeparateDatabaseAndState([], [{DROP}])",
    "what is new": 'migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True))]),'
        'migrations.AddField("note", "text", models.TextField(default="")),'
        'migrations.AddIndex("note", models.Index(fields=["text"], name="note_text"))',
    "a constraint dropped": 'migrations.AlterUniqueTogether("taskrecord", set())',
    "words alone": 'migrations.AlterField("taskrecord", "error", models.TextField(blank=True, help_text="Why"))',
}  # fmt: skip


@pytest.fixture
def refused(tmp_path, settings, monkeypatch):
    """The lines about a second migration of twelve, with these operations."""

    def refused(operations, options=""):
        package = f"migrations_{tmp_path.name}".replace("-", "_").replace("[", "_")
        shutil.copytree(ROOT / "twelve/migrations", tmp_path / package)
        write_migration(tmp_path / package, operations, options=options)
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        settings.MIGRATION_MODULES = {"twelve": package}
        lines = [*breaking.find_breaking({"twelve"})]
        for name in [name for name in sys.modules if name.startswith(package)]:
            del sys.modules[name]
        return lines

    return refused


@pytest.mark.parametrize("sort", BAD)
def test_a_migration_that_breaks_the_running_release_is_refused(sort, refused):
    [line] = refused(BAD[sort])
    assert line.startswith("twelve.0002_second: ")


@pytest.mark.parametrize("sort", GOOD_ONES)
def test_one_that_does_not_break_it_passes(sort, refused):
    assert refused(GOOD_ONES[sort]) == []


@pytest.mark.parametrize(("reason", "passes"), [("no release since v41 reads it", True), ("", False)])
def test_a_migration_that_says_why_passes(refused, reason, passes):
    assert (refused(DROP, f'safe_because = "{reason}"') == []) is passes


@pytest.mark.prove
def test_lint_says_what_to_do_instead(tmp_path):
    deploy = Deploy(tmp_path, root=build(tmp_path / "build", f"{DROP}, {BAD['an index']}"))
    result = deploy.manage("check_migrations", check=False)
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if not line.startswith("{")]  # the trail's
    assert len(lines) == 4
    assert "SeparateDatabaseAndState" in lines[1]
    assert "twelve.release.AddIndexConcurrently" in lines[2]
    assert 'safe_because = "' in lines[3]
    deploy.root = build(tmp_path / "good")
    deploy.manage("check_migrations")
