"""A web process that has just started, and whose first requests come all at once: each of them is answered."""

import itertools
import json
import re
import subprocess
import sys
import threading
from urllib.parse import urlencode

import pytest
from django.conf import settings

from tests.twelve.events import events
from tests.twelve.processes import BIN, ROOT
from tests.twelve.servers import Redis

pytestmark = pytest.mark.prove

# On Python 3.14 threads that import parts of one package at the same time may fail with _DeadlockError.
STARTS = 25 if sys.version_info >= (3, 14) else 5
AT_ONCE = 8
PAGES = ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/")


@pytest.fixture
def deploy(make_deploy):
    with Redis() as redis:
        queue = redis.url.removesuffix("/0") + "/1"
        yield make_deploy(CACHE_URL=redis.url, CELERY_BROKER_URL=queue, WEB_THREADS=str(AT_ONCE))


def all_at_once(calls):
    """Make these calls at the same moment, each in a thread of its own; returns what they returned."""
    barrier, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number, call):
        barrier.wait(30)
        answers[number] = call()

    threads = [threading.Thread(target=run, args=numbered) for numbered in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def faults(deploy, first_requests):
    """Start the web process so many times; returns what was wrong with the starts of which something was.

    `first_requests` is given the number of the start and returns the answers that are wrong.
    """
    found = []
    for number in range(STARTS):
        web = deploy.start("web")
        web.wait_for("Booting worker")  # the port is open: what comes now waits for the application
        wrong = first_requests(number)
        assert web.stop() == 0, web.text
        wrong += [
            f"{event['message']} {event.get('traceback', '')[-200:]}"
            for event in events(web.text)
            if event["level"] not in ("debug", "info")
        ]
        if wrong:
            found.append(wrong)
    return found


def test_the_first_requests_at_once_are_answered(deploy):
    def ask(number):
        paths = itertools.islice(itertools.cycle(PAGES), AT_ONCE)
        statuses = all_at_once([lambda path=path: deploy.ask(path).status for path in paths])
        return [status for status in statuses if status != 200]

    found = faults(deploy, ask)
    assert not found, f"{len(found)} of {STARTS} starts"


def test_the_first_tasks_are_published_while_the_platform_probes(deploy):
    path = "/accounts/password/reset/"

    def request_mail(number):
        """A function that posts the form of a page, requested here; it has a mail sent and hashes no password."""
        page = deploy.ask(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.body.decode())[1]
        body = urlencode({"csrfmiddlewaretoken": token, "email": f"{token}@example.com"})
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": page.headers["Set-Cookie"].partition(";")[0],
            "X-Forwarded-For": f"192.0.2.{number}",  # each start is another client: allauth limits how often one asks
        }
        return lambda: deploy.ask(path, "POST", body, **headers).status == 302

    def probe():
        return json.loads(deploy.ask("/health/ready/").body)["status"] == "ready"

    def ask(number):
        calls = [call for _ in range(AT_ONCE // 2) for call in (request_mail(number), probe)]
        return [index for index, right in enumerate(all_at_once(calls)) if not right]

    found = faults(deploy, ask)
    assert not found, f"{len(found)} of {STARTS} starts"


# The modules of what the site names in its settings.
PATHS = [*settings.AUTHENTICATION_BACKENDS, getattr(settings, "ACCOUNT_ADAPTER", "")]
NAMED = {path.rpartition(".")[0] for path in PATHS if path}

# Starts as a web server does, answers the requests to these paths, and prints what was imported, when.
SERVE = """
import sys
from wsgiref.util import setup_testing_defaults
from config.wsgi import application

started, statuses = set(sys.modules), []
for path in sys.argv[1:]:
    environ = {"PATH_INFO": path, "HTTP_HOST": "localhost"}
    setup_testing_defaults(environ)
    answer = application(environ, lambda status, headers: statuses.append(status))
    b"".join(answer)
    answer.close()
assert set(statuses) == {"200 OK"}, statuses
for name, module in list(sys.modules.items()):
    print("early" if name in started else "late", "package" if hasattr(module, "__path__") else "module", name)
"""


def test_the_first_requests_import_nothing_that_two_threads_may_import_by_halves(deploy):
    served = subprocess.run(
        [BIN / "python", "-c", SERVE, *PAGES, "/health/ready/"],
        cwd=ROOT, env=deploy.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert served.returncode == 0, served.stdout + served.stderr
    imported = [event["message"].split() for event in events(served.stdout) if event["logger"] == "stdout"]
    early = {name for when, _, name in imported if when == "early"}
    packages = {name for when, kind, name in imported if (when, kind) == ("late", "package")}
    ours = ("config", "apps", "twelve", "allauth", "django", "django_htmx", "redis", "kombu")
    # The first imports none of its modules; the second is only imported as a whole.
    alone = {"django.template.loaders", "kombu.transport.virtual"}
    assert {name for name in packages if name.split(".")[0] in ours} <= alone
    assert {"twelve.services.cache", settings.ROOT_URLCONF, *NAMED} <= early
    assert early.isdisjoint({"celery", "kombu", "boto3", "PIL"})  # large, and most requests do without
