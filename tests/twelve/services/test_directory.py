"""Local media are private: a link is signed, expires, and runs nothing."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.urls import path

from tests.twelve.races import PROCESSES, ROUNDS, THREADS, save_at_once
from twelve.services.storage import accepts_uploads
from twelve.services.storage import directory as config_media


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


def test_simultaneous_saves_of_one_name_keep_every_content(media):
    saved = save_at_once(settings.STORAGES["default"], "a.txt")
    assert len(saved) == PROCESSES * THREADS * ROUNDS
    assert {name: [default_storage.open(name).read()] for name in saved} == saved
    assert {f"{turn}/a.txt" for turn in range(ROUNDS)} < set(saved)
    assert {str(path.relative_to(media)) for path in media.glob("*/*")} == set(saved)  # nothing is left over


@accepts_uploads
def upload(request):
    return HttpResponse(request.FILES["file"].size)


def other(request):
    return HttpResponse(request.FILES["file"].size)


def handler400(request, exception):
    return HttpResponse(status=400)


urlpatterns = [path("upload/", upload), path("other/", other)]


@pytest.mark.django_db
@pytest.mark.urls(__name__)
def test_a_request_above_all_that_may_be_uploaded_is_refused(client, django_user_model, settings):
    settings.UPLOAD_MAX_BYTES, settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000, 1000

    def statuses(address):
        files = [SimpleUploadedFile("a", b"x" * size) for size in (500, 2000, 4000)]
        return [client.post(address, {"file": file}).status_code for file in files]

    assert (statuses("/upload/"), statuses("/other/")) == ([200, 400, 400], [200, 400, 400])
    client.force_login(django_user_model.objects.create_user("ada@example.com"))
    assert (statuses("/upload/"), statuses("/other/")) == ([200, 200, 400], [200, 400, 400])
