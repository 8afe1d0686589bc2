"""The cache that survives its server, on a real Redis and a real Memcached."""

import signal
import time
import uuid

import pytest
import redis as redis_client
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError
from redis._parsers.base import BaseParser

from config import cache as module
from config.cache import ResilientCache
from config.settings.cache import parse
from tests.networks import Proxy
from tests.processes import wait_until
from tests.servers import Memcached, Redis


@pytest.fixture(scope="module")
def redis():
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def memcached():
    with Memcached() as server:
        yield server


@pytest.fixture(params=["redis", "memcached"])
def server(request):
    server = request.getfixturevalue(request.param)
    yield server
    restore(server)


def restore(server):
    if server.process.child.poll() is None:
        server.thaw()
    else:
        server.start()


def connect(url, prefix=None):
    """A cache of its own circuit, as another process would have it."""
    module._circuits.clear()
    settings = parse(url)
    del settings["BACKEND"]
    settings["KEY_PREFIX"] = prefix or uuid.uuid4().hex
    return ResilientCache(settings.pop("LOCATION"), settings)


@pytest.fixture
def cache(server):
    cache = connect(server.url)
    yield cache
    cache.close()


def told(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "config.cache"]


def heal(cache, server):
    restore(server)
    wait_until(lambda: try_server(cache), 20, "the server is used again")


def try_server(cache):
    """The trial that a thread does after each pause; returns whether the server is in use."""
    if cache.circuit.open:
        cache.try_server()
    return not cache.circuit.open


def test_all_that_a_cache_does(cache):
    assert cache.add("a", 1) is True
    assert cache.add("a", 2) is False
    assert cache.incr("a") == 2
    assert cache.decr("a", 2) == 0
    cache.set("b", {"c": [1, 2]}, timeout=60)
    cache.set_many({"d": 4, "e": 5})
    assert cache.get_many(["b", "d", "e", "f"]) == {"b": {"c": [1, 2]}, "d": 4, "e": 5}
    assert cache.get("f", "nothing") == "nothing"
    assert cache.get_or_set("f", lambda: 6) == 6
    assert "f" in cache
    assert cache.touch("f", 60) is True
    assert cache.delete("f") is True
    assert "f" not in cache
    cache.delete_many(["d", "e"])
    assert cache.get("e") is None
    cache.set("g", 1, version=2)
    assert cache.get("g") is None
    assert cache.get("g", version=2) == 1
    with pytest.raises(ValueError, match="not found"):
        cache.incr("nothing")
    assert not cache.circuit.stale
    cache.clear()
    assert cache.get("b") is None


def test_a_session_is_kept_no_longer_than_a_lost_deletion_may_live(redis):
    settings = parse(redis.url)
    cache = ResilientCache(settings["LOCATION"], settings | {"KEY_PREFIX": "limited", "LONGEST": 300})
    cache.set("session", "data", timeout=1209600)
    cache.set("brief", "data", timeout=10)
    with redis_client.Redis.from_url(redis.url) as client:
        assert 290 < client.ttl("limited:1:session") <= 300
        assert 0 < client.ttl("limited:1:brief") <= 10


def test_keys_carry_the_prefix_and_the_version(redis):
    cache = connect(redis.url, prefix="shop")
    cache.set("basket", "full")
    with redis_client.Redis.from_url(redis.url) as client:
        assert client.get("shop:1:basket") is not None


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_while_the_server_is_away_the_process_counts_in_its_memory(cache, server, fault, caplog):
    caplog.set_level("INFO")
    cache.set("before", 1)
    getattr(server, fault)()
    begun = time.monotonic()
    assert cache.add("tries", 1) is True
    first = time.monotonic() - begun
    for _ in range(100):
        assert cache.add("tries", 1) is False
        cache.incr("tries")
    assert cache.get("tries") == 101
    assert cache.get_or_set("page", "rendered") == cache.get("page") == "rendered"
    assert first < 2  # seconds; after them, nobody waits
    assert [line.split(":")[0] for line in told(caplog)] == ["the cache is away, this process uses its memory"]
    heal(cache, server)
    assert told(caplog)[-1] == "the cache is back"
    assert cache.get("tries") is None  # the memory's count ended with it
    cache.set("after", 1)
    assert cache.server.get("after") == 1


