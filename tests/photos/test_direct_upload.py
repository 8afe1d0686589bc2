"""A browser puts a file straight into the bucket; the site takes it over once it has looked at it itself."""

import base64
import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from apps.photos import images, services, uploads
from apps.photos.models import Photo
from apps.users.models import User
from tests.photos.pictures import jpeg_of_scans, picture
from tests.twelve.kit import DIRECTORY, TaskRecord
from tests.twelve.object_storage import send_form
from twelve.services.storage import DirectUpload

pytestmark = pytest.mark.prove

CONTENT = picture("PNG", (64, 48))


@pytest.fixture
def bucket(server, settings):
    """The media of these tests: an empty bucket."""
    settings.STORAGES = settings.STORAGES | {"default": server.storage()}
    settings.MEDIA_DIRECT_UPLOAD = True
    for key in (*keys(), *keys("incoming")):
        default_storage.delete(key)
    return default_storage


@pytest.fixture
def sign(client, bucket):
    def ask(content=CONTENT, client=client):
        return client.post(reverse("photos:sign"), {"size": len(content)})

    return ask


@pytest.fixture
def put(sign):
    """Do as the browser does: have a form signed and send the file; returns the id of the upload."""

    def send(content=CONTENT):
        form = sign(content).json()
        assert send_form(form, content) == 204
        return form["upload"]

    return send


@pytest.fixture
def claim(client):
    def post(upload, client=client, name="holiday.png"):
        return client.post(reverse("photos:list"), {"upload": upload, "name": name})

    return post


@pytest.fixture
def refused(claim):
    def post(upload, **options):
        response = claim(upload, **options)
        assert response.status_code == 200
        assert not TaskRecord.objects.exists()
        return [unescape(message) for message in response.context["form"].errors["photo"]]

    return post


def keys(folder="photos"):
    return sorted(key for key, _changed in default_storage.list_objects(folder))


def test_a_claimed_upload_is_a_photo_with_the_facts_of_its_content(put, claim, owner, server, run_tasks):
    response = claim(put())
    assert (response.status_code, response.url) == (302, reverse("photos:list"))
    photo = Photo.objects.get()
    assert (photo.owner, photo.filename, photo.content_type) == (owner, "holiday.png", "image/png")
    assert (photo.size, photo.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (photo.width, photo.height) == (64, 48)
    assert default_storage.open(str(photo.original)).read() == CONTENT
    assert TaskRecord.objects.get(task__endswith="make_renditions").args == [str(photo.pk)]
    run_tasks()
    photo.refresh_from_db()
    assert (photo.state, keys(), keys("incoming")) == (Photo.State.READY, sorted(photo.stored_keys()), [])
    stored = server.client().head_object(Bucket=server.bucket, Key=f"{server.prefix}/{photo.original}")
    assert (stored["ContentType"], stored["ContentDisposition"]) == ("image/png", "attachment")


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT[:-1]])
def test_the_bucket_takes_no_other_length(sign, content):
    assert send_form(sign().json(), content) == 400
    assert keys("incoming") == []


@pytest.mark.parametrize("field", [{"Content-Type": "text/html"}, {"key": "media/photos/another"}])
def test_the_bucket_takes_no_other_type_and_no_other_key(sign, field):
    assert send_form(sign().json(), CONTENT, **field) == 403
    assert (keys("incoming"), keys()) == ([], [])


def test_a_form_is_for_five_minutes(sign):
    policy = json.loads(base64.b64decode(sign().json()["fields"]["policy"]))
    left = datetime.fromisoformat(policy["expiration"]) - datetime.now(UTC)
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)


def test_nobody_claims_the_upload_of_another(put, refused, claim):
    upload = put()
    stranger = Client()
    stranger.force_login(User.objects.create_user("eve@example.com"))
    assert refused(upload, client=stranger) == ["The file did not arrive. Choose it again."]
    assert not Photo.objects.exists()
    assert claim(upload).status_code == 302  # its own person still does


@pytest.mark.parametrize("upload", [uuid.UUID(int=5).hex, "", "../../another", "x" * 5000])
def test_what_never_arrived_is_refused_by_name(refused, bucket, upload):
    assert refused(upload) == ["The file did not arrive. Choose it again."]
    assert keys() == []


def test_an_upload_is_claimed_once(put, claim, run_tasks):
    upload = put()
    assert claim(upload).status_code == 302
    run_tasks()
    response = claim(upload)
    assert response.status_code == 200
    assert "did not arrive" in response.text
    assert Photo.objects.count() == 1


@pytest.mark.parametrize("content", [b"<script>alert(1)</script>", picture("BMP"), CONTENT[:20]])
def test_what_is_no_image_is_refused_whatever_it_is_called(put, refused, content):
    (message,) = refused(put(content))
    assert message == "The file is damaged or incomplete, or not an image of a known format."
    assert not Photo.objects.exists()


