"""What an event looks like, what it never shows, and what logging it does not cost."""

import asyncio
import contextvars
import inspect
import json
import logging
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.middleware.common import CommonMiddleware
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject

from tests.twelve.attached import attach
from tests.twelve.processes import GOOD, SITE, run
from twelve import logs, platforms
from twelve.env import Env
from twelve.logs.events import LINE_BYTES, ConsoleFormatter, JSONFormatter, secret_values
from twelve.logs.process import PrintedLines, log_uncaught
from twelve.logs.requests import client_address


def line(formatter, message, *args, **record):
    made = logging.LogRecord("apps.x", logging.INFO, "file", 1, message, args, record.pop("exc_info", None))
    made.__dict__.update(record)
    return formatter.format(made)


def test_json_is_one_line_with_fixed_fields():
    text = line(JSONFormatter(), "a line\nand %s", "another", event={"task": "x", "queue_ms": 1.5})
    assert "\n" not in text
    event = json.loads(text)
    assert event["message"] == "a line\nand another"
    assert (event["level"], event["logger"], event["task"], event["queue_ms"]) == ("info", "apps.x", "x", 1.5)
    assert event["timestamp"].endswith("Z")


def test_console_is_text_for_a_person():
    token = logs.request_id.set("0123456789abcdef")
    text = line(ConsoleFormatter(), "hello")
    logs.request_id.reset(token)
    assert text[12:] == " info     apps.x: hello  [01234567]"


def test_a_value_that_json_does_not_know_is_logged_all_the_same():
    assert "object object" in json.loads(line(JSONFormatter(), "m", event={"x": object()}))["x"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://user:hunter2@host/db", "postgres://***@host/db"),
        ("redis://:hunter2@host", "redis://***@host"),
        ("mail to eve.x+tag@mail.example.com failed", "mail to ***@*** failed"),
        ("password=hunter2&next=/", "password=***&next=/"),
        ("{'password': 'hunter2'}", "{'password': '***'}"),
        ('{"api_key": "hunter2", "a": 1}', '{"api_key": "***", "a": 1}'),
        ("X-Auth-Token: hunter2", "X-Auth-Token: ***"),
        ("csrftoken=hunter2; sessionid=hunter2", "csrftoken=***; sessionid=***"),
        ("amqp://user:hunter2@hunter2@host", "amqp://***@host"),
        ("first line\nhunter2@example.com", "first line\n***@***"),
        ("from éhunter2@example.com", "from ***@***"),
        ("/invite/hunter2%40example.com/", "/invite/***@***/"),
        ("token=éhunter2", "token=***"),
        ("{'password1': ['hunter2 is a phrase'], 'next': ['/']}", "{'password1': ['***'], 'next': ['/']}"),
        ("DB_PASSWORD=hunter2 CLIENT_SECRET=hunter2", "DB_PASSWORD=*** CLIENT_SECRET=***"),
        ("{'HTTP_AUTHORIZATION': 'Basic hunter2'}", "{'HTTP_AUTHORIZATION': '***'}"),
        ("{'a': 'my-cookie', 'sessionid': 'hunter2'}", "{'a': 'my-cookie', 'sessionid': '***'}"),
        ("{'Cookie': 'a=hunter2; b=hunter2', 'next': '/'}", "{'Cookie': '***', 'next': '/'}"),
        ("pwd=hunter2 otp=hunter2 jwt: hunter2", "pwd=*** otp=*** jwt: ***"),
        ("private_key=hunter2&access_key=hunter2&AuthKey=hunter2", "private_key=***&access_key=***&AuthKey=***"),
        ("{'credentials': 'hunter2'}", "{'credentials': '***'}"),
        (
            "the bearer of this, basic authentication, a Basic plan",
            "the bearer of this, basic authentication, a Basic plan",
        ),
        ("unique\nDETAIL:  Key (token)=(hunter2) exists.\n\nThe end", "unique\nDETAIL: ***\n\nThe end"),
        ("DETAIL:  Failing row contains (1, a\n(hunter2), null).", "DETAIL: ***"),
        ("it costs $20, f(x) = (y), the key: none of (a, b)", "it costs $20, f(x) = (y), the key: none of (a, b)"),
        ("an option: 1, robot: 2, monkey=3, keyboard=4", "an option: 1, robot: 2, monkey=3, keyboard=4"),
        ("https://bucket.example.com/a?expires=1&key=hunter2 says 403", "https://bucket.example.com/a?*** says 403"),
        ("Enter a password:\nDone", "Enter a password:\nDone"),
        ("'password' is missing, is it?", "'password' is missing, is it?"),
        ("GET /accounts/password/reset/ 200", "GET /accounts/password/reset/ 200"),
        ("3 tests passed in 2 s", "3 tests passed in 2 s"),
    ],
)
def test_secrets_and_addresses_are_masked_and_other_text_is_not(text, shown):
    assert logs.masked(text) == shown
    assert json.loads(line(JSONFormatter(), "%s", text))["message"] == shown
    assert "hunter2" not in line(ConsoleFormatter(), "%s", text)


