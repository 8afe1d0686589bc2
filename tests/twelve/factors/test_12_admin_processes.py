"""Factor XII: one-off processes of the same code and config, each of which leaves a trail, however it ends."""

import json
import signal
from datetime import datetime

import psycopg
import pytest
from django.core.management import get_commands
from psycopg.rows import dict_row

from tests.twelve.events import events
from tests.twelve.networks import Silent
from tests.twelve.processes import BIN, Deploy, Process, free_port
from tests.twelve.servers import MariaDB, PostgreSQL
from twelve.release.trail import WRITE_SECONDS

pytestmark = pytest.mark.prove

KEY = "canary-key-0123456789-0123456789-0123456789-0123456789"
# Servers, and what works without a config: they leave no trail.
OTHERS = {"collectstatic", "env", "run_processes"}
COMMANDS = sorted({name for name, app in get_commands().items() if app == "twelve"} - OTHERS)
ARGUMENTS = {"list_runs": ["--failed"]}  # recorded as well
BROKEN = "from django.db import connection as c, transaction as t; t.set_autocommit(False); c.cursor().execute('no')"
CLOSED = "from django.db import connection as c; c.cursor().connection.close(); c.cursor().execute('SELECT 1')"


@pytest.fixture(scope="module")
def url(postgresql):
    return postgresql.new_database()


@pytest.fixture(scope="module")
def deploy(url, tmp_path_factory):
    variables = {"LOG_FORMAT": "json", "ADMIN_USER": "eve", "RELEASE_VERSION": "v42", "SECRET_KEY": KEY}
    deploy = Deploy(tmp_path_factory.mktemp("deploy"), DATABASE_URL=url, **variables)
    deploy.manage("migrate_db", "--verbosity", "0")
    yield deploy
    deploy.close()


@pytest.fixture
def rows(url):
    """A function that returns the rows that the test has made so far, the oldest first."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        [before] = connection.execute("SELECT coalesce(max(id), 0) AS id FROM twelve_run").fetchall()
        yield lambda: connection.execute("SELECT * FROM twelve_run WHERE id > %(id)s ORDER BY id", before).fetchall()


def trail(stderr):
    """The events of the trail on a command's stderr, which may have text for a person as well."""
    lines = "\n".join(line for line in stderr.splitlines() if line.startswith("{"))
    return [event for event in events(lines) if event["logger"] == "twelve.release.trail"]


def start(deploy, code):
    """Start a shell that runs these lines, and wait until it prints "begun"."""
    output, errors = deploy.folder / f"{len(deploy.processes)}.out", deploy.folder / f"{len(deploy.processes)}.err"
    command = [str(BIN / "python"), "manage.py", "shell", "--no-imports", "-c", code]
    process = Process(command, environment=deploy.environment, output=output, errors=errors)
    deploy.processes.append(process)
    process.wait_for("begun")
    return process


@pytest.mark.parametrize("command", [*COMMANDS, "check", "clearsessions", "migrate"])
def test_every_command_logs_its_start_and_end_and_leaves_a_row(deploy, rows, command):
    arguments = ARGUMENTS.get(command, [])
    result = deploy.manage(command, *arguments)
    started, finished = trail(result.stderr)
    assert started["message"].startswith(f"started: {command}")
    assert finished["message"].startswith(f"finished: {command}")
    assert "started: " not in result.stdout
    [row] = rows()
    names = [argument for argument in arguments if argument.startswith("--")]  # never a value
    assert (row["command"], row["options"]) == (command, " ".join(names))
    assert (row["status"], row["ending"]) == (0, "")
    assert (row["who"], row["release"]) == (started["who"], started["release"]) == ("eve", "v42")
    assert (row["process"], row["commit"]) == (started["process"], started["commit"])
    assert row["host"]
    assert row["seconds"] * 1000 == pytest.approx(finished["duration_ms"], abs=1)
    assert (finished["status"], finished["process_type"]) == (0, command)


