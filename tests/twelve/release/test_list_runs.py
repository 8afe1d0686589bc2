"""`list_runs`: the runs as a table for a person and as JSON for a program."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.twelve.release.test_trail import make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def listed(capsys):
    """A function that returns the commands that are listed with these arguments, in their order."""
    now = timezone.now()
    make_run(command="check", started=now - timedelta(hours=1), release="v42", options="--tag x")
    make_run(command="shell", started=now, status=1, ending="ZeroDivisionError")
    make_run(command="migrate", started=now - timedelta(days=20), status=2)

    def listed(*arguments):
        call_command("list_runs", "--json", *arguments)
        return [run["command"] for run in json.loads(capsys.readouterr().out)]

    return listed


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        ([], ["shell", "check"]),
        (["--days", "21"], ["shell", "check", "migrate"]),
        (["--days=21", "--failed"], ["shell", "migrate"]),
        (["--days", "0"], []),
    ],
)
def test_the_runs_are_listed_newest_first(listed, arguments, commands):
    assert listed(*arguments) == commands


def test_a_person_gets_a_table(listed, capsys):
    call_command("list_runs")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["STARTED", "SECONDS", "STATUS", "WHO", "RELEASE", "COMMAND"]
    assert lines[1][2:] == ["1.2", "1", "ZeroDivisionError", "eve", "shell"]
    assert lines[2][2:] == ["1.2", "0", "eve", "v42", "check", "--tag", "x"]
    assert len(lines) == 3
    call_command("list_runs", "--days", "0")
    assert capsys.readouterr().out == "No such run.\n"
