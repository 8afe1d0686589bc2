"""Factor XI: every process writes its events to stdout, one JSON object a line, and nothing of another shape."""

import base64
import fcntl
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing

import pytest

from tests.twelve.events import ID, enqueue, events, wait_for_event
from tests.twelve.factors.mail_server import mail_server
from tests.twelve.processes import BIN, ROOT, SITE, Deploy, Person, Process, program, status, wait_until
from twelve.env import env

pytestmark = pytest.mark.prove

PASSWORD = "a long enough passphrase"


@pytest.mark.parametrize("arguments", ["", "--access-logfile - --log-level debug"], ids=["plain", "forced"])
def test_every_line_of_the_web_is_an_event_and_every_request_exactly_one(make_deploy, arguments):
    # One thread, so that the events are in the order of the requests.
    deploy = make_deploy(WEB_THREADS="1", **({"GUNICORN_CMD_ARGS": arguments} if arguments else {}))
    web = deploy.start_web()
    person = Person(deploy.address)
    person.post("/accounts/login/", {"login": "eve@example.com", "password": PASSWORD})
    assert deploy.ask("/nowhere?secret=1").status == 404
    session = next(cookie for cookie in person.cookies if cookie.name == "sessionid")
    deploy.sql("DROP TABLE django_session")
    broken = deploy.ask("/", Cookie=f"sessionid={session.value}", X_Request_ID=ID)
    assert broken.status == 500
    assert ID in broken.body.decode()
    assert deploy.ask("/accounts/login/", "HEAD").status == 200
    assert web.stop() == 0
    assert web.errors.read_text() == ""

    logged = events(web.text)
    assert {(e["process_type"], e["release"]) for e in logged} == {("web", "v42")}
    assert {e["commit"] for e in logged} == {deploy.manage("shell", "--no-imports", "-c", COMMIT).stdout.strip()}
    requests = [e for e in logged if e["logger"] == "access"]
    assert [(e["method"], e["path"], e["status"], e["level"]) for e in requests] == [
        ("GET", "/accounts/login/", 200, "info"),
        ("POST", "/accounts/login/", 302, "info"),
        ("GET", "/", 200, "info"),
        ("GET", "/nowhere", 404, "info"),
        ("GET", "/", 500, "error"),
        ("HEAD", "/accounts/login/", 200, "info"),
    ]
    for event in requests:
        assert event["duration_ms"] > 0
        assert event["client"] == "127.0.0.1"
        assert len(event["request_id"]) >= 8
    assert requests[0]["route"] == "accounts/login/"
    assert "route" not in requests[3]
    assert requests[0]["bytes"] > 500
    assert requests[5]["bytes"] == 0
    assert [e["logger"] for e in logged if "HEAD" in e["message"] or "no-body" in e["message"]] == ["access"]
    assert [e.get("user_id") for e in requests] == [None, 1, 1, None, None, None]
    assert "no such table: django_session" in requests[4]["traceback"]
    assert requests[4]["request_id"] == ID
    # Nothing else logs the error, and the probes log nothing.
    assert [e["logger"] for e in logged if "no such table" in json.dumps(e)] == ["access"]
    assert not [e for e in logged if "/health/" in e["message"]]


COMMIT = "from config import settings; print(settings.COMMIT)"


