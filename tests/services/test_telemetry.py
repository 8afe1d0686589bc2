"""Sentry and OpenTelemetry: off and not imported without their variables, and right at their receivers with them."""

import gzip
import json
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import pytest

from config import telemetry
from tests.events import ID, enqueue, events, wait_for_event
from tests.processes import GOOD, Person, free_port, named, run, wait_until

pytestmark = pytest.mark.timeout(180)
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

    def spans(self):
        """(service, span) of all that came."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found = []
        for path, body in list(self.posted):
            assert path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                found += [(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
        return found


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.mark.parametrize("entry", ["config.wsgi", "config.asgi", "config.celery"])
def test_nothing_of_either_is_imported_without_its_variable(entry):
    show = f"import {entry}, sys; sys.exit(bool({{'sentry_sdk', 'opentelemetry', 'requests'}} & set(sys.modules)))"
    assert run(("python", "-c", show), **GOOD).returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "lock"),
    [
        ("SENTRY_DSN", "https://key@sentry.example.com/1", "requirements/sentry.txt"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9", "requirements/otel.txt"),
    ],
)
def test_a_missing_package_is_a_problem_that_names_the_lock(name, value, lock):
    hide = (
        "import importlib.util as u; found = u.find_spec; "
        "u.find_spec = lambda name: None if name in ('sentry_sdk', 'opentelemetry') else found(name); "
    )
    result = run(("python", "-c", hide + "import config.wsgi"), **GOOD, **{name: value})
    assert (result.returncode, named(result)) == (1, {name})
    assert lock in result.stderr + result.stdout


def test_what_has_a_secret_name_is_masked_for_a_receiver_too():
    event = {"extra": {"event": {"password": "hunter2", "order": "for eve@example.com"}}}
    assert telemetry.mask(event) == {"extra": {"event": {"password": "***", "order": "for ***@***"}}}


@pytest.mark.e2e
def test_sentry_gets_each_error_once_with_its_request_id_and_without_secrets(make_deploy, receiver):
    deploy = make_deploy(
        SENTRY_DSN=f"http://canarykey@127.0.0.1:{receiver.port}/1",
        EMAIL_URL="smtp://canary:canary-password@127.0.0.1:9",
    )
    web, worker = deploy.start_web(), deploy.start("worker", "-I", "tests.twelve.noise")
    deploy.sql("DROP TABLE django_session")
    form = "password=canary-form"
    assert deploy.ask("/?q=canary", "GET", form, Cookie="sessionid=canary123", X_Request_ID=ID).status == 500
    enqueue(deploy, "enqueue(broken_job)", "enqueue(indiscreet, 'canary')", "broken_task.delay()", "enqueue(quiet)")
    wait_for_event(worker, task="tests.twelve.noise.quiet", outcome="done")
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


@pytest.mark.e2e
def test_a_trace_leads_from_the_request_to_its_task_and_is_in_the_events(make_deploy, receiver):
    deploy = make_deploy(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}")
    web, worker = deploy.start_web(), deploy.start("worker", "-I", "tests.twelve.noise")
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = deploy.ask("/accounts/login/", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert answer.status == 200
    person = Person(deploy.address)
    person.opener.addheaders = [("traceparent", f"00-{trace}-b7ad6b7169203331-01")]
    person.post("/accounts/password/reset/", {"email": "nobody@example.com"})
    (job,) = wait_for_event(worker, task="apps.jobs.mail.deliver", outcome="done")
    assert job["trace_id"] == trace
    key = "1-canaryc-0123456789canary0123456789canary"
    assert deploy.ask(f"/accounts/password/reset/key/{key}/?token=canary&email=canary@example.com").status == 200
    enqueue(deploy, "broken_task.delay()", "enqueue(indiscreet, 'canary')")
    wait_for_event(worker, task="tests.twelve.noise.indiscreet", outcome="failed")
    for _ in range(12):  # each thread of the server once, at least
        assert deploy.ask("/accounts/login/").status == 200
    wait_until(
        lambda: {service for service, _ in receiver.spans()} == {"web", "worker"}, 30, lambda: web.text + worker.text
    )
    assert (web.stop(), worker.stop()) == (0, 0)
    request, *others = [e for e in events(web.text) if e["logger"] == "access"]
    later = [e["trace_id"] for e in others[-12:]]
    assert len(set(later)) == 12  # what was published before leaks into no later request
    assert request["trace_id"] == trace
    ids = {(span.trace_id.hex(), span.span_id.hex()) for _, span in receiver.spans()}
    for event in (request, job):
        assert (event["trace_id"], event["span_id"]) in ids
    assert not [span for _, span in receiver.spans() if "health" in span.name]
    assert not [body for _, body in receiver.posted if b"canary" in body]
    assert [body for _, body in receiver.posted if b"a bug in a task" in body]
    assert all("trace_id" not in e for e in events(worker.text) if e["logger"] == "celery.apps.worker")


@pytest.mark.e2e
@pytest.mark.parametrize("receiver_is", ["gone", "silent"])
def test_a_receiver_that_is_away_costs_no_request_and_no_process_its_end(make_deploy, receiver_is):
    import socket

    with socket.socket() as listener:
        port = free_port()
        if receiver_is == "silent":
            listener.bind(("127.0.0.1", port))
            listener.listen(64)
        deploy = make_deploy(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", SENTRY_DSN=f"http://key@127.0.0.1:{port}/1"
        )
        web = deploy.start_web()
        deploy.sql("DROP TABLE django_session")
        for _ in range(20):
            assert deploy.ask("/", Cookie="sessionid=0123456789").status == 500
        assert web.stop(seconds=15) == 0
        slow = [e for e in events(web.text) if e["logger"] == "access" and e["duration_ms"] > 2000]
        assert slow == []
