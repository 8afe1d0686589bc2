"""Media in a directory, which is private like a bucket: files are reached through signed links that expire."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.signing import Signer
from django.http import FileResponse, Http404, HttpRequest
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override


class SignedFileSystemStorage(FileSystemStorage):
    """A directory that behaves like a bucket: links expire, and no file is overwritten."""

    def __init__(self, *, link_seconds: int = 3600, **options: Any) -> None:
        super().__init__(**options)
        self.link_seconds = link_seconds

    def url(self, name: str | None, parameters: dict[str, str] | None = None, expire: int | None = None) -> str:
        """Return a signed link. `parameters` are those of django-storages' S3 backend: ResponseContentDisposition."""
        expires = int(time.time()) + (expire or self.link_seconds)
        query = {"expires": str(expires), "disposition": (parameters or {}).get("ResponseContentDisposition", "")}
        query["signature"] = sign(name or "", query["expires"], query["disposition"])
        return f"{reverse('media', args=[name])}?{urlencode({key: value for key, value in query.items() if value})}"

    def _save(self, name: str, content: Any) -> str:
        # Django renames an upload's temporary file over a name that another process took meanwhile. What has no path
        # of its own it writes exclusively, or under another name.
        return super()._save(name, File(content))  # type: ignore[misc]  # a hook of Django's storages

    def delete(self, name: str) -> None:
        """Delete the file, and its folder if that is empty then and not one of an app."""
        super().delete(name)
        if (folder := Path(name).parent).parent != Path():
            with suppress(OSError):
                Path(self.path(str(folder))).rmdir()

    def list_objects(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield the names and times of change of all files below a folder."""
        for folder, _folders, files in os.walk(self.path(prefix)):
            for file in sorted(files):
                path = Path(folder, file)
                with suppress(FileNotFoundError):  # deleted meanwhile
                    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    yield path.relative_to(self.location).as_posix(), changed


def sign(name: str, expires: str, disposition: str) -> str:
    return Signer(salt="twelve.media").signature("\n".join((name, expires, disposition)))


@csp_override({"default-src": [CSP.NONE], "sandbox": True})  # type: ignore[dict-item]  # a directive without a value
def serve_media(request: HttpRequest, name: str) -> FileResponse:
    """Return the file of a signed link. The browser runs nothing of it: nosniff and a sandbox."""
    expires, disposition = request.GET.get("expires", ""), request.GET.get("disposition", "")
    signed = constant_time_compare(request.GET.get("signature", ""), sign(name, expires, disposition))
    if not signed or (seconds := int(expires) - int(time.time())) < 0:
        raise Http404
    try:
        response = FileResponse(default_storage.open(name))
    except (FileNotFoundError, IsADirectoryError, SuspiciousFileOperation) as error:
        raise Http404 from error
    response["Content-Disposition"] = disposition or "attachment"
    response["Cache-Control"] = f"private, max-age={seconds}"
    response["X-Content-Type-Options"] = "nosniff"
    return response