def test_every_line_of_worker_and_clock_is_an_event(make_deploy):
    deploy = make_deploy()
    worker, clock = deploy.start("worker", "-I", "tests.twelve.factors.noise"), deploy.start("clock")
    wait_for_event(worker, message=next(e["message"] for e in wait_for_event(worker, logger="celery.apps.worker")))
    enqueue(deploy, "starts_more.enqueue()", "[each.enqueue() for each in (buggy, hopeless, unlucky, out_of_luck)]")
    enqueue(deploy, "unfinished.delay()", "app.send_task('unknown', ['an argument'])")
    wait_for_event(worker, task="noise", outcome="success")
    wait_for_event(worker, task="broken_task", outcome="failure")
    for name, outcome in (
        ("starts_more", "done"),
        ("quiet", "done"),
        ("buggy", "failed"),
        ("hopeless", "failed"),
        ("unlucky", "retry"),
        ("out_of_luck", "failed"),
    ):
        (event,) = wait_for_event(worker, task=f"tests.twelve.factors.noise.{name}", outcome=outcome)
        assert event["attempt"] == 1
        assert event["queue_ms"] >= 0
        assert event["duration_ms"] >= 0
        assert event["request_id"] == ID
    wait_for_event(worker, task="unfinished", outcome="success")
    wait_for_event(worker, logger="celery.worker.consumer.consumer", level="error")
    wait_for_event(clock, message="beat: Starting...")
    assert clock.stop() == 0
    assert worker.stop() == 0
    assert worker.errors.read_text() == ""
    assert events(clock.text)[-1]["message"] == "the clock stops"

    logged = events(worker.text)
    assert {e["process_type"] for e in logged} == {"worker"}
    assert {e["process_type"] for e in events(clock.text)} == {"clock"}
    by_message = {e["message"]: e for e in logged}
    for message, logger in (
        ("printed in a task", "stdout"),
        ("without a line break", "stdout"),
        ("a line", "stderr"),
        ("and another", "stderr"),
        ("uncaught ZeroDivisionError", "uncaught"),
    ):
        assert by_message[message]["logger"] == logger
    assert {e["logger"] for e in logged if "a warning of a task" in e["message"]} == {"py.warnings"}
    assert {e["request_id"] for e in logged if e.get("task") in ("noise", "broken_task")} == {ID}
    assert by_message["printed in a task"]["request_id"] == ID
    assert "division by zero" in by_message["uncaught ZeroDivisionError"]["traceback"]
    assert "an argument" not in worker.text
    for bug in ("a bug in a task", "a bug in a durable task", "the last attempt"):
        (event,) = [e for e in logged if bug in e.get("traceback", "")]
        assert event["level"] == "error"
    assert [e for e in logged if "shutdown" in e["message"]]


@pytest.mark.parametrize(
    "command",
    [
        ("gunicorn", "-c", "python:config.gunicorn"),
        ("celery", "-q", "-A", "config", "worker"),
        ("celery", "-q", "-A", "config", "beat", "--pidfile="),
        ("uvicorn", "config.asgi:application", "--port", "0"),
    ],
    ids=lambda command: command[0] + command[-1],
)
def test_a_boot_that_fails_is_logged_as_events(command, tmp_path):
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "READ_DOT_ENV": "false", "DEBUG": "maybe", "LOG_FORMAT": "json"}
    process = Process(["/usr/bin/env", *command], environment=environment, output=tmp_path / "out")
    assert process.child.wait(60) == 1
    logged = "\n".join(e["message"] for e in events(process.text))
    assert "SECRET_KEY is not set" in logged
    assert "DEBUG is 'maybe'" in logged


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("gunicorn", "-c", "python:config.gunicorn", "-b", "127.0.0.1:0", "tests.twelve.nowhere"),
            "ModuleNotFoundError",
        ),
        (("celery", "-q", "-A", "config", "worker", "-I", "tests.twelve.nowhere"), "ModuleNotFoundError"),
        (
            ("celery", "-q", "-A", "config", "beat", "--pidfile=", "-S", "tests.twelve.nowhere:Scheduler"),
            "tests.twelve",
        ),
        (("celery", "-q", "-A", "config", "worker", "--wrong-option"), "No such option"),
    ],
    ids=["web", "worker", "clock", "option"],
)
def test_an_error_that_ends_a_process_is_logged_as_events(command, said, tmp_path):
    deploy = Deploy(tmp_path)
    process = Process(["/usr/bin/env", *command], environment=deploy.environment, output=tmp_path / "out")
    deploy.processes.append(process)
    assert process.child.wait(60) != 0
    assert [e for e in events(process.text) if said in e["message"] + e.get("traceback", "")]


def test_a_task_that_kills_its_process_is_logged(make_deploy):
    deploy = make_deploy()
    worker = deploy.start("worker", "-I", "tests.twelve.factors.noise")
    enqueue(deploy, "deadly.delay()")
    wait_until(lambda: [e for e in events(worker.text) if "exitcode 9" in e["message"]], 100, lambda: worker.text)
    worker.kill()


