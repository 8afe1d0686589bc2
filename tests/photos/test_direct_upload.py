"""A browser puts a file straight into the bucket; the site takes it over once it has looked at it itself."""

import hashlib
import math
import urllib.error
import urllib.request
import uuid
from datetime import timedelta
from functools import partial
from html import unescape

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from apps.jobs.models import Job
from apps.photos import direct, services
from apps.photos.models import Photo
from apps.users.models import User
from config.media import StorageError
from config.s3 import BucketStorage
from tests.photos.pictures import picture
from tests.processes import DIRECT, GOOD, run

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
    def ask(content=CONTENT, name="holiday.png", type="image/png", client=client):
        return client.post(reverse("photos:sign"), {"name": name, "type": type, "size": len(content)})

    return ask


@pytest.fixture
def put(sign):
    """Do as the browser does: have a link signed and put the file; returns the id of the upload."""

    def send(content=CONTENT, **said):
        link = sign(content, **said).json()
        assert send_to(link, content) == 200
        return link["upload"]

    return send


@pytest.fixture
def claim(client):
    def post(*uploads, client=client, name="holiday.png"):
        fields = {"upload": uploads, "name": [name] * len(uploads)}
        return client.post(reverse("photos:list"), fields)

    return post


@pytest.fixture
def refused(claim):
    def post(*uploads, **options):
        response = claim(*uploads, **options)
        assert response.status_code == 200
        assert not Job.objects.exists()
        return [unescape(message) for message in response.context["form"].errors["photos"]]

    return post