def test_the_build_help_and_what_works_without_a_config_leave_none(deploy, rows):
    for line in ("help", "env", "makemigrations --check", "collectstatic --noinput --dry-run", "--version",
                 "version", "shell --help", "shell --version"):  # fmt: skip
        assert trail(deploy.manage(*line.split()).stderr) == [], line
    assert rows() == []


def test_an_address_as_the_person_is_whole_in_the_row_and_a_name_in_the_log(deploy, rows):
    deploy.environment["ADMIN_USER"] = "adam@example.com"
    result = deploy.manage("check")
    deploy.environment["ADMIN_USER"] = "eve"
    assert [event["who"] for event in trail(result.stderr)] == ["adam", "adam"]
    assert [row["who"] for row in rows()] == ["adam@example.com"]


def test_the_question_for_help_hides_no_other_program(deploy, rows):
    deploy.manage("dbshell", "--", "-h", "127.0.0.1", "-c", "SELECT 'canary'")
    assert [(row["command"], row["options"]) for row in rows()] == [("dbshell", "")]


@pytest.mark.parametrize(
    ("arguments", "status", "ending"),
    [
        (["migrate", "no_such_app"], 1, ""),
        (["list_runs", "--days", "yesterday"], 2, ""),
        (["no_such_command"], 1, ""),
        (["shell", "-c", "1 / 0"], 1, "ZeroDivisionError"),
        (["shell", "-c", "raise SystemExit(7)"], 7, ""),
        (["shell", "-c", "raise SystemExit('the reason')"], 1, ""),
        (["shell", "-c", BROKEN], 1, "ProgrammingError"),
        (["shell", "-c", CLOSED], 1, "OperationalError"),
    ],
    ids=["refused", "misused", "unknown", "crash", "status", "reason", "broken transaction", "closed connection"],
)  # fmt: skip
def test_a_command_that_fails_is_recorded_as_failed(deploy, rows, arguments, status, ending):
    result = deploy.manage(*arguments, check=False)
    assert result.returncode == status
    finished = trail(result.stderr)[-1]
    assert (finished["status"], finished.get("ending", ""), finished["level"]) == (status, ending, "warning")
    [row] = rows()
    assert (row["status"], row["ending"]) == (status, ending)
    listed = json.loads(deploy.manage("list_runs", "--failed", "--json").stdout)
    assert (listed[0]["command"], listed[0]["status"]) == (arguments[0], status)


@pytest.mark.parametrize(
    ("number", "exit_status", "status"),
    [(signal.SIGTERM, 143, 143), (signal.SIGHUP, 129, 129), (signal.SIGINT, -signal.SIGINT, 130)],
)
def test_a_signal_lets_the_command_clean_up_and_is_recorded(deploy, rows, number, exit_status, status):
    code = "import time\ntry:\n  print('begun', flush=True); time.sleep(60)\nfinally:\n  print('cleaned up')"
    process = start(deploy, code)
    assert process.stop(number) == exit_status
    assert process.text.split("\n")[:2] == ["begun", "cleaned up"]
    finished = trail(process.errors.read_text())[-1]
    [row] = rows()
    for record in (finished, row):
        assert (record["status"], record["ending"]) == (status, number.name)


def test_a_command_may_choose_its_own_way_with_signals(deploy, rows):
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); "
        "print('begun', flush=True); time.sleep(60)"
    )
    assert start(deploy, code).stop() == 5
    assert [(row["status"], row["ending"]) for row in rows()] == [(5, "")]