def test_a_task_that_is_interrupted_is_logged_with_its_id(make_deploy):
    deploy = make_deploy()
    worker = deploy.start("worker", "-I", "tests.twelve.factors.noise")
    enqueue(deploy, "quits.enqueue()")
    (event,) = wait_for_event(worker, task="tests.twelve.factors.noise.quits")
    assert (event["outcome"], event["level"], event["id"], event["request_id"]) == ("interrupted", "warning", 1, ID)
    assert event["traceback"].endswith("SystemExit: 3")
    wait_until(lambda: [e for e in events(worker.text) if "exitcode 3" in e["message"]], 100, lambda: worker.text)
    assert [e for e in events(worker.text) if e.get("task") == "run_task"] == []
    worker.kill()


def test_the_development_server_logs_events_too(make_deploy):
    deploy = make_deploy(DEBUG="true", LOG_FORMAT="json")
    command = [str(BIN / "python"), "manage.py", "runserver", "--noreload", str(deploy.port)]
    server = Process(command, environment=deploy.environment, output=deploy.folder / "runserver.log")
    deploy.processes.append(server)
    wait_until(lambda: status(f"{deploy.address}/health/live/") == 200, 30, lambda: server.text)
    assert deploy.ask("/").status == 200
    server.wait_for('"path": "/"')  # the event follows the answer
    server.stop(signal.SIGINT)
    logged = events(server.text)
    assert [e["path"] for e in logged if e["logger"] == "access"] == ["/"]
    assert [e for e in logged if e["logger"] == "stdout" and "Starting" in e["message"]]


def test_the_last_words_of_a_process_are_an_event(tmp_path):
    code = "from twelve import logs; logs.start('web'); print('hello', end=''); raise OverflowError('the end')"
    environment = {"PATH": str(BIN), "READ_DOT_ENV": "false", "PYTHONPATH": str(ROOT), **SITE}
    process = Process([str(BIN / "python"), "-c", code], environment=environment, output=tmp_path / "out")
    assert process.child.wait(30) == 1
    end, hello = events(process.text)  # a line without an end is logged when the interpreter flushes it
    assert (hello["logger"], hello["message"]) == ("stdout", "hello")
    assert (end["logger"], end["level"]) == ("uncaught", "critical")
    assert "OverflowError: the end" in end["traceback"]


def test_uvicorn_logs_a_request_in_one_event(make_deploy, tmp_path):
    deploy = make_deploy()
    site = "tests.twelve.factors.noisy_site:asgi_application"
    command = ["uvicorn", site, "--port", str(deploy.port), "--lifespan", "off"]
    server = Process(["/usr/bin/env", *command], environment=deploy.environment, output=tmp_path / "uvicorn.log")
    deploy.processes.append(server)
    wait_until(lambda: "running on" in server.text, 30, lambda: server.text)
    answer = deploy.ask("/", X_Request_ID=ID)
    assert (answer.status, answer.getheader("X-Request-ID")) == (200, ID)
    deploy.sql("DROP TABLE django_session")
    assert deploy.ask("/?token=x", Cookie="sessionid=0123456789abcdef0123456789abcdef").status == 500
    leave(deploy, "GET /slow/")
    wait_for_event(server, path="/slow/")
    server.stop()
    logged = events(server.text)
    fine, broken, left = [e for e in logged if e["logger"] == "access"]
    assert (left["client_left"], left["level"], "status" in left) == (True, "info", False)
    assert (fine["path"], fine["status"], fine["request_id"]) == ("/", 200, ID)
    assert "no such table: django_session" in broken["traceback"]
    assert [e for e in logged if "GET /" in e["message"] or "no such table" in json.dumps(e)] == [fine, broken, left]


