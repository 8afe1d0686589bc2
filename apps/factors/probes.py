"""One probe for each attached backing service: reads Django's settings, asks the server, never raises.

Each asks in a thread of its own, for at most the seconds it is given: a silent server holds one thread and delays
nobody longer than that.
"""

import contextlib
import re
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.files.storage import default_storage
from django.core.mail import mailers
from django.db import connections


@dataclass(frozen=True)
class Answer:
    """What a probe found. `state` is up, away or silent; `reason` says why it is not up."""

    service: str  # database, direct (the database past its pooler), cache, queue, mail or media
    kind: str  # postgresql, redis, …
    address: str  # without credentials and query
    state: str
    reason: str = ""
    server: str = ""  # name and version
    milliseconds: float | None = None  # one round trip on an open connection
    tls: str = ""  # verified, not verified, none, or local


# Each of these opens a connection and yields the server's name and version, one round trip to measure, and whether
# TLS is on (None: nothing leaves this machine). It closes what it opened.


@contextlib.contextmanager
def database(alias: str = "default") -> Any:
    connection = connections[alias].copy()
    connection.settings_dict["OPTIONS"].pop("pool", None)  # it may be busy, and does not tell why it cannot connect
    try:
        with connection.cursor() as cursor:
            local = connection.vendor == "sqlite"
            cursor.execute("SELECT 'SQLite ' || sqlite_version()" if local else "SELECT version()")
            server, tls = " ".join(cursor.fetchone()[0].split()[:2]), None if local else False
            if connection.vendor == "postgresql":
                tls = connection.connection.pgconn.ssl_in_use
            elif connection.vendor == "mysql":
                server = f"{'MariaDB' if 'MariaDB' in server else 'MySQL'} {server.partition('-')[0]}"
                cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
                tls = bool(cursor.fetchone()[1])
            yield server, lambda: cursor.execute("SELECT 1"), tls
    finally:
        connection.close()


@contextlib.contextmanager
def cache() -> Any:
    backend: Any = caches.create_connection("default")
    backend = getattr(backend, "server", backend)  # past what stands in for a server that is away
    redis = None
    try:
        if hasattr(client := getattr(backend, "_cache", object()), "get_client"):
            redis = client.get_client()
            info = redis.info("server")
            name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
            version = info.get("valkey_version") or info["redis_version"]
            yield f"{name} {version}", redis.ping, "rediss" in settings.CACHES["default"]["LOCATION"].lower()[:6]
        elif hasattr(client, "clients"):
            [*servers] = client.clients.values()
            versions = sorted({server.version().decode() for server in servers})
            yield f"Memcached {', '.join(versions)}", servers[0].version, False
        else:
            yield "", lambda: backend.get("probe"), None
    finally:
        if redis:
            redis.connection_pool.disconnect()  # which close() leaves to the garbage collector
        backend.close()
        connections.close_all()  # of a cache in the database


@contextlib.contextmanager
def queue() -> Any:
    from kombu import Connection

    options: Any = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    if folder := options.get("data_folder_in"):
        Path(folder).mkdir(parents=True, exist_ok=True)  # as the first message would
        with tempfile.TemporaryFile(dir=folder) as file:
            yield "", lambda: file.write(b"probe"), None
        return
    connect: Any = Connection
    with connect(
        settings.CELERY_BROKER_URL, ssl=settings.CELERY_BROKER_USE_SSL, transport_options=options, connect_timeout=1
    ) as connection:
        channel = connection.default_channel
        if hasattr(channel, "client"):
            redis = channel.client
            server, ask = f"Redis {redis.info('server')['redis_version']}", redis.ping
        else:
            properties = connection.connection.server_properties
            server, ask = f"{properties['product']} {properties['version']}", lambda: connection.channel().close()
        yield server, ask, bool(settings.CELERY_BROKER_USE_SSL)


@contextlib.contextmanager
def mail() -> Any:
    backend: Any = mailers["delivery"]
    if not hasattr(backend, "host"):
        yield "", lambda: None, None
        return
    backend.open()
    try:
        smtp = backend.connection
        greeting = (smtp.ehlo_resp or smtp.helo_resp or b"").decode(errors="replace").splitlines()
        yield greeting[0] if greeting else "", smtp.noop, isinstance(smtp.sock, ssl.SSLSocket)
    finally:
        backend.close()


@contextlib.contextmanager
def media() -> Any:
    ping = getattr(default_storage, "ping", None)
    if ping:
        server, tls = ping()
        yield server, ping, tls
        return
    folder = Path(default_storage.path(""))
    folder.mkdir(parents=True, exist_ok=True)  # as the first upload would
    with tempfile.TemporaryFile(dir=folder) as file:
        yield "", lambda: file.write(b"probe"), None


