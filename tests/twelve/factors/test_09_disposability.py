"""Factor IX: any process and any server may die at any moment: what was accepted is done, and its effect stands once.

At SIGTERM a web process answers every request that the kernel has accepted, and refuses later connections, which a
router tries again elsewhere.
"""

import itertools
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from tests.twelve.events import events
from tests.twelve.processes import DIRECT, Crowd, Deploy, Person, connected, free_port, status, wait_until
from tests.twelve.servers import PostgreSQL, RabbitMQ, Redis
from tests.twelve.web.load import Load
from tests.twelve.web.proxies import HAProxy

pytestmark = pytest.mark.prove

SITE = "tests.twelve.factors.proof_site"
EFFECTS = "CREATE TABLE effects (text text PRIMARY KEY, runs int NOT NULL)"
SOFT = 4  # seconds that a stopping worker gives to its task


class Site(Deploy):
    """A deploy on servers of its own: two web processes, two workers and a clock."""

    def __init__(self, folder, database, broker, cache):
        self.postgresql, self.broker_server, self.cache_server = database, broker, cache
        super().__init__(
            folder, DATABASE_URL=database.url, CELERY_BROKER_URL=broker.url, CACHE_URL=cache.url,
            TASKS_LEASE_SECONDS="3", CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT=str(SOFT), LOG_FORMAT="json",
        )  # fmt: skip
        self.manage("release")
        self.query(EFFECTS)
        self.webs = {self.port: self.start_web(SITE)}
        port = free_port()
        self.webs[port] = self.start_web_at(port)
        self.clock = self.start("clock")
        self.start_workers()

    def start_web_at(self, port):
        web = self.start("web", SITE, "--bind", f"127.0.0.1:{port}")
        wait_until(lambda: status(f"http://127.0.0.1:{port}/health/live/") == 200, 60, lambda: web.text)
        return web

    def start_workers(self):
        self.workers = [self.start("worker"), self.start("worker")]
        for worker in self.workers:
            worker.wait_for("ready", 60)

    def query(self, text):
        with psycopg.connect(self.postgresql.url, connect_timeout=5) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    def logs(self):
        return "\n".join(process.text[-3000:] for process in self.processes)

    def begin(self, text, seconds):
        """Give work of so many seconds to the site, and wait until a worker is in the middle of it."""
        port = next(iter(self.webs))
        assert post(port, f"/accept/?task=write_once&argument={text}&argument={seconds}") == 202
        wait_until(lambda: self.task(text)[0] == "RUNNING", 60, self.logs)

    def task(self, text):
        """State and attempts of that work."""
        (row,) = self.query(f"SELECT status, attempts FROM twelve_task WHERE args->>0 = '{text}'")
        return row

    def effects(self, text):
        """How often that work wrote its row: once by each run that came to its end."""
        return [runs for (runs,) in self.query(f"SELECT runs FROM effects WHERE text = '{text}'")]

    def wait_until_done(self, text, attempts):
        """Wait for the end of that work, in one of so many attempts, and see that its effect stands once."""
        wait_until(lambda: self.task(text)[0] == "SUCCESSFUL", 120, lambda: f"{self.task(text)}\n{self.logs()}")
        assert self.task(text)[1] in attempts
        assert self.effects(text) == [1]


@pytest.fixture(scope="module", params=[Redis, RabbitMQ], ids=["redis", "rabbitmq"])
def site(request, tmp_path_factory):
    with PostgreSQL() as database, request.param() as broker, Redis() as cache:
        site = Site(tmp_path_factory.mktemp("site"), database, broker, cache)
        yield site
        site.close()


def post(port, path):
    with DIRECT.open(
        urllib.request.Request(f"http://127.0.0.1:{port}{path}", b"", method="POST"), timeout=60
    ) as answer:
        return answer.status