def test_authorization_is_masked_with_its_scheme():
    assert "hunter2" not in logs.masked("Authorization: Bearer hunter2")
    assert "hunter2" not in logs.masked("{'authorization': 'Basic hunter2=='}")


@pytest.fixture
def secrets(monkeypatch):
    """A function that makes these the values of secret variables."""

    def declare(*values):
        monkeypatch.setattr("twelve.env.env.secret_values", lambda: set(values))
        secret_values.cache_clear()

    yield declare
    secret_values.cache_clear()


@pytest.mark.parametrize("secret", ['it\'s "quoted"', "back\\slash", "schlüssel", "a line\nand another", "logger"])
def test_a_secret_is_masked_however_it_is_written(secrets, secret):
    secrets(secret)
    for text in (secret, f"x{secret}y", repr(secret)):
        event = json.loads(line(JSONFormatter(), "%s", text, event={"path": text}))
        assert {secret, repr(secret)[1:-1]} & {event["message"], event["path"]} == set()
        assert event["message"] in ("***", "x***y", "'***'", '"***"')
        assert event["logger"] == "apps.x"  # a secret that is a common word breaks no field


def test_an_option_in_a_url_is_no_secret_and_a_token_there_is():
    url = "postgres://user:hunter-password@host/db?sslmode=verify-full&require=require&x=hunter2token"
    env = attach(GOOD | {"DATABASE_URL": url}).env
    env.str("SECRET_KEY", secret=True, help="The owner's.")
    assert env.secret_values() == {GOOD["SECRET_KEY"], "hunter-password", "hunter2token"}


@pytest.mark.timeout(30)  # of which it takes a second
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "://",
        "/",
        "token",
        "password=",
        "'",
        "\\",
        "@",
        "?a",
        "Key (",
        "a)=(",
        "Failing row contains (",
        "md5$",
        "bearer ",
        "bearer a",
        "Bearer",
        "cookie: '",
        "cookie: ;'",
        "cookie=a; ",
        "password=['a', ",
        "DETAIL:",
        "token: [",
    ],
)
def test_a_huge_text_is_masked_in_linear_time(piece):
    logs.masked(piece * (500_000 // len(piece)) + "@ token ?")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("(0.001) SELECT 1 WHERE a = 'hunter2' AND b = 5; args=('hunter2',); alias=default", "a = '***' AND b = 5"),
        ("(0.001) UPDATE t SET a = 'it''s; args=hunter2', b = 'hunter2'; args=(1,)", "SET a = '***"),
        ("(0.001) INSERT INTO t VALUES ('it\\'s hunter2', 'hunter2'); args=None; alias=default", "VALUES ('***'"),
        ("CREATE TABLE t DEFAULT 'hunter2'; (params ['hunter2'])", "DEFAULT '***'"),
    ],
)
def test_a_query_is_logged_without_its_values(message, shown):
    made = logging.LogRecord("django.db.backends", logging.DEBUG, "file", 1, "%s", (message,), None)
    logged = json.loads(JSONFormatter().format(made))["message"]
    assert shown in logged
    assert "hunter2" not in logged


