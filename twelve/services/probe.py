"""Probes the attached backing services at the same time, within a time limit.

The room of a service has its `probe()`. Each runs in a thread of its own, one at a time for each service, so that a
silent server delays the caller no longer than the limit and holds one thread.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from twelve.conf import settings
from twelve.services import cache, database, mail, queue, storage, tls

# The variable of each service, and its probe. To add a service, write its room and a line here.
SERVICES: dict[str, tuple[str, Callable[["Answer"], None]]] = {
    "database": ("DATABASE_URL", database.probe),
    "direct": ("DIRECT_DATABASE_URL", partial(database.probe, alias="direct")),  # past the pooler
    "cache": ("CACHE_URL", cache.probe),
    "queue": ("CELERY_BROKER_URL", queue.probe),
    "mail": ("EMAIL_URL", mail.probe),
    "media": ("MEDIA_STORAGE_URL", storage.probe),
}


@dataclass
class Answer:
    """The result of a probe, which sets kind, address and policy before it connects, and the rest by `record`."""

    service: str
    kind: str = ""  # postgresql, redis, …
    address: str = ""  # without credentials and query
    state: str = "unreachable"  # or up, or silent
    reason: str = "The probe failed."  # why it is not up
    server: str = ""  # name and version
    milliseconds: float | None = None  # one round trip on an open connection
    tls: str = ""  # verified, not verified, none, or local
    policy: str = "database"  # the name of the TLS policy

    def locate(self, url: str) -> None:
        """Take kind and address from a URL."""
        scheme, _, rest = url.partition("://")
        self.kind = scheme.lower()
        self.address = rest.partition("?")[0].rpartition("@")[2]

    def record(self, server: str, round_trip: Callable[[], object], tls: bool | None) -> None:
        """Measure a round trip; the service is up. `tls` is None where nothing leaves this machine."""
        begun = time.perf_counter()
        round_trip()
        self.milliseconds = round((time.perf_counter() - begun) * 1000, 1)
        verified = "verified" if getattr(settings.TLS, self.policy).verify else "not verified"
        self.tls = "local" if tls is None else verified if tls else "none"
        self.server, self.state, self.reason = server, "up", ""


class Probe(threading.Thread):
    def __init__(self, service: str) -> None:
        super().__init__(name=f"probe {service}", daemon=True)
        self.answer = Answer(service)

    def run(self) -> None:
        try:
            ask = SERVICES[self.answer.service][1]
            ask(self.answer)
        except Exception as error:
            self.answer.state, self.answer.reason = "unreachable", reason(error, self.answer.policy)


_probes: dict[str, Probe] = {}
_lock = threading.Lock()


def start(service: str) -> Probe:
    """Return the running probe of that service, or a new one."""
    with _lock:
        if service not in _probes or not _probes[service].is_alive():
            _probes[service] = Probe(service)
            with suppress(RuntimeError):  # no more threads: the answer stays as it is, and the next call tries again
                _probes[service].start()
        return _probes[service]


def attached() -> list[str]:
    """Return the services of this deploy: one may have no pooler, no broker (with DEBUG) or no mail server."""
    absent = {"direct": "direct" not in settings.DATABASES, "queue": not settings.CELERY.get("broker_url")}
    absent["mail"] = "delivery" not in settings.MAILERS
    return [name for name in SERVICES if not absent.get(name)]


def probe(seconds: float, services: list[str] | None = None) -> list[Answer]:
    """Probe the services, all that are attached by default, at the same time; return after so many seconds at most."""
    until = time.monotonic() + seconds
    answers = []
    for running in [start(service) for service in (attached() if services is None else services)]:
        with suppress(RuntimeError):  # it could not be started
            running.join(max(until - time.monotonic(), 0))
        answer = running.answer
        if running.is_alive():
            answer = replace(answer, state="silent", reason=f"no answer in {seconds} s")
        answers.append(answer)
    return answers


def reason(error: BaseException, policy: str) -> str:
    """Return an error in one line, with what to do where a certificate or a pooler is the cause."""
    line = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    if "certificate" in line.lower():
        line += f" ({tls.HINT.format(policy)})"
    if "unsupported startup parameter" in line:
        line += " (this is a pooler: set DIRECT_DATABASE_URL to the database behind it, for its limits and migrations)"
    return line
