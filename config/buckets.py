"""What MEDIA_STORAGE_URL says: a bucket or a directory, as Django's settings of a storage."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from config.env import BASE_DIR

if TYPE_CHECKING:
    from config.settings.tls import Policy

BUCKET_NAME = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
S3_PARAMETERS = ("region", "endpoint_url", "addressing_style")


def parse(url: str, limits: dict[str, Any], access: dict[str, Any]) -> Any:
    """Django's settings of the storage; `limits` are those of every bucket, `access` what leads to one.

    Raises ValueError, without a credential in it, for what cannot work.
    """
    scheme, authority, path, query, fragment = urlsplit(url)
    if fragment:
        raise ValueError("has a # in it; write it as %23")
    if scheme == "file":
        if authority:
            raise ValueError("names a host; write a directory with three slashes, as in file:///srv/media")
        location = Path(unquote(path)) if path.strip("/") else BASE_DIR / "var/media"
        return {"BACKEND": "config.media.SignedFileSystemStorage", "OPTIONS": {"location": str(location)}}
    if "@" in authority or ":" in authority:
        raise ValueError("has credentials or a port in it; write the name of the bucket alone")
    if not re.fullmatch(BUCKET_NAME, authority):
        raise ValueError(f"names no bucket: {authority!r}; write it after the slashes, as in {scheme}://bucket/prefix")
    prefix = unquote(path).strip("/")
    if prefix and {"", ".", ".."} & set(prefix.split("/")):
        raise ValueError(f"has a prefix with an empty part or a dot for one: {prefix!r}")
    options = limits | {"bucket_name": authority, "location": prefix}
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    allowed = S3_PARAMETERS if scheme == "s3" else ()
    if unknown := sorted(parameters.keys() - set(allowed)):
        raise ValueError(f"has the parameter {unknown[0]!r}; {', '.join(allowed) or 'none'} may be given")
    if scheme == "s3":
        return {"BACKEND": "config.s3.BucketStorage", "OPTIONS": options | s3(authority, parameters, access)}
    if not google_is_installed():
        raise ValueError("needs google-cloud-storage, which is not installed: pip install -r requirements/gcs.txt")
    return {"BACKEND": "config.gcs.BucketStorage", "OPTIONS": options | {"service_account": access["service_account"]}}


def s3(bucket: str, parameters: dict[str, str], access: dict[str, Any]) -> dict[str, Any]:
    """Where the server is and how it is spoken to: always said, so that nothing is left to the client's own files."""
    if bool(access["access_key"]) != bool(access["secret_key"]):
        raise ValueError("has one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; set both, or none for a role")
    endpoint = parameters.get("endpoint_url") or access["endpoint_url"]
    region = parameters.get("region") or access["region"]
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
    policy: Policy = access["tls"]
    return {
        "access_key": access["access_key"] or None,  # None: the role
        "secret_key": access["secret_key"] or None,
        "security_token": access["security_token"] or None,
        "region_name": region or "us-east-1",  # what servers without regions take
        "endpoint_url": f"{parts.scheme}://{parts.netloc}",
        "addressing_style": style,
        "verify": policy.authorities if policy.verify else False,
    }


def google_is_installed() -> bool:
    try:
        return find_spec("google.cloud.storage") is not None
    except ModuleNotFoundError:  # not even google.cloud
        return False


def from_cloudcube(url: str) -> str:
    """The add-on gives a folder of a bucket that it shares with others: https://cloud-cube-eu.s3.amazonaws.com/folder."""
    found = re.fullmatch(r"https://([^./]+)\.s3[.-]?([a-z0-9-]*)\.amazonaws\.com/(.+)", url)
    if not found:
        raise ValueError("is not of the form https://bucket.s3.amazonaws.com/folder")
    bucket, region, folder = found.groups()
    named = {"cloud-cube-eu": "eu-west-1", "cloud-cube-jp": "ap-northeast-1"}
    return f"s3://{bucket}/{folder}?region={region or named.get(bucket, 'us-east-1')}"


def origins(storage: dict[str, Any]) -> list[str]:
    """From where a browser gets signed links of this storage; none for a directory, which this site serves itself."""
    options = storage.get("OPTIONS", {})
    if "endpoint_url" in options:
        scheme, _, host = options["endpoint_url"].partition("://")
        prefix = f"{options['bucket_name']}." if options["addressing_style"] == "virtual" else ""
        return [f"{scheme}://{prefix}{host}"]
    return ["https://storage.googleapis.com"] if "bucket_name" in options else []
