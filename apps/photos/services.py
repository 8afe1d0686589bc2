"""What the app does: saves uploads, makes their renditions, deletes what is stored, purges what belongs to nobody.

An object is written before its row and deleted after it, so that a row never points to nothing; what is left over
when a process is killed in between belongs to no row, and the purge finds it.
"""

import hashlib
import logging
import shutil
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext_noop

from apps.jobs.services import PermanentFailure, enqueue
from apps.photos import images
from apps.photos.direct import Arrived
from apps.photos.models import ROOT, Photo, folder_of
from apps.users.models import User
from config.media import StorageError

logger = logging.getLogger(__name__)

type Upload = tuple[File[Any], images.Header]


class Page(NamedTuple):
    """A part of what is stored."""

    orphans: list[str]  # keys that belong to no row and are older than ORPHAN_AGE
    total: int
    last: str  # the key with which it ends


FILENAME_LENGTH = 200  # characters
ORPHAN_AGE = timedelta(days=1)  # a younger object may belong to an upload under way

MISSING = gettext_noop("The stored file is gone. Delete the photo and upload it again.")
DAMAGED = gettext_noop("The file is damaged or incomplete, so it cannot be shown. Upload it again from its source.")
TOO_MANY_PIXELS = gettext_noop("The image has more pixels than can be shown. Its original can still be downloaded.")
UNEXPECTED = gettext_noop("The photo could not be prepared. Its original is safe and can be downloaded.")
REASONS = {MISSING, DAMAGED, TOO_MANY_PIXELS}


def save_uploads(owner: User, uploads: Sequence[Upload]) -> list[Photo]:
    """Store the files, then write their rows and jobs in one transaction: all of them or none."""
    from apps.photos.tasks import delete_media, make_renditions

    photos = [Photo(owner=owner) for _upload in uploads]
    try:
        for photo, (file, header) in zip(photos, uploads, strict=True):
            store_original(photo, file, header)
        with transaction.atomic():
            for photo in photos:
                photo.save(force_insert=True)
                enqueue(make_renditions, str(photo.pk), key=f"renditions:{photo.pk}")
    except StorageError:  # a job deletes what arrived: here, one would wait for the storage once more
        for photo in photos:
            if photo.sha256:  # it was tried
                enqueue(delete_media, photo.folder)
        raise
    except BaseException:
        discard(photos)
        raise
    for file, _header in uploads:
        if isinstance(file, Arrived):
            file.forget()
    return photos


def store_original(photo: Photo, file: "File[Any]", header: images.Header) -> None:
    """Write the file to the storage, and what is known of it to the photo, in constant memory."""
    digest, photo.size = hashlib.sha256(), 0
    for chunk in file.chunks():
        digest.update(chunk)
        photo.size += len(chunk)
    photo.sha256 = digest.hexdigest()
    photo.filename = clean_filename(file.name)
    photo.content_type = f"image/{header.format.lower()}"
    photo.width, photo.height = header.width, header.height
    file.seek(0)
    key = f"{photo.folder}/original.{images.EXTENSIONS[header.format]}"
    if isinstance(file, Arrived):
        photo.original = file.move(key, photo.content_type)
    else:
        photo.original = default_storage.save(key, typed(file, photo.content_type))


def typed(file: "File[Any]", content_type: str) -> "File[Any]":
    """The file with the type that a bucket is to tell: by its content, whatever a browser or its name says."""
    file.content_type = content_type  # type: ignore[attr-defined]
    return file


def clean_filename(name: str | None) -> str:
    """A name fit to be shown and downloaded: no path, nothing invisible, at most FILENAME_LENGTH characters."""
    name = unicodedata.normalize("NFC", name or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in name if unicodedata.category(character)[0] != "C").strip(" .")
    stem, dot, extension = name.rpartition(".")
    if dot and len(extension) <= 10:
        return stem[: FILENAME_LENGTH - len(extension) - 1] + dot + extension
    return name[:FILENAME_LENGTH] or "photo"


