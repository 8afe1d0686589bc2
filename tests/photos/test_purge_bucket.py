"""The purge of a bucket: pages of keys in constant memory, which can be stopped and gone on with."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command

from apps.photos import services
from tests.photos.pictures import picture
from tests.twelve.kit import BucketStorage

pytestmark = pytest.mark.prove

ORPHANS = 1050


@pytest.fixture
def bucket(server, settings, monkeypatch):
    """A bucket with more than a page of orphans, which count as old enough."""
    settings.STORAGES = settings.STORAGES | {"default": server.storage()}
    monkeypatch.setattr(services, "ORPHAN_AGE", timedelta(seconds=-60))
    client, present = server.client(), {key for key, _changed in default_storage.list_objects("photos")}

    def put(number):
        name = f"photos/{number:032x}/original.jpg"
        if name not in present:
            client.put_object(Bucket=server.bucket, Key=f"{server.prefix}/{name}", Body=b"x")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(ORPHANS)))


def left():
    return len(list(default_storage.list_objects("photos")))


def test_it_goes_by_pages_and_keeps_what_has_a_row(bucket, uploaded, capsys):
    photo = uploaded(picture())
    call_command("purge_orphaned_media", "--dry-run")
    assert capsys.readouterr().out == f"Would delete {ORPHANS} orphaned objects of {ORPHANS + 1}.\n"
    assert left() == ORPHANS + 1
    call_command("purge_orphaned_media")
    assert left() == 1
    assert default_storage.exists(str(photo.original))


def test_ten_times_the_keys_take_no_more_memory(db, settings, server, monkeypatch):
    """The listing is made here, since no server on a small machine holds as many; only the purge is measured."""
    settings.STORAGES = settings.STORAGES | {"default": server.storage()}
    old, peaks = datetime(2020, 1, 1, tzinfo=UTC), []
    for count in (1_000, 10_000, 100_000):

        def list_objects(storage, prefix, count=count):
            return ((f"{prefix}/{number:032x}/original.jpg", old) for number in range(count // 2))

        monkeypatch.setattr(BucketStorage, "list_objects", list_objects)
        tracemalloc.start()
        assert services.purge_orphaned_media(dry_run=True) == (count, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]
