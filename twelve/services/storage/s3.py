"""Media in a bucket of S3 or of a compatible server, through django-storages: private, bounded, streamed.

Imported when the storage is first used: boto3 costs a third of a second, and its client 50 MB.
"""

import mimetypes
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from storages.backends.s3 import S3Storage
from storages.utils import safe_join

from twelve.services.storage import StorageError

MEMORY = 1024 * 1024  # bytes of an object that are held in memory; the rest is in the temporary folder
WRONG_KEY = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
BUSY = "the storage is overloaded: try again later"
HINTS = {  # by the codes of S3: what to do
    "NoSuchBucket": "check MEDIA_STORAGE_URL, or make the bucket: docs/backing-services.md has the command",
    "InvalidAccessKeyId": WRONG_KEY,
    "SignatureDoesNotMatch": WRONG_KEY,
    "AccessDenied": "the key's policy has to allow ListBucket, GetObject, PutObject and DeleteObject",
    "403": "the key, its policy or the clock of this machine is wrong: `manage.py probe_services` says which",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it by NTP",
    "SlowDown": BUSY,
    "503": BUSY,
    "PermanentRedirect": "the bucket is in another region: check ?region= of MEDIA_STORAGE_URL",
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the process a role",
}


class BucketStorage(S3Storage):
    """Every error but a missing object is a StorageError, in one sentence that says what to do."""

    lock = threading.Lock()
    condition = {"IfNoneMatch": "*"}  # until a server says that it does not know it
    resources: dict[Any, Any] = {}  # of the class: the first threads of a process may each make a storage

    def __init__(self, *, timeout: int, link_seconds: int, addressing_style: str, **options: Any) -> None:
        self.identity = (timeout, addressing_style, *sorted(options.items()))
        client = Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing_style},
            connect_timeout=timeout,  # of each write of a body, too
            read_timeout=timeout,
            retries={"mode": "standard", "total_max_attempts": 2},
            tcp_keepalive=True,
            # Servers other than AWS's do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        super().__init__(
            client_config=client,
            file_overwrite=False,
            querystring_expire=link_seconds,
            # Whatever a link is used for, a browser shows nothing of an upload as a page of the bucket's origin.
            object_parameters={"ContentDisposition": "attachment", "CacheControl": f"private, max-age={link_seconds}"},
            **options,
        )

    @property
    def connection(self) -> Any:
        """Return the one of the process, where django-storages makes one for each thread. Threads share its client."""
        key = os.getpid(), self.identity
        with self.lock:
            if key not in self.resources:
                session = boto3.Session(self.access_key, self.secret_key, self.security_token, self.region_name)
                options = {"endpoint_url": self.endpoint_url, "verify": self.verify, "config": self.client_config}
                self.resources[key] = session.resource("s3", **options)
            return self.resources[key]

    client = property(lambda self: self.connection.meta.client)

    def key(self, name: str) -> dict[str, str]:
        """Return the parameters that name an object. Raises SuspiciousFileOperation for one outside the prefix."""
        try:
            return {"Bucket": self.bucket_name, "Key": safe_join(self.location, name)}
        except ValueError as error:
            raise SuspiciousFileOperation(f"{name} is outside the prefix of the bucket") from error

    def _open(self, name: str, mode: str = "rb") -> "File[Any]":
        file = SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115  # the caller closes it
        with self.errors("read", name), closing(self.client.get_object(**self.key(name))["Body"]) as body:
            shutil.copyfileobj(body, file)
        file.seek(0)
        return File(file, name)

    def _save(self, name: str, content: Any) -> str:
        """Write a new object in one request, under another name if `name` was taken since `save()` looked for it."""
        content.seek(0)
        if isinstance(content.read(0), str):
            content = ContentFile(content.read().encode())
        kind = getattr(content, "content_type", None) or mimetypes.guess_type(name)[0] or self.default_content_type
        mark = {"save": uuid.uuid4().hex}
        parameters = self.object_parameters | {"ContentType": kind, "Metadata": mark}
        while True:
            content.seek(0)
            try:
                with self.errors("write", name):
                    self.client.put_object(**self.key(name), **parameters, **self.condition, Body=content)
                return name
            except FileExistsError:
                if self.head(name)["Metadata"] == mark:  # written by an attempt whose response was lost
                    return name
                name = self.get_available_name(name)
            except NotImplementedError:  # such as Backblaze's; there the later of two simultaneous saves wins
                type(self).condition = {}

    def head(self, name: str) -> dict[str, Any]:
        """Return the headers of an object. Raises FileNotFoundError."""
        with self.errors("look for", name):
            return self.client.head_object(**self.key(name))

    def exists(self, name: str) -> bool:
        try:
            return bool(self.head(name))
        except FileNotFoundError:
            return False

    def size(self, name: str) -> int:
        return self.head(name)["ContentLength"]

    def get_modified_time(self, name: str) -> datetime:
        return self.head(name)["LastModified"]

    def delete(self, name: str) -> None:
        with self.errors("delete", name):
            self.client.delete_object(**self.key(name))

    def list_objects(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield the names and times of change of all objects below a prefix."""
        where = {"Bucket": self.bucket_name, "Prefix": f"{self.key(prefix)['Key']}/"}
        root = f"{self.location}/" if self.location else ""
        with self.errors("list", prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(**where):
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(root), entry["LastModified"]

    def presign_post(self, name: str, size: int, seconds: int) -> dict[str, Any]:
        """Return the URL and fields of a form with which exactly `size` bytes may be sent as that object.

        The server refuses a field that is not signed, so that the form neither publishes an object nor copies one.
        """
        fields = {"Content-Type": self.default_content_type}
        signed = {"Fields": fields, "Conditions": [fields, ["content-length-range", size, size]], "ExpiresIn": seconds}
        with self.errors("sign", name):
            form = self.client.generate_presigned_post(**self.key(name), **signed)
        return {"url": form["url"].rstrip("/") + "/", "fields": form["fields"]}

    @contextmanager
    def errors(self, action: str, name: str) -> Iterator[None]:
        """Raise boto3's errors as those of a storage, with what the action was."""
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            if code in ("NoSuchKey", "404"):
                raise FileNotFoundError(f"There is no object {name}") from error
            if code in ("PreconditionFailed", "ConditionalRequestConflict"):  # the latter: another is being written
                raise FileExistsError(f"There is an object {name}") from error
            if code == "NotImplemented" and self.condition:
                raise NotImplementedError(f"The server does not know a header of {action}") from error
            hint = f" ({HINTS[code]})" if code in HINTS else ""
            raise StorageError(f"The object storage could not {action} {name}: {error}{hint}") from error
