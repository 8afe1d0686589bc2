"""What MEDIA_STORAGE_URL says: a bucket or a directory, as Django's settings of a storage."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from config.env import BASE_DIR

if TYPE_CHECKING:
    from config.settings.tls import Policy

BUCKET_NAME = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
S3_PARAMETERS = ("region", "endpoint_url", "addressing_style")


class Account(NamedTuple):
    """What leads to a bucket, beside its URL; without a key the role of the process."""

    key: str = ""
    secret: str = ""
    token: str = ""
    region: str = ""
    endpoint: str = ""


def parse(
    url: str, limits: dict[str, Any], accounts: dict[str, Account], policy: "Policy", service_account: str = ""
) -> Any:
    """Django's settings of the storage; `limits` are those of every bucket. The account "" is the standard variables'.

    Raises ValueError, without a credential in it, for what cannot work.
    """
    scheme, authority, path, query, fragment = urlsplit(url)
    if fragment:
        raise ValueError("has a # in it; write it as %23")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    account = Account()
    if scheme == "s3" and parameters.get("account", "") in accounts:  # as a fallback of the URL says
        account = accounts[parameters.pop("account", "")]
    allowed = S3_PARAMETERS if scheme == "s3" else ()
    if unknown := sorted(parameters.keys() - set(allowed)):
        raise ValueError(f"has the parameter {unknown[0]!r}; {', '.join(allowed) or 'none'} may be given")
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
    if scheme == "s3":
        options |= s3(authority, parameters, account, policy)
        return {"BACKEND": "config.s3.BucketStorage", "OPTIONS": options}
    if not google_is_installed():
        raise ValueError("needs google-cloud-storage, which is not installed: pip install -r requirements/gcs.txt")
    return {"BACKEND": "config.gcs.BucketStorage", "OPTIONS": options | {"service_account": service_account}}


def s3(bucket: str, parameters: dict[str, str], account: Account, policy: "Policy") -> dict[str, Any]:
    """Where the server is and how it is spoken to: always said, so that nothing is left to the client's own files."""
    if bool(account.key) != bool(account.secret):
        raise ValueError("has one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; set both, or none for a role")
    endpoint = parameters.get("endpoint_url") or account.endpoint
    region = parameters.get("region") or account.region
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
        "access_key": account.key or None,  # None: the role
        "secret_key": account.secret or None,
        "security_token": (account.key and account.token) or None,
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
    return f"s3://{bucket}/{folder}?account=cloudcube&region={region or named.get(bucket, 'us-east-1')}"


def check_service_account(text: str) -> None:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or {"client_email", "private_key", "token_uri"} - found.keys():
        raise ValueError("is not the JSON of a service account's key, with client_email, private_key and token_uri")


def sources(storage: dict[str, Any]) -> list[str]:
    """From where a browser gets signed links, as a Content-Security-Policy names it; none for a directory."""
    options = storage.get("OPTIONS", {})
    bucket = options.get("bucket_name")
    if is_s3(storage):
        scheme, _, host = options["endpoint_url"].partition("://")
        virtual = options["addressing_style"] == "virtual"
        return [f"{scheme}://{bucket}.{host}" if virtual else f"{scheme}://{host}/{bucket}/"]
    return [f"https://storage.googleapis.com/{bucket}/"] if bucket else []


def is_s3(storage: dict[str, Any]) -> bool:
    return "endpoint_url" in storage.get("OPTIONS", {})


def is_aws(storage: dict[str, Any]) -> bool:
    host = urlsplit(storage["OPTIONS"]["endpoint_url"]).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
