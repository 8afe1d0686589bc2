"""Factor VI: no process keeps what a later request or task needs, so that any of them takes the next one."""

import pytest

from tests.twelve.events import events
from tests.twelve.networks import InTurn, Proxy
from tests.twelve.processes import Person, free_port, status, wait_until
from tests.twelve.servers import PostgreSQL, Redis

pytestmark = [pytest.mark.prove, pytest.mark.timeout(400)]

EMAIL, PASSWORD = "eve@example.com", "a long enough passphrase"
SITE = "tests.twelve.factors.proof_site"


def start_second_web(deploy):
    """Start another web process of the deploy; returns it and its port."""
    port = free_port()
    web = deploy.start("web", SITE, "--bind", f"127.0.0.1:{port}")
    wait_until(lambda: status(f"http://127.0.0.1:{port}/health/ready/") == 200, 30, lambda: web.text)
    return web, port


def served(path, *webs):
    """How many requests of that path each of the web processes answered."""
    return [len([event for event in events(web.text) if event.get("path") == path]) for web in webs]


def wait_until_served(path, count, *webs):
    """Wait for the events, each of which follows its answer."""
    wait_until(lambda: served(path, *webs) == [count] * len(webs), 30, lambda: f"{path}: {served(path, *webs)}")


@pytest.fixture
def deploy(built, tmp_path):
    """A deploy that runs from a build that it cannot change, on servers that its processes share."""
    with PostgreSQL() as database, Redis() as redis:
        deploy = built.deploy(
            tmp_path, DATABASE_URL=database.url, CACHE_URL=redis.url, CELERY_BROKER_URL=redis.url,
            DJANGO_SUPERUSER_PASSWORD=PASSWORD, LOG_FORMAT="json",
        )  # fmt: skip
        assert deploy.start("release").child.wait(60) == 0, (tmp_path / "stderr.log").read_text()
        deploy.manage("createsuperuser", "--noinput", "--email", EMAIL)
        yield deploy
        deploy.close()


def test_any_web_process_knows_the_session_and_the_file_of_another(deploy, built):
    first = deploy.start_web(SITE)
    second, port = start_second_web(deploy)
    worker = deploy.start("worker")
    with Proxy(InTurn(deploy.port, port)) as router:
        person = Person(router.url)
        person.post("/accounts/login/", {"login": EMAIL, "password": PASSWORD})
        assert [person.get("/visit/") for _ in range(6)] == [f"1 {count}" for count in range(1, 7)]
        wait_until_served("/visit/", 3, first, second)

        name = person.open(f"{router.url}/save/", b"content").decode()
        assert [person.fetch(f"/read/{name}") for _ in range(2)] == [b"content"] * 2
        wait_until_served(f"/read/{name}", 1, first, second)
        copied = f"{name}-copied"
        for each in (deploy.port, port):  # what the worker saved
            address = f"http://127.0.0.1:{each}/read/{copied}"
            wait_until(lambda address=address: status(address) == 200, 30, lambda: worker.text)
        assert person.fetch(f"/read/{copied}") == b"content"

        person.post("/accounts/logout/")
        assert [person.get("/visit/").split()[0] for _ in range(2)] == ["None"] * 2
    for process in (first, second, worker):
        assert process.stop() == 0, process.text
    assert built.hash() == built.digest
    assert [list((deploy.folder / name).iterdir()) for name in ("home", "tmp")] == [[], []]


def test_when_a_web_process_dies_the_other_knows_all_that_it_knew(deploy):
    first = deploy.start_web(SITE)
    second, port = start_second_web(deploy)
    network = InTurn(deploy.port)
    with Proxy(network) as router:
        person = Person(router.url)
        person.post("/accounts/login/", {"login": EMAIL, "password": PASSWORD})
        assert [person.get("/visit/") for _ in range(2)] == ["1 1", "1 2"]
        name = person.open(f"{router.url}/save/", b"content").decode()
        wait_until_served("/visit/", 2, first)
        assert served("/visit/", second) == [0]
        first.kill()
        network.ports = InTurn(port).ports  # a router notices
        assert [person.get("/visit/") for _ in range(2)] == ["1 3", "1 4"]
        assert person.fetch(f"/read/{name}") == b"content"
