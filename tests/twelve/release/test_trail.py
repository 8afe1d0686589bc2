"""The trail of the one-off processes: what is recorded of the arguments, how they end, who sees the rows."""

import getpass
import os
import signal
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from twelve.models import Run
from twelve.release import trail
from twelve.tasks import maintenance as tasks


def make_run(**fields):
    row = {"command": "migrate", "who": "eve", "host": "h", "process": "run.1", "started": timezone.now()}
    return Run.objects.create(**row | {"seconds": 1.25, "status": 0} | fields)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--fake", "users", "0001"], "--fake"),
        (["--password=two words", "x"], "--password"),
        (["--password", "-hunter2 x", "x"], "--password"),
        (["--password", "--Hunter-2", "--hunter 2", "x"], "--password"),
        (["DB_PASSWORD=hunter2"], ""),
        (["redis://:hunter2@host/1", "--tag", "shown"], "--tag"),
        (["eve@example.com"], ""),
        (["-c", "u.set_password('hunter2')", "-v2", "-cu.set_password('hunter 2')"], "-c -v"),
        (["--settings=a=b", "--no_input", "--", "-h", "--dbname"], "--settings --no_input"),
        (["two\nlines\x1b[31m", "--two\nlines", "--line\n", "-1", "-", ""], ""),
        (["--" + "a" * 2000], ""),
    ],
)
def test_the_names_of_options_are_recorded_and_no_values(arguments, names):
    assert trail.option_names(arguments) == names


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
    assert trail.status_and_ending(error) == ended


def test_who_runs_it_is_known_as_far_as_the_system_knows(settings, monkeypatch):
    settings.ADMIN_USER = "eve"
    assert trail.current_user() == "eve"
    settings.ADMIN_USER = ""
    assert trail.current_user() == getpass.getuser()
    monkeypatch.setattr(getpass, "getuser", lambda: {}["no such user"])
    assert trail.current_user() == f"user {os.getuid()}"


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
    tasks.clean_up.call()
    assert Run.objects.count() == 2


@pytest.mark.django_db
def test_staff_read_the_runs_and_change_none(admin_client):
    run = make_run(command="shell", options="-c <script>", status=143, ending="SIGTERM")
    make_run(command="migrate")
    page = admin_client.get("/admin/twelve/run/?status=143&command=shell&q=eve").content.decode()
    assert "SIGTERM" in page
    assert "-c &lt;script&gt;" in page
    assert "1 run" in page
    assert admin_client.get(f"/admin/twelve/run/{run.pk}/change/").status_code == 200
    assert admin_client.get("/admin/twelve/run/add/").status_code == 403
    for what in ("change", "delete"):
        assert admin_client.post(f"/admin/twelve/run/{run.pk}/{what}/", {"post": "yes"}).status_code == 403
