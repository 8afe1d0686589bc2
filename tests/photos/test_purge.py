import os
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.tasks import TaskResultStatus

from apps.photos.models import Photo
from tests.twelve.kit import TaskRecord, enqueue, perform

STRANGER = "photos/0123456789abcdef0123456789abcdef"


@pytest.fixture
def put(media):
    """Store an object as old as said."""

    def store(key, age=timedelta(days=2)):
        default_storage.save(key, ContentFile(b"x"))
        moment = time.time() - age.total_seconds()
        os.utime(media / key, (moment, moment))

    return store


def purge(*arguments):
    output = StringIO()
    call_command("purge_orphaned_media", *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def old(ready, media):
    """A ready photo, uploaded a week ago."""
    photo = ready()
    for key in photo.stored_keys():
        os.utime(media / key, (time.time() - 7 * 86400,) * 2)
    return photo


def test_old_objects_of_no_photo_are_deleted(old, put, stored):
    kept = stored()
    put(f"{STRANGER}/original.jpg")
    put(f"{STRANGER}/320.webp")
    put("photos/stray.txt")
    assert purge() == "Deleted 3 orphaned objects of 6.\n"
    assert stored() == kept
    assert purge() == "Deleted 0 orphaned objects of 3.\n"


def test_objects_younger_than_a_day_may_belong_to_an_upload_under_way(db, put, stored):
    put(f"{STRANGER}/original.jpg", timedelta(hours=23, minutes=59))
    put(f"{STRANGER}/320.webp", timedelta(hours=24, minutes=1))
    assert purge() == "Deleted 1 orphaned object of 2.\n"
    assert stored() == [f"{STRANGER}/original.jpg"]


def test_leftovers_in_the_folder_of_a_photo_are_deleted(old, put, stored):
    kept = stored()
    for name in ("320.webp.part", "original.jpg.part", "320_x7.webp", "original.png", "deeper/320.webp"):
        put(f"{old.folder}/{name}")
    assert purge() == "Deleted 5 orphaned objects of 8.\n"
    assert stored() == kept


def test_a_photo_whose_renditions_are_not_made_yet_keeps_its_original(uploaded, media, stored):
    photo = uploaded()
    os.utime(media / str(photo.original), (0, 0))
    assert purge() == "Deleted 0 orphaned objects of 1.\n"
    assert stored() == [photo.original]


def test_a_dry_run_deletes_nothing(old, put, stored):
    put(f"{STRANGER}/original.jpg")
    before = stored()
    assert purge("--dry-run") == "Would delete 1 orphaned object of 4.\n"
    assert stored() == before


def test_a_storage_without_the_folder_has_no_objects(db, media):
    assert not media.exists()
    assert purge() == "Deleted 0 orphaned objects of 0.\n"


def test_what_lies_elsewhere_in_the_storage_is_left_alone(db, put, stored):
    put("another-app/file.txt")
    put("photos-of-another-app/file.txt")
    assert purge() == "Deleted 0 orphaned objects of 0.\n"
    assert stored() == ["another-app/file.txt", "photos-of-another-app/file.txt"]


def test_the_directory_of_an_orphan_is_removed_with_its_last_object(old, put, media):
    put(f"{STRANGER}/original.jpg")
    put(f"{STRANGER}/320.webp")
    purge()
    assert [path.name for path in (media / "photos").iterdir()] == [old.pk.hex]


def test_more_objects_than_one_look_at_the_database_takes(owner, put, stored):
    photos = Photo.objects.bulk_create(Photo(owner=owner, size=1, width=1, height=1) for _number in range(400))
    for photo in photos:
        photo.original = f"{photo.folder}/original.png"
        put(str(photo.original))
        put(f"{photo.folder}/original.gif")
    Photo.objects.bulk_update(photos, ["original"])
    assert purge() == "Deleted 400 orphaned objects of 800.\n"
    assert stored() == sorted(str(photo.original) for photo in photos)


def test_the_clock_has_it_done(db, put, stored):
    assert "apps.photos.tasks.purge_orphaned_media" in settings.TASKS_SCHEDULE
    from apps.photos.tasks import purge_orphaned_media

    put(f"{STRANGER}/original.jpg")
    record = enqueue(purge_orphaned_media)
    perform(record.pk)
    assert TaskRecord.objects.get().status == TaskResultStatus.SUCCESSFUL
    assert stored() == []
