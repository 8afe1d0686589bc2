"""`probe_services` and `clear_cache`, as an operator runs them, on real servers."""

import gc
import json
import re
import signal
import subprocess
import threading

import pytest
import redis as redis_client
from django.core.management import CommandError, call_command

from tests.twelve.networks import Silent
from tests.twelve.processes import BIN, GOOD, PATH, ROOT, free_port, run, wait_until
from tests.twelve.servers import MailServer, Memcached, Redis
from twelve.services import probe as probes
from twelve.services.cache import parse_url

pytestmark = pytest.mark.prove

PROBE = ("python", "manage.py", "probe_services")
CLEAR = ("python", "manage.py", "clear_cache")
SECRET = "hunter2-hunter2"


@pytest.fixture
def good(tmp_path):
    """A config whose services are all local."""
    return GOOD | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "CELERY_BROKER_URL": f"filesystem://{tmp_path}/broker",
        "EMAIL_URL": "consolemail://",
        "CACHE_URL": "locmemcache://",
    }


def answers(*arguments, **variables):
    """The exit status, and the answers by service."""
    result = run((*PROBE, "--json", *arguments), **variables)
    return result.returncode, {answer["service"]: answer for answer in json.loads(result.stdout)}


def test_one_row_for_each_service_with_the_variable_it_came_from(good, redis):
    without = {name: value for name, value in good.items() if name not in ("CACHE_URL", "CELERY_BROKER_URL")}
    result = run(PROBE, **without, REDIS_URL=redis.url)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["SERVICE", "database", "cache", "queue", "mail", "media"]
    for row in rows[2:4]:
        assert row[1:6] == ["redis", f"127.0.0.1:{redis.port}/0", "REDIS_URL", "Redis", row[5]]
        assert row[6:] == [row[6], "ms", "none"]
    assert rows[1][1] == "sqlite"
    assert rows[1][-1] == "local"


