"""Backing services for the tests: real servers on free ports of 127.0.0.1, and the ways in which they fail.

Each is a context manager, and has `port`, `url`, `stop()`, `start()` on the same port, `freeze()` and `thaw()`.
"""

import contextlib
import email.policy
import itertools
import logging
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import uuid
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import amqp
import psycopg
import redis
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.twelve.processes import Process, free_port, missing, program, wait_until

USER = "tester"
PASSWORD = "pass/word@tests"  # a URL has to quote it
logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's, with each step of each session


class Certificates:
    """A new authority and a certificate of localhost, as PEM files; `ca` is the one that a client trusts."""

    def __init__(self, folder):
        self.ca, self.certificate, self.key = (Path(folder) / name for name in ("ca.pem", "server.pem", "key.pem"))
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1", "::1")
        authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.certificate)
        issued.private_key_pem.write_to_path(self.key)

    def server_context(self):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Backing:
    """What a server has in common with a mail server: its address, and that it ends with its context."""

    scheme, path, login = "", "", f"{USER}:{quote(PASSWORD, safe='')}@"

    def __init__(self, certificates=None):
        self.certificates = certificates
        self.host = "localhost" if certificates else "127.0.0.1"
        self.port = free_port()

    def url_at(self, port):
        """The URL by which the project is given this server behind another port, such as a proxy's."""
        return f"{self.scheme}://{self.login}{self.host}:{port}{self.path}"

    @property
    def url(self):
        return self.url_at(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class Server(Backing):
    """A program with its data in a temporary folder; with certificates it refuses a plain client."""

    programs: tuple[str, ...] = ()
    stop_signal = signal.SIGTERM

    def __init__(self, *arguments, certificates=None):
        self.program = program(*self.programs)
        super().__init__(certificates)
        self.arguments = arguments
        # Not pytest's tmp_path, which other users cannot enter; and a socket's path may have 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        self.process = None
        try:
            if certificates:
                for file in (certificates.ca, certificates.certificate, certificates.key):
                    shutil.copy(file, self.folder)
                (self.folder / "key.pem").chmod(0o600)
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise

    def prepare(self):
        """Write what the first start needs."""

    def command(self):
        raise NotImplementedError

    def ask(self):
        """Ask as a client does; raises as long as the server does not answer."""
        raise NotImplementedError

    def unprivileged(self, command):
        """The command as it is run by a user of no rights: most of the servers refuse to be root."""
        if os.getuid() != 0:
            return command
        nobody = pwd.getpwnam("nobody")
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *command]

    def run(self, *command):
        """Run a program of the server's to its end."""
        options = {"cwd": self.folder, "env": self.environment, "timeout": 60, "text": True}
        result = subprocess.run(self.unprivileged(command), capture_output=True, **options)
        assert result.returncode == 0, result.stdout + result.stderr

    def launch(self, name, *command):
        log = self.folder / f"{name}.log"
        return Process(self.unprivileged(command), environment=self.environment, output=log, cwd=self.folder)

    def start(self):
        self.process = self.launch("server", *self.command(), *self.arguments)
        wait_until(self.answers, 200, lambda: f"{self.program} answers\n{self.process.text}")

    def answers(self):
        if self.process.child.poll() is not None:
            raise AssertionError(f"{self.program} ended with {self.process.child.returncode}:\n{self.process.text}")
        try:
            self.ask()
        except Exception:
            return False
        return True

    def pids(self):
        """The server's process and all below it, also those that left its group, as PostgreSQL's do."""
        found = [self.process.child.pid] if self.process.child.poll() is None else []
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def signal(self, number):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number=None):
        """End the server, cleanly; with SIGKILL at once, as in a crash."""
        pids = self.pids()
        self.signal(signal.SIGKILL if number == signal.SIGKILL else signal.SIGCONT)
        self.process.stop(number or self.stop_signal)
        wait_until(lambda: not any(map(is_running, pids)), 60, f"all of {self.program} ended")

    def freeze(self):
        """From now on nothing answers, and nothing is closed."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: all(map(is_stopped, self.pids())), 60, f"{self.program} stops")  # each thread, in its time

    def thaw(self):
        self.signal(signal.SIGCONT)

    def close(self):
        if self.process:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder)


class PostgreSQL(Server):
    programs = ("initdb", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)))
    scheme, path = "postgres", "/postgres"
    stop_signal = signal.SIGINT  # SIGTERM would wait for the clients

    def prepare(self):
        (self.folder / "password").write_text(PASSWORD)
        kind = "hostssl" if self.certificates else "host"
        (self.folder / "pg_hba.conf").write_text(f"{kind} all all 127.0.0.1/32 scram-sha-256\n")
        self.run(
            self.program, "-D", "data", "-U", USER, "--pwfile=password", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip

    def command(self):
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "hba_file": self.folder / "pg_hba.conf",
            "fsync": "off",
        }
        if self.certificates:
            settings |= {"ssl": "on", "ssl_min_protocol_version": "TLSv1.2"}
            settings |= {"ssl_cert_file": self.folder / "server.pem", "ssl_key_file": self.folder / "key.pem"}
        postgres = Path(self.program).resolve().with_name("postgres")
        return [str(postgres), "-D", "data", *(f"--{name}={value}" for name, value in settings.items())]

    def ask(self):
        psycopg.connect(self.url, connect_timeout=2).close()

    def new_database(self):
        """Create an empty database; returns its URL."""
        name = f"new_{uuid.uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{self.url.removesuffix(self.path)}/{name}"

    def close(self):
        if self.process:
            self.stop()  # a kill would leave its shared memory behind
        super().close()


class PgBouncer(Server):
    """Transactions of many clients on few connections to the given PostgreSQL."""

    programs = ("pgbouncer", "/usr/sbin/pgbouncer")
    scheme, path = "postgres", "/postgres"
    stop_signal = signal.SIGQUIT  # SIGTERM waits for the clients, from 1.23 on

    def __init__(self, postgres, certificates=None):
        self.postgres = postgres
        super().__init__(certificates=certificates)

    def prepare(self):
        (self.folder / "users.txt").write_text(f'"{USER}" "{PASSWORD}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": self.folder,
            "auth_type": "scram-sha-256",
            "auth_file": self.folder / "users.txt",
            "pool_mode": "transaction",
        }
        if self.postgres.certificates:
            shutil.copy(self.postgres.certificates.ca, self.folder / "postgres-ca.pem")
            settings |= {"server_tls_sslmode": "verify-full", "server_tls_ca_file": self.folder / "postgres-ca.pem"}
        if self.certificates:
            settings |= {"client_tls_sslmode": "require", "client_tls_key_file": self.folder / "key.pem"}
            settings |= {"client_tls_cert_file": self.folder / "server.pem"}
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        databases = f"* = host=127.0.0.1 port={self.postgres.port}"
        (self.folder / "pgbouncer.ini").write_text(f"[databases]\n{databases}\n[pgbouncer]\n{lines}\n")

    def command(self):
        return [self.program, "pgbouncer.ini"]

    ask = PostgreSQL.ask


class MariaDB(Server):
    programs = ("mariadbd", "/usr/sbin/mariadbd")
    scheme, path = "mysql", "/site"

    def prepare(self):
        if find_spec("MySQLdb") is None:
            missing("mysqlclient is not installed: requirements/mysql.txt")
        (self.folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS site CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'%';\n"
        )
        self.run(
            program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        )  # fmt: skip

    def command(self):
        command = [
            self.program, "--no-defaults", f"--datadir={self.folder}/data", f"--socket={self.folder}/socket",
            "--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0", "--max-connect-errors=1000000", f"--init-file={self.folder}/init.sql",
        ]  # fmt: skip
        if self.certificates:
            command += [f"--ssl-cert={self.folder}/server.pem", f"--ssl-key={self.folder}/key.pem"]
            command += ["--require-secure-transport=on"]
        return command

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
            assert client.recv(5)[4] == 10  # the version of the protocol, with which the server begins


class Redis(Server):
    """Keeps nothing over a stop, unless given "--appendonly", "yes"."""

    programs = ("redis-server",)
    path, login = "/0", f":{quote(PASSWORD, safe='')}@"

    @property
    def scheme(self):
        return "rediss" if self.certificates else "redis"

    def command(self):
        port = ["--port", str(self.port)]
        if self.certificates:
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            port += ["--tls-cert-file", "server.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "ca.pem"]
        return [self.program, *port, "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]

    def ask(self):
        trust = {"ssl_ca_certs": str(self.certificates.ca)} if self.certificates else {}
        with redis.Redis.from_url(self.url, socket_timeout=2, **trust) as client:
            client.ping()


class Memcached(Server):
    """Without TLS and password."""

    programs = ("memcached",)
    scheme, login = "memcached", ""

    def command(self):
        return [self.program, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
            client.sendall(b"version\r\n")
            assert client.recv(8).startswith(b"VERSION")


class RabbitMQ(Server):
    # Debian's program on the PATH is a wrapper that changes to the user of the machine's own node.
    programs = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
    path = "/"
    epmd = None

    @property
    def scheme(self):
        return "amqps" if self.certificates else "amqp"

    def prepare(self):
        lines = [f"default_user = {USER}", f"default_pass = {PASSWORD}", "log.console = true", "log.file = false"]
        lines += ["disk_free_limit.absolute = 1MB"]
        if self.certificates:
            lines += ["listeners.tcp = none", f"listeners.ssl.tests = 127.0.0.1:{self.port}"]
            files = {"cacertfile": "ca.pem", "certfile": "server.pem", "keyfile": "key.pem"}
            lines += [f"ssl_options.{name} = {self.folder / file}" for name, file in files.items()]
        else:
            lines += [f"listeners.tcp.tests = 127.0.0.1:{self.port}"]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "plugins").write_text("[].\n")
        epmd_port = str(free_port())
        self.environment |= {
            "RABBITMQ_NODENAME": f"tests-{self.port}@localhost",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.folder / "none"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +A 4 -kernel inet_dist_use_interface {127,0,0,1}",
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell around the node, which would not pass on every signal
            "ERL_EPMD_PORT": epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        # A node that finds no epmd starts one that outlives it.
        self.epmd = self.launch("epmd", program("epmd"), "-port", epmd_port)
        wait_until(lambda: connects(int(epmd_port)), 10, "epmd listens")

    def command(self):
        return [self.program]

    def ask(self):
        tls = {"ca_certs": str(self.certificates.ca), "server_hostname": "localhost"} if self.certificates else False
        with amqp.Connection(f"{self.host}:{self.port}", USER, PASSWORD, ssl=tls, connect_timeout=2, read_timeout=5):
            pass

    def close(self):
        super().close()
        if self.epmd:
            self.epmd.kill()


def is_running(pid):
    """Whether there is such a process, other than one that has ended and was not waited for."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def is_stopped(pid):
    """Whether every thread of that process is stopped by a signal."""
    states = [status.read_text().rpartition(")")[2].split()[0] for status in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) <= {"T", "Z"}


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


