"""Media in Google Cloud Storage, by django-storages' backend. Needs requirements/gcs.txt."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from google.oauth2.service_account import Credentials
from storages.backends.gcloud import GoogleCloudStorage


class BucketStorage(GoogleCloudStorage):
    """A private bucket with links that expire. Google's client has its own limits: it tries again for two minutes."""

    def __init__(self, *, timeout: int, link_seconds: int, service_account: str, **options: Any) -> None:
        if service_account:
            info = json.loads(service_account)
            options["credentials"] = Credentials.from_service_account_info(info)
            options["project_id"] = info.get("project_id")
        headers = {"content_disposition": "attachment", "cache_control": f"private, max-age={link_seconds}"}
        super().__init__(
            expiration=timedelta(seconds=link_seconds),
            file_overwrite=False,
            max_memory_size=1024 * 1024,  # of an object; the rest is in the temporary folder
            blob_chunk_size=8 * 1024 * 1024,  # of a large file on the way to the bucket
            object_parameters=headers,
            iam_sign_blob=not service_account,  # a role has no key of its own to sign with
            **options,
        )

    def url(self, name: str, parameters: dict[str, str] | None = None, expire: int | None = None) -> str:
        """Return a signed link, valid for `expire` seconds; `parameters` are those of django-storages' S3 backend."""
        options: dict[str, Any] = {"expiration": timedelta(seconds=expire)} if expire else {}
        if disposition := (parameters or {}).get("ResponseContentDisposition"):
            options["response_disposition"] = disposition
        return super().url(name, options)

    def list_objects(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield the names and times of change of all objects below a prefix."""
        root = f"{self.location}/" if self.location else ""
        for blob in self.client.list_blobs(self.bucket_name, prefix=f"{root}{prefix}/"):
            yield blob.name.removeprefix(root), blob.updated
