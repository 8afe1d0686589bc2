"""Where uploads are kept, by MEDIA_STORAGE_URL, and the limits of what people may upload."""

import json
from typing import Any
from urllib.parse import urlencode

from config import buckets
from config.env import env

from .tls import S3_TLS


def _platform(name: str) -> str:
    return env.str(name, default="", platform=True, help="Of object storage, as a platform or an add-on tells it.")


def bucketeer(bucket: str) -> str:
    return s3(bucket, region=_bucketeer_region)


def tigris(bucket: str) -> str:
    # Its name alone could be anybody's: it counts beside the endpoint that comes with it.
    return s3(bucket, endpoint_url=_endpoint, region=_region, addressing_style="virtual") if _endpoint else ""


def railway(bucket: str) -> str:
    endpoint = _railway_endpoint
    return s3(bucket, endpoint_url=endpoint, region=_railway_region, addressing_style="virtual") if endpoint else ""


def s3(bucket: str, **options: str) -> str:
    return f"s3://{bucket}?{urlencode({name: value for name, value in options.items() if value})}"


_regions = _platform("AWS_REGION"), _platform("AWS_DEFAULT_REGION")
_region = next(filter(None, _regions), "")
_endpoint = _platform("AWS_ENDPOINT_URL_S3")
_bucketeer_region = _platform("BUCKETEER_AWS_REGION")
_railway_endpoint, _railway_region = _platform("ENDPOINT"), _platform("REGION")

_key_id = env.str(
    "AWS_ACCESS_KEY_ID",
    default="",
    blank=True,
    secret=True,
    fallbacks=dict.fromkeys(("BUCKETEER_AWS_ACCESS_KEY_ID", "CLOUDCUBE_ACCESS_KEY_ID", "ACCESS_KEY_ID"), str),
    help="The key to an s3:// bucket; without one the role that the platform gives its processes is used.",
)
_secret_key = env.str(
    "AWS_SECRET_ACCESS_KEY",
    default="",
    blank=True,
    secret=True,
    fallbacks=dict.fromkeys(
        ("BUCKETEER_AWS_SECRET_ACCESS_KEY", "CLOUDCUBE_SECRET_ACCESS_KEY", "SECRET_ACCESS_KEY"), str
    ),
    help="The secret of AWS_ACCESS_KEY_ID.",
)
_token = env.str("AWS_SESSION_TOKEN", default="", platform=True, secret=True, help="Of a key that is lent for a time.")

_service_account = env.str(
    "GOOGLE_CREDENTIALS",
    default="",
    blank=True,
    secret=True,
    check=json.loads,
    help="The JSON of a service account's key to a gs:// bucket; without one the platform's role is used.",
)

MEDIA_URL = "media/"
MEDIA_LINK_SECONDS = env.int(
    "MEDIA_LINK_SECONDS", default=3600, minimum=1, maximum=604_800, help="Seconds that a link to an upload is valid."
)
_timeout = env.int(
    "MEDIA_TIMEOUT", default=5, minimum=1, help="Seconds to wait for each answer of the object storage, asked twice."
)


def parse(url: str) -> Any:
    key = {"access_key": _key_id, "secret_key": _secret_key, "security_token": _token}
    access = key | {"region": _region, "endpoint_url": _endpoint, "tls": S3_TLS, "service_account": _service_account}
    return buckets.parse(url, {"timeout": _timeout, "link_seconds": MEDIA_LINK_SECONDS}, access)


MEDIA_STORAGE = env.url(
    "MEDIA_STORAGE_URL",
    debug="file://",
    schemes=("s3", "gs", "file"),
    parse=parse,
    secret=False,
    fallbacks={
        "BUCKETEER_BUCKET_NAME": bucketeer,
        "CLOUDCUBE_URL": buckets.from_cloudcube,
        "BUCKET_NAME": tigris,
        "BUCKET": railway,
    },
    example="s3://bucket/prefix?region=eu-central-1",
    help="Where uploads are kept: a bucket (s3, gs), or a directory that every process shares (file:// is var/media).",
) or {"BACKEND": "django.core.files.storage.InMemoryStorage"}
MEDIA_ORIGINS = buckets.origins(MEDIA_STORAGE)  # from where a browser loads media, beside this site

FILE_UPLOAD_HANDLERS = [
    "config.media.BoundedUploadHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
DATA_UPLOAD_MAX_NUMBER_FILES = 10_000  # so that the form can say how many are allowed
UPLOAD_MAX_BYTES = env.int("UPLOAD_MAX_BYTES", default=20_000_000, minimum=1, help="The largest file one may upload.")
UPLOAD_MAX_FILES = env.int("UPLOAD_MAX_FILES", default=20, minimum=1, help="The most files one may upload at once.")
IMAGE_MAX_PIXELS = env.int(
    "IMAGE_MAX_PIXELS", default=40_000_000, minimum=1, help="The largest image, width times height, that is decoded."
)
