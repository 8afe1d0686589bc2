import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.tasks import TaskResultStatus
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from apps.photos import images, services, uploads
from apps.photos.models import Photo
from tests.photos.pictures import (
    BOMBS,
    FORMATS,
    XMP,
    corners,
    encoded,
    exif,
    jpeg_of_broken_entries,
    jpeg_of_scans,
    picture,
    profile_of_elements,
    quarters,
    swapped_profile,
    white_profile,
)
from tests.twelve.kit import SignedFileSystemStorage, TaskRecord, perform, retry
from twelve.services.storage import delete_media

UPRIGHT = ["red", "green", "white", "blue"]


def opened(photo, size=1600):
    return Image.open(BytesIO(default_storage.open(f"{photo.folder}/{size}.webp").read()))


def check(photo, size, colours=UPRIGHT):
    assert (photo.state, photo.error) == (Photo.State.READY, "")
    image = opened(photo)
    assert (image.format, image.size) == ("WEBP", size)
    assert corners(image) == colours
    return image


@pytest.mark.parametrize("format", FORMATS)
def test_a_photo_gets_two_webp_renditions(ready, stored, format):
    photo = ready(picture(format, (2000, 1500)))
    check(photo, (1600, 1200))
    small = opened(photo, 320)
    assert (small.format, small.size, corners(small)) == ("WEBP", (320, 240), UPRIGHT)
    assert stored() == sorted([str(photo.original), f"{photo.folder}/1600.webp", f"{photo.folder}/320.webp"])


@pytest.mark.parametrize("size", [(2000, 1333), (1333, 2000), (5000, 7), (1600, 1600), (321, 320), (6500, 500)])
def test_the_sizes_that_the_page_announces_are_those_of_the_renditions(ready, size):
    photo = ready(picture("PNG", size))
    for rendition in (photo.small, photo.large):
        image = Image.open(BytesIO(default_storage.open(rendition.key).read()))
        assert image.size == (rendition.width, rendition.height)


@pytest.mark.parametrize("size", [(1, 1), (200, 100), (320, 320)])
def test_a_small_image_is_never_made_larger(ready, size):
    photo = ready(picture("PNG", size))
    assert photo.state == Photo.State.READY
    assert (opened(photo).size, opened(photo, 320).size) == (size, size)


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_a_line_of_pixels_is_an_image_too(ready, size):
    photo = ready(picture("PNG", size))
    assert photo.state == Photo.State.READY
    assert max(opened(photo).size) == 1600


@pytest.mark.parametrize(
    ("orientation", "colours"),
    [
        (1, ["red", "green", "white", "blue"]),
        (2, ["green", "red", "blue", "white"]),
        (3, ["blue", "white", "green", "red"]),
        (4, ["white", "blue", "red", "green"]),
        (5, ["red", "white", "green", "blue"]),
        (6, ["white", "red", "blue", "green"]),
        (7, ["blue", "green", "white", "red"]),
        (8, ["green", "blue", "red", "white"]),
        (9, ["red", "green", "white", "blue"]),
    ],
)
def test_renditions_are_upright(ready, orientation, colours):
    photo = ready(picture(size=(400, 200), exif=exif(orientation)))
    size = (200, 400) if 5 <= orientation <= 8 else (400, 200)
    check(photo, size, colours)
    assert (photo.width, photo.height) == size


@pytest.mark.parametrize("format", sorted({*FORMATS} - {"GIF"}))
def test_renditions_carry_no_metadata(ready, format):
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP)
    options = {"pnginfo": text} if format == "PNG" else {"xmp": XMP}
    content = picture(format, (400, 200), exif=exif(6), icc_profile=swapped_profile(), **options)
    original = Image.open(BytesIO(content))
    original.load()
    assert {"exif", "icc_profile"} <= set(original.info)
    assert b"garden" in content
    photo = ready(content)
    for size in (320, 1600):
        image = opened(photo, size)
        assert image.size[0] < image.size[1]
        assert not {"exif", "icc_profile", "xmp"} & set(image.info)
        assert not image.getexif()
        stored = default_storage.open(f"{photo.folder}/{size}.webp").read()
        assert not [name for name in (b"EXIF", b"ICCP", b"XMP ", b"Maker", b"garden") if name in stored]


