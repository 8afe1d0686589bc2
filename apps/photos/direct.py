"""Uploads that go from the browser straight to the bucket: a link for one file, and what makes the arrived file ours.

An upload is kept where only its person's id leads to, so that nobody can claim another's. What is never claimed
belongs to no photo, and the purge finds it.
"""

import logging
import uuid
from contextlib import suppress
from io import BytesIO

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage

from apps.photos import images
from apps.photos.models import ROOT
from apps.users.models import User

logger = logging.getLogger(__name__)

LINK_SECONDS = 300
UNKNOWN_TYPE = "application/octet-stream"


def is_offered() -> bool:
    """Whether the storage takes files from a browser; a directory does not, and Google's is not asked to."""
    return hasattr(default_storage, "presign_put")


def staged(owner: User, upload: uuid.UUID) -> str:
    return f"{ROOT}/incoming/{owner.pk}/{upload.hex}"


def sign(owner: User, content_type: str, size: int) -> dict[str, str]:
    """The id of a new upload, and how to put its file: a link for exactly so many bytes of exactly that type."""
    upload = uuid.uuid4()
    known = {f"image/{name.lower()}" for name in images.EXTENSIONS}
    content_type = content_type if content_type in known else UNKNOWN_TYPE  # what it is, its content will say
    url = default_storage.presign_put(staged(owner, upload), content_type, size, LINK_SECONDS)  # type: ignore[attr-defined]
    return {"upload": str(upload), "url": url, "type": content_type}


class Arrived(File):
    """A file in the bucket that its person can no longer change; `missing` if there is none."""

    def __init__(self, owner: User, upload: str, name: str) -> None:
        super().__init__(BytesIO(), name)
        self.size, self.missing = 0, True
        with suppress(ValueError, FileNotFoundError):
            self.staged = staged(owner, uuid.UUID(upload))
            # The link to the staged file may be valid still: what is looked at is a copy, which no link leads to.
            self.key = f"{self.staged}-taken"
            default_storage.copy(self.staged, self.key, UNKNOWN_TYPE)  # type: ignore[attr-defined]
            self.size, self.missing = default_storage.size(self.key), False
            if self.size <= settings.UPLOAD_MAX_BYTES:
                self.file = default_storage.open(self.key)

    def move(self, key: str, content_type: str) -> str:
        default_storage.copy(self.key, key, content_type)  # type: ignore[attr-defined]
        return key

    def forget(self) -> None:
        """Once its photo is written; if that fails, the purge does it."""
        try:
            default_storage.delete(self.staged)
            default_storage.delete(self.key)
        except OSError as error:
            logger.warning("a claimed upload is left to the purge: %s", error)


def arrived(owner: User, uploads: list[str], names: list[str]) -> list[Arrived]:
    """What a person says to have put; no more than the form has to see to say that it is too many."""
    pairs = list(zip(uploads, names, strict=False))[: settings.UPLOAD_MAX_FILES + 1]
    return [Arrived(owner, upload, name) for upload, name in pairs]
