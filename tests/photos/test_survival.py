"""Whatever dies on the way, the photo becomes ready, once."""

import io
import shutil

import pytest
from PIL import Image

from tests.twelve.processes import Deploy, Person, wait_until

pytestmark = pytest.mark.prove


@pytest.fixture
def deploy(tmp_path):
    """A deploy with a web process and an account; no worker runs its tasks yet."""
    deploy = Deploy(tmp_path, TASKS_LEASE_SECONDS="3")
    deploy.manage("migrate", "--noinput", "--verbosity", "0")
    deploy.environment |= {"DJANGO_SUPERUSER_PASSWORD": "a long enough passphrase"}
    deploy.manage("createsuperuser", "--noinput", "--email", "eve@example.com")
    deploy.start_web()
    yield deploy
    deploy.close()


@pytest.fixture
def person(deploy):
    person = Person(deploy.address)
    person.post("/accounts/login/", {"login": "eve@example.com", "password": "a long enough passphrase"})
    return person


def rendition_task(deploy):
    """State and attempts of the task that makes the renditions."""
    return deploy.sql("SELECT status, attempts FROM twelve_task WHERE task LIKE '%make_renditions'")[0]


def picture(width, height):
    """A PNG that takes a while: noise neither compresses nor decodes quickly."""
    data = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(data, "PNG", compress_level=1)
    return data.getvalue()


def assert_ready_once(deploy, person):
    assert deploy.sql("SELECT count(*) FROM twelve_task WHERE task LIKE '%make_renditions'") == [(1,)]
    assert deploy.sql("SELECT state FROM photos_photo") == [("ready",)]
    stored = sorted(path.name for path in deploy.media.rglob("*") if path.is_file())
    assert stored == ["1600.webp", "320.webp", "original.png"]
    assert ".webp" in person.get("/photos/")


def test_a_worker_killed_in_the_middle_of_a_rendition(deploy, person):
    worker = deploy.start("worker")
    deploy.start("clock")
    worker.wait_for("ready")
    person.post("/photos/", files=[("photo", "noise.png", picture(3000, 2200))])
    wait_until(lambda: rendition_task(deploy)[0] == "RUNNING", 30, lambda: worker.text)
    worker.kill()
    assert rendition_task(deploy) == ("RUNNING", 1)
    second = deploy.start("worker")
    wait_until(lambda: rendition_task(deploy)[0] == "SUCCESSFUL", 150, lambda: second.text)
    assert rendition_task(deploy) == ("SUCCESSFUL", 2)
    assert_ready_once(deploy, person)


def test_a_broker_that_lost_all_its_messages(deploy, person):
    person.post("/photos/", files=[("photo", "noise.png", picture(400, 300))])
    messages = list(deploy.broker.glob("*.msg"))
    assert messages
    shutil.rmtree(deploy.broker)
    worker = deploy.start("worker")
    deploy.start("clock")
    wait_until(lambda: rendition_task(deploy)[0] == "SUCCESSFUL", 150, lambda: worker.text)
    assert_ready_once(deploy, person)


def test_a_broker_that_is_unreachable_while_the_photo_comes(deploy, person):
    """The folder cannot be written: the upload succeeds all the same, and is worked on when the broker is back."""
    shutil.rmtree(deploy.broker, ignore_errors=True)
    deploy.broker.write_text("not a folder")
    person.post("/photos/", files=[("photo", "noise.png", picture(400, 300))])
    assert "noise.png" in person.page
    assert rendition_task(deploy) == ("READY", 0)
    deploy.broker.unlink()
    deploy.start("clock")
    worker = deploy.start("worker")
    wait_until(lambda: rendition_task(deploy)[0] == "SUCCESSFUL", 150, lambda: worker.text)
    assert_ready_once(deploy, person)