def test_colours_are_converted_from_the_embedded_profile(ready):
    content = picture("PNG", icc_profile=swapped_profile())
    check(ready(content), (64, 48), ["blue", "green", "white", "red"])


def test_colours_with_alpha_are_converted_too(ready):
    image = quarters()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    made = check(
        ready(encoded(image, "PNG", icc_profile=swapped_profile())), (64, 48), ["blue", "green", "white", "red"]
    )
    assert made.mode == "RGBA"
    assert made.getchannel("A").getextrema()[0] < 30


def test_grey_with_a_colour_profile_is_shown_as_grey(ready):
    photo = ready(encoded(Image.new("L", (50, 50), 128), "PNG", icc_profile=swapped_profile()))
    assert all(abs(value - 128) <= 3 for value in opened(photo).convert("RGB").getpixel((25, 25)))


def test_a_broken_profile_counts_as_none(ready):
    check(ready(picture("PNG", icc_profile=b"no profile at all")), (64, 48))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    check(ready(picture("PNG", icc_profile=lab)), (64, 48))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_turns_nothing(ready, format):
    check(ready(picture(format, exif=b"Exif\0\0no TIFF at all")), (64, 48))


def test_a_cmyk_jpeg_becomes_rgb(ready):
    check(ready(encoded(quarters().convert("CMYK"))), (64, 48))


def test_the_inks_of_a_cmyk_jpeg_are_converted_from_its_profile(ready):
    content = encoded(quarters().convert("CMYK"), icc_profile=white_profile())
    check(ready(content), (64, 48), ["white", "white", "white", "white"])


def test_a_palette_keeps_its_transparency(ready):
    image = quarters().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    red = image.getpixel((0, 0))
    made = opened(ready(encoded(image, "PNG", transparency=red)))
    assert made.mode == "RGBA"
    assert (made.getpixel((2, 2))[3], made.getpixel((60, 44))[3]) == (0, 255)


def test_a_colour_that_means_transparent_is_transparent(ready):
    made = opened(ready(picture("PNG", transparency=(255, 0, 0))))
    assert (made.getpixel((2, 2))[3], made.getpixel((60, 44))[3]) == (0, 255)