class Clients(Crowd):
    """People who send work without a pause, one piece after the other; `accepted` is what was promised to them."""

    def __init__(self, site, count=4):
        super().__init__(count)
        self.site, self.accepted, self.numbers = site, set(), itertools.count()

    def go(self):
        for number in self.numbers:
            if self.ended.wait(0.05):
                return
            port = list(self.site.webs)[number % 2]
            try:
                if post(port, f"/accept/?task=write_once&argument=w{number}&argument=0.05") == 202:
                    self.accepted.add(f"w{number}")
            except OSError:  # nothing was promised
                continue

    def wait_for_more(self, count=5):
        former = len(self.accepted)
        wait_until(lambda: len(self.accepted) >= former + count, 120, lambda: f"work is accepted\n{self.site.logs()}")


def kill_workers(site, clients=None):
    for worker in site.workers:
        worker.kill()
    site.start_workers()


def kill_web(site, clients):
    port, web = next(iter(site.webs.items()))
    web.kill()
    site.webs[port] = site.start_web_at(port)


def kill_clock(site, clients):
    site.clock.kill()
    site.clock = site.start("clock")


def kill_broker(site, clients=None):
    kill(site.broker_server, clients)


def kill_cache(site, clients=None):
    kill(site.cache_server, clients)


def kill(server, clients):
    """Without it, work is accepted all the same."""
    server.stop(signal.SIGKILL)
    if clients:
        clients.wait_for_more()
    server.start()


def restart_database(site, clients=None):
    site.postgresql.stop()
    site.postgresql.start()


FAULTS = (kill_workers, kill_broker, kill_cache, restart_database, kill_web, kill_clock)


def test_nothing_that_was_accepted_is_lost_or_done_twice_whatever_dies(site):
    visitor = Person(f"http://127.0.0.1:{next(iter(site.webs))}")
    visits = [visitor.get("/visit/")]
    with Clients(site) as clients:
        for fault in FAULTS:
            clients.wait_for_more()
            fault(site, clients)
            clients.wait_for_more()
            visits.append(visitor.get("/visit/"))
    assert visits == [f"None {count}" for count in range(1, len(FAULTS) + 2)]  # the session lives through all of it
    open_tasks = "SELECT count(*) FROM twelve_task WHERE status <> 'SUCCESSFUL'"
    wait_until(lambda: site.query(open_tasks) == [(0,)], 120, lambda: f"{site.query(open_tasks)}\n{site.logs()}")
    stands = {text for (text,) in site.query("SELECT text FROM effects")}
    assert clients.accepted
    assert clients.accepted <= stands
    # A task that ran again found its effect there.
    (tasks,) = site.query("SELECT count(*), count(DISTINCT args) FROM twelve_task WHERE task LIKE '%.write_once'")
    assert tasks == (len(stands), len(stands))


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [(kill_workers, [2]), (kill_broker, [1]), (kill_cache, [1]), (restart_database, [1, 2])],
    ids=["worker", "broker", "cache", "database"],
)
def test_a_task_has_its_effect_once_when_something_dies_in_the_middle_of_it(site, fault, attempts):
    text = f"during-{fault.__name__}"
    site.begin(text, 3)
    fault(site)
    site.wait_until_done(text, attempts)


def test_at_sigterm_a_worker_ends_a_short_task_and_gives_a_long_one_back(site):
    """The signal goes to every process of the worker, as on a platform."""
    for text, seconds in (("short", SOFT / 2), ("long", SOFT * 2)):
        site.begin(text, seconds)
        for worker in site.workers:
            os.killpg(worker.child.pid, signal.SIGTERM)
        assert [worker.child.wait(30) for worker in site.workers] == [0, 0], site.logs()
        assert site.effects(text) == ([1] if text == "short" else [])
        site.start_workers()
        site.wait_until_done(text, [1] if text == "short" else [2])


@pytest.fixture
def deploy(tmp_path):
    """A deploy without servers, whose web process has four threads."""
    deploy = Deploy(tmp_path, WEB_THREADS="4")
    deploy.manage("release")
    yield deploy
    deploy.close()


