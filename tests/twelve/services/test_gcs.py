"""Google Cloud Storage on an emulator: the calls are made as its client makes them; signatures are not checked."""

import os
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage

from tests.twelve.object_storage import GoogleEmulator
from tests.twelve.processes import DIRECT, ROOT
from twelve.services import probe as probes


@pytest.fixture(scope="module")
def emulator():
    with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def media(emulator, settings, monkeypatch):
    emulator.status = 0
    emulator.objects.clear()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.address)
    settings.STORAGES = settings.STORAGES | {"default": emulator.storage()}
    return default_storage


def test_what_is_saved_is_read_and_never_overwritten(media, emulator):
    assert media.save("a/b.png", ContentFile(b"first")) == "a/b.png"
    second = media.save("a/b.png", ContentFile(b"second"))
    assert second != "a/b.png"
    assert (media.open("a/b.png").read(), media.open(second).read()) == (b"first", b"second")
    assert (media.size("a/b.png"), media.exists("a/b.png"), media.exists("a/c")) == (5, True, False)
    facts = emulator.objects["media/a/b.png"][0]
    assert (facts["contentType"], facts["contentDisposition"]) == ("image/png", "attachment")
    assert facts["cacheControl"] == "private, max-age=3600"
    media.delete("a/b.png")
    media.delete("a/b.png")
    assert not media.exists("a/b.png")


def test_a_large_file_goes_in_parts(media, tmp_path):
    content = os.urandom(20_000_000)
    (tmp_path / "large").write_bytes(content)
    with (tmp_path / "large").open("rb") as file:
        media.save("large", File(file))
    assert media.open("large").read() == content


def test_all_keys_below_a_folder_are_listed(media):
    for name in "cab":
        media.save(f"photos/{name}", ContentFile(b"x"))
    media.save("photos-of-another/x", ContentFile(b"x"))
    assert [name for name, _changed in media.list_objects("photos")] == ["photos/a", "photos/b", "photos/c"]


def test_a_link_is_signed_expires_and_names_the_file(media):
    media.save("a/b.png", ContentFile(b"content"))
    link = media.url("a/b.png", parameters={"ResponseContentDisposition": 'attachment; filename="x.png"'}, expire=60)
    query = parse_qs(urlsplit(link).query)
    assert (query["X-Goog-Expires"], query["X-Goog-Algorithm"]) == (["60"], ["GOOG4-RSA-SHA256"])
    assert parse_qs(urlsplit(media.url("a/b.png")).query)["X-Goog-Expires"] == ["3600"]
    with DIRECT.open(link) as answer:
        assert answer.read() == b"content"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="x.png"'


def test_what_is_missing_is_a_file_not_found(media):
    with pytest.raises(FileNotFoundError):
        media.open("nothing")


def test_the_probe_reports_the_kind_and_the_address(media):
    (answer,) = probes.probe(3, ["media"])
    assert (answer.state, answer.kind, answer.address) == ("up", "gcs", "storage.googleapis.com/tests-bucket/media")


def test_without_the_driver_it_says_what_to_install():
    code = (
        "import sys; sys.modules['google.cloud.storage'] = None; import config.settings; from twelve.env import env; "
    )
    code += "print(env.problems)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"READ_DOT_ENV": "false", "MEDIA_STORAGE_URL": "gs://bucket"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert "pip install -r requirements/gcs.txt" in result.stdout, result.stderr
