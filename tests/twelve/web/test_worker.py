"""Neither a client nor a view holds a thread of the web process for good; no connection is lost when it is replaced.

Each test of a method of WebWorker fails with `-k gthread`.
"""

import contextlib
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.twelve.events import events, wait_for_event
from tests.twelve.processes import HALF_CLOSED, OPEN, Crowd, Deploy, connected, status, wait_until
from tests.twelve.web.load import Load, read_answer
from tests.twelve.web.proxies import Nginx
from twelve.web import worker

SITE = "tests.twelve.factors.proof_site"
CLIENT, BODY, REQUEST = 2, 8, 4  # seconds: the limits of a client, of a whole body, and of a view
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /receive/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n"
MEGABIT = 125_000  # bytes


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    """Two processes of two threads, with short limits."""
    deploy = Deploy(
        tmp_path_factory.mktemp("site"), WEB_CONCURRENCY="2", WEB_THREADS="2", LOG_FORMAT="json",
        WEB_CLIENT_SECONDS=str(CLIENT), WEB_BODY_SECONDS=str(BODY), WEB_REQUEST_SECONDS=str(REQUEST),
    )  # fmt: skip
    deploy.manage("release")
    deploy.web = deploy.start_web(SITE, "--graceful-timeout=4")
    yield deploy
    deploy.close()


def workers(deploy):
    pid = deploy.web.child.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@contextlib.contextmanager
