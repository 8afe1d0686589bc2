"""A photo of 200 MB passes through the web process in the memory of a small one, by the form and by the bucket."""

import json
import re
import struct
import urllib.parse
import zlib
from pathlib import Path

import pytest

from tests.photos.faults import MAIL, PASSPHRASE, Visitor
from tests.twelve.object_storage import send_form
from tests.twelve.processes import Deploy

pytestmark = pytest.mark.prove

SIZE = 200_000_000
MEGABYTES_MORE = 16


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.fixture(scope="module")
def pictures():
    """Two files with the header of a PNG: no more of it is looked at before the renditions are made."""
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", 5000, 4000, 8, 2, 0, 0, 0))
    return [head + chunk(b"IDAT", bytes(size)) for size in (1000, SIZE)]


@pytest.fixture(scope="module")
def deploy(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy")
    deploy = Deploy(
        folder, UPLOAD_MAX_BYTES=str(SIZE + 1000), DJANGO_SUPERUSER_PASSWORD=PASSPHRASE, **server.variables()
    )
    deploy.manage("migrate_db", "--verbosity", "0")
    deploy.manage("createsuperuser", "--noinput", "--email", MAIL)
    yield deploy
    deploy.close()
    server.empty()  # of what takes much memory


@pytest.fixture
def site(deploy):
    """A web process that has served no photo yet: how much memory its worker took at most, and someone to upload."""
    web = deploy.start_web()
    (worker,) = Path(f"/proc/{web.child.pid}/task/{web.child.pid}/children").read_text().split()

    def peak():
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())[1]) / 1000

    yield peak, Visitor(deploy.address)
    web.stop()


def by_the_form(visitor, content):
    visitor.post("/photos/", files=[("photo", "holiday.png", content)])


def by_the_bucket(visitor, content):
    def ask(path, **fields):
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": visitor.token, **fields}).encode()
        answer = visitor.ask(path, body)
        assert answer.status == 200, answer.page
        return answer.page

    form = json.loads(ask("/photos/sign/", size=len(content)))
    assert send_form(form, content) == 204
    ask("/photos/", upload=form["upload"], name="holiday.png")


@pytest.mark.parametrize("way", [by_the_form, by_the_bucket])
def test_200_megabytes_take_no_more_memory_than_a_small_photo(site, deploy, pictures, way):
    peak, visitor = site
    small, large = pictures
    before = deploy.sql("SELECT count(*) FROM photos_photo WHERE size > 200000000")[0][0]
    for _ in range(3):
        way(visitor, small)
    warm = peak()
    way(visitor, large)
    assert deploy.sql("SELECT count(*) FROM photos_photo WHERE size > 200000000")[0][0] == before + 1
    assert peak() - warm < MEGABYTES_MORE
