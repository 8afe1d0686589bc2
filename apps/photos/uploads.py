"""What happens when a photo is uploaded: the file is stored, then its row and its task are written."""

import hashlib
from contextlib import suppress
from typing import Any

from django.core.files.base import File
from django.db import transaction

from apps.photos import images
from apps.photos.models import Photo
from apps.photos.tasks import make_renditions
from apps.users.models import User
from twelve.services.storage import DirectUpload, StorageError, delete_later, delete_media


def save_upload(owner: User, file: "File[Any]", header: images.Header) -> Photo:
    """Store the file, then write its row and task in one transaction."""
    file.seek(0)
    photo = Photo(
        owner=owner,
        filename=str(file.name)[:200],
        content_type=f"image/{header.format.lower()}",
        size=file.size,
        sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        width=header.width,
        height=header.height,
    )
    file.content_type = photo.content_type  # type: ignore[attr-defined]  # by its content, whatever its name says
    try:
        photo.original.save(f"original.{images.EXTENSIONS[header.format]}", file, save=False)
        with transaction.atomic():
            photo.save(force_insert=True)
            make_renditions.using(unique_key=f"renditions:{photo.pk}").enqueue(str(photo.pk))
            if isinstance(file, DirectUpload):
                delete_later(file.key)
    except BaseException as error:
        # The row decides: a commit may have succeeded although its answer was lost. Without a database the purge does.
        with suppress(Exception):
            if not Photo.objects.filter(pk=photo.pk).exists():
                # Do not wait a second time for a storage that does not answer.
                (delete_later if isinstance(error, StorageError) else delete_media)(photo.folder)
        raise
    return photo
