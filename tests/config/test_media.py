"""Local media are private: a link is signed, expires, and runs nothing."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile

from config import media as config_media


@pytest.fixture
def name():
    return default_storage.save("folder/a file.txt", ContentFile(b"content"))


def test_a_signed_link_gives_the_file_with_the_headers_that_keep_it_harmless(client, name):
    answer = client.get(default_storage.url(name))
    assert b"".join(answer) == b"content"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer["Content-Disposition"] == "attachment"
    assert answer["Cache-Control"].startswith("private, max-age=3")


def test_the_disposition_is_part_of_what_is_signed(client, name):
    link = default_storage.url(name, parameters={"ResponseContentDisposition": 'attachment; filename="x.txt"'})
    assert client.get(link)["Content-Disposition"] == 'attachment; filename="x.txt"'
    assert client.get(link.replace("attachment", "inline")).status_code == 404


def test_a_link_expires(client, name, monkeypatch):
    link = default_storage.url(name, expire=60)
    now = time.time()
    monkeypatch.setattr(config_media.time, "time", lambda: now + 59)
    assert client.get(link).status_code == 200
    monkeypatch.setattr(config_media.time, "time", lambda: now + 62)
    assert client.get(link).status_code == 404


@pytest.mark.parametrize("change", ["expires", "signature", "name", "none"])
def test_a_link_that_was_changed_leads_nowhere(client, name, change):
    other = default_storage.save("folder/other.txt", ContentFile(b"secret"))
    parts = urlsplit(default_storage.url(name))
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    path = parts.path
    if change == "expires":
        query["expires"] = str(int(query["expires"]) + 1)
    elif change == "signature":
        query["signature"] = query["signature"][::-1]
    elif change == "name":
        path = urlsplit(default_storage.url(other)).path
    else:
        query = {}
    assert client.get(path, query).status_code == 404


def test_a_signed_link_to_a_deleted_file_is_not_found(client, name):
    link = default_storage.url(name)
    default_storage.delete(name)
    assert client.get(link).status_code == 404


def test_a_file_appears_whole_or_not_at_all(media, monkeypatch):
    class Killed(Exception):
        pass

    class HalfRead(ContentFile):
        def chunks(self, chunk_size=None):
            yield b"half"
            raise Killed

    with pytest.raises(Killed):
        default_storage.save("folder/a.txt", HalfRead(b"half of it"))
    assert not default_storage.exists("folder/a.txt")
    default_storage.save("folder/a.txt", ContentFile(b"all of it"))
    assert (media / "folder/a.txt").read_bytes() == b"all of it"


@pytest.mark.django_db
def test_a_request_above_all_that_may_be_uploaded_is_refused(client, settings):
    settings.UPLOAD_MAX_BYTES, settings.UPLOAD_MAX_FILES, settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000, 2, 1000
    for size, code in ((2000, 302), (4000, 400)):
        answer = client.post("/accounts/logout/", {"file": SimpleUploadedFile("a", b"x" * size)})
        assert answer.status_code == code
