"""Factor IV: the same site on other backing services of the same kinds, attached by variables alone."""

import json
import platform
import re
import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack
from urllib.parse import urljoin

import pytest

from tests.twelve.object_storage import S3, Faulty, GoogleEmulator
from tests.twelve.processes import GOOD, NO_PROXY, ROOT, Deploy, Person, run
from tests.twelve.servers import MailServer, MariaDB, Memcached, PgBouncer, PostgreSQL, RabbitMQ, Redis
from twelve.env import check_url
from twelve.services import database

pytestmark = pytest.mark.prove

# One row a combination: database, cache, queue, mail, media. A + stands for TLS with a verified certificate.
ROWS = [
    ("sqlite", "table", "folder", "smtp", "directory"),
    ("postgresql+", "redis+", "redis+", "smtp+tls", "s3+"),
    ("pgbouncer", "memcached", "rabbitmq", "smtp+ssl", "s3"),
    ("mariadb", "redis", "rabbitmq", "smtp", "gs"),
    ("mariadb+", "memcached", "rabbitmq+", "smtp+tls", "s3+"),
]
DOCS = (ROOT / "docs/backing-services.md").read_text()
DEBIAN = platform.freedesktop_os_release().get("VERSION_ID")
PASSWORD = "a long enough passphrase"


class Services:
    """The servers of one row, and the variables that attach them."""

    def __init__(self, stack, certificates):
        self.stack, self.certificates, self.emulated = stack, certificates, False
        self.variables = {"TLS_CA_FILE": str(certificates.ca)}

    def start(self, server, *arguments, tls=False):
        return self.stack.enter_context(server(*arguments, certificates=self.certificates if tls else None))

    def database(self, kind):
        tls = kind.endswith("+")
        if kind.startswith("postgresql"):
            self.variables["DATABASE_URL"] = self.start(PostgreSQL, tls=tls).url + ("?sslmode=require" if tls else "")
        elif kind == "pgbouncer":
            postgresql = self.start(PostgreSQL)
            self.variables |= {
                "DIRECT_DATABASE_URL": postgresql.url,
                "DATABASE_URL": self.start(PgBouncer, postgresql).url,
            }
        elif kind.startswith("mariadb"):
            self.variables["DATABASE_URL"] = self.start(MariaDB, tls=tls).url + ("?ssl-mode=REQUIRED" if tls else "")

    def cache(self, kind):
        if kind.startswith("redis"):
            self.variables["CACHE_URL"] = self.start(Redis, tls=kind.endswith("+")).url
        elif kind == "memcached":
            self.variables["CACHE_URL"] = self.stack.enter_context(Memcached()).url

    def queue(self, kind):
        if kind != "folder":
            server = RabbitMQ if kind.startswith("rabbitmq") else Redis
            self.variables["CELERY_BROKER_URL"] = self.start(server, tls=kind.endswith("+")).url

    def media(self, kind):
        if kind == "s3":
            self.variables |= self.start(S3).variables()
        elif kind == "s3+":  # behind a proxy that has TLS
            self.variables |= self.stack.enter_context(Faulty(self.start(S3), self.certificates)).variables()
        elif kind == "gs":
            self.variables |= self.stack.enter_context(GoogleEmulator()).variables()
            self.emulated = True  # it checks no signature

    def mail(self, kind):
        self.mails = self.stack.enter_context(MailServer(kind, None if kind == "smtp" else self.certificates))
        self.variables["EMAIL_URL"] = self.mails.url


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_the_site_works_on_these_services(row, tmp_path, certificates, also_on_each_service):
    with ExitStack() as stack:
        services = Services(stack, certificates)
        for service, kind in zip(("database", "cache", "queue", "mail", "media"), row, strict=True):
            getattr(services, service)(kind)
        deploy = Deploy(tmp_path, **services.variables)
        stack.callback(deploy.close)

        release = deploy.start("release")
        assert release.child.wait(60) == 0, release.text
        web, worker, clock = deploy.start_web(), deploy.start("worker"), deploy.start("clock")
        probed = json.loads(deploy.manage("probe_services", "--json", "--wait", "30").stdout)
        assert {answer["state"] for answer in probed} == {"up"}
        probed = [answer for answer in probed if answer["service"] != "direct"]
        assert [answer["tls"] for answer in probed] == [tls_of(kind) for kind in row]
        if DEBIAN == "12":
            assert_documented(answer["server"] for answer in probed[:3])

        person = Person(deploy.address)
        person.sign_up("ada@example.com", PASSWORD, lambda: text_of(services.mails.mails))
        assert "Sign out" in person.get("/")
        assert_stores(deploy, services)
        also_on_each_service(person, worker)

        deploy.environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
        deploy.manage("createsuperuser", "--noinput", "--email", "eve@example.com")
        deploy.manage("clear_cache")
        assert "Sign out" in person.get("/")  # a session is more than its cache
        staff = Person(deploy.address)
        staff.post("/accounts/login/", {"login": "eve@example.com", "password": PASSWORD})
        assert "deliver" in staff.get("/admin/twelve/taskrecord/")

        person.post("/accounts/logout/")
        assert "Sign out" not in person.get("/")
        assert len(services.mails.mails) == 1
        for process in (web, worker, clock):
            assert process.stop() == 0, process.text
            assert '"level": "error"' not in process.text


