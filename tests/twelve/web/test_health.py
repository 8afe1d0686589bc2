"""The probes: they answer to anyone, at once, and only an unreachable database takes the site out of service."""

import threading

import pytest

from twelve.services import probe as probes
from twelve.web import health

READY = "/health/ready/"


@pytest.fixture
def states(client, monkeypatch):
    monkeypatch.setattr(health, "_logged", {})

    def ask(**headers):
        answer = client.get(READY, **headers)
        return answer.status_code, answer.json()["status"], answer.json()["services"]

    return ask


def breaks(name, monkeypatch, error):
    def probe(answer):
        raise error

    monkeypatch.setitem(probes.SERVICES, name, ("", probe))


def test_live_touches_nothing_and_names_the_release(client, settings):
    settings.RELEASE, settings.COMMIT = "v42", "c0ffee"
    # Without the `db` fixture a look at the database fails the test.
    answer = client.get("/health/live/")
    assert (answer.status_code, answer.json()) == (200, {"status": "live", "release": "v42", "commit": "c0ffee"})


@pytest.mark.parametrize("path", ["/health/live/", READY])
def test_probes_answer_before_the_host_check_and_the_redirect(client, settings, path, db):
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(path, headers={"host": "10.0.0.7:8000"}).status_code == 200
    assert client.get("/", headers={"host": "10.0.0.7:8000"}).status_code == 400


@pytest.mark.django_db(transaction=True)
def test_everything_up_is_ready(states):
    assert states() == (200, "ready", {"database": "up", "cache": "up", "queue": "up"})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["cache", "queue"])
def test_without_cache_or_queue_the_site_is_degraded_and_stays_in_service(states, monkeypatch, name, caplog):
    breaks(name, monkeypatch, ConnectionRefusedError("refused"))
    code, status, services = states()
    assert (code, status, services[name]) == (200, "degraded", "unreachable")
    assert f"the {name} is unreachable: ConnectionRefusedError: refused" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_without_its_database_the_site_is_out_of_service(states, monkeypatch):
    breaks("database", monkeypatch, ConnectionRefusedError("refused"))
    code, status, services = states()
    assert (code, status, services["database"]) == (503, "down", "unreachable")


@pytest.mark.django_db(transaction=True)
def test_a_silent_service_is_reported_in_bounded_time_and_holds_one_thread(states, monkeypatch):
    release = threading.Event()
    calls = []

    def silent(answer):
        calls.append(1)
        release.wait(30)

    monkeypatch.setitem(probes.SERVICES, "queue", ("", silent))
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.5)
    try:
        for _ in range(3):
            code, status, services = states()
            assert (code, status, services["queue"]) == (200, "degraded", "silent")
    finally:
        release.set()
    assert len(calls) == 1


@pytest.mark.django_db(transaction=True)
def test_without_a_queue_there_is_nothing_to_probe(states, settings):
    settings.CELERY = settings.CELERY | {"broker_url": None}
    assert set(states()[2]) == {"database", "cache"}


@pytest.mark.django_db(transaction=True)
def test_what_is_unreachable_is_logged_once_a_minute_however_often_one_asks(states, monkeypatch, caplog):
    breaks("queue", monkeypatch, ConnectionRefusedError("refused"))
    for _ in range(5):
        states()
    assert caplog.text.count("the queue is unreachable") == 1
    health._logged["queue"] -= health.LOG_INTERVAL
    states()
    assert caplog.text.count("the queue is unreachable") == 2


@pytest.mark.django_db(transaction=True)
def test_a_probe_that_could_not_be_started_is_started_by_the_next_one(states, monkeypatch):
    start = threading.Thread.start

    def no_thread(self):
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert "unreachable" in [answer.state for answer in probes.probe(2)]
    assert states()[1] == "ready"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.django_db(transaction=True)
def test_a_probe_that_breaks_is_reported_and_not_waited_for(states, monkeypatch):
    breaks("database", monkeypatch, SystemExit("no error of a server"))
    code, status, services = states()
    assert (code, status, services["database"]) == (503, "down", "unreachable")