def test_no_value_of_an_argument_is_in_an_event_or_a_row(deploy, rows):
    code = 'def set_password(*args): pass\nset_password(\'canary-literal\', """canary\'s""", password=f\'canary\')'
    for arguments in (
        ["shell", "--no-imports", "-c", code],
        ["check", "--password=canary one", "--api-key", "canary-two", "https://user:canary-three@host/", KEY],
        ["check", "https://host/?code=canary-four", "canary@example.com", "--tag", "canary", "canary"],
    ):
        result = deploy.manage(*arguments, check=False)
        assert "canary" not in json.dumps(trail(result.stderr))
    recorded = rows()
    assert "canary" not in repr(recorded)
    assert [row["options"] for row in recorded] == ["--no-imports -c", "--password --api-key", "--tag"]


@pytest.mark.parametrize("server", [PostgreSQL, MariaDB])
def test_a_run_with_any_argument_can_be_written(server, tmp_path):
    with server() as database:
        deploy = Deploy(tmp_path, DATABASE_URL=database.url, RELEASE_VERSION="v" * 300)
        deploy.manage("migrate_db", "--verbosity", "0")
        arguments = [b"check", b"--pythonpath", "🗝 \x1b[2J\n".encode() + b"\xff" + b"x" * 5000]
        assert len(trail(deploy.manage(*arguments).stderr)) == 2
        [row, *_] = [r for r in json.loads(deploy.manage("list_runs", "--json").stdout) if r["command"] == "check"]
    assert (row["options"], len(row["release"])) == ("--pythonpath", 200)


@pytest.mark.parametrize("fault", ["refused", "silent"])
def test_an_unreachable_database_changes_neither_the_end_nor_the_status(tmp_path, fault):
    with Silent() as silent:
        port = silent.port if fault == "silent" else free_port()
        url = f"postgres://user:canary-password@127.0.0.1:{port}/site"
        deploy = Deploy(tmp_path, DATABASE_URL=url, DATABASE_CONNECT_TIMEOUT="60", LOG_FORMAT="json")
        for arguments, status in ((["check"], 0), (["shell", "--no-imports", "-c", "raise SystemExit(7)"], 7)):
            result = deploy.manage(*arguments, check=False)
            assert result.returncode == status
            _started, finished, warning = trail(result.stderr)
            assert warning["level"] == "warning"
            assert ("timeout expired" if fault == "silent" else "refused") in warning["message"]
            waited = datetime.fromisoformat(warning["timestamp"]) - datetime.fromisoformat(finished["timestamp"])
            assert waited.total_seconds() < 10 * (WRITE_SECONDS + 1)  # without a limit: 60, to connect
            assert "canary" not in result.stderr


def test_before_the_first_migration_there_is_no_table_and_after_it_there_is(tmp_path):
    deploy = Deploy(tmp_path, LOG_FORMAT="json")
    assert "no such table" in trail(deploy.manage("check").stderr)[-1]["message"]
    assert len(trail(deploy.manage("migrate", "--verbosity", "0").stderr)) == 2
    assert deploy.sql("SELECT command, status FROM twelve_run") == [("migrate", 0)]


def test_a_dump_is_clean_json(deploy, rows):
    result = deploy.manage("dumpdata")
    assert {"twelve.run"} <= {entry["model"] for entry in json.loads(result.stdout)}
    assert [row["command"] for row in rows()] == ["dumpdata"]


def test_commands_that_a_command_calls_leave_none_of_their_own(deploy, rows):
    code = "from django.core.management import call_command; call_command('clearsessions')"
    assert len(trail(deploy.manage("shell", "-c", code).stderr)) == 2
    assert [row["command"] for row in rows()] == ["shell"]


def test_two_at_once_leave_two_rows(deploy, rows):
    both = [start(deploy, "import time; print('begun', flush=True); time.sleep(60)") for _ in range(2)]
    assert [process.child.poll() for process in both] == [None, None]
    for process in both:
        process.child.send_signal(signal.SIGTERM)
    assert [process.child.wait(30) for process in both] == [143, 143]
    assert len(rows()) == 2


def test_changes_can_be_tried_without_making_them(deploy):
    assert "No planned migration operations" in deploy.manage("migrate", "--plan").stdout