@pytest.mark.parametrize("fault", ["refused", "silent"])
def test_what_does_not_answer_is_reported_within_3_s_without_a_password(good, fault):
    with Silent() as silent:
        port = silent.port if fault == "silent" else free_port()
        host = f"user:{SECRET}@127.0.0.1:{port}"
        variables = {
            "DATABASE_URL": f"postgres://{host}/site",
            "CACHE_URL": f"redis://{host}/0",
            "CELERY_BROKER_URL": f"amqp://{host}/",
            "EMAIL_URL": f"smtp://{host}",
            "MEDIA_STORAGE_URL": f"s3://bucket/prefix?endpoint_url=http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "user",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        status, found = answers(**good | variables)
        table = run(PROBE, **good | variables)
    assert status == table.returncode == 1
    assert {answer["state"] for answer in found.values()} <= {"unreachable", "silent"}
    assert {name: answer["address"] for name, answer in found.items()} == {
        "database": f"127.0.0.1:{port}/site",
        "cache": f"127.0.0.1:{port}/0",
        "queue": f"127.0.0.1:{port}/",
        "mail": f"127.0.0.1:{port}",
        "media": f"127.0.0.1:{port}/bucket/prefix",
    }
    words = "refused|could not connect" if fault == "refused" else "no answer in 3 s|timeout|timed out"
    for answer in found.values():
        assert any(word in answer["reason"].lower() for word in words.split("|")), answer
    assert table.stdout.count("unreachable: ") == 5
    assert SECRET not in table.stdout + table.stderr + json.dumps(found)


def test_the_way_past_the_pooler_has_a_row_of_its_own(good, tmp_path):
    answers(**good)  # two first connections at once may find the new file locked
    status, found = answers(**good | {"DIRECT_DATABASE_URL": good["DATABASE_URL"]})
    assert (status, found["direct"]["state"]) == (0, "up")
    assert found["direct"]["variable"] == "DIRECT_DATABASE_URL"
    path = tmp_path / "folder"
    path.mkdir()
    status, found = answers(**good | {"DIRECT_DATABASE_URL": f"sqlite:///{path}"})  # no file, so it cannot be opened
    assert (status, found["database"]["state"], found["direct"]["state"]) == (1, "up", "unreachable")


@pytest.mark.parametrize("scheme", ["smtp+tls", "smtp+ssl"])
def test_the_mail_servers_certificate_must_have_its_name(good, certificates, scheme):
    with MailServer(scheme, certificates) as server:
        trusting = good | {"TLS_CA_FILE": str(certificates.ca)}
        assert answers(**trusting | {"EMAIL_URL": server.url})[1]["mail"]["tls"] == "verified"
        other = server.url.replace("localhost", "127.1")  # the same address, by a name that the certificate has not
        _, found = answers(**trusting | {"EMAIL_URL": other})
        assert "certificate" in found["mail"]["reason"]
        _, found = answers(**good | {"EMAIL_URL": server.url, "TLS_UNVERIFIED": "mail"})
        assert found["mail"]["tls"] == "not verified"


def test_it_waits_for_a_server_that_starts(good):
    server = Redis()
    with server:
        server.stop(signal.SIGKILL)
        environment = {"PATH": PATH, "READ_DOT_ENV": "false", **good, "CACHE_URL": server.url}
        probe = subprocess.Popen(
            [BIN / "python", *PROBE[1:], "--wait", "30"],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        printed = []
        threading.Thread(target=lambda: printed.extend(probe.stderr), daemon=True).start()
        waits = re.compile(r"Waiting for cache: \d+ of 30 s\.\n")
        wait_until(lambda: any(map(waits.fullmatch, list(printed))), 60, lambda: printed)
        server.start()
        assert probe.wait(30) == 0
        assert "Redis" in probe.stdout.read()


def test_it_does_not_wait_longer_than_it_is_asked_to(good):
    status, found = answers("--wait", "2", **good | {"CACHE_URL": f"redis://127.0.0.1:{free_port()}/0"})
    assert (status, found["cache"]["state"], found["database"]["state"]) == (1, "unreachable", "up")


# -- clear_cache ------------------------------------------------------------------------------------------------------


def test_redis_is_cleared_of_this_sites_keys(good, redis):
    with redis_client.Redis.from_url(redis.url) as client:
        client.mset({"site:1:a": 1, "other:1:a": 1})
        result = run(CLEAR, **good | {"CACHE_URL": redis.url})
        assert client.exists("other:1:a") == 1
        assert client.exists("site:1:a") == 0
    assert result.returncode == 0
    assert "site:" in result.stdout


def test_memcached_is_cleared_of_everything(good):
    with Memcached() as server:
        import pymemcache

        client = pymemcache.Client(("127.0.0.1", server.port))
        client.set("others", b"1")
        result = run(CLEAR, **good | {"CACHE_URL": server.url})
        assert client.get("others") is None
        client.close()
    assert result.returncode == 0


def test_an_unreachable_cache_is_not_said_to_be_empty(good):
    result = run(CLEAR, **good | {"CACHE_URL": f"redis://127.0.0.1:{free_port()}/0"})
    assert result.returncode == 1
    assert "nothing was deleted" in result.stderr


@pytest.mark.parametrize("server", [Redis, Memcached])
def test_a_cache_that_dies_meanwhile_is_not_said_to_be_empty(server, settings, monkeypatch, capsys):
    with server() as running:
        settings.CACHES = {"default": parse_url(running.url)}
        probe = probes.probe

        def probe_and_die(*arguments):
            answers = probe(*arguments)
            running.stop(signal.SIGKILL)
            return answers

        monkeypatch.setattr(probes, "probe", probe_and_die)
        with pytest.raises(CommandError, match="may not be empty"):
            call_command("clear_cache")
    assert "is empty" not in capsys.readouterr().out


def test_a_probe_leaves_no_connection_behind(redis, settings):
    settings.CACHES = {"default": parse_url(redis.url)}
    with redis_client.Redis.from_url(redis.url) as client:
        before = len(client.client_list())
        gc.disable()
        try:
            for _ in range(5):
                [answer] = probes.probe(3, ["cache"])
                assert answer.state == "up"
            wait_until(lambda: len(client.client_list()) == before, 60, "the connections end")
        finally:
            gc.enable()