def test_a_field_whose_name_says_that_it_is_secret_is_masked():
    event = {"password": "hunter2", "access_token": ["hunter2"], "tokens": 5, "monkey": "a"}
    logged = json.loads(line(JSONFormatter(), "m", event=event))
    assert {name: logged[name] for name in event} == {
        "password": "***",
        "access_token": "***",
        "tokens": 5,
        "monkey": "a",
    }


def test_a_path_keeps_names_and_ids_and_loses_tokens():
    assert logs.safe_path("/photos/0b9ff0a5-6f1c-4c67-a8f2-0c8b5a1f1a11/") == (
        "/photos/0b9ff0a5-6f1c-4c67-a8f2-0c8b5a1f1a11/"
    )
    assert logs.safe_path("/accounts/confirm-email/MjQ:1vTgYe:R0zJ1lZ-x_4vN2/") == "/accounts/confirm-email/***/"
    assert logs.safe_path("/accounts/password/reset/") == "/accounts/password/reset/"


def test_a_long_event_keeps_its_end_and_stays_json():
    try:
        raise ValueError("x" * 9000 + " the end")
    except ValueError as error:
        text = line(JSONFormatter(), "m" * 9000, exc_info=(ValueError, error, error.__traceback__))
    assert len(text) < LINE_BYTES
    assert json.loads(text)["traceback"].endswith("the end")


@pytest.mark.parametrize("text", ["x" * 20_000, "é\n" * 5_000, "x" * 3000 + "\U0001f600" * 3000, '"' * 6000])
@pytest.mark.parametrize("field", ["message", "path", "route"])
def test_no_field_makes_a_line_too_long(text, field):
    fields = {"path": "/", "route": "", "request_id": "0123456789"} | ({field: text} if field != "message" else {})
    logged = line(JSONFormatter(), "%s", text if field == "message" else "m", event=fields)
    assert LINE_BYTES / 2 < len(logged) < LINE_BYTES
    assert json.loads(logged)["request_id"] == "0123456789"


@pytest.mark.parametrize("event", [{"ids": list(range(3000))}, {"x": {"y": ["z" * 9000]}}])
def test_no_list_and_no_number_of_fields_makes_a_line_too_long(event):
    logged = line(JSONFormatter(), "m", event=event)
    assert len(logged) < LINE_BYTES
    assert json.loads(logged)["message"] == "m"


def test_what_is_no_number_is_text_whether_a_mask_applies_or_not():
    for more in ({}, {"to": "eve@example.com"}):
        logged = json.loads(line(JSONFormatter(), "m", event={"ids": [1, 2], "n": 1, "ok": True} | more))
        assert (logged["ids"], logged["n"], logged["ok"]) == ("[1, 2]", 1, True)


def recurse(depth):
    return recurse_more(depth - 1) if depth else int("the end")


def recurse_more(depth):
    return recurse(depth)


def test_a_long_traceback_keeps_its_last_frame():
    try:
        recurse(200)
    except ValueError as error:
        text = line(JSONFormatter(), "m", exc_info=(ValueError, error, error.__traceback__))
    assert len(text) < LINE_BYTES
    *_, frame, code, _, end = json.loads(text)["traceback"].splitlines()
    assert frame.endswith("in recurse")
    assert code.endswith('int("the end")')
    assert end.startswith("ValueError: invalid literal")


@pytest.mark.parametrize(
    ("message", "arguments", "extra"),
    [
        ("%d things", ("no number",), {}),
        ("%s and %s", ("one",), {}),
        ("a number", (), {"event": {"x": float("nan")}}),
        ("odd", (), {"event": 5}),
    ],
)
def test_an_event_that_cannot_be_formatted_is_an_event_itself(monkeypatch, message, arguments, extra):
    read, write = os.pipe()
    monkeypatch.setattr(logs.EventHandler, "fd", write)
    handler = logs.EventHandler()
    handler.setFormatter(JSONFormatter())
    record = logging.LogRecord("apps.x", logging.INFO, "file", 1, message, arguments, None)
    record.__dict__.update(extra)
    handler.handle(record)
    event = json.loads(os.read(read, 9999))
    assert (event["logger"], event["level"]) == ("apps.x", "error")
    assert event["message"].endswith(f": {message}")
    os.close(read)
    os.close(write)


