"""Media in Google Cloud Storage, through django-storages, with the manners of config.s3. Needs requirements/gcs.txt."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import Any

import google.auth
from django.core.files.base import File
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Client
from google.oauth2.service_account import Credentials
from storages.backends.gcloud import GoogleCloudStorage

from config.media import MEMORY, StorageError, TellingStorage

PART = 8 * 1024 * 1024  # bytes of a large file that are in memory on the way to the bucket
SCOPES = ["https://www.googleapis.com/auth/devstorage.read_write"]


class BoundedSession(AuthorizedSession):
    """Waits no longer than it is told. Its errors are of a kind that Google's client does not try again for minutes."""

    def __init__(self, credentials: Any, timeout: int) -> None:
        super().__init__(credentials)
        self.timeout = timeout

    def request(self, *arguments: Any, **options: Any) -> Any:
        try:
            answer = super().request(*arguments, **options | {"timeout": (min(self.timeout, 2), self.timeout)})
        except (OSError, GoogleAuthError) as error:  # that of requests is an OSError
            raise StorageError(f"Google Cloud Storage does not answer: {error}") from error
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise StorageError(f"Google Cloud Storage has too much to do: {answer.status_code} (try again later)")
        return answer


class BucketStorage(TellingStorage, GoogleCloudStorage):
    """Each error but a missing object is a StorageError."""

    def __init__(self, *, timeout: int, link_seconds: int, service_account: str, **options: Any) -> None:
        super().__init__(
            expiration=timedelta(seconds=link_seconds),
            file_overwrite=False,
            max_memory_size=MEMORY,
            blob_chunk_size=PART,
            object_parameters={
                "content_disposition": "attachment",
                "cache_control": f"private, max-age={link_seconds}",
            },
            **options,
        )
        self.timeout, self.service_account = timeout, service_account
        self._client: Any = None

    @property
    def client(self) -> Any:
        if self._client is None:
            with self.telling("find the credentials of"):
                if self.service_account:
                    info = json.loads(self.service_account)
                    credentials: Any = Credentials.from_service_account_info(info, scopes=SCOPES)
                    project = info.get("project_id")
                else:
                    credentials, project = google.auth.default(scopes=SCOPES)
                    self.credentials, self.iam_sign_blob = credentials, True  # without a key of its own to sign with
                session = BoundedSession(credentials, self.timeout)
                self._client = Client(project=project, credentials=credentials, _http=session)
        return self._client

    def ping(self) -> tuple[str, bool]:
        """The name of the server, and whether TLS is on. Raises StorageError."""
        with self.telling("list", ""):
            list(self.client.list_blobs(self.bucket_name, prefix=self.location, max_results=1))
        return "Google Cloud Storage", self.client._connection.API_BASE_URL.startswith("https:")

    def _open(self, name: str, mode: str = "rb") -> "File[Any]":
        if mode != "rb":
            return super()._open(name, mode)
        file = SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115  # the caller closes it
        with self.telling("read", name):
            self.bucket.blob(self._normalize_name(name), chunk_size=PART).download_to_file(file)
        file.seek(0)
        return File(file, name)

    def url(self, name: str, parameters: dict[str, str] | None = None, expire: int | None = None) -> str:
        """As of config.s3, whose name of the parameter is kept."""
        said: dict[str, Any] = {}
        if disposition := (parameters or {}).get("ResponseContentDisposition"):
            said["response_disposition"] = disposition
        if expire:
            said["expiration"] = timedelta(seconds=expire)
        with self.telling("sign", name):
            return super().url(name, said)

    def pages(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, datetime]]]:
        """As of config.s3."""
        start = self._normalize_name(after) if after else None
        skip = len(self.location) + 1 if self.location else 0
        with self.telling("list", prefix):
            found = self.client.list_blobs(
                self.bucket_name, prefix=f"{self._normalize_name(prefix)}/", start_offset=start
            )
            for page in found.pages:
                yield [(blob.name[skip:], blob.updated) for blob in page if blob.name != start]

    @contextmanager
    def telling(self, what: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            if "No such object" in str(error) or "File does not exist" in str(error):
                raise FileNotFoundError(f"There is no object {name}") from error
            hint = "check the bucket of MEDIA_STORAGE_URL"
            raise StorageError(f"Google Cloud Storage could not {what} {name}: {error} ({hint})") from error
        except (GoogleAPIError, GoogleAuthError) as error:
            raise StorageError(f"Google Cloud Storage could not {what} {name}: {error}") from error
