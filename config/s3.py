"""Media in a bucket of S3 or a server that speaks its language, through django-storages: private, bounded, streamed.

Imported when the storage is first used: boto3 costs a third of a second, and its client 50 MB.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage

from config.media import MEMORY, StorageError, TellingStorage

# Bytes up to which a file is sent in one request: parts of one that broke off would stay, and no listing shows them.
WHOLE = 4 * 1024**3

# What to do about an answer of the server; the codes are S3's.
WRONG_KEY = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
WRONG_REGION = "the bucket is in another region: check ?region= of MEDIA_STORAGE_URL"
HINTS = {
    "NoSuchBucket": "check MEDIA_STORAGE_URL, or make the bucket with `manage.py create_bucket`",
    "InvalidAccessKeyId": WRONG_KEY,
    "SignatureDoesNotMatch": WRONG_KEY,
    "ExpiredToken": "the lent key has expired, and AWS_SESSION_TOKEN with it",
    "AccessDenied": "the key's policy has to allow ListBucket, GetObject, PutObject and DeleteObject",
    "403": "the key, its policy or the clock of this machine is wrong: `manage.py probe_services` tells which",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it by NTP",
    "SlowDown": "it has too much to do: try again later",
    "503": "it has too much to do: try again later",
    "PermanentRedirect": WRONG_REGION,
    "AuthorizationHeaderMalformed": WRONG_REGION,
    "301": WRONG_REGION,
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the process a role",
}


class BucketStorage(TellingStorage, S3Storage):
    """Each error but a missing object is a StorageError, in one sentence that says what to do."""

    # Of the class: the first requests of a process, at the same time, may each make a storage.
    _lock = threading.Lock()
    _made: dict[Any, Any] = {}

    def __init__(self, *, timeout: int, link_seconds: int, **options: Any) -> None:
        self._way = (timeout, *sorted(options.items()))
        client = Config(
            signature_version="s3v4",
            s3={"addressing_style": options.pop("addressing_style")},
            connect_timeout=min(timeout, 2),
            read_timeout=timeout,
            retries={"mode": "standard", "total_max_attempts": 2},
            tcp_keepalive=True,
            # Servers other than AWS's do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        super().__init__(
            client_config=client,
            transfer_config=TransferConfig(multipart_threshold=WHOLE, use_threads=False),
            file_overwrite=False,
            default_acl=None,
            querystring_expire=link_seconds,
            # Whatever a link is used for, a browser shows nothing of an upload as a page of the bucket's origin.
            object_parameters={"ContentDisposition": "attachment", "CacheControl": f"private, max-age={link_seconds}"},
            **options,
        )

    @property
    def connection(self) -> Any:
        """One for the process, where django-storages has one for each thread: its client may be shared by threads."""
        key = os.getpid(), self._way
        with self._lock:
            if key not in self._made:
                options = {"region_name": self.region_name, "endpoint_url": self.endpoint_url, "verify": self.verify}
                self._made[key] = self._create_session().resource("s3", config=self.client_config, **options)
            return self._made[key]

    @property
    def bucket(self) -> Any:
        return self.connection.Bucket(self.bucket_name)  # not kept: after a fork it would be the parent's

    @property
    def client(self) -> Any:
        return self.connection.meta.client

    def key(self, name: str) -> dict[str, str]:
        """The parameters that name an object."""
        return {"Bucket": self.bucket_name, "Key": self._normalize_name(name)}

    def ping(self) -> tuple[str, bool]:
        """The name of the server, if it tells it, and whether TLS is on. Raises StorageError."""
        with self.telling("list"):
            # Not a HEAD, whose refusal has no reason in it.
            answer = self.client.list_objects_v2(Bucket=self.bucket_name, Prefix=self.location, MaxKeys=1)
        server = answer["ResponseMetadata"]["HTTPHeaders"].get("server", "")
        return server, self.endpoint_url.startswith("https:")

    def _open(self, name: str, mode: str = "rb") -> "File[Any]":
        if mode != "rb":
            return super()._open(name, mode)
        file = SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115  # the caller closes it
        with self.telling("read", name), closing(self.client.get_object(**self.key(name))["Body"]) as body:
            shutil.copyfileobj(body, file)
        file.seek(0)
        return File(file, name)

    def url(self, name: str, *arguments: Any, **options: Any) -> str:
        with self.telling("sign", name):
            return super().url(name, *arguments, **options)

    def pages(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, datetime]]]:
        """Names and times of change of the objects below a prefix, in the order of their keys, a page at a time."""
        start = {"StartAfter": self._normalize_name(after)} if after else {}
        where = {"Bucket": self.bucket_name, "Prefix": f"{self._normalize_name(prefix)}/"} | start
        with self.telling("list", prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(**where):
                skip = len(self.location) + 1 if self.location else 0
                yield [(entry["Key"][skip:], entry["LastModified"]) for entry in page.get("Contents", ())]

    def presign_put(self, name: str, content_type: str, size: int, seconds: int) -> str:
        """A link under which exactly so many bytes of that type may be put as that object."""
        signed = self.key(name) | {"ContentType": content_type, "ContentLength": size}
        with self.telling("sign", name):
            return self.client.generate_presigned_url("put_object", Params=signed, ExpiresIn=seconds)

    def copy(self, source: str, target: str, content_type: str) -> None:
        """Inside the bucket; nothing that was said of the source is kept. Raises FileNotFoundError."""
        said = self.object_parameters | {"ContentType": content_type, "MetadataDirective": "REPLACE"}
        with self.telling("copy", source):
            self.client.copy_object(CopySource=self.key(source), **self.key(target), **said)

    @contextmanager
    def telling(self, what: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            answer = error.response.get("Error", {})
            code, said = answer.get("Code", ""), answer.get("Message") or ""
            if code in ("NoSuchKey", "404"):
                raise FileNotFoundError(f"There is no object {name}") from error
            told = ": ".join(filter(None, (f"The object storage refused to {what} {name}".strip(), code, said)))
            raise StorageError(told + hint(code)) from error
        except BotoCoreError as error:
            told = f"The object storage could not {what} {name}".strip()
            raise StorageError(f"{told}: {error}{hint(type(error).__name__)}") from error


def hint(code: str) -> str:
    return f" ({HINTS[code]})" if code in HINTS else ""
