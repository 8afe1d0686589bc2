"""Where uploads are stored: the bucket or directory in MEDIA_STORAGE_URL, private, with links that expire."""

import json
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.files.storage import default_storage

from twelve.conf import settings
from twelve.env import Env, env
from twelve.services.storage.directory import serve_media
from twelve.services.storage.files import (
    BoundedUploadHandler,
    DirectUpload,
    StoredFileField,
    UploadField,
    accepts_uploads,
    delete_later,
    delete_media,
    find_orphans,
    received_files,
    sign_upload,
)
from twelve.services.tls import Policy

__all__ = [
    "BoundedUploadHandler", "DirectUpload", "StorageError", "StoredFileField", "UploadField", "accepts_uploads",
    "allows_direct_upload", "delete_later", "delete_media", "find_orphans", "from_environment", "received_files",
    "serve_media", "sign_upload", "sources",
]  # fmt: skip

AWS = (".amazonaws.com", ".amazonaws.com.cn")


class StorageError(OSError):
    """The object storage is unreachable, refuses the request or is too slow. What was saved before is safe."""


def from_environment(tls: Policy, env: Env = env, *, timeout: int = 5, link_seconds: int = 3600) -> dict[str, Any]:
    """Return Django's settings of the storage of media, an entry of STORAGES.

    `timeout` is the time limit in seconds for each answer of the object storage, which is requested twice. A link is
    valid for `link_seconds`, at most a week.
    """

    def read(name: str, help: str = "Of object storage, set by a platform.", **options: Any) -> str:
        return env.str(name, default="", help=help, **options)

    secret = {"blank": True, "secret": True}
    role = "without one the role that the platform gives its processes is used"
    account = {
        "key": read("AWS_ACCESS_KEY_ID", f"The key to an s3:// bucket; {role}.", **secret),
        "secret": read("AWS_SECRET_ACCESS_KEY", "The secret of AWS_ACCESS_KEY_ID.", **secret),
        "token": read("AWS_SESSION_TOKEN", platform=True, secret=True),
        "region": read("AWS_REGION", platform=True) or read("AWS_DEFAULT_REGION", platform=True),
        "endpoint": read("AWS_ENDPOINT_URL_S3", platform=True),
    }
    text = f"The JSON of a service account's key to a gs:// bucket; {role}."
    account["google"] = read("GOOGLE_CREDENTIALS", text, check=check_service_account, **secret)
    limits = {"timeout": timeout, "link_seconds": link_seconds}
    return env.url(
        "MEDIA_STORAGE_URL",
        debug="file://",
        schemes=("s3", "gs", "file"),
        parse=lambda url: parse_url(url, limits, account, tls, env.base_dir),
        secret=False,
        example="s3://bucket/prefix?region=eu-central-1",
        help="Where uploads are kept: a bucket (s3, gs), or a directory of all processes (file:// is var/media).",
    ) or {"BACKEND": "django.core.files.storage.InMemoryStorage"}


def parse_url(url: str, limits: dict[str, Any], account: dict[str, str], tls: Policy, base_dir: Path = Path()) -> Any:
    """Return Django's settings of the storage; `limits` are those of every bucket.

    Raises ValueError, without a credential in its text, for a URL that cannot work.
    """
    scheme, bucket, path, query, fragment = urlsplit(url)
    if fragment:
        raise ValueError("has a # in it; write it as %23")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    allowed = ("region", "endpoint_url", "addressing_style") if scheme == "s3" else ()
    for name in sorted(parameters.keys() - set(allowed)):
        raise ValueError(f"has the parameter {name!r}; {', '.join(allowed) or 'none'} may be given")
    if scheme == "file":
        if bucket:
            raise ValueError("names a host; write a directory with three slashes, as in file:///srv/media")
        location = Path(unquote(path)) if path.strip("/") else base_dir / "var/media"
        options = {"location": str(location), "link_seconds": limits["link_seconds"]}
        return {"BACKEND": "twelve.services.storage.directory.SignedFileSystemStorage", "OPTIONS": options}
    if re.search("[@:]", bucket):
        raise ValueError("has credentials or a port in it; write the name of the bucket alone")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", bucket):
        raise ValueError(f"names no bucket: {bucket!r}; write it after the slashes, as in {scheme}://bucket/prefix")
    prefix = unquote(path).strip("/")
    if prefix and {"", ".", ".."} & set(prefix.split("/")):
        raise ValueError(f"has a prefix with an empty part or a dot for one: {prefix!r}")
    options = limits | {"bucket_name": bucket, "location": prefix}
    if scheme == "s3":
        options |= s3_options(bucket, parameters, account, tls)
        return {"BACKEND": "twelve.services.storage.s3.BucketStorage", "OPTIONS": options}
    if not google_is_installed():
        raise ValueError("needs google-cloud-storage, which is not installed: pip install -r requirements/gcs.txt")
    options["service_account"] = account.get("google", "")
    return {"BACKEND": "twelve.services.storage.gcs.BucketStorage", "OPTIONS": options}


