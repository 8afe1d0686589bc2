"""Media are private: local ones, as those in a bucket, are reached only through a signed link that expires."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousFileOperation
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadhandler import FileUploadHandler
from django.core.signing import Signer
from django.http import FileResponse, Http404, HttpRequest
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override

MEMORY = 1024 * 1024  # bytes of a file of a bucket that are held in memory; the rest is in the temporary folder
INCOMING = "incoming"  # the folder of a bucket into which browsers put uploads, and from which nothing is copied in
PAGE = 1000  # entries of a listing at a time, as of S3


class StorageError(OSError):
    """The object storage is away, refuses or is too slow. What was saved before is safe."""


class TellingStorage:
    """Of a bucket: each error but a missing object is a StorageError, in one sentence that says what to do.

    For a class with a storage of django-storages behind it, and `telling`, which knows the errors of its client.
    """

    telling: Callable[..., Any]

    def _save(self, name: str, content: Any) -> str:
        with self.telling("write", name):
            return super()._save(name, content)  # type: ignore[misc]

    def exists(self, name: str) -> bool:
        with self.telling("look for", name):
            return super().exists(name)  # type: ignore[misc]

    def size(self, name: str) -> int:
        with self.telling("look for", name):
            return super().size(name)  # type: ignore[misc]

    def delete(self, name: str) -> None:
        with self.telling("delete", name):
            super().delete(name)  # type: ignore[misc]

    def get_modified_time(self, name: str) -> datetime:
        with self.telling("look for", name):
            return super().get_modified_time(name)  # type: ignore[misc]

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        with self.telling("list", name):
            return super().listdir(name)  # type: ignore[misc]


class SignedFileSystemStorage(FileSystemStorage):
    """A directory with the manners of a bucket: links expire, and a file appears whole or not at all."""

    def url(self, name: str | None, parameters: dict[str, str] | None = None, expire: int | None = None) -> str:
        """A link to the file, valid for `expire` seconds (MEDIA_LINK_SECONDS without).

        `parameters` are those of django-storages' S3 backend, of which ResponseContentDisposition is kept.
        """
        expires = int(time.time()) + (expire or settings.MEDIA_LINK_SECONDS)
        query = {"expires": str(expires), "disposition": (parameters or {}).get("ResponseContentDisposition", "")}
        query["signature"] = sign(name or "", query["expires"], query["disposition"])
        return f"{reverse('media', args=[name])}?{urlencode({key: value for key, value in query.items() if value})}"

    def _save(self, name: str, content: Any) -> str:
        written = super()._save(f"{name}.part", content)  # type: ignore[misc]  # a hook of Django's storages
        Path(self.path(written)).replace(self.path(name))  # a process killed while writing leaves no half file
        return name

    def delete(self, name: str) -> None:
        """The file, and with the last one its folder, as in a bucket; not one at the top, where others write."""
        super().delete(name)
        folder = Path(name).parent
        if folder.parent != Path():
            with suppress(OSError):
                Path(self.path(str(folder))).rmdir()

    def pages(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, datetime]]]:
        """Names and times of change of the files below a folder, in a lasting order, a page at a time."""
        for page in batched(self._walk(prefix, after.split("/")), PAGE):
            yield list(page)

    def _walk(self, folder: str, after: list[str]) -> Iterator[tuple[str, datetime]]:
        try:
            entries = sorted(os.scandir(self.path(folder)), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            name = f"{folder}/{entry.name}"
            parts = name.split("/")
            if entry.is_dir():
                if parts >= after[: len(parts)]:
                    yield from self._walk(name, after)
            elif parts > after:
                try:
                    yield name, datetime.fromtimestamp(entry.stat().st_mtime, UTC)
                except FileNotFoundError:  # deleted meanwhile
                    continue


class BoundedUploadHandler(FileUploadHandler):
    """Refuses a request that is larger than all the files that one may upload, before it is received."""

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: str | None = None
    ) -> None:
        allowed = settings.UPLOAD_MAX_BYTES * settings.UPLOAD_MAX_FILES + settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if content_length > allowed:
            raise RequestDataTooBig(
                f"{content_length} bytes are above {allowed}, of UPLOAD_MAX_BYTES and UPLOAD_MAX_FILES"
            )

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        return raw_data  # for the next handler

    def file_complete(self, file_size: int) -> None:
        return None


def sign(name: str, expires: str, disposition: str) -> str:
    return Signer(salt="config.media").signature("\n".join((name, expires, disposition)))


@csp_override({"default-src": [CSP.NONE], "sandbox": True})  # type: ignore[dict-item]  # a directive without a value
def serve_media(request: HttpRequest, name: str) -> FileResponse:
    """The file of a signed link. What people upload is never run by the browser: nosniff and a sandbox."""
    expires, disposition = request.GET.get("expires", ""), request.GET.get("disposition", "")
    if not constant_time_compare(request.GET.get("signature", ""), sign(name, expires, disposition)):
        raise Http404
    if int(expires) < time.time():
        raise Http404
    try:
        response = FileResponse(default_storage.open(name))
    except (FileNotFoundError, IsADirectoryError, SuspiciousFileOperation) as error:
        raise Http404 from error
    response["Content-Disposition"] = disposition or "attachment"
    response["Cache-Control"] = f"private, max-age={max(int(expires) - int(time.time()), 0)}"
    response["X-Content-Type-Options"] = "nosniff"
    return response