def connections(deploy, count, sent=b""):
    """So many connections, which have sent this."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", deploy.port), timeout=60))
            connection.sendall(sent)
            found.append(connection)
        yield found


class Pests(Crowd):
    """So many clients of the port that each call `visit` again and again; the block begins when all are connected."""

    def __init__(self, count, visit, port):
        super().__init__(count)
        self.count, self.visit, self.port, self.visits = count, visit, port, 0

    def go(self):
        while not self.ended.is_set():
            with contextlib.suppress(OSError):
                self.visit(self.ended)
            self.visits += 1

    def __enter__(self):
        super().__enter__()
        states = OPEN | HALF_CLOSED
        wait_until(lambda: connected(self.port, states) >= self.count, 30, "all clients are connected")
        return self


def seconds_to_home(deploy):
    begun = time.monotonic()
    assert deploy.ask("/").status == 200, deploy.web.text
    return time.monotonic() - begun


# -- The gunicorn that it is written for ------------------------------------------------------------------------------


def test_gthread_is_as_it_was_read():
    """Else read its changes, and adapt twelve/web/worker.py."""
    assert worker.differences() == []


@pytest.mark.prove
def test_with_another_gunicorn_plain_gthread_serves_and_a_warning_says_so(tmp_path):
    deploy = Deploy(tmp_path, LOG_FORMAT="json")
    deploy.manage("release")
    with contextlib.closing(deploy):
        web = deploy.start_web(SITE, "-c", "python:tests.twelve.web.other_gunicorn")
        (warning,) = [event for event in events(web.text) if "differs" in event["message"]]
        assert warning["level"] == "warning"
        assert "ThreadWorker.finish_request" in warning["message"]
        assert deploy.ask("/").status == 200
        assert web.stop() == 0


# -- Clients ----------------------------------------------------------------------------------------------------------


def trickle(deploy, head, piece):
    """A visit that sends the beginning of a request, then a piece of the rest now and then, until it is answered."""

    def visit(ended):
        with socket.create_connection(("127.0.0.1", deploy.port), timeout=0.5) as connection:
            connection.sendall(head)
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.recv(65536)
                    break
                connection.sendall(piece)

    return visit


def never_read(deploy, size=20_000_000):
    """A visit that requests an answer larger than the buffers, and reads none of it until the server gives up."""

    def visit(ended):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", deploy.port))
            connection.sendall(GET % b"/large/?bytes=%d&kind=memory" % size)
            while not ended.wait(0.2):
                connection.sendall(b"x")  # fails when the server has closed

    return visit


def silent(deploy):
    def visit(ended):
        with socket.create_connection(("127.0.0.1", deploy.port), timeout=60):
            ended.wait(30)

    return visit


def stay(deploy):
    """A visit that asks for the end of the connection, and then does not close it."""

    def visit(ended):
        with socket.create_connection(("127.0.0.1", deploy.port), timeout=60) as connection:
            connection.sendall(b"GET /health/live/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            connection.recv(65536)
            ended.wait(3)

    return visit


@pytest.mark.prove
@pytest.mark.parametrize("kind", ["body", "headers", "answer", "silent", "stays"])
def test_clients_that_come_again_and_again_do_not_stop_the_site(deploy, kind):
    """Eight of them, on four threads."""
    visit = {
        "body": trickle(deploy, POST, b"x"),
        "headers": trickle(deploy, GET[:-2] % b"/", b"A: b\r\n"),
        "answer": never_read(deploy),
        "silent": silent(deploy),
        "stays": stay(deploy),
    }[kind]
    with Pests(8, visit, deploy.port) as pests:
        assert max(seconds_to_home(deploy) for _ in range(2)) < (2 if kind in ("silent", "stays") else 10)
        if kind in ("body", "headers", "answer"):
            wait_until(lambda: pests.visits > 8, 60, lambda: f"{pests.visits} visits\n{deploy.web.text}")


@pytest.mark.prove
@pytest.mark.parametrize("path", [b"/receive/", b"/save/", b"/accounts/login/"])
def test_a_body_that_comes_too_slowly_is_answered_with_408(deploy, path):
    """Also where Django itself answers: 500 to a view that cannot read it, 403 to a form without its token."""
    form = b"Content-Type: application/x-www-form-urlencoded\r\nCookie: csrftoken=%s\r\n\r\n" % (b"x" * 32)
    with connections(deploy, 1, POST.replace(b"/receive/", path).replace(b"\r\n\r\n", b"\r\n" + form)) as (connection,):
        assert read_answer(connection).startswith(b"HTTP/1.1 408 ")
        assert connection.recv(1) == b""
    found = wait_for_event(deploy.web, path=path.decode(), status=408)
    assert {event["level"] for event in found} == {"info"}, found


@pytest.mark.prove
def test_a_large_upload_over_a_slow_line_passes_and_one_without_end_does_not(deploy):
    """At 1 Mbit/s, four times as long as a client may be silent, and as long as a view may take."""
    with connections(deploy, 2) as (large, endless), ThreadPoolExecutor(2) as clients:
        size = MEGABIT * REQUEST + MEGABIT // 2
        large.sendall(POST.replace(b"500000", b"%d" % size))
        endless.sendall(POST.replace(b"500000", b"%d" % (size * 100)))

        def send(connection):
            for _ in range(0, size, MEGABIT // 10):
                connection.sendall(b"x" * (MEGABIT // 10))
                time.sleep(0.1)

        def send_on():
            with contextlib.suppress(OSError):
                while True:
                    send(endless)

        sent = clients.submit(send_on)
        send(large)
        assert read_answer(large).startswith(b"HTTP/1.1 200 ")
        assert read_answer(endless).startswith(b"HTTP/1.1 408 ")
        endless.close()
        sent.result()


@pytest.mark.prove
@pytest.mark.parametrize("kind", ["memory", "stream", "file"])
def test_an_answer_that_is_read_slowly_arrives_whole(deploy, kind):
    """At 1 Mbit/s and more, for longer than a client may read nothing."""
    size = 10 * 65536
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.connect(("127.0.0.1", deploy.port))
        connection.sendall(b"GET /large/?bytes=%d&kind=%s HTTP/1.0\r\nHost: localhost\r\n\r\n" % (size, kind.encode()))
        answer = b""
        while more := connection.recv(MEGABIT // 8):
            answer += more
            time.sleep(0.05)
    assert answer.partition(b"\r\n\r\n")[2] == b"x" * size


@pytest.mark.prove
def test_a_process_whose_threads_are_taken_leaves_connections_to_another(deploy, tmp_path):
    """Four requests of 30 s begin on four threads at once, whichever process the kernel wakes first."""
    former = workers(deploy)
    with contextlib.ExitStack() as stack:
        begun = time.monotonic()
        for mark in [tmp_path / str(number) for number in range(4)]:
            stack.enter_context(connections(deploy, 1, GET % f"/wait/?seconds=30&begun={mark}".encode()))
            wait_until(mark.exists, 30, lambda: deploy.web.text)
        assert time.monotonic() - begun < 20
    # They are longer than a view may take, and the next test finds two whole processes.
    wait_until(lambda: not set(former) & set(workers(deploy)), 60, lambda: deploy.web.text)


@pytest.mark.prove
@pytest.mark.parametrize("kind", ["body", "answer"])
def test_behind_the_proxy_of_the_docs_any_number_of_them_may_come(deploy, kind):
    """Sixty of them, beside which the home page takes as long as ever."""
    with Nginx(deploy.port) as proxy:
        visit = {"body": trickle(proxy, POST, b"x"), "answer": never_read(proxy, 8_000_000)}[kind]
        with Pests(60, visit, proxy.port):
            for _ in range(20):
                begun = time.monotonic()
                assert status(f"http://localhost:{proxy.port}/") == 200, proxy.process.text
                assert time.monotonic() - begun < 10


@pytest.mark.prove
def test_kept_connections_do_not_keep_new_ones_out(deploy):
    """Sixteen, on four threads, without a pause."""

    def visit(ended):
        with socket.create_connection(("127.0.0.1", deploy.port), timeout=60) as connection:
            while not ended.is_set():
                connection.sendall(GET % b"/wait/?seconds=0.05")
                read_answer(connection)

    with Pests(16, visit, deploy.port):
        assert max(seconds_to_home(deploy) for _ in range(5)) < 5


# -- Requests that hang -----------------------------------------------------------------------------------------------


@pytest.mark.prove
def test_requests_that_hang_are_logged_and_their_processes_replaced(deploy, tmp_path):
    former, before = workers(deploy), len(deploy.web.text)
    marks = [tmp_path / f"begun-{number}" for number in range(4)]
    with connections(deploy, 8, GET % b"/") as kept, contextlib.ExitStack() as stack:
        assert all(b" 200 OK" in read_answer(connection) for connection in kept)
        for mark in marks:
            stack.enter_context(connections(deploy, 1, GET % f"/wait/?seconds=600&begun={mark}".encode()))
            wait_until(mark.exists, 30, lambda: deploy.web.text)
        # No thread is free: these wait, in a process or in the kernel, and are answered.
        for connection in kept:
            connection.sendall(GET % b"/")
        with ThreadPoolExecutor(8) as crowd:
            assert {answer.status for answer in crowd.map(deploy.ask, ["/"] * 8)} == {200}
        assert all(b" 200 OK" in read_answer(connection) for connection in kept)
        wait_until(lambda: set(workers(deploy)) - set(former), 30, lambda: deploy.web.text)
        # Within their graceful timeout of 4 s: gunicorn itself would take another 30.
        wait_until(lambda: not set(former) & set(workers(deploy)), 20, lambda: deploy.web.text)
        wait_until(lambda: len(workers(deploy)) == 2, 30, lambda: deploy.web.text)
    # They asked for others before they ended: gunicorn replaces one that has ended without this signal.
    text = deploy.web.text[before:]
    assert "Handling signal: ttin" in text
    hanging = [event for event in events(text) if "hangs" in event["message"]]
    assert [(event["level"], event["route"], event["path"]) for event in hanging] == [("error", "wait/", "/wait/")] * 4
    assert all("time.sleep(float(" in event["traceback"] for event in hanging)


@pytest.mark.prove
def test_a_request_that_hangs_takes_no_other_with_it(deploy, tmp_path):
    """Neither one that is older than its process's replacement, nor one that waits behind it."""
    former = workers(deploy)
    hanging = GET % f"/wait/?seconds=600&begun={tmp_path}/begun".encode()
    with Load(deploy.port, count=4) as load, connections(deploy, 1, hanging):
        wait_until((tmp_path / "begun").exists, 30, lambda: deploy.web.text)
        assert deploy.ask(f"/wait/?seconds={REQUEST - 1}").status == 200
        wait_until(lambda: not set(former) <= set(workers(deploy)), 60, lambda: deploy.web.text)
    assert load.early.keys() == {"answered"}, load.details