def test_nobody_waits_for_the_trials_of_an_outage_that_lasts(cache, server):
    server.freeze()
    cache.get("a")
    for _ in range(3):
        cache.circuit.try_at = begun = time.monotonic()
        cache.get("a")
        assert time.monotonic() - begun < 0.5  # a trial takes a second
        assert cache.circuit.is_to_be_tried() is False
        wait_until(lambda: cache.circuit.try_at - time.monotonic() <= module.PAUSE, 10, "the trial ends")
        assert cache.circuit.open
    server.thaw()
    cache.circuit.try_at = 0
    cache.get("a")
    wait_until(lambda: not cache.circuit.open, 10, "the thread finds the server back")


def test_the_memory_of_one_outage_is_not_read_in_the_next(cache, server):
    """Such as what a caller wrote there in the moment in which the server came back."""
    server.freeze()
    cache.set("a", "of the first outage")
    heal(cache, server)
    cache.memory.set("b", "written too late")
    server.freeze()
    assert cache.get_many(["a", "b"]) == {}


def test_an_outage_that_lasts_is_told_once_a_minute(cache, server, caplog, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0)
    server.stop()
    cache.get("a")
    for _ in range(20):
        try_server(cache)
    assert len(told(caplog)) == 1
    cache.circuit.tell_at -= module.TELL_EVERY
    try_server(cache)
    assert len(told(caplog)) == 2


def test_what_was_deleted_meanwhile_does_not_come_back(cache, server):
    """Such as a session that was signed out."""
    cache.set_many({"session": "signed in", "other": "kept", "counted": 1, "versioned": 1})
    cache.set("versioned", "old", version=2)
    server.freeze()
    cache.delete("session")
    cache.set("versioned", "new", version=2)
    cache.set_many({"counted": 7})
    heal(cache, server)
    assert cache.get_many(["session", "other", "counted", "versioned"]) == {"other": "kept", "versioned": 1}
    assert cache.get("versioned", version=2) is None
    assert not cache.circuit.stale


def test_what_is_to_be_deleted_is_remembered_until_it_is(cache, server):
    cache.set("session", "signed in")
    server.freeze()
    cache.delete("session")
    assert not try_server(cache)
    heal(cache, server)
    assert cache.get("session") is None


def test_too_much_to_remember_empties_the_cache(cache, server, monkeypatch):
    monkeypatch.setattr(module, "MEMORY_ENTRIES", 10)
    cache.set("old", 1)
    server.freeze()
    cache.set_many({str(number): 1 for number in range(11)})
    heal(cache, server)
    assert cache.get("old") is None


def test_clearing_deletes_this_sites_keys_alone(redis):
    """The queue and another site's cache live on the same server."""
    mine, other = connect(redis.url, "mine"), connect(redis.url, "mine.other")
    with redis_client.Redis.from_url(redis.url) as client:
        client.lpush("celery", "a message")
        other.set("a", 1)
        for number in range(2500):
            mine.set(str(number), number)
        mine.clear()
        assert client.keys("mine:*") == []
        assert other.get("a") == 1
        assert client.lpop("celery") == b"a message"


