"""The purge of a bucket: pages of keys in constant memory, which can be stopped and gone on with."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import batched

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command

from apps.jobs.models import Job
from apps.photos import services, tasks
from config.s3 import BucketStorage
from tests.photos.pictures import picture

ORPHANS = 1050


@pytest.fixture
def bucket(server, settings, monkeypatch):
    """A bucket with more than a page of orphans, which count as old enough."""
    settings.STORAGES = settings.STORAGES | {"default": server.storage()}
    monkeypatch.setattr(services, "ORPHAN_AGE", timedelta(seconds=-60))
    client, present = server.client(), {key for page in default_storage.pages("photos") for key, _changed in page}

    def put(number):
        name = f"photos/{number:032x}/original.jpg"
        if name not in present:
            client.put_object(Bucket=server.bucket, Key=f"{server.prefix}/{name}", Body=b"x")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(ORPHANS)))


def left():
    return sum(len(page) for page in default_storage.pages("photos"))


def test_it_goes_by_pages_keeps_what_has_a_row_and_can_go_on_where_it_was(bucket, uploaded, capsys):
    photo = uploaded(picture())
    call_command("purge_orphaned_media", "--dry-run")
    assert capsys.readouterr().out == f"Would delete {ORPHANS} orphaned objects of {ORPHANS + 1}.\n"
    assert left() == ORPHANS + 1
    call_command("purge_orphaned_media", "--after", f"photos/{ORPHANS - 3:032x}/original.jpg")
    assert capsys.readouterr().out == "Deleted 2 orphaned objects of 3.\n"
    assert left() == ORPHANS - 1
    first = next(services.orphaned_media())  # a server may send fewer than the 1000 keys of a page
    assert 0 < first.total == len(first.orphans) <= 1000
    assert first.last == first.orphans[-1] == f"photos/{first.total - 1:032x}/original.jpg"
    call_command("purge_orphaned_media")
    assert left() == 1
    assert default_storage.exists(photo.original)


def test_a_job_does_a_part_and_leaves_the_rest_to_the_next(bucket, db, monkeypatch, run_jobs):
    monkeypatch.setattr(tasks, "PURGE_PAGES", 1)
    services.enqueue(tasks.purge_orphaned_media)
    lefts = []
    while Job.objects.filter(state=Job.State.WAITING).exists():
        run_jobs()
        lefts.append(left())
    assert len(lefts) >= 2
    assert lefts == sorted(lefts, reverse=True)
    assert lefts[-1] == 0
    assert Job.objects.filter(state=Job.State.DONE).count() == len(lefts)


def test_ten_times_the_keys_take_no_more_memory(db, settings, server, monkeypatch):
    """The listing is made here, since no server on a small machine holds as many; what is measured is the purge."""
    settings.STORAGES = settings.STORAGES | {"default": server.storage()}
    old, peaks = datetime(2020, 1, 1, tzinfo=UTC), []
    for count in (1_000, 10_000, 100_000):

        def pages(storage, prefix, after="", count=count):
            keys = ((f"{prefix}/{number:032x}/original.jpg", old) for number in range(count // 2))
            return map(list, batched(keys, 1000))

        monkeypatch.setattr(BucketStorage, "pages", pages)
        tracemalloc.start()
        assert sum(page.total for page in services.orphaned_media()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]