@pytest.mark.parametrize(
    ("given", "shown"),
    [("a\0b\r\n\u202e.png", "ab.png"), ("../../etc/passwd.png", "passwd.png"), ("", "file"), ("x" * 500, "x" * 200)],
)
def test_the_name_is_cleaned_as_that_of_a_form(put, claim, given, shown):
    claim(put(), name=given)
    assert Photo.objects.get().filename == shown


def test_a_bomb_is_refused_in_the_claim(put, refused):
    (message,) = refused(put(jpeg_of_scans(2000)))
    assert "more parts than photos have" in message
    assert not Photo.objects.exists()


def test_the_content_decides_of_what_type_it_is(put, claim, server):
    claim(put(picture("GIF")))
    photo = Photo.objects.get()
    assert (photo.content_type, photo.original.name[-4:]) == ("image/gif", ".gif")
    stored = server.client().head_object(Bucket=server.bucket, Key=f"{server.prefix}/{photo.original}")
    assert stored["ContentType"] == "image/gif"


def test_what_is_sent_again_after_the_look_changes_nothing_nor_does_another_claim(sign, owner):
    other = CONTENT[:-12] + b"evil" + CONTENT[-8:]
    assert len(other) == len(CONTENT)
    form = sign().json()
    assert send_form(form, CONTENT) == 204
    first, second = (DirectUpload(owner, form["upload"], "a.png") for _number in range(2))
    first.claim()
    assert send_form(form, other) == 204
    second.claim()
    uploads.save_upload(owner, first, images.read_header(first))
    assert second.read() == other
    assert send_form(form, other) == 204
    assert default_storage.open(str(Photo.objects.get().original)).read() == CONTENT


@pytest.mark.parametrize(
    ("size", "message"),
    [(0, "is empty"), (-1, "is empty"), (20_000_001, "is too large: 20 MB"), ("x", "whole"), ("", "required")],
)
def test_a_link_is_refused_with_what_to_show(client, bucket, size, message):
    answer = client.post(reverse("photos:sign"), {"size": size})
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_a_link_needs_a_person_and_the_forms_token(client, owner, bucket):
    assert Client().post(reverse("photos:sign"), {"size": 1}).url.startswith(reverse("account_login"))
    assert client.get(reverse("photos:sign")).status_code == 405
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(owner)
    assert careful.post(reverse("photos:sign"), {"size": 1}).status_code == 403


def test_the_page_offers_it_with_a_bucket_only(client, bucket, settings, media):
    assert "photos/direct" in client.get(reverse("photos:list")).text
    local = {
        "BACKEND": DIRECTORY,
        "OPTIONS": {"location": str(media)},
    }
    settings.STORAGES = settings.STORAGES | {"default": local}
    settings.MEDIA_DIRECT_UPLOAD = False
    assert "photos/direct" not in client.get(reverse("photos:list")).text
    assert client.post(reverse("photos:sign"), {"size": 1}).status_code == 404


def test_what_is_never_claimed_is_purged(put, claim, monkeypatch, capsys, run_tasks):
    claim(put())
    run_tasks()
    put()
    kept = keys()
    call_command("purge_orphaned_media")
    assert "Deleted 0 orphaned objects of 4." in capsys.readouterr().out  # it may be under way
    monkeypatch.setattr(services, "ORPHAN_AGE", timedelta(seconds=-60))
    call_command("purge_orphaned_media")
    assert "Deleted 1 orphaned object of 4." in capsys.readouterr().out
    assert (keys(), keys("incoming")) == (kept, [])


def test_a_form_does_no_more_than_was_signed(server, sign, owner, bucket, claim):
    """No field and no header beside the signed ones copies the object of another or publishes one."""
    secret = default_storage.save("photos/of-another/original.png", ContentFile(b"secret"))
    alien = {"x-amz-copy-source": f"{server.bucket}/{server.prefix}/{secret}", "x-amz-acl": "public-read"}
    for name, value in alien.items():
        assert send_form(sign().json(), CONTENT, **{name: value}) == 403
        form = sign().json()
        assert send_form(form, CONTENT, {name: value}) in (204, 403)
        for key in keys("incoming"):
            assert default_storage.open(key).read() == CONTENT
            where = {"Bucket": server.bucket, "Key": f"{server.prefix}/{key}"}
            grants = server.client().get_object_acl(**where)["Grants"]
            assert [grant["Grantee"]["Type"] for grant in grants] == ["CanonicalUser"]  # the bucket's owner alone
    assert send_form(sign().json(), CONTENT) == 204
