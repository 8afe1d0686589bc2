"""The queue's TLS is verified, publishing and consuming, whichever variable has the URL; RabbitMQ keeps messages."""

import json
import re

import amqp
import pytest

from tests.twelve.networks import Proxy
from tests.twelve.processes import GOOD, Deploy, named, run
from tests.twelve.servers import PASSWORD, USER, RabbitMQ, Redis
from tests.twelve.services.faults import Site

pytestmark = pytest.mark.prove

# A one-off process that publishes and consumes by Celery's own means, and prints how it went.
ASK = """
import json
from twelve.tasks.message import run_task
from config.celery import app

def consume():
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)
        came = []
        with app.amqp.TaskConsumer(connection, on_message=lambda message: came.append(message.ack())):
            while not came:  # it may come while the consumer of another queue is set up
                connection.drain_events(timeout=5)

results = []
for act in (lambda: run_task.apply_async([0]), consume):
    try:
        act()
        results.append("done")
    except Exception as error:
        results.append(f"{type(error).__name__}: {error}")
print(json.dumps(results))
"""


@pytest.fixture(scope="module", params=[RabbitMQ, Redis], ids=["rabbitmq", "redis"])
def server(request, certificates):
    with request.param(certificates=certificates) as server:
        server.kind = "rabbitmq" if request.param is RabbitMQ else "redis"
        server.fallback = "CLOUDAMQP_URL" if request.param is RabbitMQ else "REDIS_URL"
        yield server


def ask(folder, **variables):
    deploy = Deploy(folder, **variables)
    if "CELERY_BROKER_URL" not in variables:
        del deploy.environment["CELERY_BROKER_URL"]
    return json.loads(deploy.manage("shell", "--no-imports", "-c", ASK).stdout.splitlines()[-1])


@pytest.mark.parametrize("variable", ["CELERY_BROKER_URL", "fallback", "file"])
def test_a_certificate_is_verified_whichever_variable_has_the_url(server, certificates, tmp_path, variable):
    (tmp_path / "url").write_text(server.url)
    given = {
        "CELERY_BROKER_URL": {"CELERY_BROKER_URL": server.url},
        "fallback": {server.fallback: server.url},
        "file": {"CELERY_BROKER_URL_FILE": str(tmp_path / "url")},
    }[variable]
    for result in ask(tmp_path, **given):
        assert "certificate verify failed" in result
    assert ask(tmp_path, **given, TLS_CA_FILE=str(certificates.ca)) == ["done", "done"]


def test_the_certificate_of_another_host_is_refused(server, certificates, tmp_path):
    other = server.url.replace("localhost", "127.1")  # the same address, by a name that the certificate has not
    for result in ask(tmp_path, CELERY_BROKER_URL=other, TLS_CA_FILE=str(certificates.ca)):
        assert re.search("hostname|IP address mismatch|not valid for", result, re.IGNORECASE), result


def test_any_certificate_is_taken_where_a_variable_says_so(server, tmp_path):
    assert ask(tmp_path, CELERY_BROKER_URL=server.url, TLS_UNVERIFIED=server.kind) == ["done", "done"]


def test_what_was_checked_is_used_when_two_variables_have_a_url(server, tmp_path):
    """Celery alone would take the environment's URL, with the TLS that was derived from the file's."""
    (tmp_path / "url").write_text("amqp://127.0.0.1:1/" if server.kind == "rabbitmq" else "redis://127.0.0.1:1/0")
    for result in ask(tmp_path, CELERY_BROKER_URL=server.url, CELERY_BROKER_URL_FILE=str(tmp_path / "url")):
        assert "refused" in result


def test_a_worker_waits_until_it_may_trust_its_broker(server, certificates, tmp_path):
    site = Site(tmp_path, CELERY_BROKER_URL=server.url)
    try:
        site.worker.wait_for("certificate verify failed")
        task = site.sign_up()
        assert "certificate verify failed" in site.unpublished(task)[0]
        site.restart("web", TLS_CA_FILE=str(certificates.ca))
        site.restart("worker")
        site.restart("clock")
        site.wait_done_once(task)
        second = site.sign_up()
        assert not site.unpublished(second)
        site.wait_done_once(second)
    finally:
        site.close()


@pytest.mark.parametrize(
    "url",
    [
        "rediss://localhost/0?ssl_cert_reqs=none",
        "rediss://localhost/0?ssl%5Fcert_reqs=none",
        "rediss://localhost/0?ssl_check_hostname=false",
        "amqps://localhost//?ssl_cert_reqs=CERT_NONE",
        "amqps://localhost//?ssl=1",
        "amqps://localhost//?verify=verify_none",
        "amqps://localhost//?cacertfile=/tmp/ca.pem",
    ],
)
def test_a_url_cannot_weaken_tls(url):
    result = run(["python", "manage.py", "check"], **GOOD | {"CELERY_BROKER_URL": url})
    assert result.returncode == 1
    assert named(result) == {"CELERY_BROKER_URL"}


def test_rabbitmq_keeps_messages_in_a_quorum_queue_and_confirms_them(tmp_path):
    sent, answered = [], []
    with RabbitMQ() as server, Proxy(server) as network:
        network.change_request = lambda chunk: sent.append(chunk) or chunk
        network.change_answer = lambda chunk: answered.append(chunk) or chunk
        assert ask(tmp_path, CELERY_BROKER_URL=network.url) == ["done", "done"]
        with amqp.Connection(f"127.0.0.1:{server.port}", USER, PASSWORD) as connection:
            for kind, fits in (("quorum", True), ("classic", False)):
                channel = connection.channel()
                try:
                    channel.queue_declare("default", durable=True, auto_delete=False, arguments={"x-queue-type": kind})
                    assert fits
                except amqp.PreconditionFailed:
                    assert not fits
    # The methods of AMQP 0-9-1, class and number: confirm.select, its answer, and the ack of what was published.
    assert b"\x00\x55\x00\x0a" in b"".join(sent)
    assert b"\x00\x55\x00\x0b" in b"".join(answered)
    assert b"\x00\x3c\x00\x50" in b"".join(answered)