def test_what_is_printed_is_an_event_a_line(caplog):
    stream = PrintedLines("stdout", logging.INFO)
    with caplog.at_level("INFO"):
        print("one\ntwo", file=stream)
        print("half", end="", file=stream)
        print(" a line", file=stream)
        print("flushed", end="", flush=True, file=stream)
    assert [record.getMessage() for record in caplog.records] == ["one", "two", "half a line", "flushed"]


def test_lines_that_threads_print_at_once_do_not_mix(caplog):
    stream = PrintedLines("stdout", logging.INFO)
    meet = threading.Barrier(4)

    def speak(name):
        for _ in range(50):
            print(name, end="", file=stream)
            meet.wait()
            print(name, file=stream)

    threads = [threading.Thread(target=speak, args=(letter,)) for letter in "abcd"]
    with caplog.at_level("INFO"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(record.getMessage() for record in caplog.records) == sorted(["aa", "bb", "cc", "dd"] * 50)


def test_a_library_may_ask_the_stream_for_a_descriptor_and_gets_none():
    assert not hasattr(PrintedLines("stdout", logging.INFO), "fileno")


def test_a_thread_that_exits_on_purpose_is_no_error(caplog):
    for kind in (SystemExit, KeyboardInterrupt):
        log_uncaught(kind, kind(), None)
    assert caplog.records == []


def answer(response, **headers):
    response.close = lambda: None  # Django's would look after database connections
    return logs.RequestMiddleware(lambda request: response)(RequestFactory().get("/x/", headers=headers))


def test_what_a_streamed_answer_logs_has_the_id_of_its_request(caplog):
    def stream():
        yield logs.request_id.get()

    response = answer(StreamingHttpResponse(stream()), **{"X-Request-ID": "0123456789"})
    assert b"".join(response) == b"0123456789"
    response.close()
    assert logs.request_id.get() == ""


def test_the_event_of_a_request_has_its_id_wherever_the_server_closes_the_response(monkeypatch):
    ids = []
    monkeypatch.setattr(logging.getLogger("access"), "log", lambda *args, **fields: ids.append(logs.request_id.get()))
    response = contextvars.Context().run(answer, HttpResponse(), **{"X-Request-ID": "0123456789"})
    response.close()
    assert ids == ["0123456789"]


@pytest.mark.parametrize(
    ("error", "left"), [(BrokenPipeError(), True), (TimeoutError(), True), (FileNotFoundError(), None)]
)
def test_only_a_broken_connection_is_a_client_that_left(caplog, error, left):
    response = answer(HttpResponse())
    with caplog.at_level("INFO"), pytest.raises(type(error)):
        try:
            raise error
        finally:
            response.close()
    (event,) = [record.event for record in caplog.records if record.name == "access"]
    assert event.get("client_left") == left
    logs.request_id.set("")


@pytest.fixture
def request_events(caplog):
    """The events of requests."""
    caplog.set_level("INFO")
    return lambda: [record for record in caplog.records if record.name == "access"]


@pytest.mark.django_db
def test_an_error_page_that_fails_itself_is_answered_and_logged(request_events):
    def fail(request):
        raise LookupError("no template")

    response = logs.RequestMiddleware(fail)(RequestFactory().get("/x/", headers={"X-Request-ID": "0123456789"}))
    assert (response.status_code, response["X-Request-ID"]) == (500, "0123456789")
    assert b"0123456789" in response.content
    response.close()
    (record,) = request_events()
    assert (record.levelname, record.event["status"], record.exc_info[0]) == ("ERROR", 500, LookupError)
    assert logs.request_id.get() == ""


@pytest.mark.parametrize(
    ("error", "level", "left"), [(asyncio.CancelledError(), "INFO", True), (SystemExit(), "ERROR", None)]
)
def test_a_request_that_ends_unanswered_is_logged(request_events, error, level, left):
    async def wait(request):
        raise error

    handler = logs.RequestMiddleware(wait)
    assert inspect.iscoroutinefunction(handler)
    with pytest.raises(type(error)):
        asyncio.run(handler(RequestFactory().get("/x/")))
    (record,) = request_events()
    assert (record.levelname, record.event.get("client_left")) == (level, left)
    assert "status" not in record.event
    assert bool(record.exc_info) == (level == "ERROR")
    assert logs.request_id.get() == ""


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (
            lambda client: client.get("/", headers={"host": "evil.example.org"}),
            "the Host header is none of ALLOWED_HOSTS",
        ),
        (lambda client: client.post("/accounts/login/", {f"a{n}": 1 for n in range(1500)}), "The number of GET/POST"),
        (
            lambda client: client.post("/accounts/login/", "a" * 3_000_000, "application/x-www-form-urlencoded"),
            "Request",
        ),
        (lambda client: Client(enforce_csrf_checks=True).post("/accounts/login/"), "CSRF cookie not set."),
    ],
    ids=["host", "fields", "body", "csrf"],
)
@pytest.mark.django_db
def test_why_a_request_was_refused_is_said_in_its_one_event(request_events, capfd, ask, reason):
    assert ask(Client()).status_code in (400, 403, 413)
    (record,) = request_events()
    assert record.levelname == "WARNING"
    assert record.event["reason"].startswith(reason)
    assert "evil" not in record.getMessage()
    assert not record.exc_info
    assert [json.loads(text)["logger"] for text in capfd.readouterr().out.splitlines()] == ["access"]