class MailServer(Backing):
    """Wants a login; plain (smtp), with STARTTLS (smtp+tls) or with implicit TLS (smtp+ssl).

    `mails` are what it took: each has a sender, recipients, and a parsed message.
    """

    def __init__(self, scheme="smtp", certificates=None):
        super().__init__(certificates)
        self.scheme = scheme
        self.mails, self.refusals, self.thawed = [], {}, threading.Event()
        self.start()

    def refuse(self, recipient, answer, times=sys.maxsize):
        """Answer this recipient with such as "550 no such user", so many times."""
        self.refusals[recipient] = itertools.repeat(answer, times)

    def start(self):
        context = self.certificates and self.certificates.server_context()
        tls = {
            "smtp": {"auth_require_tls": False},
            "smtp+tls": {"tls_context": context, "require_starttls": True},
            "smtp+ssl": {"ssl_context": context, "auth_require_tls": False},
        }[self.scheme]
        self.controller = Controller(self, "127.0.0.1", self.port, authenticator=self.authenticate, **tls)
        self.controller.start()

    def authenticate(self, server, session, envelope, mechanism, login):
        right = (login.login, login.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if refusal := next(self.refusals.get(address, iter(())), None):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(SimpleNamespace(sender=envelope.mail_from, recipients=envelope.rcpt_tos, message=message))
        return "250 OK"

    def freeze(self):
        """The system still takes connections, as it does for a stopped process; nothing is answered."""
        self.thawed.clear()
        self.controller.loop.call_soon_threadsafe(self.thawed.wait)

    def thaw(self):
        self.thawed.set()

    def stop(self):
        self.thaw()
        self.controller.stop(no_assert=True)

    close = stop