@pytest.mark.parametrize("transparency", [{}, {"transparency": 127}])
def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(ready, transparency):
    image = Image.new("I;16", (30, 10))
    for x in range(30):
        for y in range(10):
            image.putpixel((x, y), x // 10 * 32_767)
    made = opened(ready(encoded(image, "PNG", **transparency)))
    assert made.mode == "RGB"
    made = made.convert("L")
    assert [round(made.getpixel((x, 5)) / 127) for x in (4, 15, 26)] == [0, 1, 2]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_kind_of_png_becomes_a_picture(ready, mode):
    image = Image.linear_gradient("L").resize((100, 7000))
    made = opened(ready(encoded(image.convert(mode), "PNG"))).convert("L")
    assert made.size == (23, 1600)
    dark, light = (made.resize((1, 4), Image.Resampling.BOX).getpixel((0, y)) for y in (0, 3))
    assert (dark, light) == (pytest.approx(32, abs=12), pytest.approx(223, abs=12))


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation_is_shown(ready, format):
    frames = [quarters(), Image.new("RGB", (64, 48), "black")]
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    assert not check(ready(content), (64, 48)).is_animated


def test_a_truncated_jpeg_is_uploaded_and_fails_with_a_reason(ready, client, stored):
    photo = ready(picture(size=(800, 600))[:-2000])
    assert (photo.state, photo.error) == (Photo.State.FAILED, images.DAMAGED)
    assert stored() == [photo.original]
    page = client.get(f"/photos/{photo.pk}/").text
    assert "damaged or incomplete" in page
    record = TaskRecord.objects.get()
    assert (record.status, record.attempts) == (TaskResultStatus.FAILED, 1)  # not tried again


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_other_truncated_files_fail_too(ready, format):
    content = encoded(Image.frombytes("RGB", (300, 300), os.urandom(270_000)), format)
    photo = ready(content[: len(content) // 2])
    assert (photo.state, photo.error) == (Photo.State.FAILED, images.DAMAGED)


def test_a_missing_original_fails_with_a_reason(uploaded, run_tasks):
    photo = uploaded()
    default_storage.delete(str(photo.original))
    run_tasks()
    photo.refresh_from_db()
    assert (photo.state, photo.error) == (Photo.State.FAILED, services.MISSING)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_original_above_a_limit_that_was_lowered_fails_with_a_reason(uploaded, run_tasks, settings):
    photo = uploaded()
    settings.IMAGE_MAX_PIXELS = 64 * 48 - 1
    run_tasks()
    photo.refresh_from_db()
    assert (photo.state, photo.error) == (Photo.State.FAILED, images.TOO_MANY_PIXELS)


def test_a_bomb_that_was_stored_fails_with_a_reason_and_is_not_tried_again(owner, run_tasks):
    file = ContentFile(jpeg_of_scans(2000), "bomb.jpg")
    photo = uploads.save_upload(owner, file, images.Header("JPEG", 8000, 5000))
    run_tasks()
    photo.refresh_from_db()
    assert (photo.state, photo.error) == (Photo.State.FAILED, images.UNUSUAL)
    record = TaskRecord.objects.get()
    assert (record.status, record.attempts) == (TaskResultStatus.FAILED, 1)


def test_a_profile_that_would_take_minutes_counts_as_none(ready):
    content = picture("PNG", icc_profile=profile_of_elements(120_000))
    assert len(content) < 2000
    check(ready(content), (64, 48))


def test_an_error_of_the_storage_is_tried_again_and_reported_without_its_text(uploaded, monkeypatch):
    photo, record = uploaded(), TaskRecord.objects.get()

    def refuse(storage, key, *arguments):
        raise ConnectionResetError("bucket.internal does not answer")

    monkeypatch.setattr(SignedFileSystemStorage, "open", refuse)
    for _attempt in range(4):
        perform(record.pk)
        record.refresh_from_db()
        photo.refresh_from_db()
        assert (record.status, photo.state) == (TaskResultStatus.READY, Photo.State.WAITING)
        TaskRecord.objects.update(due=record.enqueued_at)
    perform(record.pk)
    photo.refresh_from_db()
    assert (photo.state, photo.error) == (Photo.State.FAILED, services.UNEXPECTED)


def test_an_error_of_the_storage_while_writing_is_not_taken_for_a_bad_image(uploaded, monkeypatch):
    photo, record = uploaded(), TaskRecord.objects.get()

    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(SignedFileSystemStorage, "save", full)
    perform(record.pk)
    record.refresh_from_db()
    photo.refresh_from_db()
    assert (record.status, photo.state) == (TaskResultStatus.READY, Photo.State.WAITING)


def test_an_error_of_our_own_is_reported_without_its_text(uploaded, run_tasks, monkeypatch):
    photo = uploaded()
    monkeypatch.setattr(images, "render", lambda file: {}["bug"])
    run_tasks()
    photo.refresh_from_db()
    assert (photo.state, photo.error) == (Photo.State.FAILED, services.UNEXPECTED)


def test_doing_it_twice_changes_nothing(ready, stored, media):
    photo = ready(picture(size=(500, 400), exif=exif(6)))
    before = {key: ((media / key).stat().st_mtime_ns, (media / key).read_bytes()) for key in stored()}
    services.make_renditions(str(photo.pk))
    assert {key: ((media / key).stat().st_mtime_ns, (media / key).read_bytes()) for key in stored()} == before
    photo.refresh_from_db()
    assert (photo.state, photo.width, photo.height) == (Photo.State.READY, 400, 500)


def test_a_lost_rendition_is_made_again(ready, stored):
    photo = ready()
    before = stored()
    default_storage.delete(photo.small.key)
    services.make_renditions(str(photo.pk))
    assert stored() == before


def test_two_workers_at_the_same_photo_leave_no_extra_objects(ready, stored, monkeypatch):
    photo = ready()
    before, exists, asked = stored(), SignedFileSystemStorage.exists, []

    def late(storage, key):  # when we look it is not there yet, when we write it is
        asked.append(key)
        return asked.count(key) > 1 and exists(storage, key)

    monkeypatch.setattr(SignedFileSystemStorage, "exists", late)
    services.make_renditions(str(photo.pk))
    assert {photo.small.key, photo.large.key} <= {*asked}
    assert stored() == before


def test_a_photo_deleted_before_its_task_leaves_nothing(uploaded, run_tasks, stored):
    photo = uploaded()
    rendition = photo.large.key
    services.store(rendition, b"of an attempt that was killed")
    Photo.objects.filter(pk=photo.pk)._raw_delete("default")  # without the task that deletes its objects
    run_tasks()
    assert stored() == []
    assert TaskRecord.objects.get().status == TaskResultStatus.SUCCESSFUL


def test_a_photo_deleted_while_its_original_is_read_ends_quietly(uploaded, run_tasks, stored, monkeypatch):
    photo = uploaded()

    def gone(storage, key, *arguments):
        Photo.objects.get(pk=photo.pk).delete()
        delete_media(photo.folder)
        raise FileNotFoundError(key)

    monkeypatch.setattr(SignedFileSystemStorage, "open", gone)
    run_tasks()
    assert stored() == []
    assert TaskRecord.objects.get(task__endswith="make_renditions").status == TaskResultStatus.SUCCESSFUL


def test_a_photo_deleted_while_its_renditions_are_made_leaves_nothing(uploaded, run_tasks, stored, monkeypatch):
    photo, render = uploaded(), images.render

    def slow(file):
        made = render(file)
        Photo.objects.get(pk=photo.pk).delete()
        delete_media(photo.folder)
        return made

    monkeypatch.setattr(images, "render", slow)
    run_tasks()
    assert stored() == []
    assert TaskRecord.objects.get(task__endswith="make_renditions").status == TaskResultStatus.SUCCESSFUL


def test_a_failure_that_comes_late_leaves_a_ready_photo_ready(ready):
    photo = ready()
    services.mark_failed(images.DAMAGED, str(photo.pk))
    photo.refresh_from_db()
    assert (photo.state, photo.error) == (Photo.State.READY, "")


def test_staff_can_have_a_failed_photo_tried_again(uploaded, run_tasks, monkeypatch):
    photo = uploaded()
    with monkeypatch.context() as broken:
        broken.setattr(images, "render", lambda file: {}["bug"])
        run_tasks()
    assert retry(TaskRecord.objects.all()) == 1
    run_tasks()
    photo.refresh_from_db()
    assert (photo.state, photo.error) == (Photo.State.READY, "")


WORKER = """
import sys, django, celery
django.setup()
import config.celery
from apps.photos import images
with open(sys.argv[1], "rb") as file:
    renditions, size = images.render(file)
print(size[0] * size[1], *[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("format", "megapixels", "mode", "options"),
    [
        ("JPEG", 40, "CMYK", {"progressive": True, "subsampling": 0}),
        ("PNG", 40, "RGBA", {"compress_level": 1}),
        ("GIF", 40, "P", {}),
        ("WEBP", 20, "RGBA", {"method": 0, "quality": 50}),
    ],
)
def test_a_worker_stays_within_512_mb(tmp_path, format, megapixels, mode, options):
    height = {40: 5000, 20: 4000}[megapixels]
    image = Image.linear_gradient("L").resize((megapixels * 1_000_000 // height, height)).convert(mode)
    file = tmp_path / "large"
    image.save(file, format, **options)
    del image
    worker = subprocess.run(
        [sys.executable, "-c", WORKER, file], capture_output=True, text=True, check=True, env=os.environ, timeout=120
    )
    pixels, peak = map(int, worker.stdout.split())
    assert pixels == megapixels * 1_000_000
    assert peak < 512_000  # kB


BOMBED = """
import sys, time, django
django.setup()
from apps.photos import images
begun, refused = time.process_time(), 0
with open(sys.argv[1], "rb") as file:
    for function in images.read_header, images.render:
        try:
            function(file)
        except images.ImageError as error:
            refused += str(error) == images.UNUSUAL
peaks = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(refused, time.process_time() - begun, *peaks)
"""


def test_a_broken_exif_block_is_not_logged_entry_by_entry(tmp_path):
    file = tmp_path / "entries.jpg"
    file.write_bytes(jpeg_of_broken_entries())
    command = [sys.executable, "-c", BOMBED, file]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ, timeout=60)
    assert len(result.stdout + result.stderr) < 1000


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_a_second_and_little_memory(tmp_path, name):
    file = tmp_path / "bomb"
    file.write_bytes(BOMBS[name]())
    command = [sys.executable, "-c", BOMBED, file]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ, timeout=200)
    refused, seconds, peak = map(float, result.stdout.split())
    assert (refused, seconds < 2, peak < 120_000) == (2, True, True), f"{seconds} s, {peak} kB"
