"""Factor VIII: each process type scales by starting more of it; what that brings is printed, with `pytest -s`."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import quote

import pytest

from tests.twelve.events import events
from tests.twelve.networks import InTurn, Proxy
from tests.twelve.processes import Deploy, free_port, status, wait_until
from tests.twelve.servers import Redis

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]

SITE = "tests.twelve.factors.proof_site"
REQUESTS, CLIENTS, TASKS = 80, 16, 30
SECONDS = 0.1  # of one request and of one task, in which it waits for something other than a processor


@pytest.fixture
def deploy(tmp_path):
    with Redis() as broker:
        deploy = Deploy(tmp_path, CELERY_BROKER_URL=broker.url, WEB_THREADS="2")
        deploy.manage("release")
        yield deploy
        deploy.close()


def show(what, one, two):
    """Print what two processes did in a second beside what one did; a timing is no assertion."""
    print(f"\n{what}: one process {one:.1f}/s, two {two:.1f}/s, ratio {two / one:.2f}")


def requests_per_second(*ports):
    """Put the load on the web processes at these ports; each request must be answered."""
    with Proxy(InTurn(*ports)) as router, ThreadPoolExecutor(CLIENTS) as crowd:
        begun = time.monotonic()
        answers = list(crowd.map(status, [f"{router.url}/wait/?seconds={SECONDS}"] * REQUESTS))
        seconds = time.monotonic() - begun
    assert answers == [200] * REQUESTS
    return REQUESTS / seconds


def test_two_web_processes_share_the_load_of_one(deploy):
    first = deploy.start_web(SITE)
    one = requests_per_second(deploy.port)
    port = free_port()
    second = deploy.start("web", SITE, "--bind", f"127.0.0.1:{port}")
    wait_until(lambda: status(f"http://127.0.0.1:{port}/health/ready/") == 200, 30, lambda: second.text)
    two = requests_per_second(deploy.port, port)
    for web in (first, second):
        assert web.stop() == 0, web.text
    shares = [len([e for e in events(web.text) if e.get("path") == "/wait/"]) for web in (first, second)]
    assert shares == [REQUESTS + REQUESTS // 2, REQUESTS // 2]
    show("requests", one, two)


def done_by(worker):
    """The ids of the tasks that the worker ran."""
    return [event["id"] for event in events(worker.text) if event.get("outcome") == "done"]


def tasks_per_second(deploy, *workers):
    """Have these workers run the tasks; each must be done once."""
    runs = deploy.folder / f"runs-{len(workers)}"
    ((before,),) = deploy.sql("SELECT coalesce(max(id), 0) FROM twelve_task")
    for _ in range(TASKS):  # one process publishes all: what one-off processes fail to publish waits for the clock
        assert deploy.ask(f"/accept/?task=slow&argument={quote(str(runs))}&argument={SECONDS}", "POST").status == 202

    def ended():
        done = sorted(pk for worker in workers for pk in done_by(worker) if pk > before)
        return len(done) >= TASKS and done

    done = wait_until(ended, 120, lambda: "\n".join(worker.text for worker in workers))
    assert done == list(range(before + 1, before + TASKS + 1))
    assert runs.read_text() == "run\n" * TASKS
    query = "SELECT (julianday(max(finished_at)) - julianday(min(finished_at))) * 86400 FROM twelve_task WHERE id > "
    ((seconds,),) = deploy.sql(query + str(before))
    return (TASKS - 1) / seconds


def test_two_workers_share_the_tasks_of_one(deploy):
    deploy.start_web(SITE)
    first = deploy.start("worker")
    first.wait_for("ready")
    one = tasks_per_second(deploy, first)
    second = deploy.start("worker")
    second.wait_for("ready")
    two = tasks_per_second(deploy, first, second)
    for worker in (first, second):
        assert worker.stop() == 0, worker.text
        assert done_by(worker)
    assert deploy.sql("SELECT status, attempts, count(*) FROM twelve_task GROUP BY 1, 2") == [
        ("SUCCESSFUL", 1, 2 * TASKS)
    ]
    show("tasks", one, two)


def test_two_clocks_fire_each_scheduled_task_once(tmp_path):
    """Each entry is due for both when they start, in each round; no worker runs, so that what they fire stays."""
    deploy = Deploy(tmp_path)
    deploy.manage("release")
    fired = "SELECT task, count(*) FROM twelve_task GROUP BY task"
    first = deploy.start("clock")  # writes the entries
    wait_until(lambda: deploy.sql("SELECT count(*) FROM twelve_clockentry") >= [(3,)], 60, lambda: first.text)
    assert first.stop() == 0
    ((entries,),) = deploy.sql("SELECT count(*) FROM twelve_clockentry")
    text, rounds = "", 3
    with ExitStack() as stack:
        stack.callback(deploy.close)
        for number in range(1, rounds + 1):
            deploy.sql("UPDATE twelve_clockentry SET last_run_at = datetime('now', '-2 days')")
            # The time at which an entry is due is fired once for ever: those of the former rounds become others.
            deploy.sql(f"UPDATE twelve_task SET unique_key = unique_key || '-{number}'")
            clocks = [deploy.start("clock") for _ in range(2)]

            def all_fired(number=number):
                counts = [count for _, count in deploy.sql(fired)]
                return len(counts) == entries and min(counts) >= number

            wait_until(all_fired, 60, lambda clocks=clocks: f"{deploy.sql(fired)}\n{clocks[0].text}\n{clocks[1].text}")
            for clock in clocks:
                clock.wait_for("beat: Starting")
                assert clock.stop() == 0
                text += clock.text
        assert {count for _, count in deploy.sql(fired)} == {rounds}
    assert text.count("the clock fires") == entries * rounds
