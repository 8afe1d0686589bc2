"""Static files inside the build; the storage of media is config.settings.media's."""

import warnings

from config.env import BASE_DIR, env

from .media import MEDIA_STORAGE

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / env.str(
    "STATIC_ROOT", default="staticfiles", help="Where the build collects static files, from the project on."
)
WHITENOISE_ALLOW_ALL_ORIGINS = False
if env.debug:  # static files are served from where they lie; without a build there is no STATIC_ROOT
    warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)

STORAGES = {
    "default": MEDIA_STORAGE,
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
