"""A site whose cache is unreachable: pages answer, people stay signed in or out, and sign-ins stay limited."""

import json
import time
import urllib.error
from unittest.mock import ANY

import pytest
import redis

from tests.twelve.events import events
from tests.twelve.processes import DIRECT, Person, free_port, status, wait_until
from tests.twelve.servers import Memcached, Redis

pytestmark = pytest.mark.prove

EMAIL, PASSWORD = "eve@example.com", "a long enough passphrase"
LIMIT = 5  # wrong passwords of one account in five minutes: allauth's
REFUSAL = "Too many failed login attempts"


@pytest.fixture(params=[Redis, Memcached], ids=["redis", "memcached"])
def server(request):
    with request.param() as server:
        yield server


@pytest.fixture
def deploy(make_deploy, server):
    deploy = make_deploy(CACHE_URL=server.url, TRUSTED_PROXY_COUNT="0")
    deploy.web = deploy.start_web()
    return deploy


@pytest.fixture
def second_address(deploy):
    """Where a second web process of the same deploy listens."""
    port = free_port()
    deploy.second_web = deploy.start("web", "--bind", f"127.0.0.1:{port}")
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: status(f"{address}/health/live/") == 200, 60, lambda: deploy.second_web.text)
    return address


def sign_in(address, password=PASSWORD):
    person = Person(address, host="localhost")
    person.post("/accounts/login/", {"login": EMAIL, "password": password})
    return person


def readiness(deploy):
    try:
        with DIRECT.open(f"{deploy.address}/health/ready/", timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def cache_events(web):
    return [event for event in events(web.text) if event["logger"] == "twelve.services.cache"]


def takes_a_wrong_password(address):
    return REFUSAL not in sign_in(address, "a wrong one").page


@pytest.mark.parametrize("fault", ["none", "stop", "freeze"])
def test_wrong_passwords_are_stopped_at_the_limit(deploy, server, second_address, fault):
    if fault != "none":
        getattr(server, fault)()
    processes = 1 if fault == "none" else 2  # without their cache two processes count for themselves
    addresses = [deploy.address, second_address]
    taken = [takes_a_wrong_password(addresses[number % 2]) for number in range(15)]
    assert taken == [True] * LIMIT * processes + [False] * (15 - LIMIT * processes)
    assert REFUSAL in sign_in(deploy.address).page  # the right one does not help


def test_wrong_passwords_are_stopped_at_the_limit_by_a_redis_that_is_full(make_deploy):
    """It reads and does not write: what others read of it must not end the count."""
    with Redis("--maxmemory-policy", "noeviction") as server:
        deploy = make_deploy(CACHE_URL=server.url, TRUSTED_PROXY_COUNT="0", WEB_CONCURRENCY="1")
        deploy.web = deploy.start_web()
        visitor = sign_in(deploy.address)
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
        taken, end = [], time.monotonic() + 12  # two pauses of the circuit
        while time.monotonic() < end or len(taken) < 15:
            assert "Sign out" in visitor.get("/")
            taken.append(takes_a_wrong_password(deploy.address))
            time.sleep(0.5)
        assert taken == [True] * LIMIT + [False] * (len(taken) - LIMIT)
        assert [event["level"].lower() for event in cache_events(deploy.web)] == ["warning"]


def test_redis_counts_sign_ins_and_holds_no_session(make_deploy):
    with Redis() as server:
        deploy = make_deploy(CACHE_URL=server.url, TRUSTED_PROXY_COUNT="0")
        deploy.web = deploy.start_web()
        person = sign_in(deploy.address)
        assert "Sign out" in person.page
        session = next(cookie.value for cookie in person.cookies if cookie.name == "sessionid")
        with redis.Redis.from_url(server.url) as client:
            keys = client.keys()
        assert keys
        assert [key for key in keys if session.encode() in key] == []


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_people_stay_signed_in_and_out_while_the_cache_is_unreachable(deploy, server, fault):
    person, leaving = sign_in(deploy.address), sign_in(deploy.address)
    session = next(cookie.value for cookie in leaving.cookies if cookie.name == "sessionid")
    assert readiness(deploy)["status"] == "ready"
    getattr(server, fault)()
    begun = time.monotonic()
    assert "Sign out" in person.get("/")
    assert time.monotonic() - begun < 40  # 2 s of the cache, once, and the page's own; without a limit, for ever
    leaving.post("/accounts/logout/")
    assert "Sign out" in sign_in(deploy.address).page
    assert readiness(deploy) == {"status": "degraded", "services": {"database": "up", "queue": "up", "cache": ANY}}
    server.start() if fault == "stop" else server.thaw()

    def back():
        try:
            sign_in(deploy.address)  # which counts in the cache; a page that only needs the session does not
        except urllib.error.HTTPError as error:  # a lock of allauth that the frozen server took, for 10 s
            if error.code != 429:
                raise
        return cache_events(deploy.web)[-1]["message"] == "the cache is in use again"

    wait_until(back, 100, lambda: deploy.web.text, every=4)  # allauth allows 30 sign-ins a minute
    assert "Sign out" in person.get("/")
    logged = [event["message"].partition(":")[0] for event in cache_events(deploy.web)]
    assert logged == ["the cache failed, this process uses its memory", "the cache is in use again"]
    assert b"Sign out" not in deploy.ask("/", Cookie=f"sessionid={session}").body
    assert readiness(deploy)["status"] == "ready"
