import hashlib
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
from PIL import Image, ImageFile

from apps.jobs.models import Job
from apps.photos import images, services
from apps.photos.models import Photo
from config.media import SignedFileSystemStorage
from tests.photos.pictures import FORMATS, encoded, picture, quarters


@pytest.fixture
def refused(upload, stored):
    """Upload what the form has to refuse: nothing may be left, and what it says is returned."""

    def post(*files):
        response = upload(*files)
        assert response.status_code == 200
        assert not Photo.objects.exists()
        assert not Job.objects.exists()
        assert stored() == []
        return [unescape(message) for message in response.context["form"].errors["photos"]]

    return post


def test_an_upload_is_stored_with_its_facts_and_a_job(upload, owner, stored):
    content = picture("PNG", (64, 48))
    response = upload(("holiday.png", content))
    assert (response.status_code, response.url) == (302, reverse("photos:list"))
    photo = Photo.objects.get()
    assert (photo.owner, photo.filename, photo.state) == (owner, "holiday.png", Photo.State.WAITING)
    assert (photo.size, photo.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (photo.width, photo.height, photo.content_type) == (64, 48, "image/png")
    assert default_storage.open(photo.original).read() == content
    assert stored() == [photo.original]
    job = Job.objects.get()
    assert (job.task, job.arguments) == ("apps.photos.tasks.make_renditions", [str(photo.pk)])
    assert job.key == f"renditions:{photo.pk}"


def test_the_key_is_random_and_holds_nothing_of_the_persons_name(uploaded):
    photos = [uploaded(name="my garden.jpeg"), uploaded(name="my garden.jpeg")]
    assert photos[0].original != photos[1].original
    for photo in photos:
        assert photo.original == f"photos/{photo.pk.hex}/original.jpg"


def test_several_files_are_uploaded_at_once(upload, stored, client):
    response = upload(("a.jpg", picture()), ("b.png", picture("PNG")), ("c.gif", picture("GIF")))
    assert response.status_code == 302
    assert sorted(Photo.objects.values_list("filename", flat=True)) == ["a.jpg", "b.png", "c.gif"]
    assert (Job.objects.count(), len(stored())) == (3, 3)
    assert "3 photos are uploaded." in client.get(response.url).text


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_known_by_its_content_whatever_its_name(uploaded, format):
    photo = uploaded(picture(format), name="mislabelled.bmp")
    assert photo.content_type == f"image/{format.lower()}"
    assert photo.original.endswith({"JPEG": ".jpg"}.get(format, f".{format.lower()}"))


def test_a_jpeg_with_a_second_picture_behind_it_counts_as_a_jpeg(ready):
    photo = ready(encoded(quarters(), "MPO", save_all=True, append_images=[quarters()]))
    assert (photo.content_type, photo.state) == ("image/jpeg", Photo.State.READY)


def test_a_file_that_django_keeps_on_disk_is_stored_whole(uploaded):
    content = encoded(Image.frombytes("RGB", (1100, 1000), os.urandom(3_300_000)), "PNG")
    assert len(content) > 2_621_440  # FILE_UPLOAD_MAX_MEMORY_SIZE
    photo = uploaded(content)
    assert default_storage.open(photo.original).read() == content
    assert photo.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_is_never_read_as_a_whole(owner, media):
    class Chunked(File):
        def read(self, size=-1):
            assert 0 < size <= 1_000_000
            return self.file.read(size)

    content = picture("PNG")
    file = Chunked(ContentFile(content), "a.png")
    (photo,) = services.save_uploads(owner, [(file, images.Header("PNG", 64, 48))])
    assert default_storage.open(photo.original).read() == content


def test_an_empty_file_is_refused(refused):
    assert refused(("nothing.jpg", b"")) == ["“nothing.jpg” is empty."]


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
def test_what_is_not_an_image_of_a_known_format_is_refused_by_name(refused, content):
    (message,) = refused(("notes.jpg", content))
    assert message.startswith("“notes.jpg” is damaged or not an image of a known format (JPEG, PNG")


def test_a_file_above_the_limit_is_refused(refused, settings):
    content = picture()
    settings.UPLOAD_MAX_BYTES = len(content) - 1
    (message,) = refused(("big.jpg", content))
    assert message.startswith("“big.jpg” is too large: 0.0")
    assert message.endswith(" MB are allowed.")


def test_a_file_at_the_limit_is_accepted(uploaded, settings):
    content = picture()
    settings.UPLOAD_MAX_BYTES = len(content)
    assert uploaded(content).size == len(content)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds no picture at all."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(8000, 5001), (10_000, 10_000), (2_000_000_000, 2_000_000_000)])
def test_an_image_above_40_megapixels_is_refused(refused, size):
    message = "“bomb.png” has too many pixels: 40 megapixels are allowed."
    assert refused(("bomb.png", png_header(*size))) == [message]


def test_an_image_of_40_megapixels_is_accepted_and_only_its_header_is_read(uploaded, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    photo = uploaded(png_header(8000, 5000))
    assert (photo.width, photo.height) == (8000, 5000)


@pytest.mark.parametrize("format", sorted({"WEBP", "AVIF"} & {*FORMATS}))
def test_formats_whose_decoders_need_more_memory_have_a_lower_limit(refused, uploaded, settings, format):
    settings.IMAGE_MAX_PIXELS = 2 * 64 * 48 - 2
    (message,) = refused(("a", picture(format)))
    assert "too many pixels" in message
    settings.IMAGE_MAX_PIXELS = 2 * 64 * 48
    assert uploaded(picture(format)).width == 64


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_one_bad_file_of_several_is_named_and_nothing_is_saved(refused):
    messages = refused(("good.jpg", picture()), ("bad.jpg", b"text"), ("bomb.png", png_header(9000, 9000)))
    assert len(messages) == 3
    assert "“bad.jpg”" in messages[0]
    assert "“bomb.png”" in messages[1]
    assert messages[2] == "So none of the files was saved."
    assert "good.jpg" not in "".join(messages)


def test_fifty_files_at_once_are_too_many(refused):
    (message,) = refused(*[(f"{number}.jpg", picture()) for number in range(50)])
    assert message == "At most 20 files at once are allowed, and you chose 50. None was saved."


def test_as_many_files_as_allowed_are_accepted(upload, settings):
    settings.UPLOAD_MAX_FILES = 3
    assert upload(*[("a.jpg", picture())] * 3).status_code == 302
    assert Photo.objects.count() == 3


def test_the_form_asks_for_a_file_when_none_was_chosen(refused):
    assert refused() == ["Choose at least one photo."]


def test_a_refused_upload_shows_the_page_with_the_message(upload):
    response = upload(("<b>x</b>.jpg", b""))
    assert "“b&gt;.jpg” is empty." in response.text  # Django's parser cuts at the slash
    assert "b>.jpg" not in response.text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Frühling 🌷 日本.jpg", "Frühling 🌷 日本.jpg"),
        ("e\u0301t\u00e9.jpg", "été.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\photo.jpg", "photo.jpg"),
        ("a\0b\r\nc\x7f.jpg", "abc.jpg"),
        ("annual\u202egpj.exe", "annualgpj.exe"),
        ("lone\udc80.jpg", "lone.jpg"),
        ("x" * 500 + ".jpeg", "x" * 195 + ".jpeg"),
        ("y" * 500, "y" * 200),
        ("a." + "z" * 500, ("a." + "z" * 500)[:200]),
        ("  .hidden.png ", "hidden.png"),
        ("...", "photo"),
        ("photos/", "photo"),
        ("", "photo"),
        (None, "photo"),
    ],
)
def test_a_file_name_is_cleaned(given, shown):
    assert services.clean_filename(given) == shown