def send_to(link, content, **headers):
    headers = {"Content-Type": link["type"], **headers}
    request = urllib.request.Request(link["url"], content, headers, method="PUT")
    try:
        with DIRECT.open(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def keys(folder="photos"):
    return sorted(key for page in default_storage.pages(folder) for key, _changed in page)


def test_a_claimed_upload_is_a_photo_with_the_facts_of_its_content(put, claim, owner, server, run_jobs):
    response = claim(put())
    assert (response.status_code, response.url) == (302, reverse("photos:list"))
    photo = Photo.objects.get()
    assert (photo.owner, photo.filename, photo.content_type) == (owner, "holiday.png", "image/png")
    assert (photo.size, photo.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (photo.width, photo.height) == (64, 48)
    assert default_storage.open(photo.original).read() == CONTENT
    assert Job.objects.get(task__endswith="make_renditions").arguments == [str(photo.pk)]
    run_jobs()
    photo.refresh_from_db()
    assert (photo.state, keys(), keys("incoming")) == (Photo.State.READY, sorted(photo.stored_keys()), [])
    stored = server.client().head_object(Bucket=server.bucket, Key=f"{server.prefix}/{photo.original}")
    assert (stored["ContentType"], stored["ContentDisposition"]) == ("image/png", "attachment")


def test_several_uploads_are_claimed_at_once_beside_files_of_the_form(put, client):
    first, second = put(), put(picture())
    fields = {"upload": [first, second], "name": ["a.png", "b.jpg"], "photos": [ContentFile(CONTENT, "c.png")]}
    assert client.post(reverse("photos:list"), fields).status_code == 302
    assert sorted(Photo.objects.values_list("filename", flat=True)) == ["a.png", "b.jpg", "c.png"]


@pytest.mark.parametrize("change", [{"content": CONTENT + b"x"}, {"content": CONTENT[:-1]}, {"type": "text/html"}])
def test_the_bucket_takes_no_other_length_and_no_other_type(sign, change):
    link = sign().json()
    sent = {"content": CONTENT, "type": link["type"]} | change
    assert send_to(link | {"type": sent["type"]}, sent["content"]) == 403
    assert keys("incoming") == []


def test_a_link_is_for_five_minutes(sign):
    assert "X-Amz-Expires=300&" in sign().json()["url"]


def test_nobody_claims_the_upload_of_another(put, refused, claim):
    upload = put()
    stranger = Client()
    stranger.force_login(User.objects.create_user("eve@example.com"))
    assert refused(upload, client=stranger) == ["“holiday.png” did not arrive. Choose it again."]
    assert not Photo.objects.exists()
    assert claim(upload).status_code == 302  # its own person still does


@pytest.mark.parametrize("upload", [f"5-{uuid.uuid4().hex}", "", "../../another", "x" * 5000])
def test_what_never_arrived_is_refused_by_name(refused, bucket, upload):
    assert refused(upload) == ["“holiday.png” did not arrive. Choose it again."]
    assert keys() == []


def test_another_length_than_was_signed_did_not_arrive(put, refused, server, owner):
    upload = put()
    key = f"{server.prefix}/{direct.staging(owner, upload)}/file"  # as of a server that does not check what was signed
    server.client().put_object(Bucket=server.bucket, Key=key, Body=CONTENT + b"x")
    assert refused(upload) == ["“holiday.png” did not arrive. Choose it again."]


def test_an_upload_is_claimed_once(put, claim, run_jobs):
    upload = put()
    assert claim(upload, upload).status_code == 302
    run_jobs()
    response = claim(upload)
    assert response.status_code == 200
    assert "did not arrive" in response.text
    assert Photo.objects.count() == 1


@pytest.mark.parametrize("content", [b"<script>alert(1)</script>", picture("BMP"), CONTENT[:20]])
def test_what_is_no_image_is_refused_whatever_it_is_called(put, refused, content):
    (message,) = refused(put(content))
    assert message.startswith("“holiday.png” is damaged or not an image of a known format")
    assert not Photo.objects.exists()


@pytest.mark.parametrize("type", ["image/jpeg", "text/html", ""])
def test_the_content_decides_of_what_type_it_is(put, claim, server, type):
    claim(put(type=type))
    photo = Photo.objects.get()
    assert (photo.content_type, photo.original[-4:]) == ("image/png", ".png")
    stored = server.client().head_object(Bucket=server.bucket, Key=f"{server.prefix}/{photo.original}")
    assert stored["ContentType"] == "image/png"


def test_a_type_that_is_no_image_is_never_signed(sign):
    assert sign(type="text/html").json()["type"] == "application/octet-stream"


def test_what_is_put_again_after_the_look_changes_nothing_nor_does_another_claim(sign, owner):
    other = CONTENT[:-12] + b"evil" + CONTENT[-8:]
    assert len(other) == len(CONTENT)
    link = sign().json()
    assert send_to(link, CONTENT) == 200
    arrive = partial(direct.arrived, owner, [link["upload"]], ["a.png"], math.inf)
    (first,) = arrive()
    assert send_to(link, other) == 200
    (second,) = arrive()
    services.save_uploads(owner, [(first, services.images.read_header(first))])
    assert second.read() == other
    assert send_to(link, other) == 200
    assert default_storage.open(Photo.objects.get().original).read() == CONTENT


def test_a_bucket_that_is_slow_for_so_many_is_given_up(put, owner):
    upload = put()
    with pytest.raises(StorageError, match="too slow for so many files"):
        direct.arrived(owner, [upload], ["a.png"], 0)
    (file,) = direct.arrived(owner, [upload], ["a.png"], math.inf)
    with pytest.raises(StorageError, match="Nothing was saved"):
        services.save_uploads(owner, [(file, services.images.read_header(file))], 0)
    assert not Photo.objects.exists()


def test_a_file_above_the_limit_is_not_even_read(put, refused, settings, monkeypatch):
    upload = put()
    settings.UPLOAD_MAX_BYTES = len(CONTENT) - 1
    monkeypatch.setattr(BucketStorage, "_open", lambda *arguments: pytest.fail("read"))
    assert "is too large" in refused(upload)[0]


def test_more_than_allowed_at_once_are_refused_without_a_look(put, refused, settings, monkeypatch):
    settings.UPLOAD_MAX_FILES = 1
    uploads = put(), put(), put()
    monkeypatch.setattr(BucketStorage, "copy", lambda *arguments: pytest.fail("touched"))
    assert "At most 1 file at once is allowed, and you chose 3." in refused(*uploads)[0]


@pytest.mark.parametrize(("size", "message"), [(0, "is empty"), (20_000_001, "is too large: 20 MB"), ("x", "whole")])
def test_a_link_is_refused_with_what_to_show(client, bucket, size, message):
    answer = client.post(reverse("photos:sign"), {"name": "a.png", "type": "image/png", "size": size})
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
    local = {"BACKEND": "config.media.SignedFileSystemStorage", "OPTIONS": {"location": str(media)}}
    settings.STORAGES = settings.STORAGES | {"default": local}
    settings.MEDIA_DIRECT_UPLOAD = False
    assert "photos/direct" not in client.get(reverse("photos:list")).text
    assert client.post(reverse("photos:sign"), {"size": 1}).status_code == 404


def test_what_is_never_claimed_is_purged(put, claim, monkeypatch, capsys, run_jobs):
    claim(put())
    run_jobs()
    put()
    kept = keys()
    call_command("purge_orphaned_media")
    assert "Deleted 0 orphaned objects of 4." in capsys.readouterr().out  # it may be under way
    monkeypatch.setattr(services, "ORPHAN_AGE", timedelta(seconds=-60))
    call_command("purge_orphaned_media")
    assert "Deleted 1 orphaned object of 4." in capsys.readouterr().out
    assert (keys(), keys("incoming")) == (kept, [])


def test_a_bucket_is_made_and_its_rule_set_and_both_again(server):
    client, bucket = server.client(), {"Bucket": "another-bucket"}
    variables = server.variables() | {"MEDIA_STORAGE_URL": server.url.replace(server.bucket, "another-bucket")}
    deploy = GOOD | variables | {"ALLOWED_HOSTS": "www.example.com,.example.org"}
    command = ("python", "manage.py", "create_bucket")
    assert "Would make another-bucket" in run((*command, "--dry-run"), **deploy).stdout
    assert "another-bucket" not in [each["Name"] for each in client.list_buckets()["Buckets"]]
    result = run(command, **deploy)
    assert result.returncode == 0, result.stderr
    assert f"another-bucket at {server.address_at(server.port)}: made." in result.stdout
    assert "PUT is allowed from https://*.example.org, https://www.example.com." in result.stdout
    theirs = {"ID": "theirs", "AllowedMethods": ["GET"], "AllowedOrigins": ["https://theirs.example"]}
    ours = client.get_bucket_cors(**bucket)["CORSRules"]
    client.put_bucket_cors(**bucket, CORSConfiguration={"CORSRules": [*ours, theirs]})
    result = run((*command, "--origin", "https://one.example"), **deploy)
    assert "another-bucket at" in result.stdout
    assert "was there." in result.stdout
    assert "PUT is allowed from https://one.example." in result.stdout
    rules = {rule["ID"]: rule["AllowedOrigins"] for rule in client.get_bucket_cors(**bucket)["CORSRules"]}
    assert rules == {"theirs": ["https://theirs.example"], "uploads-of-the-site": ["https://one.example"]}
    result = run(command, **deploy | {"ALLOWED_HOSTS": ""})
    assert (result.returncode, "name the origins of the pages by --origin" in result.stderr) == (1, True)


def test_a_link_does_no_more_than_was_signed_once_the_bucket_was_made_safe(server, sign, owner, bucket):
    """Ceph obeys headers that nobody signed, and so would read the whole bucket to a person; its policy forbids it."""
    secret = default_storage.save("photos/of-another/original.png", ContentFile(b"secret"))
    alien = {"x-amz-copy-source": f"{server.bucket}/{server.prefix}/{secret}", "x-amz-acl": "public-read"}
    server.client().delete_bucket_policy(Bucket=server.bucket)
    for name, value in alien.items():
        assert send_to(sign().json(), CONTENT, **{name: value}) == 200
    command = ("python", "manage.py", "create_bucket", "--origin", "https://www.example.com")
    result = run(command, **GOOD | server.variables())
    assert "A link does no more than was signed." in result.stdout, result.stdout + result.stderr
    for name, value in alien.items():
        assert send_to(sign().json(), CONTENT, **{name: value}) == 403
    assert send_to(sign().json(), CONTENT) == 200
    assert [key for key in keys("incoming") if "check" in key] == []


def test_a_server_that_cannot_be_made_safe_is_not_recommended(server, bucket, monkeypatch, capsys):
    server.client().delete_bucket_policy(Bucket=server.bucket)
    monkeypatch.setattr("apps.ops.bucket.forbid_copies", lambda storage: None)
    call_command("create_bucket", "--origin", "https://www.example.com")
    assert "obeys headers that a link does not sign (x-amz-copy-source, x-amz-acl)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "status", "text"),
    [
        ("s3://bucket?region=eu-central-1", 0, "aws s3api put-bucket-cors --bucket bucket"),
        ("file://", 1, "MEDIA_STORAGE_URL is no s3:// bucket"),
        ("s3://bucket?endpoint_url=http://127.0.0.1:1", 1, "Could not connect"),
    ],
)
def test_where_no_bucket_can_be_made_it_says_what_to_do(url, status, text):
    deploy = GOOD | {"MEDIA_STORAGE_URL": url, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    result = run(("python", "manage.py", "create_bucket"), **deploy)
    assert result.returncode == status
    assert text in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
