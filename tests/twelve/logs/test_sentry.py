"""Sentry: not imported without its variable; with it, each error arrives once and masked."""

import gzip
import json
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import pytest

from tests.twelve.events import ID, enqueue, events, wait_for_event
from tests.twelve.processes import GOOD, free_port, named, run, wait_until
from twelve.logs.process import mask

DECODERS = {
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "identity": bytes,
}


class Receiver:
    """An HTTP server on loopback that keeps what is posted to it."""

    def __init__(self):
        posted = self.posted = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                encoding = self.headers.get("Content-Encoding", "identity")
                body = DECODERS[encoding](body)
                posted.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def sentry_events(self):
        found = []
        for path, body in list(self.posted):
            assert path == "/api/1/envelope/"
            lines = body.split(b"\n")
            found += [
                json.loads(lines[i + 1]) for i, line in enumerate(lines) if b'"type":"event"' in line.replace(b" ", b"")
            ]
        return found


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.mark.parametrize("entry", ["config.wsgi", "config.asgi", "config.celery"])
def test_sentry_is_not_imported_without_its_variable(entry):
    show = f"import {entry}, sys; sys.exit(bool({{'sentry_sdk', 'requests'}} & set(sys.modules)))"
    assert run(("python", "-c", show), **GOOD).returncode == 0


def test_a_missing_package_is_a_problem_that_names_the_lock():
    hide = (
        "import importlib.util as u; found = u.find_spec; "
        "u.find_spec = lambda name: None if name == 'sentry_sdk' else found(name); "
    )
    result = run(("python", "-c", hide + "import config.wsgi"), **GOOD, SENTRY_DSN="https://key@sentry.example.com/1")
    assert (result.returncode, named(result)) == (1, {"SENTRY_DSN"})
    assert "requirements/sentry.txt" in result.stderr + result.stdout


def test_what_has_a_secret_name_is_masked_for_a_receiver_too():
    event = {"extra": {"event": {"password": "hunter2", "order": "for eve@example.com"}}}
    assert mask(event) == {"extra": {"event": {"password": "***", "order": "for ***@***"}}}


@pytest.mark.prove
def test_sentry_gets_each_error_once_with_its_request_id_and_without_secrets(make_deploy, receiver):
    deploy = make_deploy(
        SENTRY_DSN=f"http://canarykey@127.0.0.1:{receiver.port}/1",
        EMAIL_URL="smtp://canary:canary-password@127.0.0.1:9",
    )
    web, worker = deploy.start_web(), deploy.start("worker", "-I", "tests.twelve.factors.noise")
    deploy.sql("DROP TABLE django_session")
    form = "password=canary-form"
    assert deploy.ask("/?q=canary", "GET", form, Cookie="sessionid=canary123", X_Request_ID=ID).status == 500
    enqueue(deploy, "buggy.enqueue()", "indiscreet.enqueue('canary')", "broken_task.delay()", "quiet.enqueue()")
    wait_for_event(worker, task="tests.twelve.factors.noise.quiet", outcome="done")
    wait_until(lambda: len(receiver.sentry_events()) >= 4, 30, lambda: [(p, b[:300]) for p, b in receiver.posted])
    assert (web.stop(), worker.stop()) == (0, 0)
    got = receiver.sentry_events()
    kinds = sorted(event["exception"]["values"][-1]["type"] for event in got)
    assert kinds == ["KeyError", "LookupError", "OperationalError", "RuntimeError"]
    for event in got:
        assert event["tags"]["request_id"] == ID
        assert event["release"] == "v42"
        assert "canary" not in json.dumps(event).replace("canarykey", "")
        assert '"client"' not in json.dumps(event)
    assert {event["tags"]["process_type"] for event in got} == {"web", "worker"}
    for process in (web, worker):
        assert not [line for line in process.text.splitlines() if "canary" in line]
        assert events(process.text)


@pytest.mark.prove
@pytest.mark.parametrize("receiver_is", ["gone", "silent"])
def test_an_unreachable_receiver_costs_no_request_and_no_process_its_end(make_deploy, receiver_is):
    import socket

    with socket.socket() as listener:
        port = free_port()
        if receiver_is == "silent":
            listener.bind(("127.0.0.1", port))
            listener.listen(64)
        deploy = make_deploy(SENTRY_DSN=f"http://key@127.0.0.1:{port}/1")
        web = deploy.start_web()
        deploy.sql("DROP TABLE django_session")
        for _ in range(20):
            assert deploy.ask("/", Cookie="sessionid=0123456789").status == 500
        assert web.stop(seconds=60) == 0
        # A request takes 40 ms; one that waited for the receiver would wait for telemetry.SECONDS, which are 2.
        slow = [e for e in events(web.text) if e["logger"] == "access" and e["duration_ms"] > 2000]
        assert slow == []
