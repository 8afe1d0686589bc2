import contextlib
import hashlib
import http.client
import os
import struct
import zlib
from html import unescape

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse
from PIL import Image, ImageFile, features

from apps.photos import images, uploads
from apps.photos.models import Photo
from tests.photos.faults import MAIL, PASSPHRASE, Visitor
from tests.photos.pictures import BOMBS, FORMATS, encoded, jpeg_of_scans, picture, quarters, segment
from tests.twelve.kit import DurableBackend, SignedFileSystemStorage, TaskRecord
from tests.twelve.processes import Deploy


@pytest.fixture
def refused(upload, stored):
    """Upload what the form has to refuse: nothing may be left, and what it says is returned."""

    def post(*file):
        response = upload(*file)
        assert response.status_code == 200
        assert not Photo.objects.exists()
        assert not TaskRecord.objects.exists()
        assert stored() == []
        return [unescape(message) for message in response.context["form"].errors["photo"]]

    return post


def test_an_upload_is_stored_with_its_facts_and_a_task(upload, owner, stored):
    content = picture("PNG", (64, 48))
    response = upload("holiday.png", content)
    assert (response.status_code, response.url) == (302, reverse("photos:list"))
    photo = Photo.objects.get()
    assert (photo.owner, photo.filename, photo.state) == (owner, "holiday.png", Photo.State.WAITING)
    assert (photo.size, photo.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (photo.width, photo.height, photo.content_type) == (64, 48, "image/png")
    assert default_storage.open(str(photo.original)).read() == content
    assert stored() == [photo.original]
    record = TaskRecord.objects.get()
    assert (record.task, record.args) == ("apps.photos.tasks.make_renditions", [str(photo.pk)])
    assert record.unique_key == f"renditions:{photo.pk}"


def test_the_key_is_random_and_holds_nothing_of_the_persons_name(uploaded):
    photos = [uploaded(name="my garden.jpeg"), uploaded(name="my garden.jpeg")]
    assert photos[0].original != photos[1].original
    for photo in photos:
        assert photo.original == f"photos/{photo.pk.hex}/original.jpg"


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_known_by_its_content_whatever_its_name(uploaded, format):
    photo = uploaded(picture(format), name="mislabelled.bmp")
    assert photo.content_type == f"image/{format.lower()}"
    assert photo.original.name.endswith({"JPEG": ".jpg"}.get(format, f".{format.lower()}"))


def test_a_jpeg_with_a_second_picture_behind_it_counts_as_a_jpeg(ready):
    photo = ready(encoded(quarters(), "MPO", save_all=True, append_images=[quarters()]))
    assert (photo.content_type, photo.state) == ("image/jpeg", Photo.State.READY)


def test_a_file_that_django_keeps_on_disk_is_stored_whole(uploaded):
    content = encoded(Image.frombytes("RGB", (1100, 1000), os.urandom(3_300_000)), "PNG")
    assert len(content) > 2_621_440  # FILE_UPLOAD_MAX_MEMORY_SIZE
    photo = uploaded(content)
    assert default_storage.open(str(photo.original)).read() == content
    assert photo.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_is_never_read_as_a_whole(owner, media):
    class Chunked(File):
        def read(self, size=-1):
            assert 0 < size <= 1_000_000
            return self.file.read(size)

    content = picture("PNG")
    file = Chunked(ContentFile(content), "a.png")
    photo = uploads.save_upload(owner, file, images.Header("PNG", 64, 48))
    assert default_storage.open(str(photo.original)).read() == content


def test_an_empty_file_is_refused(refused):
    assert refused("nothing.jpg", b"") == ["The file is empty."]


@pytest.mark.parametrize(
    "content",
    [
        b"Dear diary, this is no picture.\n" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        picture("BMP"),
        picture("TIFF"),
        b"\xff\xd8\xff",
        picture("PNG")[:20],
        picture("GIF")[:9],
        picture("WEBP")[:40],
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"RIFF\xff\xff\xff\xffWEBPVP8L" + b"\xff" * 100,
        b"\0\0\0\x1cftypavif" + b"\xff" * 100,
    ],
    ids=["text", "svg", "bmp", "tiff", "jpeg", "png", "gif", "webp", "zeros-png", "wild-webp", "wild-avif"],
)
def test_what_is_not_an_image_of_a_known_format_is_refused(refused, content):
    (message,) = refused("notes.jpg", content)
    assert message == "The file is damaged or incomplete, or not an image of a known format."


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_an_avif_is_refused_since_what_it_costs_cannot_be_limited(refused):
    assert "not an image of a known format" in refused("photo.avif", picture("AVIF"))[0]


def test_a_file_above_the_limit_is_refused(refused, settings):
    content = picture()
    settings.UPLOAD_MAX_BYTES = len(content) - 1
    (message,) = refused("big.jpg", content)
    assert message.startswith("The file is too large: 0.0")
    assert message.endswith(" MB are allowed.")


def test_a_file_at_the_limit_is_accepted(uploaded, settings):
    content = picture()
    settings.UPLOAD_MAX_BYTES = len(content)
    assert uploaded(content).size == len(content)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_a_reason(refused, name):
    (message,) = refused("bomb.jpg", BOMBS[name]())
    assert message.startswith("The image has a very long side or more parts than photos have.")


@pytest.mark.parametrize("size", [(20_001, 1), (1, 20_001)])
def test_a_side_above_20000_is_refused(refused, size):
    assert "very long side" in refused("line.png", picture("PNG", size))[0]


@pytest.mark.parametrize(
    "size", [(64, 48), (8256, 1016)]
)  # the latter's first scan is a block of reading less one byte
def test_a_jpeg_may_have_a_hundred_scans(refused, uploaded, size):
    assert "more parts" in refused("bomb.jpg", jpeg_of_scans(101, size))[0]
    assert uploaded(jpeg_of_scans(100, size)).width == size[0]


END, SCANS = b"\xff\xd9", b"\xff\xda" * 200


@pytest.mark.parametrize(
    "disguise",
    [
        segment(0xFE, END),  # a comment that holds the marker of the end
        b"\xff\xff\xff",  # filling
        b"\xff\x02\xff\xff",  # no marker, though it looks like a segment that is long
        b"\xff\xd0\xff\xd0\xff\x01",  # restarts
        b"\xff\0\xff\0" + b"\xab" * 40_000,  # data
    ],
)
def test_scans_are_counted_however_they_are_hidden(refused, disguise):
    first, scan, rest = jpeg_of_scans(101, (64, 48)).partition(b"\xff\xda")
    assert "more parts" in refused("bomb.jpg", first + scan + rest.replace(b"\xff\xda", disguise + b"\xff\xda"))[0]


@pytest.mark.parametrize(
    ("before", "behind"), [(segment(0xE1, SCANS), b""), (b"", END + SCANS), (segment(0xE2, END), segment(0xE1, SCANS))]
)
def test_what_looks_like_a_scan_in_a_thumbnail_or_behind_the_picture_is_none(ready, before, behind):
    photo = ready(picture()[:2] + before + picture()[2:] + behind)
    assert photo.state == Photo.State.READY


def test_a_large_profile_and_a_large_thumbnail_are_no_bomb(ready):
    content = picture("JPEG", icc_profile=os.urandom(1_000_000), comment=b"x" * 60_000)
    assert ready(content).state == Photo.State.READY


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds no picture at all."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(8000, 5001), (10_000, 10_000), (2_000_000_000, 2_000_000_000)])
def test_an_image_above_40_megapixels_is_refused(refused, size):
    assert refused("bomb.png", png_header(*size)) == ["The image has too many pixels to be shown."]


def test_an_image_of_40_megapixels_is_accepted_and_only_its_header_is_read(uploaded, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    photo = uploaded(png_header(8000, 5000))
    assert (photo.width, photo.height) == (8000, 5000)


def test_a_format_whose_decoder_needs_more_memory_has_a_lower_limit(refused, uploaded, settings):
    settings.IMAGE_MAX_PIXELS = 2 * 64 * 48 - 2
    (message,) = refused("a", picture("WEBP"))
    assert "too many pixels" in message
    settings.IMAGE_MAX_PIXELS = 2 * 64 * 48
    assert uploaded(picture("WEBP")).width == 64


def test_the_form_asks_for_a_file_when_none_was_chosen(refused):
    assert refused() == ["This field is required."]


def test_a_refused_upload_shows_the_page_with_the_message(upload):
    assert "The file is empty." in upload("x.jpg", b"").text


@pytest.mark.parametrize("name", ["Frühling 日本.jpg", "../../../tmp/evil.jpg", "x" * 240 + ".jpg", "'; DROP--\".jpg"])
def test_any_file_name_can_be_uploaded(uploaded, stored, name):
    photo = uploaded(name=name)
    assert 0 < len(photo.filename) <= 200
    assert "/" not in photo.filename
    assert stored() == [f"photos/{photo.pk.hex}/original.jpg"]


def test_when_the_storage_fails_nothing_is_left(upload, stored, monkeypatch):
    save, calls = SignedFileSystemStorage.save, []

    def failing(storage, name, content, max_length=None):
        calls.append(save(storage, name, content, max_length))
        raise ConnectionResetError("the bucket is unreachable")

    monkeypatch.setattr(SignedFileSystemStorage, "save", failing)
    with pytest.raises(ConnectionResetError):
        upload("a.jpg", picture())
    assert len(calls) == 1
    assert stored() == []
    assert not Photo.objects.exists()
    assert not TaskRecord.objects.exists()


def test_when_the_transaction_fails_nothing_is_left(upload, stored, monkeypatch):
    calls = []

    def failing(*arguments, **options):
        calls.append(stored())
        raise DatabaseError("the database is full")

    monkeypatch.setattr(DurableBackend, "enqueue", failing)
    with pytest.raises(DatabaseError):
        upload("a.jpg", picture())
    assert len(calls[0]) == 1  # it was stored before
    assert stored() == []
    assert not Photo.objects.exists()
    assert not TaskRecord.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_error_after_the_commit_deletes_nothing(owner, stored, monkeypatch):
    def after_the_commit(*arguments, **options):
        transaction.on_commit(lambda: 1 / 0)

    monkeypatch.setattr(DurableBackend, "enqueue", after_the_commit)
    with pytest.raises(ZeroDivisionError):
        uploads.save_upload(owner, ContentFile(picture(), "a.jpg"), images.Header("JPEG", 64, 48))
    assert stored() == [Photo.objects.get().original]


@pytest.mark.django_db(transaction=True)
def test_an_upload_becomes_ready_without_further_help_when_tasks_run_at_once(upload, settings, monkeypatch):
    settings.CELERY = settings.CELERY | {"task_always_eager": True}
    upload("a.jpg", picture())
    upload("b.png", picture("PNG"))
    assert list(Photo.objects.values_list("state", flat=True)) == ["ready", "ready"]


def test_an_upload_needs_the_forms_token(owner):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    assert client.post(reverse("photos:list"), {"photo": ContentFile(picture(), "a.jpg")}).status_code == 403
    assert not Photo.objects.exists()


@pytest.fixture
def deploy(tmp_path):
    """A web server, with the folder of its temporary files and an account."""
    (tmp_path / "temporary").mkdir()
    variables = {"TMPDIR": str(tmp_path / "temporary"), "UPLOAD_MAX_BYTES": "400000000"}
    deploy = Deploy(tmp_path, DJANGO_SUPERUSER_PASSWORD=PASSPHRASE, **variables)
    deploy.manage("migrate_db", "--verbosity", "0")
    deploy.manage("createsuperuser", "--noinput", "--email", MAIL)
    deploy.start_web()
    yield deploy
    deploy.close()


def post_300_megabytes(deploy, path, cookies):
    """Send a file for as long as the server takes it; returns the answer and the most that its temporary files held."""
    head = b'--limit\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    block, most = bytes(1_000_000), 0
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", deploy.port, timeout=60)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Cookie", cookies)
        connection.putheader("Content-Type", "multipart/form-data; boundary=limit")
        connection.putheader("Content-Length", str(len(head) + 300 * len(block)))
        connection.endheaders(head)
        with contextlib.suppress(ConnectionError):  # a server may close it without reading on
            for _ in range(300):
                connection.send(block)
                most = max(most, sum(file.stat().st_size for file in (deploy.folder / "temporary").iterdir()))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), most


@pytest.mark.prove
def test_a_large_request_is_refused_unread_but_from_a_person_to_the_upload_form(deploy):
    stranger = "csrftoken=" + "a" * 32
    visitor = Visitor(deploy.address)
    person = "; ".join(f"{cookie.name}={cookie.value}" for cookie in visitor.cookies)
    for cookies, path in (
        (stranger, "/photos/"),
        (stranger, "/accounts/login/"),
        (person, "/accounts/password/change/"),
    ):
        status, page, most = post_300_megabytes(deploy, path, cookies)
        assert (status, "too large" in page, most < 3_000_000) == (400, True, True), (path, most, page)
    status, _page, most = post_300_megabytes(deploy, "/photos/", person)  # without the form's token
    assert (status, most > 250_000_000) == (403, True)
    content = encoded(Image.frombytes("RGB", (2200, 1000), os.urandom(6_600_000)), "PNG")
    assert "is uploaded." in visitor.upload(content=content).page
