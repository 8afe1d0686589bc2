"""The servers of tests/servers.py and the networks of tests/networks.py do what tests rely on."""

import contextlib
import signal
import smtplib
import socket
import ssl
import subprocess
import urllib.parse
from email.message import EmailMessage

import amqp
import kombu
import kombu.exceptions
import psycopg
import pytest
import redis

from tests.networks import Proxy, Silent
from tests.processes import program
from tests.servers import (
    PASSWORD,
    USER,
    MailServer,
    MariaDB,
    Memcached,
    PgBouncer,
    PostgreSQL,
    RabbitMQ,
    Redis,
    is_running,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
FAILURES = (
    OSError,
    psycopg.Error,
    redis.RedisError,
    kombu.exceptions.KombuError,
    amqp.AMQPError,
    subprocess.TimeoutExpired,
)

# What a client of each kind does: puts something there, or reads it; `ca` is None for a client without TLS.


def ask_postgres(server, ca, put=False):
    tls = {"sslmode": "verify-full", "sslrootcert": str(ca)} if ca else {"sslmode": "disable"}
    with psycopg.connect(server.url, connect_timeout=3, **tls) as connection:
        if put:
            connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 'value' AS value")
        return connection.execute("SELECT value FROM kept").fetchone()[0]


def ask_mariadb(server, ca, put=False):
    url = urllib.parse.urlsplit(server.url)
    tls = [f"--ssl-ca={ca}", "--ssl-verify-server-cert"] if ca else ["--skip-ssl"]
    sql = "CREATE TABLE IF NOT EXISTS kept AS SELECT 'value' AS value;" if put else ""
    result = subprocess.run(
        [program("mariadb"), "--no-defaults", *tls, "--protocol=tcp", f"--host={url.hostname}", f"--port={url.port}",
         f"--user={url.username}", f"--password={urllib.parse.unquote(url.password)}", "--connect-timeout=3",
         "--skip-column-names", f"--execute={sql} SELECT value FROM kept", url.path[1:]],
        capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    if result.returncode:
        raise ConnectionError(result.stderr)
    return result.stdout.strip()


def ask_redis(server, ca, put=False):
    url = server.url if ca else server.url.replace("rediss://", "redis://")
    trust = {"ssl_ca_certs": str(ca)} if ca else {}
    with redis.Redis.from_url(url, socket_timeout=3, decode_responses=True, **trust) as client:
        if put:
            client.set("kept", "value")
        return client.get("kept")


def ask_memcached(server, ca, put=False):
    with socket.create_connection(("127.0.0.1", server.port), timeout=3) as client:
        if put:
            client.sendall(b"set kept 0 0 5\r\nvalue\r\n")
            assert client.recv(100) == b"STORED\r\n"
        client.sendall(b"get kept\r\n")
        return client.recv(100).split(b"\r\n")[1].decode()


def ask_rabbitmq(server, ca, put=False):
    url = server.url if ca else server.url.replace("amqps://", "amqp://")
    tls = {"ca_certs": str(ca), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost"} if ca else False
    options = {"read_timeout": 3, "write_timeout": 3, "max_retries": 0}
    with (
        kombu.Connection(url, ssl=tls, connect_timeout=3, transport_options=options) as connection,
        contextlib.closing(connection.SimpleQueue("kept", queue_opts={"durable": True})) as queue,
    ):
        if put:
            queue.put("value", delivery_mode="persistent")
        message = queue.get(timeout=3)
        message.requeue()
        return message.payload


ASK = {
    "postgres": ask_postgres,
    "pgbouncer": ask_postgres,
    "mariadb": ask_mariadb,
    "redis": ask_redis,
    "memcached": ask_memcached,
    "rabbitmq": ask_rabbitmq,
}
PLAIN = list(ASK)
TLS = [kind for kind in ASK if kind != "memcached"]
EACH = [(kind, False) for kind in PLAIN] + [(kind, True) for kind in TLS]


@contextlib.contextmanager
def started(kind, certificates):
    if kind == "pgbouncer":
        with PostgreSQL(certificates=certificates) as postgres, PgBouncer(postgres, certificates) as server:
            yield server
        return
    arguments = {"redis": ("--appendonly", "yes", "--appendfsync", "always")}.get(kind, ())
    kinds = {"postgres": PostgreSQL, "mariadb": MariaDB, "redis": Redis, "memcached": Memcached, "rabbitmq": RabbitMQ}
    with kinds[kind](*arguments, **({"certificates": certificates} if certificates else {})) as server:
        yield server


@pytest.fixture(scope="module", params=EACH, ids=lambda each: each[0] + ("-tls" if each[1] else ""))
def server(request, certificates):
    kind, tls = request.param
    with started(kind, certificates if tls else None) as server:
        server.kind, server.ca = kind, certificates.ca if tls else None
        yield server


def test_it_answers_a_client_at_its_url(server):
    assert ASK[server.kind](server, server.ca, put=True) == "value"


def test_with_certificates_it_refuses_a_plain_client(server):
    if server.ca:
        with pytest.raises(FAILURES):
            ASK[server.kind](server, None)


@pytest.mark.parametrize("number", [None, signal.SIGKILL])
def test_after_a_stop_it_starts_again_on_its_port_with_its_data(server, number):
    ask = ASK[server.kind]
    ask(server, server.ca, put=True)
    pids, url = server.pids(), server.url
    server.stop(number)
    with pytest.raises(FAILURES):
        ask(server, server.ca)
    assert not any(map(is_running, pids))
    server.start()
    assert server.url == url
    assert ask(server, server.ca, put=server.kind == "memcached") == "value"


def test_frozen_it_takes_connections_and_does_not_answer_until_thawed(server):
    ask = ASK[server.kind]
    ask(server, server.ca, put=True)
    server.freeze()
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=3).close()
        with pytest.raises(FAILURES):
            ask(server, server.ca)
    finally:
        server.thaw()
    assert ask(server, server.ca) == "value"


@pytest.mark.parametrize("kind", PLAIN)
def test_nothing_is_left_of_it(kind):
    with started(kind, None) as server:
        pids = [*server.pids(), *([server.epmd.child.pid] if kind == "rabbitmq" else [])]
        assert is_running(pids[0])  # others come and go: a connection has a process of its own
    assert not any(map(is_running, pids))
    assert not server.folder.exists()


def test_a_frozen_postgres_freezes_its_connections_too():
    with PostgreSQL() as server, contextlib.closing(psycopg.connect(server.url, autocommit=True)) as connection:
        server.freeze()
        connection.pgconn.send_query(b"SELECT 1")
        connection.pgconn.flush()
        with socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as answer:
            answer.settimeout(1)
            with pytest.raises(TimeoutError):
                answer.recv(1, socket.MSG_PEEK)
            server.thaw()
            answer.settimeout(10)
            assert answer.recv(1, socket.MSG_PEEK)
            answer.settimeout(None)


def test_pgbouncer_gives_a_connection_back_after_each_transaction():
    with PostgreSQL("-c", "max_connections=8") as postgres, PgBouncer(postgres) as bouncer, contextlib.ExitStack() as s:
        clients = [s.enter_context(psycopg.connect(bouncer.url, autocommit=True)) for _ in range(20)]
        assert len({client.execute("SELECT pg_backend_pid()").fetchone() for client in clients}) == 1


def test_redis_takes_arguments():
    with (
        Redis("--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as server,
        redis.Redis.from_url(server.url) as client,
        pytest.raises(redis.exceptions.OutOfMemoryError),
    ):
        client.set("large", b"x" * 3_000_000)
        client.set("one more", b"")


def send(server, ca, password=PASSWORD, recipients=("a@example.com",), port=None):
    context = ssl.create_default_context(cafile=ca)
    tls = {"context": context} if server.scheme == "smtp+ssl" else {}
    client = (smtplib.SMTP_SSL if tls else smtplib.SMTP)(server.host, port or server.port, timeout=3, **tls)
    with client:
        if server.scheme == "smtp+tls" and ca:
            client.starttls(context=context)
        client.login(USER, password)
        message = EmailMessage()
        message["Subject"] = "Größe"
        message.set_content("text")
        return client.send_message(message, "from@example.com", recipients)


@pytest.fixture(params=["smtp", "smtp+tls", "smtp+ssl"])
def mail_server(request, certificates):
    with MailServer(request.param, certificates if request.param != "smtp" else None) as server:
        server.ca = server.certificates and certificates.ca
        yield server


def test_the_mail_server_keeps_what_it_takes(mail_server):
    assert mail_server.url.startswith(f"{mail_server.scheme}://tester:pass%2Fword%40tests@{mail_server.host}:")
    send(mail_server, mail_server.ca)
    mail_server.stop()
    with pytest.raises(OSError):
        send(mail_server, mail_server.ca)
    mail_server.start()
    send(mail_server, mail_server.ca, recipients=("b@example.com", "c@example.com"))
    first, second = mail_server.mails
    assert (first.sender, first.message["Subject"]) == ("from@example.com", "Größe")
    assert second.recipients == ["b@example.com", "c@example.com"]


def test_the_mail_server_refuses_a_wrong_password(mail_server):
    with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
        send(mail_server, mail_server.ca, password="wrong")
    assert refusal.value.smtp_code == 535
    assert mail_server.mails == []


def test_the_mail_server_takes_nothing_without_a_login():
    with MailServer() as server, smtplib.SMTP(server.host, server.port, timeout=3) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as refusal:
            client.sendmail("from@example.com", "a@example.com", "text")
        assert refusal.value.smtp_code == 530


def test_a_stopped_mail_server_closes_its_connections():
    with MailServer() as server, socket.create_connection(("127.0.0.1", server.port), timeout=3) as client:
        assert client.recv(100).startswith(b"220")
        server.stop()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
        server.start()


def test_the_mail_server_with_starttls_refuses_a_plain_client(certificates):
    with MailServer("smtp+tls", certificates) as server, pytest.raises(smtplib.SMTPException):
        send(server, None)


def test_the_mail_server_refuses_a_recipient_so_many_times():
    with MailServer() as server:
        server.refuse("no@example.com", "550 no such user")
        server.refuse("later@example.com", "451 try later", times=1)
        recipients = ("a@example.com", "no@example.com", "later@example.com")
        assert send(server, None, recipients=recipients) == {
            "no@example.com": (550, b"no such user"),
            "later@example.com": (451, b"try later"),
        }
        assert set(send(server, None, recipients=recipients)) == {"no@example.com"}


def test_a_frozen_mail_server_answers_once_thawed(mail_server):
    mail_server.freeze()
    with pytest.raises(OSError):
        send(mail_server, mail_server.ca)
    mail_server.thaw()
    send(mail_server, mail_server.ca)


def test_silent_takes_connections_and_says_nothing():
    with Silent() as silent, socket.create_connection(("127.0.0.1", silent.port), timeout=0.5) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(1)


@pytest.fixture
def proxied(certificates):
    with (
        Redis() as server,
        Proxy(server) as proxy,
        redis.Redis.from_url(proxy.url, socket_timeout=1, retry=None) as client,
    ):
        proxy.client = client
        assert client.ping()
        yield proxy


def test_a_proxy_delays_each_chunk(proxied):
    proxied.delay(0.7)
    with pytest.raises(redis.TimeoutError):
        proxied.client.ping()
    proxied.delay(0.1)
    assert proxied.client.ping()


def test_a_proxy_swallows_silently_and_passes_again(proxied):
    proxied.swallow()
    with pytest.raises(redis.TimeoutError):
        proxied.client.ping()
    proxied.pass_on()
    assert proxied.client.ping()


def test_a_proxy_answers_nonsense(proxied):
    proxied.garbage()
    with pytest.raises(redis.RedisError):
        proxied.client.ping()


def test_a_proxy_cuts_the_connections_and_takes_new_ones(proxied):
    with socket.create_connection(("127.0.0.1", proxied.port), timeout=3) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(100)
        proxied.cut()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert redis.Redis.from_url(proxied.url).ping()


def test_a_proxy_refuses_new_connections_and_keeps_the_old(proxied):
    proxied.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxied.port), timeout=3)
    assert proxied.client.ping()
    proxied.pass_on()
    socket.create_connection(("127.0.0.1", proxied.port), timeout=3).close()


def test_a_proxy_passes_tls_to_a_server(certificates):
    with MailServer("smtp+ssl", certificates) as server, Proxy(server) as proxy:
        assert proxy.url == server.url_at(proxy.port)
        send(server, certificates.ca, port=proxy.port)
        assert len(server.mails) == 1
