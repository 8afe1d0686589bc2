"""What happens to a stored photo: its renditions, and the purge of what belongs to none."""

import uuid
from contextlib import suppress
from datetime import timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.translation import gettext_noop

from apps.photos import images
from apps.photos.models import ROOT, Photo
from twelve.services.storage import delete_media, find_orphans
from twelve.tasks import PermanentFailure

MISSING = gettext_noop("The stored file is gone. Delete the photo and upload it again.")
UNEXPECTED = gettext_noop("The photo could not be prepared. Its original is safe and can be downloaded.")
REASONS = {MISSING, images.DAMAGED, images.TOO_MANY_PIXELS, images.UNUSUAL}
ORPHAN_AGE = timedelta(days=1)  # a younger object may belong to an upload under way


def make_renditions(pk: str) -> None:
    """Make and store the renditions of a photo, unless they are stored already.

    Raises PermanentFailure with one of REASONS. An OSError is the storage's, and may pass.
    """
    photo = Photo.objects.filter(pk=pk).first()
    if photo is None:
        delete_media(Photo(pk=uuid.UUID(pk)).folder)  # an earlier attempt may have left something
        return
    try:
        with default_storage.open(str(photo.original)) as file:
            renditions, (width, height) = images.render(file)
    except images.ImageError as error:
        raise PermanentFailure(str(error)) from error
    except FileNotFoundError as error:
        if Photo.objects.filter(pk=pk).exists():
            raise PermanentFailure(MISSING) from error
        return  # deleted meanwhile
    for size, content in renditions.items():
        store(photo.rendition(size).key, content)
    ready = {"state": Photo.State.READY, "error": "", "width": width, "height": height}
    if not Photo.objects.filter(pk=pk).update(**ready):
        delete_media(photo.folder)  # deleted meanwhile


def store(key: str, content: bytes) -> None:
    if default_storage.exists(key):
        if default_storage.size(key) == len(content):
            return
        default_storage.delete(key)  # of a worker that was killed while it wrote to a directory
    stored = default_storage.save(key, ContentFile(content))
    if stored != key:  # another worker was faster: a directory never overwrites, it takes another name
        default_storage.delete(stored)


def mark_failed(reason: str, pk: str) -> None:
    """Store the reason for the owner; what only staff can understand is in the task."""
    error = reason if reason in REASONS else UNEXPECTED
    Photo.objects.filter(pk=pk).exclude(state=Photo.State.READY).update(state=Photo.State.FAILED, error=error)


def purge_orphaned_media(dry_run: bool = False) -> tuple[int, int]:
    """Delete what is stored for no photo and is older than ORPHAN_AGE. Returns how many objects of how many."""
    deleted = total = 0
    for orphans, count in find_orphans([ROOT], owned_keys, ORPHAN_AGE):
        for key in () if dry_run else orphans:
            default_storage.delete(key)
        deleted, total = deleted + len(orphans), total + count
    return deleted, total


def owned_keys(keys: list[str]) -> set[str]:
    """Return what may be stored for the photos to whose folders the keys lead."""
    pks = set()
    for key in keys:
        with suppress(ValueError, IndexError):
            pks.add(uuid.UUID(key.split("/")[1]))
    return {key for photo in Photo.objects.filter(pk__in=pks) for key in photo.stored_keys()}