def leave(deploy, line, body=""):
    """Send a request, and leave once the server is at work on it."""
    with socket.create_connection(("127.0.0.1", deploy.port)) as client:
        client.sendall(f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{body or '\r\n'}".encode())
        time.sleep(0.3)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def test_an_upload_that_breaks_off_is_no_error(make_deploy):
    deploy = make_deploy()
    web = deploy.start_web("tests.twelve.factors.noisy_site")
    leave(deploy, "POST /form/", "Content-Length: 1000\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\na=1")
    (event,) = wait_for_event(web, logger="access")
    assert (event["path"], event["level"], event["client_left"]) == ("/form/", "info", True)
    assert "traceback" not in event


def test_an_error_page_that_fails_is_answered_with_the_id_and_logged_once(make_deploy):
    deploy = make_deploy(STATIC_ROOT="nowhere")  # no page without the manifest of its static files
    web = deploy.start_web()
    answer = deploy.ask("/", X_Request_ID=ID)
    assert (answer.status, answer.getheader("X-Request-ID")) == (500, ID)
    (event,) = wait_for_event(web, request_id=ID)
    assert (event["logger"], event["status"], event["level"]) == ("access", 500, "error")
    assert "Missing staticfiles manifest" in event["traceback"]


def test_the_request_id_is_kept_or_made_and_travels_into_the_mail(make_deploy):
    deploy = make_deploy()
    deploy.start_web()
    assert deploy.ask("/", X_Request_ID=ID).getheader("X-Request-ID") == ID
    for malformed in ("short", "x" * 65, "with spaces in it", "quote\"and'more"):
        made = deploy.ask("/", X_Request_ID=malformed).getheader("X-Request-ID")
        assert made != malformed
        assert re.fullmatch(r"[0-9a-f]{32}", made)
    person = Person(deploy.address)
    person.opener.addheaders = [("X-Request-ID", ID)]
    person.post("/accounts/password/reset/", {"email": "eve@example.com"})
    ((arguments, request_id),) = deploy.sql("SELECT args, request_id FROM twelve_task")
    assert request_id == ID
    assert f"X-Request-ID: {ID}".encode() in base64.b64decode(json.loads(arguments)[2])


def test_with_no_proxy_in_front_the_request_id_of_a_client_is_not_taken(make_deploy):
    deploy = make_deploy(TRUSTED_PROXY_COUNT="0")
    web = deploy.start_web()
    made = deploy.ask("/", X_Request_ID=ID).getheader("X-Request-ID")
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    wait_for_event(web, path="/", request_id=made)
    assert ID not in web.text


def test_an_answer_that_breaks_off_is_logged_under_its_request(make_deploy):
    deploy = make_deploy(WEB_THREADS="1")
    web = deploy.start_web("tests.twelve.factors.noisy_site")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        deploy.ask("/breaks-off/?token=x", X_Request_ID=ID)
    with socket.create_connection(("127.0.0.1", deploy.port)) as client:  # another, on the same thread
        client.sendall(b"GET / HTTP/9.9\r\n\r\n")
        assert b" 400 " in client.makefile("rb").readline()
    wait_for_event(web, message="Invalid request from ip=::ffff:127.0.0.1: Invalid HTTP Version: (9, 9)", request_id="")
    (event,) = wait_for_event(web, logger="gunicorn.error", request_id=ID)
    assert "LookupError: a bug in a stream" in event["traceback"]
    logged = [e for e in events(web.text) if e["request_id"] == ID]
    assert [e["logger"] for e in logged] == ["tests.twelve.factors.noisy_site", "access", "gunicorn.error"]
    assert "client_left" not in logged[1]
    assert [e for e in events(web.text) if "a bug in a stream" in json.dumps(e)] == [event]


def test_the_id_of_a_request_is_on_its_mail_and_on_the_event_of_the_task_that_sent_it(make_deploy):
    with mail_server() as server:
        deploy = make_deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.server_address[1]}")
        deploy.start_web()
        worker = deploy.start("worker")
        person = Person(deploy.address)
        person.opener.addheaders = [("X-Request-ID", ID)]
        person.post("/accounts/signup/", {"email": "new@example.com", "password1": PASSWORD})
        (event,) = wait_for_event(worker, task="twelve.services.mail.backends.deliver", outcome="done")
        assert event["request_id"] == ID
        assert [f"\r\nX-Request-ID: {ID}\r\n".encode() in mail for mail in server.mails] == [True]


