"""What an event looks like, what it never shows, and what telling it does not cost."""

import json
import logging
import os
import threading

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from config import logs
from tests.processes import GOOD, named, run


def line(formatter, message, *args, **record):
    made = logging.LogRecord("apps.x", logging.INFO, "file", 1, message, args, record.pop("exc_info", None))
    made.__dict__.update(record)
    return formatter.format(made)


def test_json_is_one_line_with_fixed_fields():
    text = line(logs.JSONFormatter(), "a line\nand %s", "another", event={"task": "x", "queue_ms": 1.5})
    assert "\n" not in text
    event = json.loads(text)
    assert event["message"] == "a line\nand another"
    assert (event["level"], event["logger"], event["task"], event["queue_ms"]) == ("info", "apps.x", "x", 1.5)
    assert event["timestamp"].endswith("Z")


def test_console_is_text_for_a_person():
    token = logs.request_id.set("0123456789abcdef")
    text = line(logs.ConsoleFormatter(), "hello")
    logs.request_id.reset(token)
    assert text[12:] == " info     apps.x: hello  [01234567]"


def test_a_value_that_json_does_not_know_is_told_all_the_same():
    assert "object object" in json.loads(line(logs.JSONFormatter(), "m", event={"x": object()}))["x"]


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
        ('{\\"secret\\": \\"hunter2 too\\", \\"a\\": 1}', '{\\"secret\\": \\"***\\", \\"a\\": 1}'),
        ("DB_PASSWORD=hunter2 CLIENT_SECRET=hunter2", "DB_PASSWORD=*** CLIENT_SECRET=***"),
        ("{'HTTP_AUTHORIZATION': 'Basic hunter2'}", "{'HTTP_AUTHORIZATION': '***'}"),
        ("[(b'x-api-key', b'hunter2'), (b'accept', b'*')]", "[(b'x-api-key', b'***'), (b'accept', b'*')]"),
        ("{'a': 'my-cookie', 'sessionid': 'hunter2'}", "{'a': 'my-cookie', 'sessionid': '***'}"),
        ("Cookie: theme=hunter2; language=hunter2", "Cookie: ***"),
        ("https://bucket.example.com/a?expires=1&key=hunter2 says 403", "https://bucket.example.com/a?*** says 403"),
        ("Enter a password:\nDone", "Enter a password:\nDone"),
        ("'password' is missing, is it?", "'password' is missing, is it?"),
        ("GET /accounts/password/reset/ 200", "GET /accounts/password/reset/ 200"),
        ("3 tests passed in 2 s", "3 tests passed in 2 s"),
    ],
)
def test_secrets_and_addresses_are_masked_and_other_text_is_not(text, shown):
    assert logs.masked(text) == shown
    assert json.loads(line(logs.JSONFormatter(), "%s", text))["message"] == shown
    assert "hunter2" not in line(logs.ConsoleFormatter(), "%s", text)


def test_authorization_is_masked_with_its_scheme():
    assert "hunter2" not in logs.masked("Authorization: Bearer hunter2")
    assert "hunter2" not in logs.masked("{'authorization': 'Basic hunter2=='}")


@pytest.fixture
def secrets(monkeypatch):
    """A function that makes these the values of secret variables."""

    def declare(*values):
        monkeypatch.setattr("config.env.env.secret_values", lambda: set(values))
        monkeypatch.setattr(logs, "_secrets", None)

    return declare


@pytest.mark.parametrize("secret", ['it\'s "quoted"', "back\\slash", "schlüssel", "a line\nand another", "logger"])
def test_a_secret_is_masked_however_it_is_written(secrets, secret):
    secrets(secret)
    for text in (secret, f"x{secret}y", repr(secret)):
        event = json.loads(line(logs.JSONFormatter(), "%s", text, event={"path": text}))
        assert {secret, repr(secret)[1:-1]} & {event["message"], event["path"]} == set()
        assert event["message"] in ("***", "x***y", "'***'", '"***"')
        assert event["logger"] == "apps.x"  # a secret that is a common word breaks no field