def test_at_sigterm_a_web_process_answers_what_it_has_taken_and_ends(deploy, tmp_path):
    """Also the requests that wait for a thread."""
    web = deploy.start_web(SITE)
    begun = [tmp_path / f"begun-{number}" for number in range(12)]
    with ThreadPoolExecutor(12) as crowd:
        answers = [crowd.submit(deploy.ask, f"/wait/?seconds=3&begun={mark}") for mark in begun]
        wait_until(lambda: sum(mark.exists() for mark in begun) >= 4, 30, lambda: web.text)
        wait_until(lambda: connected(deploy.port) == 12, 30, lambda: f"{connected(deploy.port)} connections")
        assert web.stop() == 0, web.text
        assert [answer.result().status for answer in answers] == [200] * 12
    assert [event["status"] for event in events(web.text) if event.get("path") == "/wait/"] == [200] * 12


@pytest.mark.parametrize("signalled", ["main", "group", "twice"])
def test_under_load_no_connection_is_lost_at_sigterm(tmp_path, signalled):
    """The signal goes to the main process, to all, as on a platform, or to all twice within 0.2 s."""
    early, kept, late, details = Counter(), Counter(), Counter(), []
    deploy = Deploy(tmp_path, WEB_CONCURRENCY="2")
    deploy.manage("release")
    with closing(deploy):
        for _ in range(10):
            web = deploy.start_web(SITE)
            with Load(deploy.port) as load:
                wait_until(lambda load=load: load.early["answered"] > 100, 60, lambda web=web: web.text)
                load.mark()
                for number in range(2 if signalled == "twice" else 1):
                    time.sleep(0.15 * number)
                    (os.kill if signalled == "main" else os.killpg)(web.child.pid, signal.SIGTERM)
                assert web.child.wait(60) == 0, web.text
            early, kept, late, details = early + load.early, kept + load.kept, late + load.late, details + load.details
    print(signalled, "early", dict(early), "kept", dict(kept), "late", dict(late))
    assert early.keys() == {"answered"}, details
    assert kept.keys() <= {"answered"}, details
    assert late["answered"]
    assert late["refused"]
    # Between the last accept and the close the kernel leaves a gap.
    assert late["lost"] <= late.total() / 1000, details


def test_behind_a_router_no_client_sees_a_rolling_restart(tmp_path):
    ports = [free_port(), free_port()]
    deploy = Deploy(tmp_path)
    deploy.manage("release")

    def start(port):
        web = deploy.start("web", SITE, "--bind", f"127.0.0.1:{port}")
        wait_until(lambda: status(f"http://127.0.0.1:{port}/health/ready/") == 200, 60, lambda: web.text)
        return web

    with closing(deploy):
        webs = {port: start(port) for port in ports}
        with HAProxy(*ports) as proxy, Load(proxy.port) as load:
            for port, web in webs.items():
                wait_for_answers(load)
                assert web.stop() == 0, web.text
                wait_for_answers(load)
                start(port)
            wait_for_answers(load)
    print("rolling restart", dict(load.early))
    assert load.early.keys() == {"answered"}, load.details


def wait_for_answers(load):
    former = load.early["answered"]
    wait_until(lambda: load.early["answered"] > former + 50, 60, lambda: f"{load.early}\n{load.details}")


def test_a_clock_imports_nothing_more_once_it_handles_sigterm(tmp_path):
    """Its handler uses the scheduler, which a signal in the middle of its import would find half initialized."""
    deploy = Deploy(tmp_path, PYTHONPROFILEIMPORTTIME="1")  # Python logs each import to stderr
    deploy.manage("release")
    with closing(deploy):
        clock = deploy.start("clock")
        imports = tmp_path / "stderr.log"
        clock.wait_for("beat: Starting")
        before = imports.read_text()
        assert "twelve.tasks.scheduler" in before
        wait_until(lambda: deploy.sql("SELECT count(*) FROM twelve_clockentry") > [(0,)], 60, lambda: clock.text)
        assert clock.stop() == 0, clock.text
    after = imports.read_text().removeprefix(before)
    assert not re.findall(r"(?:celery|kombu|twelve)[.\w]*$", after, re.MULTILINE)
