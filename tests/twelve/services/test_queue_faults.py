"""Whatever the broker does, the request succeeds in bounded time, and its task is done once when the broker is back."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from tests.twelve.networks import Proxy
from tests.twelve.processes import wait_until
from tests.twelve.servers import PASSWORD, RabbitMQ, Redis
from tests.twelve.services.faults import Site

pytestmark = pytest.mark.prove

# Seconds of a sign-up, of which the publication takes 1.5 at most. A router waits as long; without a limit a broker
# that is silent takes 60 and more.
LIMIT = 30


@pytest.fixture(scope="module", params=[RabbitMQ, Redis], ids=["rabbitmq", "redis"])
def attached(request, tmp_path_factory):
    """A site behind a network to its broker."""
    with request.param() as server, Proxy(server) as network:
        site = Site(tmp_path_factory.mktemp("site"), CELERY_BROKER_URL=network.url)
        site.server, site.network = server, network
        yield site
        site.close()


@pytest.fixture
def site(attached):
    """The site in its normal state: tasks are published and done. It must be again when the test ends."""
    assert_well(attached)
    yield attached
    attached.assert_alive()


def assert_well(site):
    def published_and_done():
        task = site.sign_up()
        site.wait_done_once(task)
        return not site.unpublished(task)  # by the web process itself, which pauses after a failure

    wait_until(published_and_done, 200, "a task is published by the request that made it")


def stop(site):
    """From now on nothing listens."""
    site.server.stop()
    site.network.refuse()
    site.network.cut()


def start(site):
    site.network.pass_on()
    site.server.start()


def lose_all(site):
    """New connections are taken as well, and nothing on them is answered."""
    site.network.swallow()
    site.network.cut()


def pass_on(site):
    site.network.pass_on()
    site.network.cut()


def set_memory(site, limit):
    """Let the server have so little memory that it takes no message, or all that it wants."""
    if isinstance(site.server, Redis):
        with redis.Redis.from_url(site.server.url) as client:
            client.config_set("maxmemory", limit)
    else:
        config = site.server.folder / "rabbitmq.conf"
        lines = [line for line in config.read_text().splitlines() if "watermark" not in line]
        lines += [f"vm_memory_high_watermark.absolute = {limit}"] if limit else []
        config.write_text("\n".join(lines) + "\n")
        site.server.stop()
        site.server.start()


FAULTS = {
    "refused": (stop, start),
    "frozen": (lambda site: site.server.freeze(), lambda site: site.server.thaw()),
    "silent": (lose_all, pass_on),
    "out of memory": (lambda site: set_memory(site, 1_000_000), lambda site: set_memory(site, 0)),
}
STOPPING = {"refused", "frozen"}  # where a worker is stopped and another one started during the fault as well


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_succeeds_and_its_task_is_done_once_the_broker_is_back(site, fault):
    begin, end = FAULTS[fault]
    site.wait_for_publishing()
    begin(site)
    try:
        first, second = site.sign_up(), site.sign_up()
        if fault in STOPPING:
            site.restart("worker", seconds=150)  # not as long as the fault lasts
    finally:
        end(site)
    assert first.seconds < LIMIT
    assert second.seconds < LIMIT
    (event,) = site.unpublished(first)
    assert "the sweeper will" in event
    assert not site.unpublished(second)  # the broker was not asked again
    site.wait_done_once(first)
    site.wait_done_once(second)


def test_a_slow_broker_is_waited_for_in_bounds(site):
    site.network.delay(0.2)
    try:
        tasks = [site.sign_up() for _ in range(3)]
        for task in tasks:
            assert task.seconds < LIMIT
            site.wait_done_once(task)
    finally:
        site.network.pass_on()


def test_a_request_with_many_tasks_is_not_held_up_by_each(site):
    """By a broker that is slow, though not too slow for one message."""
    ready, go = site.folder / "ready", site.folder / "go"
    code = f"from tests.twelve.services.work import many; print(many({str(ready)!r}, {str(go)!r}))"
    with ThreadPoolExecutor() as pool:
        took = pool.submit(site.manage, "shell", "--no-imports", "-c", code)
        try:
            wait_until(ready.exists, 30, "the connection is made")
            site.network.delay(0.4)
            go.touch()
            assert float(took.result(120).stdout.split()[-1]) < LIMIT  # 50 times 0.8 s, if each were waited for
        finally:
            go.touch()
            site.network.pass_on()
            ready.unlink()
            go.unlink()


def test_after_a_restart_of_the_broker_the_next_request_publishes(site):
    site.server.stop()
    site.server.start()
    task = site.sign_up()
    assert not site.unpublished(task)
    site.wait_done_once(task)


def test_a_task_that_runs_while_the_broker_dies_is_done_and_not_done_again(site):
    task = site.slow(10)
    site.wait_for(task, "RUNNING")
    site.server.stop(signal.SIGKILL)
    try:
        other = site.sign_up()
        assert other.seconds < LIMIT
        assert site.wait_for(task, "SUCCESSFUL").attempts == 1
    finally:
        site.server.start()
    site.wait_done_once(other)
    assert_well(site)  # so what the server gave out a second time has been taken by now
    site.wait_done_once(task)
    assert task.path.read_text() == "run\n"


def test_a_wrong_password_is_no_reason_to_fail_and_the_right_one_mends_it(site):
    right = site.network.url
    wrong = right.replace("word%40", "wort%40")
    assert wrong != right
    site.restart("worker", CELERY_BROKER_URL=wrong)
    site.restart("web")
    first, second = site.sign_up(), site.sign_up()
    assert first.seconds < LIMIT
    assert second.seconds < LIMIT
    assert len(site.unpublished(first)) == 1
    assert not site.unpublished(second)  # the broker was not asked again
    site.worker.wait_for("(?i)(refused|wrongpass|invalid)")
    site.restart("web", CELERY_BROKER_URL=right)
    site.worker.stop()  # with RabbitMQ it has ended by itself: a platform starts it again
    site.worker = site.start("worker")
    site.wait_done_once(first)
    assert PASSWORD not in site.web.text + site.worker.text
