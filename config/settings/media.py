"""Where uploads are kept, by MEDIA_STORAGE_URL, and the limits of what people may upload."""

from typing import Any

from config import buckets
from config.env import env

from .tls import S3_TLS


def _platform(name: str, secret: bool = False) -> str:
    told = "Of object storage, as a platform or an add-on tells it."
    return env.str(name, default="", platform=True, secret=secret, help=told)


_regions = _platform("AWS_REGION"), _platform("AWS_DEFAULT_REGION")
# Whoever gave the bucket gives its key as well: a key that stands beside it may be for something else.
_accounts = {
    "": buckets.Account(
        env.str(
            "AWS_ACCESS_KEY_ID",
            default="",
            blank=True,
            secret=True,
            help="The key to an s3:// bucket; without one the role that the platform gives its processes is used.",
        ),
        env.str("AWS_SECRET_ACCESS_KEY", default="", blank=True, secret=True, help="The secret of AWS_ACCESS_KEY_ID."),
        _platform("AWS_SESSION_TOKEN", secret=True),
        next(filter(None, _regions), ""),
        _platform("AWS_ENDPOINT_URL_S3"),
    ),
    "bucketeer": buckets.Account(
        _platform("BUCKETEER_AWS_ACCESS_KEY_ID", secret=True),
        _platform("BUCKETEER_AWS_SECRET_ACCESS_KEY", secret=True),
        region=_platform("BUCKETEER_AWS_REGION"),
    ),
    "cloudcube": buckets.Account(
        _platform("CLOUDCUBE_ACCESS_KEY_ID", secret=True), _platform("CLOUDCUBE_SECRET_ACCESS_KEY", secret=True)
    ),
    "railway": buckets.Account(
        _platform("ACCESS_KEY_ID", secret=True),
        _platform("SECRET_ACCESS_KEY", secret=True),
        region=_platform("REGION"),
        endpoint=_platform("ENDPOINT"),
    ),
}
_service_account = env.str(
    "GOOGLE_CREDENTIALS",
    default="",
    blank=True,
    secret=True,
    check=buckets.check_service_account,
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
    limits = {"timeout": _timeout, "link_seconds": MEDIA_LINK_SECONDS}
    return buckets.parse(url, limits, _accounts, S3_TLS, _service_account)


MEDIA_STORAGE = env.url(
    "MEDIA_STORAGE_URL",
    debug="file://",
    schemes=("s3", "gs", "file"),
    parse=parse,
    secret=False,
    fallbacks={
        "BUCKETEER_BUCKET_NAME": "s3://{}?account=bucketeer".format,
        "CLOUDCUBE_URL": buckets.from_cloudcube,
        # Names that could be anybody's: each counts beside the endpoint that comes with it.
        "BUCKET_NAME": lambda bucket: _accounts[""].endpoint and f"s3://{bucket}?addressing_style=virtual",
        "BUCKET": lambda bucket: (
            _accounts["railway"].endpoint and f"s3://{bucket}?account=railway&addressing_style=virtual"
        ),
    },
    example="s3://bucket/prefix?region=eu-central-1",
    help="Where uploads are kept: a bucket (s3, gs), or a directory that every process shares (file:// is var/media).",
) or {"BACKEND": "django.core.files.storage.InMemoryStorage"}
MEDIA_SOURCES = buckets.sources(MEDIA_STORAGE)  # from where a browser loads media, beside this site
_direct = env.str(
    "MEDIA_DIRECT_UPLOAD",
    default="auto",
    choices=("auto", "on", "off"),
    help="Let browsers put uploads into the s3:// bucket themselves; auto: on AWS. For others ask `create_bucket`.",
)
# Other servers than Amazon's may obey headers that nobody signed, and so read to a person what is not his.
MEDIA_DIRECT_UPLOAD = buckets.is_s3(MEDIA_STORAGE) and (
    _direct == "on" or (_direct == "auto" and buckets.is_aws(MEDIA_STORAGE))
)

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
