"""The backing services. twelve/services has a room for each kind."""

from twelve.env import env
from twelve.services import cache, database, mail, queue, storage, tls

TLS = tls.from_environment()
# Seconds; a platform ends a request after 30.
DATABASES = database.from_environment(TLS.database, statement_timeout=30, lock_timeout=10)
CACHES = cache.from_environment(TLS.redis, prefix="site")  # a prefix for each site on one Redis
SESSION_ENGINE = "django.contrib.sessions.backends.db"  # a cache could bring back a session that was signed out
MAILERS = mail.from_environment(TLS.mail)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str(
    "DEFAULT_FROM_EMAIL", default="webmaster@localhost", help="The sender of the mails.", example="hello@example.com"
)
CELERY = queue.from_environment(TLS)

STORAGES = {
    "default": storage.from_environment(TLS.s3),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
MEDIA_DIRECT_UPLOAD = storage.allows_direct_upload(STORAGES["default"])
FILE_UPLOAD_HANDLERS = [
    "twelve.services.storage.BoundedUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
UPLOAD_MAX_BYTES = 20_000_000  # of a request to a view with @accepts_uploads
IMAGE_MAX_PIXELS = 40_000_000  # width times height of the largest photo that is decoded