def test_a_probe_that_fails_is_logged(make_deploy):
    deploy = make_deploy()
    web = deploy.start_web()
    # A directory in place of the file: the database is unreachable.
    for path in deploy.folder.glob("db.sqlite3*"):
        path.unlink()
    deploy.database.mkdir()
    assert deploy.ask("/health/live/").status == 200
    assert deploy.ask("/health/ready/").status == 503
    (event,) = wait_for_event(web, logger="access")
    assert (event["path"], event["status"], event["level"]) == ("/health/ready/", 503, "error")


def test_a_client_that_leaves_is_logged(make_deploy):
    deploy = make_deploy()
    web = deploy.start_web()
    deploy.media.mkdir(exist_ok=True)
    (deploy.media / "large").write_bytes(b"x" * 30_000_000)
    link = "from django.core.files.storage import default_storage as s; print(s.url('large'))"
    path = deploy.manage("shell", "--no-imports", "-c", link).stdout.strip()
    assert len(deploy.ask(path).body) == 30_000_000
    client = socket.create_connection(("127.0.0.1", deploy.port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert client.recv(1000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
    (event,) = wait_for_event(web, client_left=True)
    assert event["path"] == "/media/large"
    stayed = [e for e in events(web.text) if e["logger"] == "access" and "client_left" not in e]
    assert len(stayed) == 1


@pytest.mark.parametrize(("debug", "levels"), [("false", ""), ("true", "django.db=debug")])
def test_no_event_has_a_secret_or_an_address(make_deploy, debug, levels):
    canaries = {
        "SECRET_KEY": "canary-key-0123456789-0123456789-0123456789-0123456789",
        "SECRET_KEY_FALLBACKS": "canary-fallback-0123456789",
        "EMAIL_URL": "smtp://canary-user:canary-password@127.0.0.1:9",
    }
    deploy = make_deploy(DEBUG=debug, LOG_LEVELS=levels, LOG_FORMAT="json", **canaries)
    web, worker = (
        deploy.start_web("tests.twelve.factors.noisy_site"),
        deploy.start("worker", "-I", "tests.twelve.factors.noise"),
    )
    clock = deploy.start("clock")
    person = Person(deploy.address)
    person.opener.addheaders = [("Authorization", "Bearer canary-token")]
    person.post("/accounts/login/", {"login": "canary@example.com", "password": "canary-password-2"})
    person.post("/accounts/password/reset/", {"email": "canary@example.com"})
    key = "1-canaryc-0123456789canary0123456789canary"
    form = "password=canary-form&email=canary@example.com"
    sent = {"Content_Type": "application/x-www-form-urlencoded"}
    assert deploy.ask(f"/accounts/password/reset/key/{key}/").status == 200
    assert deploy.ask(f"/accounts/password/reset/key/{key}/", "POST", form, **sent).status == 403
    query = "token=canary-query&email=canary@example.com"
    assert deploy.ask(f"/nowhere?{query}", Cookie="other=canary-cookie").status == 404
    assert deploy.ask("/", Host="canary.example.com").status == 400
    assert deploy.ask("/accounts/login/?next=canary", "POST", form, **sent).status == 403
    secrets = {"Authorization": "Bearer canary-token", "Cookie": "a=canary-cookie; sessionid=canary-session"}
    answer = deploy.ask(f"/indiscreet/?{query}", "POST", form, **sent, **secrets, X_Api_Key="canary-header")
    assert answer.status == 500
    for malformed in (
        "GET /?token=canary-line HTTP/9.9\r\n",
        "GET / HTTP/1.1\r\nAuthorization Bearer canary-header\r\n",
    ):
        with socket.create_connection(("127.0.0.1", deploy.port)) as client:
            client.sendall(f"{malformed}\r\n".encode())
            assert b" 400 " in client.makefile("rb").readline()
    person.post("/accounts/signup/", {"email": "canary-2@example.com", "password1": PASSWORD})
    person.post("/accounts/login/", {"login": "eve@example.com", "password": PASSWORD})
    hidden = [cookie.value for cookie in person.cookies if cookie.name == "sessionid"]
    hidden += [password for (password,) in deploy.sql("SELECT password FROM users_user")]
    assert len(hidden) == 3
    deploy.sql("DROP TABLE django_session")
    assert deploy.ask("/?q=canary", Cookie="sessionid=canary-session-0123456789012345").status == 500
    enqueue(deploy, "indiscreet.enqueue('canary-argument')")
    wait_for_event(worker, task="tests.twelve.factors.noise.indiscreet", outcome="failed")
    wait_for_event(worker, task="twelve.services.mail.backends.deliver", outcome="retry")  # nothing listens there
    for process in (web, worker, clock):
        process.stop()
        assert events(process.text)
        assert re.findall(".{,40}canary.{,20}", process.text, re.IGNORECASE) == []
        assert [text for text in hidden if text in process.text] == []


SECRETS = {
    "SECRET_KEY": "canary-key-0123456789-0123456789-0123456789-0123456789",
    "SECRET_KEY_FALLBACKS": "canary-fallback-0123456789",
    "DATABASE_URL": "postgres://canaryuser:canary-database@127.0.0.1:9/name?passfile=canary-option",
    "DIRECT_DATABASE_URL": "postgres://canaryuser:canary-direct@127.0.0.1:9/name",
    "CELERY_BROKER_URL": "amqp://canaryuser:canary-broker@127.0.0.1:9//",
    "CACHE_URL": "redis://canaryuser:canary-cache@127.0.0.1:9/1",
    "EMAIL_URL": "smtp://canaryuser:canary-mail@127.0.0.1:9",
    "SENTRY_DSN": "http://canarykey@127.0.0.1:9/1",
    "GOOGLE_CREDENTIALS": json.dumps(
        {
            "client_email": "canaryuser@tests.example",
            "private_key": "canary-private-0123456789-0123456789-0123456789",
            "token_uri": "https://tests.example/token",
        }
    ),
    "AWS_ACCESS_KEY_ID": "canary-aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "canary-aws_secret_access_key",
    "AWS_SESSION_TOKEN": "canary-token",
}


def test_an_unreachable_service_gives_no_secret_away(tmp_path):
    """Each secret variable has a canary, and each backing service is at a port where nothing listens."""
    assert {name for name, variable in env.variables.items() if variable.secret} == {*SECRETS}
    bucket = {"MEDIA_STORAGE_URL": "s3://bucket?endpoint_url=http://127.0.0.1:9"}
    deploy = Deploy(tmp_path, DJANGO_SUPERUSER_PASSWORD="canary-password", **SECRETS, **bucket)
    web, worker, clock = (deploy.start(name) for name in ("web", "worker", "clock"))
    try:
        wait_until(lambda: status(f"{deploy.address}/health/live/") == 200, 30, lambda: web.text)
        assert deploy.ask("/health/ready/").status == 503
        assert deploy.ask("/", Cookie="sessionid=canary-session-0123456789012345").status == 503
        commands = (
            "check",
            "migrate_db",
            "probe_services",
            "createsuperuser --noinput --email canary@example.com",
            "env",
        )
        said = [deploy.manage(*command.split(), check=False) for command in commands]
        wait_for_event(worker, logger="celery.worker.consumer.consumer", level="error")
        wait_for_event(clock, logger="twelve.tasks.scheduler", level="warning")
    finally:
        deploy.close()
    for text in (web.text, worker.text, clock.text):
        assert events(text)
    output = [web.text, worker.text, clock.text, *(result.stdout + result.stderr for result in said)]
    assert re.findall(".{,60}canary(?!user|key).{,20}", "\n".join(output), re.IGNORECASE) == []


def test_the_result_of_a_command_is_clean_and_its_events_are_on_stderr(make_deploy):
    deploy = make_deploy(LOG_LEVELS="django.db.backends=debug,apps=info", DEBUG="true", LOG_FORMAT="json")
    result = deploy.manage("dumpdata", "users")
    assert json.loads(result.stdout)[0]["fields"]["email"] == "eve@example.com"
    logged = events(result.stderr)
    assert {e["logger"] for e in logged} >= {"django.db.backends"}
    assert {e["process_type"] for e in logged} == {"dumpdata"}


def test_the_lines_of_processes_that_share_a_pipe_never_mix(tmp_path):
    """Two processes write long events into one small pipe that is read slowly."""
    code = (
        "import logging; from twelve import logs; logs.start('web')\n"
        "def deep(n):\n    if n: return deep(n - 1)\n    raise ValueError('the end ' + 'é' * 300)\n"
        "for n in range(300):\n"
        "    try: deep(60)\n    except ValueError: logging.getLogger('x').exception('event %d %s', n, 'y' * 2000)\n"
    )
    environment = {"PATH": str(BIN), "READ_DOT_ENV": "false", "PYTHONPATH": str(ROOT), "LOG_FORMAT": "json", **SITE}
    command = [str(BIN / "python"), "-c", code]
    reader = []
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    children = [subprocess.Popen(command, env=environment, stdout=write) for _ in range(2)]
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while chunk := pipe.read(700):
            reader.append(chunk)
    assert [child.wait(30) for child in children] == [0, 0]
    lines = b"".join(reader).splitlines(keepends=True)
    assert len(lines) == 600
    assert max(map(len, lines)) <= 4096
    for event in events(b"".join(lines).decode()):
        assert event["traceback"].endswith("é")  # what is cut is the middle: the end says what happened


CONFIG = """
module(load="imfile")
module(load="mmjsonparse")
global(workDirectory="{folder}" maxMessageSize="64k")
template(name="parsed" type="list") {{
  property(name="$!all-json") constant(value="\\n")
}}
template(name="raw" type="string" string="%msg%\\n")
{inputs}
ruleset(name="events") {{
  action(type="mmjsonparse" cookie="")
  if $parsesuccess == "OK" then {{
    action(type="omfile" file="{folder}/parsed.log" template="parsed")
  }} else {{
    action(type="omfile" file="{folder}/failed.log" template="raw")
  }}
}}
"""


def test_a_log_collector_understands_every_event_under_load(make_deploy):
    """rsyslog follows the streams of all three processes: what is sent is received, and nothing fails to parse."""
    rsyslogd = program("rsyslogd")
    deploy = make_deploy()
    web, worker, clock = (
        deploy.start_web(),
        deploy.start("worker", "-I", "tests.twelve.factors.noise"),
        deploy.start("clock"),
    )
    processes = (web, worker, clock)
    folder = deploy.folder / "rsyslog"
    folder.mkdir()
    inputs = "\n".join(
        f'input(type="imfile" file="{process.output}" tag="{process.output.stem}:" ruleset="events")'
        for process in processes
    )
    config = folder / "rsyslog.conf"
    config.write_text(CONFIG.format(folder=folder, inputs=inputs))
    collector = Process(
        [rsyslogd, "-n", "-f", str(config), "-i", str(folder / "pid")], environment={}, output=folder / "out"
    )
    deploy.processes.append(collector)

    def load():
        with closing(http.client.HTTPConnection("127.0.0.1", deploy.port, timeout=30)) as connection:
            for number in range(500):
                connection.request("GET", "/nowhere" if number % 5 == 0 else "/accounts/login/")
                connection.getresponse().read()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    enqueue(deploy, "[each.enqueue() for each in [quiet, buggy, hopeless, starts_more] * 10]")
    for thread in threads:
        thread.join()
    wait_until(lambda: worker.text.count('"outcome": "failure"') == 10, 200, lambda: worker.text[-2000:])
    for process in processes:
        process.stop()
    sent = [event for process in processes for event in events(process.text)]
    assert len([event for event in sent if event["logger"] == "access"]) == 2000

    parsed = folder / "parsed.log"
    wait_until(lambda: parsed.exists() and parsed.read_text().count("\n") >= len(sent), 60, lambda: collector.text)
    assert collector.stop() == 0
    assert not (folder / "failed.log").exists()
    received = [json.loads(line) for line in parsed.read_text().splitlines()]
    key = ("timestamp", "level", "logger", "message", "request_id", "status", "duration_ms", "outcome", "traceback")
    assert sorted(repr([e.get(k) for k in key]) for e in received) == sorted(
        repr([e.get(k) for k in key]) for e in sent
    )