@pytest.mark.parametrize("name", ["Frühling 日本.jpg", "../../../tmp/evil.jpg", "x" * 240 + ".jpg", "'; DROP--\".jpg"])
def test_any_file_name_can_be_uploaded(uploaded, stored, name):
    photo = uploaded(name=name)
    assert 0 < len(photo.filename) <= 200
    assert "/" not in photo.filename
    assert stored() == [f"photos/{photo.pk.hex}/original.jpg"]


def test_when_the_storage_fails_at_the_second_file_nothing_is_left(upload, stored, monkeypatch):
    save, calls = SignedFileSystemStorage.save, []

    def failing(storage, name, content, max_length=None):
        calls.append(name)
        if len(calls) == 2:
            raise ConnectionResetError("the bucket is away")
        return save(storage, name, content, max_length)

    monkeypatch.setattr(SignedFileSystemStorage, "save", failing)
    with pytest.raises(ConnectionResetError):
        upload(("a.jpg", picture()), ("b.jpg", picture()), ("c.jpg", picture()))
    assert len(calls) == 2
    assert stored() == []
    assert not Photo.objects.exists()
    assert not Job.objects.exists()


def test_when_the_transaction_fails_nothing_is_left(upload, stored, monkeypatch):
    enqueue, calls = services.enqueue, []

    def failing(*arguments, **options):
        calls.append(stored())
        if len(calls) == 2:
            raise DatabaseError("the database is full")
        return enqueue(*arguments, **options)

    monkeypatch.setattr(services, "enqueue", failing)
    with pytest.raises(DatabaseError):
        upload(("a.jpg", picture()), ("b.jpg", picture()))
    assert len(calls[0]) == 2  # both were stored before
    assert stored() == []
    assert not Photo.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_error_after_the_commit_deletes_nothing(owner, stored, monkeypatch):
    def after_the_commit(*arguments, **options):
        transaction.on_commit(lambda: 1 / 0)

    monkeypatch.setattr(services, "enqueue", after_the_commit)
    with pytest.raises(ZeroDivisionError):
        services.save_uploads(owner, [(ContentFile(picture(), "a.jpg"), images.Header("JPEG", 64, 48))])
    assert stored() == [Photo.objects.get().original]


@pytest.mark.django_db(transaction=True)
def test_an_upload_becomes_ready_without_further_help_when_jobs_run_at_once(upload, settings, monkeypatch):
    settings.CELERY_TASK_ALWAYS_EAGER = True
    upload(("a.jpg", picture()), ("b.png", picture("PNG")))
    assert list(Photo.objects.values_list("state", flat=True)) == ["ready", "ready"]


def test_an_upload_needs_the_forms_token(owner):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    assert client.post(reverse("photos:list"), {"photos": ContentFile(picture(), "a.jpg")}).status_code == 403
    assert not Photo.objects.exists()
