"""Factor IV: the same site on other backing services of the same kinds, attached by variables alone."""

import json
import platform
import re
from contextlib import ExitStack

import pytest
from django.apps import apps

from config.env import check_url
from config.settings import database
from tests.processes import GOOD, ROOT, Deploy, Person, run, wait_until
from tests.servers import MailServer, MariaDB, Memcached, PgBouncer, PostgreSQL, RabbitMQ, Redis

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# One row a combination: database, cache, queue, mail. A + stands for TLS with a verified certificate.
ROWS = [
    ("sqlite", "table", "folder", "smtp"),
    ("postgresql+", "redis+", "redis+", "smtp+tls"),
    ("pgbouncer", "memcached", "rabbitmq", "smtp+ssl"),
    ("mariadb", "redis", "rabbitmq", "smtp"),
    ("mariadb+", "memcached", "rabbitmq+", "smtp+tls"),
]
DOCS = (ROOT / "docs/backing-services.md").read_text()
DEBIAN = platform.freedesktop_os_release().get("VERSION_ID")
PASSWORD = "a long enough passphrase"


class Services:
    """The servers of one row, and the variables that attach them."""

    def __init__(self, stack, certificates):
        self.stack, self.certificates = stack, certificates
        self.variables = {f"{name}_TLS_CA": str(certificates.ca) for name in ("DATABASE", "REDIS", "AMQP", "EMAIL")}

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

    def mail(self, kind):
        self.mails = self.stack.enter_context(MailServer(kind, None if kind == "smtp" else self.certificates))
        self.variables["EMAIL_URL"] = self.mails.url


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_the_site_works_on_these_services(row, tmp_path, certificates):
    with ExitStack() as stack:
        services = Services(stack, certificates)
        for attach, kind in zip((services.database, services.cache, services.queue, services.mail), row, strict=True):
            attach(kind)
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
        if apps.is_installed("apps.photos"):
            upload_a_photo(person, worker)

        deploy.environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
        deploy.manage("createsuperuser", "--noinput", "--email", "eve@example.com")
        deploy.manage("clear_cache", "--noinput")
        assert "Sign out" in person.get("/")  # a session is more than its cache
        staff = Person(deploy.address)
        staff.post("/accounts/login/", {"login": "eve@example.com", "password": PASSWORD})
        assert "deliver" in staff.get("/admin/jobs/job/")

        person.post("/accounts/logout/")
        assert "Sign out" not in person.get("/")
        assert len(services.mails.mails) == 1
        for process in (web, worker, clock):
            assert process.stop() == 0, process.text
            assert '"level": "error"' not in process.text


def assert_documented(servers):
    """The versions that the docs say were tested are those that Debian 12 has."""
    for server in servers:
        if not server or server.startswith("SQLite"):
            continue  # Python brings its own
        name, version = server.split()
        row = next(line for line in DOCS.splitlines() if line.startswith(f"| {name}"))
        assert version.startswith(row.split("|")[2].strip() + "."), (server, row)


def test_the_docs_name_every_kind_and_their_examples_are_taken():
    for url in re.findall(r"`((?:postgres|mysql|sqlite|redis|memcached|amqp|filesystem|smtp)[+a-z]*://[^`…]+)`", DOCS):
        check_url(url, [*database.SCHEMES, "redis", "memcached", "amqp", "filesystem", "smtp+tls"])
    compose = (ROOT / "docs/compose.yaml").read_text()
    variables = dict(re.findall(r"#   ([A-Z_]+)=(.*)", compose))
    assert set(variables) == {"DATABASE_URL", "CACHE_URL", "CELERY_BROKER_URL", "EMAIL_URL"}
    result = run(("python", "manage.py", "env", "--check"), **GOOD | variables)
    assert result.returncode == 0, result.stderr
    for url in variables.values():
        assert f"127.0.0.1:{re.search(':([0-9]+)', url.partition('://')[2].rpartition('@')[2])[1]}:" in compose


def tls_of(kind):
    if kind in ("sqlite", "table", "folder"):
        return "local"
    return "verified" if "+" in kind else "none"


def text_of(mails):
    return "".join(mail.message.get_body().get_content() for mail in mails)


def upload_a_photo(person, worker):
    from tests.photos.pictures import picture

    person.post("/photos/", files=[("photos", "holiday.jpg", picture())])
    wait_until(lambda: "320.webp" in person.get("/photos/"), 60, lambda: worker.text)