PROBES: dict[str, Callable[[], Any]] = {
    "database": database,
    "direct": partial(database, "direct"),
    "cache": cache,
    "queue": queue,
    "mail": mail,
    "media": media,
}


def attached() -> list[str]:
    """The services that this deployment has: all, but for a queue where jobs run in the web process."""
    absent = {"direct": "direct" not in settings.DATABASES, "queue": not settings.CELERY_BROKER_URL}
    return [name for name in PROBES if not absent.get(name)]


def described(service: str) -> tuple[str, str]:
    """Kind and address of a service by the settings."""
    if service in ("database", "direct"):
        alias = "direct" if service == "direct" else "default"
        database, vendor = settings.DATABASES[alias], connections[alias].vendor
        port = f":{database['PORT']}" if database["PORT"] else ""
        host = f"{database['HOST'] or 'localhost'}{port}/" if vendor != "sqlite" else ""
        return vendor, f"{host}{database['NAME']}"
    if service == "cache":
        cache: dict[str, Any] = settings.CACHES["default"]
        kind, separator, _ = (location := cache.get("LOCATION", "")).partition("://")
        return (kind.lower(), masked(location)) if separator else (cache["BACKEND"].rpartition(".")[2], location)
    if service == "queue":
        url: Any = settings.CELERY_BROKER_URL
        return url.partition("://")[0].lower(), masked(url)
    if service == "media":
        storage: dict[str, Any] = settings.STORAGES["default"]
        options = storage.get("OPTIONS", {})
        if bucket := options.get("bucket_name"):
            host = masked(options.get("endpoint_url", "")) or "storage.googleapis.com"
            return storage["BACKEND"].split(".")[-2], "/".join(filter(None, (host, bucket, options.get("location"))))
        return "directory", options.get("location", "")
    mailer: dict[str, Any] = settings.MAILERS["delivery"]
    options = mailer.get("OPTIONS", {})
    if "host" not in options:
        return mailer["BACKEND"].rpartition(".")[2], ""
    return "smtp", f"{options['host']}:{options['port']}"


def masked(url: str) -> str:
    """Host, port and path of a URL."""
    rest = url.partition("://")[2].partition("?")[0]
    return rest.rpartition("@")[2]


_running: dict[str, Future[Answer]] = {}
_lock = threading.Lock()


def probe(seconds: float, services: list[str] | None = None) -> list[Answer]:
    """Ask the services, all those attached by default, at the same time and at most so long."""
    services = attached() if services is None else services
    futures = {service: start(service) for service in services}
    wait(futures.values(), timeout=seconds)
    return [
        future.result()
        if future.done()
        else Answer(service, *described(service), "silent", f"no answer in {seconds} s")
        for service, future in futures.items()
    ]


def start(service: str) -> Future[Answer]:
    """The running probe of that service, or a new one: a silent service never holds more than one thread."""
    with _lock:
        future = _running.get(service)
        if future is None or future.done():
            future = _running[service] = Future()
            try:
                threading.Thread(target=run, args=(service, future), name=f"probe {service}", daemon=True).start()
            except RuntimeError as error:  # no more threads: the next probe tries again
                future.set_result(broken(service, error))
        return future


def run(service: str, future: Future[Answer]) -> None:
    try:
        future.set_result(ask(service))
    except BaseException as error:
        future.set_result(broken(service, error))


def broken(service: str, error: BaseException) -> Answer:
    """The answer of a probe that failed itself."""
    return Answer(service, "", "", "away", f"{type(error).__name__}: {error}")


def policy(service: str, kind: str) -> str:
    """The setting with the TLS policy of a service, an object with `verify` and `hint`: one for each protocol."""
    if service in ("cache", "queue"):
        return "AMQP_TLS" if kind.startswith("amqp") else "REDIS_TLS"
    return {"mail": "EMAIL_TLS", "media": "S3_TLS"}.get(service, "DATABASE_TLS")


def ask(service: str) -> Answer:
    kind, address = described(service)
    try:
        with PROBES[service]() as (server, round_trip, tls):
            begun = time.perf_counter()
            round_trip()
            milliseconds = round((time.perf_counter() - begun) * 1000, 1)
    except Exception as error:
        return Answer(service, kind, address, "away", reason(error, policy(service, kind)))
    state = "local" if tls is None else "none"
    if tls:
        state = "verified" if getattr(settings, policy(service, kind)).verify else "not verified"
    return Answer(service, kind, address, "up", "", server, milliseconds, state)


def reason(error: BaseException, policy: str) -> str:
    """An error in one line, with what to do where a certificate or a pooler is the cause."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if "certificate" in text.lower():
        told += f" ({getattr(settings, policy).hint})"
    if "unsupported startup parameter" in text:
        told += " (this is a pooler: set DIRECT_DATABASE_URL to the database behind it, for its limits and migrations)"
    return told
