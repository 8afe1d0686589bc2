"""What a failing object storage costs: an upload that says so, and later renditions. Pages and links need no bucket.

The same web, worker and clock live through every fault in turn, with an S3 behind a network that can be spoilt.
"""

import contextlib
import json
import os
import re
import signal
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tests.photos.faults import (
    MAIL,
    PASSPHRASE,
    Visitor,
    assert_nothing_secret,
    assert_unable,
)
from tests.photos.pictures import encoded
from tests.twelve.events import events
from tests.twelve.object_storage import S3, Faulty, send_form
from tests.twelve.processes import Deploy, status, wait_until

pytestmark = pytest.mark.prove

TIMEOUT = 1  # seconds of MEDIA_TIMEOUT: each answer is waited for twice, with a pause of a second at most
TWICE = 2 * TIMEOUT + 1
NOISE = encoded(Image.frombytes("RGB", (400, 300), os.urandom(360_000)), "PNG")


class Site:
    """A deploy whose web, worker and clock run, and someone who is signed in."""

    def __init__(self, deploy, server, front):
        self.deploy, self.server, self.front = deploy, server, front
        self.web = deploy.start_web()
        self.visitor = Visitor(deploy.address)
        self.worker, self.clock = deploy.start("worker"), deploy.start("clock")

    def rows(self):
        """How many photos there are, and how many tasks but those that tidy up."""
        tasks = "SELECT count(*) FROM twelve_task WHERE task NOT LIKE '%delete_media'"
        return self.deploy.sql(f"SELECT (SELECT count(*) FROM photos_photo), ({tasks})")

    def put(self, content):
        """Have a form signed and send a file straight to the bucket; returns the fields that claim it."""
        answer = self.post("/photos/sign/", size=len(content))
        assert answer.status == 200
        form = json.loads(answer.page)
        assert send_form(form, content) == 204
        return {"upload": form["upload"], "name": "direct.png"}

    def post(self, path, **fields):
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": self.visitor.token, **fields}).encode()
        return self.visitor.ask(path, body)

    def photo(self, content=NOISE):
        """A new photo with its renditions; returns its id and that of its task."""
        assert self.visitor.upload(content=content).status == 200
        self.wait_for_renditions()
        ((pk,),) = self.deploy.sql("SELECT id FROM photos_photo ORDER BY created DESC LIMIT 1")
        (task,) = self.deploy.sql(
            "SELECT id FROM twelve_task WHERE task LIKE '%make_renditions' ORDER BY id DESC LIMIT 1"
        )[0]
        return pk, task

    def do_again(self, pk, task):
        """Have the renditions of a photo made as if for the first time."""
        self.seen = len(self.attempts(task))
        self.deploy.sql(f"UPDATE photos_photo SET state = 'waiting' WHERE id = '{pk}'")
        self.deploy.sql(f"UPDATE twelve_task SET status = 'READY', attempts = 0, finished_at = NULL WHERE id = {task}")
        self.hurry()

    def next_attempt(self, task):
        """The event of the first attempt since then."""
        return wait_until(lambda: self.attempts(task)[self.seen :], 100, lambda: self.worker.text)[0]

    def attempts(self, task):
        return [event for event in events(self.worker.text) if event.get("id") == task and "outcome" in event]

    def hurry(self):
        """Skip the pauses before the next attempts."""
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        self.deploy.sql(f"UPDATE twelve_task SET due = {now}, sweep_at = {now} WHERE status = 'READY'")

    def wait_for_renditions(self):
        unready = "SELECT count(*) FROM photos_photo WHERE state <> 'ready'"
        wait_until(lambda: self.deploy.sql(unready) == [(0,)], 60, lambda: self.worker.text)

    def probe(self):
        """The row of the media, and the exit status."""
        probe = self.deploy.manage("probe_services", check=False)
        (row,) = [line for line in probe.stdout.splitlines() if line.startswith("media ")]
        return row, probe.returncode

    def objects(self):
        """The keys of photos, without what was put and never claimed."""
        return sorted(key for key in self.server.objects() if "/incoming/" not in key)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    with S3() as server, Faulty(server) as front:
        deploy = Deploy(
            tmp_path_factory.mktemp("site"),
            MEDIA_TIMEOUT=str(TIMEOUT),
            TASKS_LEASE_SECONDS="6",
            DJANGO_SUPERUSER_PASSWORD=PASSPHRASE,
            **server.variables(front),
        )
        deploy.manage("migrate_db", "--verbosity", "0")
        deploy.manage("createsuperuser", "--noinput", "--email", MAIL)
        yield Site(deploy, server, front)
        deploy.close()