def s3_options(bucket: str, parameters: dict[str, str], account: dict[str, str], tls: Policy) -> dict[str, Any]:
    """Return the client's options, all of them, so that no file of the machine completes them."""
    key, secret = account["key"], account["secret"]
    if bool(key) != bool(secret):
        raise ValueError("has one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; set both, or none for a role")
    endpoint = parameters.get("endpoint_url") or account.get("endpoint")
    region = parameters.get("region") or account.get("region", "")
    if not endpoint and not region:
        raise ValueError("names no region; add ?region=eu-central-1, or ?endpoint_url=https://… for another than AWS")
    style = parameters.get("addressing_style") or ("path" if endpoint else "virtual")
    if style not in ("path", "virtual"):
        raise ValueError(f"has addressing_style={style}; path or virtual may be given")
    endpoint = endpoint or f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    if not re.fullmatch(r"(?i)https?://([\w.-]+|\[[\da-f:]+\])(:\d{1,5})?/?", endpoint):
        raise ValueError("has an endpoint_url that is not https://host or https://host:port")
    parts = urlsplit(endpoint)
    if re.search(r"[._]", bucket) or re.fullmatch(r"[\d.]+|.*:.*", parts.hostname or ""):
        style = "path"  # as the client does by itself: neither has a name, with a certificate, for the bucket
    return {
        "access_key": key or None,  # None: the role
        "secret_key": secret or None,
        "security_token": (key and account.get("token")) or None,
        "region_name": region or "us-east-1",  # which servers without regions accept
        "endpoint_url": f"{parts.scheme}://{parts.netloc}",
        "addressing_style": style,
        "verify": tls.authorities if tls.verify else False,
    }


def google_is_installed() -> bool:
    return all(find_spec(name) for name in ("google", "google.cloud", "google.cloud.storage"))


def check_service_account(text: str) -> None:
    try:
        missing = {"client_email", "private_key", "token_uri"} - dict(json.loads(text)).keys()
    except (ValueError, TypeError):
        missing = {"all"}
    if missing:
        raise ValueError("is not the JSON of a service account's key, with client_email, private_key and token_uri")


def allows_direct_upload(storage: dict[str, Any], env: Env = env) -> bool:
    """Return whether browsers send uploads to the bucket themselves, by MEDIA_DIRECT_UPLOAD."""
    endpoint = storage.get("OPTIONS", {}).get("endpoint_url", "")
    text = "Let browsers send uploads to the s3:// bucket themselves. If unset, on AWS alone."
    allowed = env.bool("MEDIA_DIRECT_UPLOAD", default=None, example="true", help=text)
    return bool(endpoint) and (endpoint.endswith(AWS) if allowed is None else allowed)


def sources(storage: dict[str, Any]) -> list[str]:
    """Return the sources of signed links, as a Content-Security-Policy names them; none for a directory."""
    options = storage.get("OPTIONS", {})
    bucket, endpoint = options.get("bucket_name"), options.get("endpoint_url", "https://storage.googleapis.com")
    if options.get("addressing_style") == "virtual":
        return [endpoint.replace("://", f"://{bucket}.")]
    return [f"{endpoint}/{bucket}/"] if bucket else []


def probe(answer: Any) -> None:
    """List the bucket, or write a file; fill in the answer of twelve.services.probe."""
    media: Any = default_storage
    setting: dict[str, Any] = settings.STORAGES["default"]
    options = setting.get("OPTIONS", {})
    answer.kind, answer.address, answer.policy = "directory", options.get("location", ""), "s3"
    if bucket := options.get("bucket_name"):
        url = options.get("endpoint_url") or media.client.api_endpoint  # Google's client has its own
        host = urlsplit(options.get("endpoint_url", "https://storage.googleapis.com")).netloc
        answer.kind = setting["BACKEND"].split(".")[-2]
        answer.address = "/".join(filter(None, (host, bucket, answer.address)))
        list(media.list_objects("probe"))  # connects; there are none
        answer.record("", lambda: list(media.list_objects("probe")), url.startswith("https:"))
    else:
        Path(media.path("")).mkdir(parents=True, exist_ok=True)  # as the first upload would
        with tempfile.TemporaryFile(dir=media.path("")) as file:
            answer.record("", lambda: file.write(b"probe"), None)
