import os
import re
import subprocess
import termios
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command

from apps.jobs.models import Job
from apps.jobs.services import enqueue, perform
from apps.photos.models import Photo
from tests.processes import BIN, ROOT, Deploy, Process, wait_until

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
    os.utime(media / photo.original, (0, 0))
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
        put(photo.original)
        put(f"{photo.folder}/original.gif")
    Photo.objects.bulk_update(photos, ["original"])
    assert purge() == "Deleted 400 orphaned objects of 800.\n"
    assert stored() == sorted(photo.original for photo in photos)


def test_the_clock_has_it_done(db, put, stored):
    assert "apps.photos.tasks.purge_orphaned_media" in settings.JOBS_SCHEDULE
    from apps.photos.tasks import purge_orphaned_media

    put(f"{STRANGER}/original.jpg")
    job = enqueue(purge_orphaned_media)
    perform(job.pk)
    assert Job.objects.get().state == Job.State.DONE
    assert stored() == []


@pytest.fixture
def many(tmp_path):
    """A deploy with many orphans that are old enough, and how many of them are left."""
    deploy = Deploy(tmp_path)
    deploy.manage("migrate", "--verbosity", "0")
    for number in range(20_000):
        folder = deploy.media / f"photos/{number:032x}"
        folder.mkdir(parents=True)
        (folder / "original.jpg").touch()
        os.utime(folder / "original.jpg", (0, 0))
    yield deploy, lambda: len([*deploy.media.glob("photos/*/original.jpg")])
    deploy.close()


@pytest.mark.e2e
def test_stopped_by_a_signal_it_says_what_was_done_and_how_to_go_on(many):
    deploy, left = many
    output = deploy.folder / "purge.log"
    command = [str(BIN / "python"), "manage.py", "purge_orphaned_media"]
    process = Process(command, environment=deploy.environment, output=output, errors=deploy.folder / "errors.log")
    deploy.processes.append(process)
    wait_until(lambda: left() < 19_000, 60, lambda: process.text)
    assert process.stop() == 143
    told = r"Stopped; go on with --after '(\S+)'. Deleted (\d+) orphaned objects of \d+."
    after, deleted = re.search(told, process.text).groups()
    assert left() > 0
    assert 20_000 - left() - int(deleted) in (0, 1)  # the signal may come between an object and its count
    rest = left()
    assert f"Deleted {rest} orphaned" in deploy.manage("purge_orphaned_media", "--after", after).stdout
    assert left() == 0


@pytest.mark.e2e
def test_on_a_terminal_it_shows_how_far_it_is(many):
    deploy, _left = many
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [str(BIN / "python"), "manage.py", "purge_orphaned_media", "--dry-run"]
    result = subprocess.run(command, cwd=ROOT, env=deploy.environment, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert re.search(r"\d+ objects \[", shown)
    assert result.stdout == "Would delete 20000 orphaned objects of 20000.\n"