def test_a_refusal_outside_of_a_request_is_an_event():
    result = run(("python", "-c", REFUSE), **GOOD, **SITE)
    (event,) = map(json.loads, result.stdout.splitlines())
    assert (event["logger"], event["level"], event["message"]) == ("django.security.X", "error", "corrupted")


REFUSE = (
    "import logging; from twelve import logs; logs.start('web')\n"
    "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('django.security.X').error('corrupted', exc_info=True)"
)


@pytest.mark.django_db
def test_the_bytes_are_those_of_the_body_that_is_sent(request_events, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1234)
    answers = {
        "GET": [HttpResponse(b"four"), FileResponse((tmp_path / "file").open("rb")), StreamingHttpResponse([b"x"])],
        "HEAD": [HttpResponse(b"four")],
    }
    for method, responses in answers.items():
        for response in responses:
            stack = logs.RequestMiddleware(CommonMiddleware(lambda request, response=response: response))
            stack(RequestFactory().generic(method, "/x/")).close()
    assert [record.event.get("bytes") for record in request_events()] == [4, 1234, None, 0]


def test_logging_a_request_asks_no_database_and_varies_nothing(client, db, django_assert_num_queries, settings):
    with django_assert_num_queries(0):
        logged = client.get("/accounts/login/")
    settings.MIDDLEWARE = settings.MIDDLEWARE[1:]
    with django_assert_num_queries(0):
        bare = Client().get("/accounts/login/")
    assert logged.headers["Vary"] == bare.headers["Vary"]
    assert set(logged.headers) - set(bare.headers) == {"X-Request-ID"}


@pytest.mark.django_db
@pytest.mark.parametrize(("asked", "user_id"), [(False, None), (True, 7)])
def test_the_user_is_logged_if_the_view_asked_for_it_and_is_not_loaded_otherwise(request_events, asked, user_id):
    loads = []

    def view(request):
        request.user = SimpleLazyObject(lambda: loads.append(1) or get_user_model()(pk=7))
        return HttpResponse(bool(asked and request.user.is_active))

    response = logs.RequestMiddleware(view)(RequestFactory().get("/x/"))
    response.close()
    assert [record.event.get("user_id") for record in request_events()] == [user_id]
    assert len(loads) == asked


def test_only_djangos_own_records_of_a_request_become_part_of_its_event():
    request = RequestFactory().get("/x/")
    names = ["django.request", "django.security.csrf", "apps.shop", "django.template"]
    records = [logging.makeLogRecord({"name": name, "msg": "why", "request": request}) for name in names]
    assert [logs.EventHandler().filter(record) for record in records] == [False, False, True, True]
    assert request.log_reason == "why"


