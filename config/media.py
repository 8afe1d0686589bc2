"""Local media stay private, as in a bucket: a file is reached only through a signed link that expires."""

import time
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

SIGNER = Signer(salt="config.media")


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
    return SIGNER.signature("\n".join((name, expires, disposition)))


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
    response["Content-Disposition"] = disposition or "inline"
    response["Cache-Control"] = f"private, max-age={max(int(expires) - int(time.time()), 0)}"
    response["X-Content-Type-Options"] = "nosniff"
    return response