@pytest.fixture
def site(shared_site):
    """The site in good health, before the fault and after it: every process is the one that it was."""
    yield shared_site
    shared_site.front.pass_on()
    shared_site.hurry()
    shared_site.photo()
    for process in (shared_site.web, shared_site.worker, shared_site.clock):
        assert process.child.poll() is None
        assert shared_site.server.secret_key not in process.text
        events(process.text)  # every line is one
    assert_nothing_secret(shared_site.deploy)


@contextlib.contextmanager
def worker_stopped(site):
    """Every request that is counted is of the web process: the worker would put and delete objects as well."""
    os.killpg(site.worker.child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(site.worker.child.pid, signal.SIGCONT)


# -- The faults -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_bucket(site):
    client, objects = site.server.client(), site.server.objects()
    site.server.delete(*objects)
    client.delete_bucket(Bucket=site.server.bucket)
    try:
        yield
    finally:
        client.create_bucket(Bucket=site.server.bucket)
        for key, content in objects.items():
            client.put_object(Bucket=site.server.bucket, Key=key, Body=content)


@contextlib.contextmanager
def wrong_secret(site):
    site.server.change_secret("changed")
    wait_until(lambda: not site.server.answers(), 60, "the old secret is refused")
    try:
        yield
    finally:
        site.server.change_secret(site.server.secret_key)
        wait_until(site.server.answers, 60, "the old secret is right again")


def spoilt(how):
    @contextlib.contextmanager
    def fault(site):
        how(site.front)
        try:
            yield
        finally:
            site.front.pass_on()

    return fault


@dataclass
class Fault:
    cause: Callable[[Site], Any]
    form: str  # what the event of an upload says; its first request is a HEAD, whose refusal has no reason
    reason: str  # what the others say: a task's attempt, the claim of a direct upload, the probe


FAULTS = {
    "no bucket": Fault(no_bucket, "NoSuchBucket.*check MEDIA_STORAGE_URL", "NoSuchBucket.*check MEDIA_STORAGE_URL"),
    "wrong secret": Fault(
        wrong_secret, "403.*the key, its policy or the clock", "SignatureDoesNotMatch.*check AWS_ACCESS_KEY_ID"
    ),
    "refused": Fault(spoilt(Faulty.refuse), "Could not connect", "Could not connect"),
    "silent": Fault(
        spoilt(lambda front: front.fail("silent")), "[Tt]imeout|timed out", "[Tt]imeout|timed out|no answer in 3 s"
    ),
    "too busy": Fault(
        spoilt(lambda front: front.fail("SlowDown")),
        "503.*the storage is overloaded",
        "SlowDown.*the storage is overloaded",
    ),
    "wrong clock": Fault(
        spoilt(lambda front: front.fail("RequestTimeTooSkewed")),
        "403.*the clock of this machine",
        "RequestTimeTooSkewed.*set it by NTP",
    ),
}

each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@each_fault
def test_an_upload_says_so_and_leaves_nothing(site, fault):
    fields = site.put(NOISE)
    rows, objects = site.rows(), site.objects()
    with fault.cause(site):
        assert_unable(site, site.visitor.upload(content=NOISE), TWICE, fault.form)
        assert_unable(site, site.post("/photos/", **fields), TWICE, fault.reason)
        row, code = site.probe()
        assert code == 1
        assert re.search(rf"unreachable: .*({fault.reason})", row)
        assert site.rows() == rows
    assert site.objects() == objects
    assert site.post("/photos/", **fields).status == 200  # what was put can still be claimed
    assert site.rows()[0][0] == rows[0][0] + 1
    site.wait_for_renditions()
    assert site.probe()[1] == 0


@each_fault
def test_pages_and_links_need_no_bucket(site, fault):
    pk, _ = site.photo()
    with worker_stopped(site), fault.cause(site):
        asked = site.front.counts.copy()
        for path in ("/photos/", f"/photos/{uuid.UUID(pk)}/"):
            answer = site.visitor.ask(path)
            assert answer.status == 200
            assert "X-Amz-Signature=" in answer.page
        assert re.search(r'href="http[^"]+original[^"]+X-Amz-Signature=', answer.page)
        assert site.post("/photos/sign/", size=1).status == 200
        assert site.front.counts == asked
        assert status(f"{site.deploy.address}/health/ready/") == 200


TASK_FAULTS = FAULTS | {
    "dies in the middle": Fault(
        spoilt(lambda front: front.fail("half", ["GET"])), "", "could not read .*([Cc]onnection|bytes expected)"
    ),
}


@pytest.mark.parametrize("fault", TASK_FAULTS.values(), ids=TASK_FAULTS)
def test_renditions_are_made_later(site, fault):
    pk, task = site.photo()
    site.server.delete(*(key for key in site.objects() if pk in key and key.endswith(".webp")))
    with fault.cause(site):
        site.do_again(pk, task)
        event = site.next_attempt(task)
        assert (event["outcome"], event["level"]) == ("retry", "warning")
        assert re.search(fault.reason, event["message"])
        assert site.deploy.sql(f"SELECT state FROM photos_photo WHERE id = '{pk}'") == [("waiting",)]
    site.hurry()
    site.wait_for_renditions()
    assert len([key for key in site.objects() if pk in key]) == 3


def test_an_original_that_somebody_deleted_fails_its_photo_with_the_reason(site):
    pk, task = site.photo()
    site.server.delete(*(key for key in site.objects() if pk in key))
    site.do_again(pk, task)
    event = site.next_attempt(task)
    assert (event["outcome"], event["level"]) == ("failed", "error")
    reason = "The stored file is gone. Delete the photo and upload it again."
    assert reason in event["message"]
    assert reason in site.visitor.ask(f"/photos/{uuid.UUID(pk)}/").page
    site.post(f"/photos/{uuid.UUID(pk)}/delete/")
    assert site.deploy.sql(f"SELECT count(*) FROM photos_photo WHERE id = '{pk}'") == [(0,)]


def test_what_was_put_and_then_deleted_did_not_arrive(site):
    fields, rows = site.put(NOISE), site.rows()
    site.server.delete(*(key for key in site.server.objects() if "/incoming/" in key))
    answer = site.post("/photos/", **fields)
    assert (answer.status, site.rows()) == (200, rows)
    assert "did not arrive. Choose it again." in answer.page


@pytest.mark.parametrize("how", ["half", "silent", "deaf"])
def test_the_connection_ends_in_the_middle_of_an_upload(site, how):
    """Deaf: the object is written, and no answer says so. A task deletes what arrived, if anything did."""
    rows, objects = site.rows(), site.objects()
    site.front.fail(how, ["PUT"])
    why = "could not write .*([Cc]onnection|[Tt]imeout|timed out)"
    assert_unable(site, site.visitor.upload(content=NOISE), TWICE, why)
    site.front.pass_on()
    assert site.rows() == rows
    site.hurry()
    wait_until(lambda: site.objects() == objects, 100, site.objects)


@pytest.mark.parametrize("how", ["half", "silent", "deaf", "SlowDown"])
def test_what_fails_once_is_asked_again(site, how):
    rows, asked = site.rows(), site.front.counts["PUT"]
    site.front.fail(how, ["PUT"], times=1)
    with worker_stopped(site):
        answer = site.visitor.upload(content=NOISE)
        assert (answer.status, site.front.counts["PUT"] - asked) == (200, 2)
    assert site.rows()[0][0] == rows[0][0] + 1
    site.wait_for_renditions()


def test_a_slow_network_delays_and_breaks_nothing(site):
    site.front.delay(TIMEOUT / 10)
    site.photo()


def test_with_the_limits_of_the_project_a_silent_server_is_waited_for_once(site, tmp_path):
    """Not once more to clean up: a router that waits 30 s, as Heroku's does, still gets the page."""
    short = ("DJANGO_SETTINGS_MODULE", "TEST_LIMITS")
    variables = {name: value for name, value in site.deploy.environment.items() if name not in short}
    deploy = Deploy(tmp_path, **variables)
    deploy.environment["PORT"] = str(deploy.port)
    try:
        web = deploy.start_web()
        visitor = Visitor(deploy.address)
        site.front.fail("silent", ["PUT", "GET"])  # not HEAD: it becomes silent in the middle
        with worker_stopped(site):
            asked = site.front.counts.copy()
            answer = visitor.upload(content=NOISE)
            assert site.front.counts - asked == {"HEAD": 1, "PUT": 2}
        assert_unable(SimpleNamespace(web=web), answer, 2 * 5 + 1, "could not write")
    finally:
        deploy.close()