def test_a_full_redis_that_evicts_nothing(caplog):
    with Redis("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        cache = connect(server.url)
        for number in range(40):
            cache.set(str(number), "x" * 100_000)
        assert cache.get("39") == "x" * 100_000
        assert "maxmemory" in told(caplog)[0]


def test_a_server_that_reads_and_does_not_write_is_not_back():
    """A counter of the memory, such as that of wrong passwords, would end with each trial."""
    with Redis("--maxmemory-policy", "noeviction") as server:
        cache = connect(server.url)
        cache.set("page", "rendered")
        with redis_client.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
            cache.add("tries", 1)
            assert cache.server.get("page") == "rendered"
            assert not try_server(cache)
            assert cache.incr("tries") == 2
            client.config_set("maxmemory", 0)
        heal(cache, server)


def test_a_mistake_of_the_caller_is_told_to_the_caller_alone(cache, caplog):
    cache.set("list", [1])
    with pytest.raises((redis_client.ResponseError, MemcacheClientError)):
        cache.incr("list")
    if cache.server.__class__.__name__ == "PyMemcacheCache":
        with pytest.raises(MemcacheServerError, match="too large"):
            cache.set("big", "x" * 2_000_000)
    assert not cache.circuit.open
    assert told(caplog) == []
    assert cache.get("list") == [1]


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        ("READONLY You can't write against a read only replica.", True),
        ("LOADING Redis is loading the dataset in memory", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("BUSY Redis is busy running a script.", True),
        ("MISCONF Redis is unable to persist to disk.", True),
        ("NOAUTH Authentication required.", True),
        ("NOPERM this user has no permissions", True),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("ERR increment or decrement would overflow", False),
    ],
)
def test_what_redis_says_of_itself_and_what_of_the_caller(answer, away):
    assert module.is_mistake_on_redis(BaseParser.parse_error(answer)) is not away


def test_a_wrong_password_is_told_without_the_password(redis, caplog):
    cache = connect(redis.url.replace("pass", "wrong-secret"))
    assert cache.add("a", 1) is True
    assert cache.add("a", 1) is False
    assert "invalid username-password" in told(caplog)[0]
    assert "wrong-secret" not in caplog.text


@pytest.mark.parametrize("fault", ["garbage", "swallow"])
def test_a_network_that_answers_nonsense_or_nothing(server, fault, caplog):
    with Proxy(server) as proxy:
        cache = connect(proxy.url)
        cache.set("a", 1)
        assert cache.server.get("a") == 1
        getattr(proxy, fault)()
        assert cache.add("b", 1) is True
        assert cache.add("b", 1) is False
        assert "the cache is away" in told(caplog)[0]
        proxy.pass_on()
        heal(cache, server)


def test_a_slow_server_is_used_and_one_that_is_too_slow_is_away(server, caplog):
    with Proxy(server) as proxy:
        cache = connect(proxy.url)
        proxy.delay(0.05)
        cache.set("a", 1)
        assert cache.server.get("a") == 1
        assert told(caplog) == []
        proxy.delay(0.6)  # each way: no read takes as long as a timeout, all of it is longer than anybody should wait
        cache.get("a")
        begun = time.monotonic()
        assert cache.add("c", 1) is True
        assert cache.add("c", 1) is False
        assert time.monotonic() - begun < 0.5
        assert "the cache is away" in told(caplog)[0]
        assert not try_server(cache)
        proxy.delay(3)
        assert cache.add("b", 1) is True
        assert cache.add("b", 1) is False
        assert "the cache is away" in told(caplog)[0]
        proxy.pass_on()
        heal(cache, server)


def test_connections_that_break_in_the_middle_lose_no_count(server):
    with Proxy(server) as proxy:
        cache = connect(proxy.url)
        assert cache.add("tries", 1) is True
        proxy.cut()
        taken = [cache.add("tries", 1) for _ in range(5)]
        assert taken.count(True) <= 1  # once more at most: by the memory, where the server is given up for a while
        heal(cache, server)


def test_a_connection_that_the_server_closed_is_made_anew_at_once(redis, caplog):
    cache = connect(redis.url)
    cache.set("a", 1)
    redis.stop(signal.SIGKILL)
    redis.start()
    cache.set("a", 2)
    assert cache.server.get("a") == 2
    assert told(caplog) == []
