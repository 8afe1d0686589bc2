"""The trail of the one-off processes: what is shown of their arguments, how they end, who sees the rows, how long."""

import getpass
import os
import signal
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.ops import tasks, trail
from apps.ops.models import Run


def make_run(**fields):
    row = {"command": "migrate", "who": "eve", "host": "h", "process": "run.1", "started": timezone.now()}
    return Run.objects.create(**row | {"seconds": 1.25, "status": 0} | fields)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--fake", "users", "0001"], "--fake users 0001"),
        (["--password=two words", "x"], "--password=*** x"),
        (["--password", "-hunter2", "x"], "--password *** x"),
        (["--password", "--token", "x"], "--password *** x"),
        (["DB_PASSWORD=hunter2"], "DB_PASSWORD=***"),
        (["redis://:hunter2@host/1"], "redis://***@host/1"),
        (["https://host/?sig=hunter2"], "https://host/?***"),
        (["eve@example.com"], "***@***"),
        (["-c", "u.set_password('hunter2')"], '-c u.set_password("***")'),
        (["-c", 'f("""a "quoted" \'hunter2\'""", b"\\"hunter2")'], '-c \'f("***", b"***")\''),
        (["-c", "f('hunter2"], '-c f("***"'),
        (["-c", "x = 'a\\"], "-c 'x = \"***\"'"),
        (["two\nlines\x1b[31m"], "'two lines [31m'"),
        ([""], "''"),
        (["a" * 2000], "a" * 999 + "…"),
    ],
)
def test_the_arguments_are_shown_without_what_may_be_secret(arguments, shown):
    assert trail.shown(arguments) == shown


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (SystemExit(), (0, "")),
        (SystemExit(None), (0, "")),
        (SystemExit(3), (3, "")),
        (SystemExit(-1), (255, "")),
        (SystemExit(True), (1, "")),
        (SystemExit("the reason"), (1, "")),
        (trail.Signalled(143), (143, "SIGTERM")),
        (KeyboardInterrupt(), (130, "SIGINT")),
        (ZeroDivisionError("hunter2"), (1, "ZeroDivisionError")),
    ],
    ids=repr,
)
def test_the_status_is_the_one_that_the_process_ends_with(error, ended):
    assert trail.how_it_ended(error) == ended


def test_who_runs_it_is_known_as_far_as_the_system_knows(settings, monkeypatch):
    settings.ADMIN_USER = "eve"
    assert trail.who() == "eve"
    settings.ADMIN_USER = ""
    assert trail.who() == getpass.getuser()
    monkeypatch.setattr(getpass, "getuser", lambda: {}["no such user"])
    assert trail.who() == f"user {os.getuid()}"


def test_a_signal_that_is_ignored_or_handled_stays_so():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        trail.stop_on_signals()
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.django_db
def test_a_command_that_is_called_by_code_leaves_no_row():
    call_command("clearsessions")
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_old_rows_are_pruned():
    for days in (0, 89, 91):
        make_run(started=timezone.now() - timedelta(days=days))
    tasks.prune_runs()
    assert Run.objects.count() == 2


@pytest.mark.django_db
def test_staff_read_the_runs_and_change_none(admin_client):
    run = make_run(command="shell", arguments="-c <script>", status=143, ending="SIGTERM")
    make_run(command="migrate")
    page = admin_client.get("/admin/ops/run/?status=143&command=shell&q=eve").content.decode()
    assert "SIGTERM" in page
    assert "-c &lt;script&gt;" in page
    assert "1 run" in page
    assert admin_client.get(f"/admin/ops/run/{run.pk}/change/").status_code == 200
    assert admin_client.get("/admin/ops/run/add/").status_code == 403
    for what in ("change", "delete"):
        assert admin_client.post(f"/admin/ops/run/{run.pk}/{what}/", {"post": "yes"}).status_code == 403
