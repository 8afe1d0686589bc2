"""Static files inside the build, media outside it, and the limits of what people may upload."""

import warnings
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from config.env import BASE_DIR, env

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / env.str(
    "STATIC_ROOT", default="staticfiles", help="Where the build collects static files, from the project on."
)
WHITENOISE_ALLOW_ALL_ORIGINS = False
if env.debug:  # static files are served from where they lie; without a build there is no STATIC_ROOT
    warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)


def parse(url: str) -> Any:
    """The storage of media: a directory, var/media of the project when the URL names none."""
    parts = urlsplit(url)
    if parts.netloc:
        raise ValueError("names a host; write a directory with three slashes, as in file:///srv/media")
    location = Path(unquote(parts.path)) if parts.path.strip("/") else BASE_DIR / "var/media"
    return {"BACKEND": "config.media.SignedFileSystemStorage", "OPTIONS": {"location": str(location)}}


STORAGES = {
    "default": env.url(
        "MEDIA_STORAGE_URL",
        debug="file://",
        schemes=("file",),
        parse=parse,
        example="file:///srv/media",
        help="Where uploads are kept: a directory that every process shares (file:// is var/media).",
    )
    or {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
MEDIA_URL = "media/"
MEDIA_LINK_SECONDS = env.int(
    "MEDIA_LINK_SECONDS", default=3600, minimum=1, help="Seconds for which a link to an upload is valid."
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