def assert_stores(deploy, services):
    """What one process stores another one reads, and a browser by a link, of which nothing may be changed."""
    save = "from django.core.files.storage import default_storage as media; from io import BytesIO; "
    name = deploy.manage(
        "shell", "-v0", "-c", save + "print(media.save('a/b.txt', BytesIO(b'content')))"
    ).stdout.strip()
    link = deploy.manage("shell", "-v0", "-c", save + f"print(media.url({name!r}))").stdout.strip()
    assert fetch(urljoin(deploy.address, link), services.certificates) == (200, b"content")
    if not services.emulated:
        assert fetch(urljoin(deploy.address, link[:-1] + "x"), services.certificates)[0] in (403, 404)


def fetch(url, certificates):
    trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificates.ca))
    try:
        with urllib.request.build_opener(NO_PROXY, trust).open(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def assert_documented(servers):
    """The versions that the docs say were tested are those that Debian 12 has."""
    for server in servers:
        if not server or server.startswith("SQLite"):
            continue  # Python brings its own
        name, version = server.split()
        row = next(line for line in DOCS.splitlines() if line.startswith(f"| {name}"))
        assert version.startswith(row.split("|")[2].strip() + "."), (server, row)


def test_the_docs_name_every_kind_and_their_examples_are_taken():
    for url in re.findall(
        r"`((?:postgres|mysql|sqlite|redis|memcached|amqp|filesystem|smtp|s3|gs)[+a-z]*://[^`…]+)`", DOCS
    ):
        check_url(url, [*database.SCHEMES, "redis", "memcached", "amqp", "filesystem", "smtp+tls", "s3", "gs"])
    for url in re.findall(r"`(s3://[^`…]+)`", DOCS):
        assert run(("python", "manage.py", "env", "--check"), **GOOD | {"MEDIA_STORAGE_URL": url}).returncode == 0
    compose = (ROOT / "docs/compose.yaml").read_text()
    variables = dict(re.findall(r"#   ([A-Z_]+)=(.*)", compose))
    assert set(variables) == {"DATABASE_URL", "CACHE_URL", "CELERY_BROKER_URL", "EMAIL_URL"}
    result = run(("python", "manage.py", "env", "--check"), **GOOD | variables)
    assert result.returncode == 0, result.stderr
    for url in variables.values():
        assert f"127.0.0.1:{re.search(':([0-9]+)', url.partition('://')[2].rpartition('@')[2])[1]}:" in compose


def tls_of(kind):
    if kind in ("sqlite", "table", "folder", "directory"):
        return "local"
    return "verified" if "+" in kind else "none"


def text_of(mails):
    return "".join(mail.message.get_body().get_content() for mail in mails)