def test_a_record_without_an_error_keeps_the_error_of_the_request():
    request, error = RequestFactory().get("/x/"), ValueError()
    for exc_info in ((ValueError, error, None), None):
        record = {"name": "django.request", "exc_info": exc_info, "request": request}
        logs.EventHandler().filter(logging.makeLogRecord(record))
    assert request.log_error is error


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ("", 1, "9.9.9.9"),
        ("1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", 0, "9.9.9.9"),
        ("6.6.6.6", 2, "9.9.9.9"),
    ],
)
def test_the_client_is_the_address_that_the_trusted_proxies_name(settings, forwarded, proxies, address):
    settings.TRUSTED_PROXY_COUNT = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="::ffff:9.9.9.9")
    assert client_address(request) == address


@pytest.mark.parametrize(("proxies", "taken"), [(0, False), (1, True), (2, True)])
def test_the_id_of_a_request_is_taken_from_a_proxy_alone(settings, proxies, taken):
    settings.TRUSTED_PROXY_COUNT = proxies
    response = answer(HttpResponse(), **{"X-Request-ID": "0123456789"})
    response.close()
    assert (response["X-Request-ID"] == "0123456789") is taken
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,64}", response["X-Request-ID"])


@pytest.mark.parametrize("value", ["apps", "apps=", "apps=loud", "=debug"])
def test_a_wrong_level_is_a_problem_of_the_config(value):
    env = Env({"LOG_LEVELS": value})
    env.debug = False
    logs.from_environment(env)
    assert [problem.variable for problem in env.problems] == ["LOG_LEVELS"]


@pytest.mark.parametrize(
    ("variables", "type_", "name"),
    [
        ({"DYNO": "web.1"}, "web", "web.1"),
        ({"DYNO": "worker-12a34b56d-e78f9"}, "worker", "worker-12a34b56d-e78f9"),
        ({"FLY_PROCESS_GROUP": "clock", "FLY_MACHINE_ID": "e82d"}, "clock", "e82d"),
        ({"DYNO": "run.4321"}, "check", "run.4321"),
        ({"DYNO": "release.7"}, "check", "release.7"),
        ({"RENDER_INSTANCE_ID": "srv-cq1abc-7d9f"}, "check", "srv-cq1abc-7d9f"),
        ({"RAILWAY_REPLICA_ID": "0b9ff0a5-6f1c-4c67"}, "check", "0b9ff0a5-6f1c-4c67"),
        ({"FLY_MACHINE_ID": "e82d"}, "check", "e82d"),
        ({}, "check", None),
    ],
)
def test_a_process_is_named_as_its_platform_names_it(variables, type_, name):
    env = Env(variables | {"RELEASE_VERSION": "v7", "GIT_REV": "abc"})
    found = platforms.from_environment(Path("nowhere"), env)
    assert (found.process_type or "check", found.release, found.commit) == (type_, "v7", "abc")
    assert name is None or found.process_name == name


@pytest.mark.parametrize(
    ("variables", "type_", "name"),
    [({"DYNO": "worker.2"}, "worker", "worker.2"), ({}, "check", f"{socket.gethostname()}.check")],
    ids=["platform", "none"],
)
def test_an_event_has_the_name_of_its_process(variables, type_, name):
    show = "from twelve import logs; logs.start('check'); import logging; logging.info('x')"
    result = run(("python", "-c", show), **GOOD, **SITE, **variables, RELEASE_VERSION="v7", GIT_REV="abc")
    event = json.loads(result.stdout)
    assert (event["process_type"], event["process"]) == (type_, name)
    assert (event["release"], event["commit"]) == ("v7", "abc")


SPEAK = (
    "python",
    "-c",
    "import logging; from twelve import logs; logs.start('web'); logger = logging.getLogger('apps.x'); "
    "logger.debug('a detail'); logger.info('hello'); logger.warning('careful'); raise ValueError('the end')",
)


