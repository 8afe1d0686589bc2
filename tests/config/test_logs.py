"""What an event looks like, what it never shows, and what telling it does not cost."""

import json
import logging

import pytest
from django.test import Client, RequestFactory

from config import logs
from tests.config.test_entry_points import GOOD, named, run


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
        ("GET /accounts/password/reset/ 200", "GET /accounts/password/reset/ 200"),
        ("3 tests passed in 2 s", "3 tests passed in 2 s"),
    ],
)
def test_secrets_and_addresses_are_masked_and_other_text_is_not(text, shown):
    assert logs.masked(text) == shown
    assert "hunter2" not in line(logs.JSONFormatter(), "%s", text)
    assert "hunter2" not in line(logs.ConsoleFormatter(), "%s", text)


def test_authorization_is_masked_with_its_scheme():
    assert "hunter2" not in logs.masked("Authorization: Bearer hunter2")
    assert "hunter2" not in logs.masked("{'authorization': 'Basic hunter2=='}")


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


def test_what_is_printed_is_an_event_a_line(caplog):
    stream = logs.PrintedLines("stdout", logging.INFO)
    with caplog.at_level("INFO"):
        print("one\ntwo", file=stream)
        print("half", end="", file=stream)
        print(" a line", file=stream)
    assert [record.getMessage() for record in caplog.records] == ["one", "two", "half a line"]


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
