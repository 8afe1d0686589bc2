"""Uploads that go from the browser straight to the bucket: a link for one file, and what makes the arrived file ours.

An upload is kept where only its person's id leads to, so that nobody can claim another's. What is never claimed
belongs to no photo, and the purge finds it.
"""

import re
import time
import uuid
from contextlib import suppress
from io import BytesIO

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage

from apps.photos import images
from apps.photos.models import ROOT
from apps.users.models import User
from config.media import INCOMING, StorageError

LINK_SECONDS = 300
FILE = "file"
UNKNOWN_TYPE = "application/octet-stream"


def sign(owner: User, content_type: str, size: int) -> dict[str, str]:
    """The id of a new upload, and how to put its file: a link for exactly so many bytes of exactly that type."""
    upload = f"{size}-{uuid.uuid4().hex}"
    known = {f"image/{name.lower()}" for name in images.EXTENSIONS}
    content_type = content_type if content_type in known else UNKNOWN_TYPE  # what it is, its content will say
    key = f"{staging(owner, upload)}/{FILE}"
    url = default_storage.presign_put(key, content_type, size, LINK_SECONDS)  # type: ignore[attr-defined]
    return {"upload": upload, "url": url, "type": content_type}


def staging(owner: User, upload: str) -> str:
    """The folder of an upload before it is claimed."""
    return f"{INCOMING}/{owner.pk}/{upload}"


class Arrived(File):
    """A file in the bucket that its person can no longer change; `missing` if there is none, or another than signed."""

    def __init__(self, name: str) -> None:
        super().__init__(BytesIO(), name)
        self.size, self.missing, self.folders = 0, True, list[str]()

    def take(self, owner: User, upload: str) -> None:
        """Copy what was put to where no link leads, and look at the copy; another claim makes another one."""
        if not (found := re.fullmatch(r"(\d{1,15})-[0-9a-f]{32}", upload)):
            return
        self.folders = [staging(owner, upload), f"{ROOT}/claimed/{uuid.uuid4().hex}"]
        self.key = f"{self.folders[1]}/{FILE}"
        with suppress(FileNotFoundError):
            default_storage.copy(f"{self.folders[0]}/{FILE}", self.key, UNKNOWN_TYPE)  # type: ignore[attr-defined]
            self.size = default_storage.size(self.key)
            self.missing = self.size != int(found[1])
            if not self.missing and self.size <= settings.UPLOAD_MAX_BYTES:
                self.file = default_storage.open(self.key)

    def move(self, key: str, content_type: str) -> str:
        default_storage.copy(self.key, key, content_type)  # type: ignore[attr-defined]
        return key


def arrived(owner: User, uploads: list[str], names: list[str], deadline: float) -> list[Arrived]:
    """What a person says to have put, each once; untouched if it is more than the form allows.

    Raises StorageError when that takes until the `deadline`, in monotonic seconds.
    """
    files = {upload: Arrived(name) for upload, name in zip(uploads, names, strict=False)}
    if len(files) <= settings.UPLOAD_MAX_FILES:
        for upload, file in files.items():
            check_time(deadline)
            file.take(owner, upload)
    return list(files.values())


def check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise StorageError("The object storage is too slow for so many files at once. Nothing was saved.")