def test_an_option_in_a_url_is_no_secret_and_a_token_there_is(monkeypatch):
    show = "from config import settings; from config.env import env; print(*sorted(env.secret_values()))"
    url = "postgres://user:hunter-password@host/db?sslmode=verify-full&require=require&x=hunter2token"
    result = run(("python", "-c", show), **GOOD | {"DATABASE_URL": url})
    assert result.stdout.split() == sorted([GOOD["SECRET_KEY"], "hunter-password", "hunter2token"])


@pytest.mark.timeout(30)  # of which it takes a second
@pytest.mark.parametrize("piece", ["a", "a.", "://", "/", "token", "password=", "'", "\\", "@", "?a"])
def test_a_huge_text_is_masked_in_linear_time(piece):
    logs.masked(piece * (500_000 // len(piece)) + "@ token ?")


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
        text = line(logs.JSONFormatter(), "m" * 9000, exc_info=(ValueError, error, error.__traceback__))
    assert len(text) < logs.LINE_BYTES
    assert json.loads(text)["traceback"].endswith("the end")


@pytest.mark.parametrize("text", ["x" * 20_000, "é\n" * 5_000, "x" * 3000 + "\U0001f600" * 3000, '"' * 6000])
@pytest.mark.parametrize("field", ["message", "path", "route"])
def test_no_field_makes_a_line_too_long(text, field):
    fields = {"path": "/", "route": "", "request_id": "0123456789"} | ({field: text} if field != "message" else {})
    told = line(logs.JSONFormatter(), "%s", text if field == "message" else "m", event=fields)
    assert logs.LINE_BYTES / 2 < len(told) < logs.LINE_BYTES
    assert json.loads(told)["request_id"] == "0123456789"


def recurse(depth):
    return recurse_more(depth - 1) if depth else int("the end")


def recurse_more(depth):
    return recurse(depth)


def test_a_long_traceback_keeps_its_last_frame():
    try:
        recurse(200)
    except ValueError as error:
        text = line(logs.JSONFormatter(), "m", exc_info=(ValueError, error, error.__traceback__))
    assert len(text) < logs.LINE_BYTES
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
def test_an_event_that_cannot_be_told_is_an_event_itself(monkeypatch, message, arguments, extra):
    read, write = os.pipe()
    monkeypatch.setattr(logs.Process, "fd", write)
    handler = logs.EventHandler()
    handler.setFormatter(logs.JSONFormatter())
    record = logging.LogRecord("apps.x", logging.INFO, "file", 1, message, arguments, None)
    record.__dict__.update(extra)
    handler.handle(record)
    event = json.loads(os.read(read, 9999))
    assert (event["logger"], event["level"]) == ("apps.x", "error")
    assert event["message"].endswith(f": {message}")
    os.close(read)
    os.close(write)


def test_what_is_printed_is_an_event_a_line(caplog):
    stream = logs.PrintedLines("stdout", logging.INFO)
    with caplog.at_level("INFO"):
        print("one\ntwo", file=stream)
        print("half", end="", file=stream)
        print(" a line", file=stream)
        print("flushed", end="", flush=True, file=stream)
    assert [record.getMessage() for record in caplog.records] == ["one", "two", "half a line", "flushed"]


def test_lines_that_threads_print_at_once_do_not_mix(caplog):
    stream = logs.PrintedLines("stdout", logging.INFO)
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
    assert not hasattr(logs.PrintedLines("stdout", logging.INFO), "fileno")


def test_a_thread_that_exits_on_purpose_is_no_error(caplog):
    for kind in (SystemExit, KeyboardInterrupt):
        logs.log_uncaught((kind, kind(), None))
    assert caplog.records == []


def answer(response, **headers):
    response.close = lambda: None  # Django's would look after database connections
    return logs.RequestMiddleware(lambda request: response)(RequestFactory().get("/x/", headers=headers))


def test_what_a_streamed_answer_tells_has_the_id_of_its_request(caplog):
    def stream():
        yield logs.request_id.get()

    response = answer(StreamingHttpResponse(stream()), **{"X-Request-ID": "0123456789"})
    assert b"".join(response) == b"0123456789"
    response.close()
    assert logs.request_id.get() == ""


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


def test_telling_of_a_request_asks_no_database_and_varies_nothing(client, db, django_assert_num_queries, settings):
    with django_assert_num_queries(0):
        logged = client.get("/accounts/login/")
    settings.MIDDLEWARE = settings.MIDDLEWARE[1:]
    with django_assert_num_queries(0):
        bare = Client().get("/accounts/login/")
    assert logged.headers["Vary"] == bare.headers["Vary"]
    assert set(logged.headers) - set(bare.headers) == {"X-Request-ID"}


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
def test_the_client_is_whom_the_trusted_proxies_name(settings, forwarded, proxies, address):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="::ffff:9.9.9.9")
    assert logs.client_address(request) == address


@pytest.mark.parametrize("value", ["apps", "apps=", "apps=loud", "=debug", "apps=debug,,b=info"])
def test_a_wrong_level_is_a_problem_of_the_config(value):
    result = run(("python", "manage.py", "check"), **GOOD, LOG_LEVELS=value)
    assert (result.returncode, named(result)) == (1, {"LOG_LEVELS"})


@pytest.mark.parametrize(
    ("variables", "type_", "name"),
    [
        ({"DYNO": "web.1"}, "web", "web.1"),
        ({"DYNO": "worker-12a34b56d-e78f9"}, "worker", "worker-12a34b56d-e78f9"),
        ({"FLY_PROCESS_GROUP": "clock", "FLY_MACHINE_ID": "e82d"}, "clock", "e82d"),
        ({}, "check", None),
    ],
)
def test_a_process_is_named_as_its_platform_names_it(variables, type_, name):
    show = "from config import logs; logs.start('check'); import logging; logging.info('x')"
    result = run(("python", "-c", show), **GOOD, **variables, RELEASE_VERSION="v7", GIT_REV="abc")
    event = json.loads(result.stdout)
    assert (event["process_type"], event["release"], event["commit"]) == (type_, "v7", "abc")
    assert name is None or event["process"] == name


SPEAK = (
    "python",
    "-c",
    "import logging; from config import logs; logs.start('web'); logger = logging.getLogger('apps.x'); "
    "logger.debug('a detail'); logger.info('hello'); logger.warning('careful'); raise ValueError('the end')",
)


def test_console_lines_of_a_process_are_text_with_the_traceback_below():
    text = run(SPEAK, **GOOD, LOG_FORMAT="console").stdout
    first, second, third, *trace = text.splitlines()
    assert [first[13:], second[13:]] == ["info     apps.x: hello", "warning  apps.x: careful"]
    assert third[13:] == "critical uncaught: uncaught ValueError"
    assert (trace[0], trace[-1]) == ("Traceback (most recent call last):", "ValueError: the end")
    assert "\033" not in text


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, ["hello", "careful"]),
        ({"LOG_LEVEL": "WARNING"}, ["careful"]),
        ({"LOG_LEVEL": "debug"}, ["a detail", "hello", "careful"]),
        ({"LOG_LEVELS": "apps.x=debug, b=error"}, ["a detail", "hello", "careful"]),
        ({"LOG_LEVEL": "error", "LOG_LEVELS": "apps=info"}, ["hello", "careful"]),
    ],
)
def test_the_levels_say_who_speaks(variables, told):
    lines = run(SPEAK, **GOOD, **variables).stdout.splitlines()
    assert [event["message"] for event in map(json.loads, lines)] == [*told, "uncaught ValueError"]


@pytest.mark.parametrize("name", ["LOG_LEVEL", "LOG_LEVELS", "LOG_FORMAT"])
def test_a_wrong_choice_is_told_in_one_line(name):
    result = run(("python", "manage.py", "check"), **GOOD, **{name: "loud"})
    assert (result.returncode, result.stdout) == (1, "")
    (said,) = [text for text in result.stderr.splitlines() if "loud" in text]
    assert said.split()[0] == name
    assert "Traceback" not in result.stderr