# -- Signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.prove
def test_at_sighup_no_client_sees_anything(deploy):
    former = workers(deploy)
    with Load(deploy.port) as load:
        wait_until(lambda: load.early["answered"] > 50, 60, lambda: deploy.web.text)
        load.mark()
        deploy.web.child.send_signal(signal.SIGHUP)
        wait_until(lambda: not set(former) & set(workers(deploy)), 60, lambda: deploy.web.text)
        answered = load.late["answered"]
        wait_until(lambda: load.late["answered"] > answered + 50, 60, lambda: deploy.web.text)
    assert set(load.early) | set(load.late) | set(load.kept) == {"answered"}, load.details


@pytest.mark.prove
def test_a_process_that_is_killed_takes_only_its_own_requests_with_it(deploy):
    former = workers(deploy)
    with Load(deploy.port) as load:
        wait_until(lambda: load.early["answered"] > 50, 60, lambda: deploy.web.text)
        load.mark()
        os.kill(int(former[0]), signal.SIGKILL)
        wait_until(lambda: len(set(workers(deploy)) - {former[0]}) == 2, 10, lambda: deploy.web.text, every=0.01)
        replaced = time.monotonic() - load.marked
        answered = load.late["answered"]
        wait_until(lambda: load.late["answered"] > answered + 50, 60, lambda: deploy.web.text)
    print(f"replaced after {replaced:.2f} s")
    # Those that it had taken: of each client one at most.
    lost = [load.early["lost"], load.kept["lost"], load.late["lost"]]
    assert sum(lost) <= load.count // 2 + 4, load.details
    assert not load.late["refused"]