def test_console_lines_of_a_process_are_text_with_the_traceback_below():
    text = run(SPEAK, **GOOD, **SITE, LOG_FORMAT="console").stdout
    first, second, third, *trace = text.splitlines()
    assert [first[13:], second[13:]] == ["info     apps.x: hello", "warning  apps.x: careful"]
    assert third[13:] == "critical uncaught: uncaught ValueError"
    assert (trace[0], trace[-1]) == ("Traceback (most recent call last):", "ValueError: the end")
    assert "\033" not in text


@pytest.mark.parametrize(
    ("variables", "messages"),
    [
        ({}, ["hello", "careful"]),
        ({"LOG_LEVEL": "WARNING"}, ["careful"]),
        ({"LOG_LEVEL": "debug"}, ["a detail", "hello", "careful"]),
        ({"LOG_LEVELS": "apps.x=debug, b=error"}, ["a detail", "hello", "careful"]),
        ({"LOG_LEVEL": "error", "LOG_LEVELS": "apps=info"}, ["hello", "careful"]),
    ],
)
def test_the_levels_decide_what_is_logged(variables, messages):
    lines = run(SPEAK, **GOOD, **SITE, **variables).stdout.splitlines()
    assert [event["message"] for event in map(json.loads, lines)] == [*messages, "uncaught ValueError"]


@pytest.mark.parametrize("name", ["LOG_LEVEL", "LOG_LEVELS", "LOG_FORMAT"])
def test_a_wrong_choice_is_reported_in_one_line(name):
    result = run(("python", "manage.py", "check"), **GOOD, **{name: "loud"})
    assert (result.returncode, result.stdout) == (1, "")
    (said,) = [text for text in result.stderr.splitlines() if "loud" in text]
    assert said.split()[0] == name
    assert "Traceback" not in result.stderr


@pytest.fixture
def deferred():
    """A plain task that says under which request's id it runs."""
    app = pytest.importorskip("twelve.celery").app

    def say():
        return logs.request_id.get()

    task = app.task(say, name="deferred", shared=False)
    yield task
    app.tasks.pop(task.name)


def test_a_task_that_runs_in_its_request_keeps_the_id(deferred):
    token = logs.request_id.set("0123456789")
    assert deferred.apply().get() == "0123456789"
    assert logs.request_id.get() == "0123456789"
    logs.request_id.reset(token)


def test_a_task_that_is_to_wait_is_due_when_it_may_begin():
    from twelve.celery import send_request_id

    headers = {"eta": "2030-01-01T00:00:00+00:00"}
    send_request_id(headers=headers)
    assert headers["due"] == 1893456000
    headers = {"eta": None}
    send_request_id(headers=headers)
    assert abs(headers["due"] - time.time()) < 60


@pytest.mark.parametrize(
    ("arguments", "process_type"),
    [
        ("-q -A config worker -I beat", "worker"),
        ("--app config beat --pidfile=", "clock"),
        ("-Aconfig worker", "worker"),
        ("-A config call worker", None),
        ("-A config inspect ping", None),
    ],
)
def test_a_celery_process_is_known_by_its_sub_command(arguments, process_type):
    # An option that does not exist ends the command once its application is loaded.
    argv = ["celery", *arguments.split(), "--wrong-option"]
    show = (
        "import atexit, os, sys; from celery.__main__ import main; from twelve.logs import process_fields as fields; "
    )
    show += "atexit.register(lambda: os.write(1, b' type=%a' % fields.get('process_type'))); "
    result = run(
        ("python", "-c", f"{show} sys.argv = {argv}; from celery.__main__ import main; main()"),
        **GOOD,
        **SITE,
        LOG_FORMAT="console",
    )
    assert result.stdout.split(" type=")[-1] == repr(process_type)


def test_a_process_that_only_publishes_starts_no_log():
    show = (
        "import config.celery; from twelve.logs import process_fields as fields; print(fields.get('process_type', ''))"
    )
    result = run(("python", "-c", show), **GOOD, **SITE, LOG_FORMAT="console")
    assert result.stdout.split()[-1:] == []
