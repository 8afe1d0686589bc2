"""The cache that falls back to memory while its server is unreachable, on a real Redis and a real Memcached."""

import contextlib
import os
import pickle
import signal
import threading
import time
import uuid

import pytest
import redis as redis_client
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache
from pymemcache import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError
from redis._parsers.base import BaseParser

from tests.twelve.networks import Proxy
from tests.twelve.processes import wait_until
from tests.twelve.servers import Memcached, Redis
from twelve.services import cache as module
from twelve.services.cache import ResilientCache, parse_url

pytestmark = pytest.mark.prove


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
    """A cache that knows of no failure, as in another process."""
    ResilientCache.retry_at = ResilientCache.log_at = 0
    settings = parse_url(url)
    del settings["BACKEND"]
    settings["KEY_PREFIX"] = prefix or uuid.uuid4().hex
    return ResilientCache(settings.pop("LOCATION"), settings)


@pytest.fixture(autouse=True)
def forget():
    """Leave no failure to the tests of other modules in this process."""
    yield
    ResilientCache.retry_at = ResilientCache.log_at = 0


@pytest.fixture
def cache(server):
    cache = connect(server.url)
    yield cache
    cache.close()


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "twelve.services.cache"]


def heal(cache, server):
    restore(server)
    wait_until(lambda: try_server(cache), 20, "the server is used again")


@contextlib.contextmanager
def without_server(cache, monkeypatch):
    """Let each call to the server of the cache fail, so that only the memory can answer."""
    with monkeypatch.context() as patch:
        patch.setattr(cache, "server", None)
        yield


def try_server(cache):
    """The attempt of the first caller after a pause; returns whether the server is in use."""
    ResilientCache.retry_at = min(ResilientCache.retry_at, time.monotonic())
    cache.get("anything")
    return not ResilientCache.retry_at


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
    cache.clear()
    assert cache.get("b") is None


def test_keys_carry_the_prefix_and_the_version(redis):
    cache = connect(redis.url, prefix="shop")
    cache.set("basket", "full")
    with redis_client.Redis.from_url(redis.url) as client:
        assert client.get("shop:1:basket") is not None


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_while_the_server_is_unreachable_the_process_counts_in_its_memory(cache, server, fault, caplog):
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
    assert first < 20  # seconds, of which it takes one; after them, no call waits
    assert [line.split(":")[0] for line in logged(caplog)] == ["the cache failed, this process uses its memory"]
    heal(cache, server)
    assert logged(caplog)[-1] == "the cache is in use again"
    # The memory's count ended with it; a server that was frozen does what it was asked before.
    assert cache.get("tries") == {"stop": None, "freeze": 1}[fault]
    cache.set("after", 1)
    assert cache.server.get("after") == 1


def test_one_caller_after_each_pause_waits_for_a_silent_server_and_no_other(cache, server):
    server.freeze()
    cache.get("a")
    for _ in range(3):
        ResilientCache.retry_at = time.monotonic()
        attempt = threading.Thread(target=cache.get, args=["a"])
        attempt.start()
        wait_until(lambda: ResilientCache.retry_at > time.monotonic(), 30, "the attempt begins")
        cache.get("a")
        assert attempt.is_alive()  # it waits for a second
        attempt.join(30)
        assert ResilientCache.retry_at > time.monotonic()
    server.thaw()
    ResilientCache.retry_at = time.monotonic()
    cache.get("a")
    assert not ResilientCache.retry_at


def test_the_memory_of_one_outage_is_not_read_in_the_next(cache, server):
    """Such as what a caller wrote there in the moment in which the server came back."""
    server.freeze()
    cache.set("a", "of the first outage")
    heal(cache, server)
    cache.memory.set("b", "written too late")
    server.freeze()
    assert cache.get_many(["a", "b"]) == {}


def test_an_outage_that_lasts_is_logged_once_a_minute(cache, server, caplog, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0)
    server.stop()
    cache.get("a")
    for _ in range(20):
        try_server(cache)
    assert len(logged(caplog)) == 1
    ResilientCache.log_at -= module.LOG_INTERVAL
    try_server(cache)
    assert len(logged(caplog)) == 2


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


def test_a_prefix_is_no_pattern(redis):
    mine, other = connect(redis.url, "m*[a]?"), connect(redis.url, "many-a-")
    mine.set("a", 1)
    other.set("a", 1)
    mine.clear()
    assert (mine.get("a"), other.get("a")) == (None, 1)