def discard(photos: Sequence[Photo]) -> None:
    """Delete what was stored for rows that were not written.

    Asks the database, since a commit may have succeeded although its answer was lost; where it does not answer,
    the purge decides later.
    """
    try:
        written = set(Photo.objects.filter(pk__in=[photo.pk for photo in photos]).values_list("pk", flat=True))
        for photo in photos:
            if photo.pk not in written:
                delete_media(photo.folder)
    except Exception as error:
        logger.warning("objects of a failed upload are left to the purge: %s: %s", type(error).__name__, error)


def make_renditions(pk: str) -> None:
    """Make and store the renditions of a photo; again, it finds them there and leaves them.

    Raises PermanentFailure with one of REASONS. An OSError is the storage's, and may pass.
    """
    photo = Photo.objects.filter(pk=pk).first()
    if photo is None:
        delete_media(folder_of(uuid.UUID(pk)))  # an earlier attempt may have left something
        return
    with TemporaryFile() as file:  # so that an error of the storage is never taken for one of the image
        try:
            with default_storage.open(photo.original) as stored:
                shutil.copyfileobj(stored, file)
        except FileNotFoundError as error:
            if not Photo.objects.filter(pk=pk).exists():
                return  # deleted meanwhile
            raise PermanentFailure(MISSING) from error
        try:
            renditions, (width, height) = images.render(file)
        except images.NotAnImageError as error:
            raise PermanentFailure(DAMAGED) from error
        except images.TooManyPixelsError as error:
            raise PermanentFailure(TOO_MANY_PIXELS) from error
    for size, content in renditions.items():
        store(photo.rendition(size).key, content)
    ready = {"state": Photo.State.READY, "error": "", "width": width, "height": height}
    if not Photo.objects.filter(pk=pk).update(**ready):
        delete_media(photo.folder)  # deleted meanwhile


def store(key: str, content: bytes) -> None:
    if default_storage.exists(key):
        return
    stored = default_storage.save(key, typed(ContentFile(content), "image/webp"))
    if stored != key:  # another worker was faster: a storage never overwrites, it takes another name
        default_storage.delete(stored)


def mark_failed(reason: str, pk: str) -> None:
    """Tell the owner why; what only staff can understand is in the job."""
    error = reason if reason in REASONS else UNEXPECTED
    Photo.objects.filter(pk=pk).exclude(state=Photo.State.READY).update(state=Photo.State.FAILED, error=error)


def download_url(photo: Photo) -> str:
    """A signed link that expires, under which the browser saves the original by the name its owner gave it."""
    disposition = content_disposition_header(as_attachment=True, filename=photo.filename)
    return default_storage.url(photo.original, parameters={"ResponseContentDisposition": disposition})  # type: ignore[call-arg]


def delete_media_of(instance: Photo, **kwargs: Any) -> None:
    """Have the objects of a deleted row deleted once its transaction commits, whoever deleted it."""
    from apps.photos.tasks import delete_media

    enqueue(delete_media, instance.folder)


def delete_media(folder: str) -> None:
    """Delete every object below the folder; there may be none."""
    for page in pages(folder):
        for key, _changed in page:
            default_storage.delete(key)


def pages(folder: str, after: str = "") -> Iterator[list[tuple[str, datetime]]]:
    """The keys below a folder and when they changed, in the order of the storage, a bounded number at a time."""
    return default_storage.pages(folder, after)  # type: ignore[attr-defined]  # both of ours have it


def orphaned_media(after: str = "") -> Iterator[Page]:
    """Look at all that is stored, `after` the key up to which it was looked at before, in constant memory."""
    before = timezone.now() - ORPHAN_AGE
    for page in pages(ROOT, after):
        owned = owned_keys([key for key, _changed in page])
        if page:
            yield Page([key for key, changed in page if key not in owned and changed < before], len(page), page[-1][0])


def owned_keys(keys: Sequence[str]) -> set[str]:
    """What may be stored for the photos to whose folders the keys lead."""
    pks = set()
    for key in keys:
        with suppress(ValueError, IndexError):
            pks.add(uuid.UUID(key.split("/")[1]))
    return {key for photo in Photo.objects.filter(pk__in=pks) for key in photo.stored_keys()}