def test_a_full_redis_that_evicts_nothing(caplog):
    with Redis("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        cache = connect(server.url)
        for number in range(40):
            cache.set(str(number), "x" * 100_000)
        assert cache.get("39") == "x" * 100_000
        assert "maxmemory" in logged(caplog)[0]


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


def test_a_mistake_of_the_caller_is_reported_to_the_caller_alone(cache, caplog):
    cache.set("list", [1])
    with pytest.raises((redis_client.ResponseError, MemcacheClientError)):
        cache.incr("list")
    if isinstance(cache.server, PyMemcacheCache):
        with pytest.raises(MemcacheServerError, match="too large"):
            cache.set("big", "x" * 2_000_000)
    assert not ResilientCache.retry_at
    assert logged(caplog) == []
    assert cache.get("list") == [1]


@pytest.mark.parametrize(
    ("answer", "outage"),
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
def test_what_redis_says_of_itself_and_what_of_the_caller(answer, outage):
    assert module.RedisServer.is_programming_error(BaseParser.parse_error(answer)) is not outage


def test_a_wrong_password_is_logged_without_the_password(redis, caplog):
    cache = connect(redis.url.replace("pass", "wrong-secret"))
    assert cache.add("a", 1) is True
    assert cache.add("a", 1) is False
    assert "invalid username-password" in logged(caplog)[0]
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
        assert "the cache failed" in logged(caplog)[0]
        proxy.pass_on()
        heal(cache, server)


def test_a_slow_server_is_used_and_one_that_is_too_slow_is_unreachable(server, caplog, monkeypatch):
    with Proxy(server) as proxy:
        cache = connect(proxy.url)
        proxy.delay(0.05)
        cache.set("a", 1)
        assert cache.server.get("a") == 1
        assert logged(caplog) == []
        proxy.delay(0.6)  # each way: no read takes as long as a timeout, all of it is longer than anybody should wait
        cache.get("a")
        with without_server(cache, monkeypatch):
            assert cache.add("c", 1) is True
            assert cache.add("c", 1) is False
        assert "the cache failed" in logged(caplog)[0]
        assert not try_server(cache)
        proxy.delay(3)
        assert cache.add("b", 1) is True
        assert cache.add("b", 1) is False
        assert "the cache failed" in logged(caplog)[0]
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
    assert logged(caplog) == []


# -- Signatures -------------------------------------------------------------------------------------------------------


class Hostile:
    """Makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def write(server, key, value):
    """Write what another client writes to the server, marked as a pickle where that is possible."""
    if isinstance(server, Memcached):
        client = Client(("127.0.0.1", server.port))
        client.set(key, value, noreply=False, flags=1)
        client.close()
    else:
        with redis_client.Redis.from_url(server.url) as client:
            client.set(key, value)


def test_a_pickle_that_another_client_wrote_runs_no_code(server, caplog, tmp_path):
    """It counts as missing; Django's own cache runs it."""
    cache = connect(server.url, prefix="signed")
    hostile = pickle.dumps(Hostile(tmp_path / "made"))
    for forged in (hostile, b"x:y:" + hostile, hostile.rjust(200, b":")):
        write(server, "signed:1:a", forged)
        assert cache.get("a", "missing") == "missing"
        assert caplog.messages.pop().startswith("a cached value has a wrong signature")
        write(server, "signed:1:a", forged)
        cache.set("b", 1)
        assert cache.get_many(["a", "b"]) == {"b": 1}
        write(server, "signed:1:a", forged)
        assert cache.get_or_set("a", "made anew") == cache.get("a") == "made anew"
    assert not (tmp_path / "made").exists()
    write(server, "signed:1:a", hostile)
    if isinstance(server, Memcached):
        PyMemcacheCache(f"127.0.0.1:{server.port}", {"KEY_PREFIX": "signed"}).get("a")
    else:
        RedisCache(server.url, {"KEY_PREFIX": "signed"}).get("a")
    assert (tmp_path / "made").exists()


def test_a_value_is_valid_as_long_as_its_key_is(cache, settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the first key", []
    cache.set("a", [1])
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the second key", ["the first key"]
    assert cache.get("a") == [1]
    settings.SECRET_KEY_FALLBACKS = []
    assert cache.get("a") is None
