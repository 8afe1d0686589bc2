"""Django's settings, with defaults for those that twelve reads and a project may leave out."""

from typing import Any

from django.conf import settings as django_settings

from twelve.services import tls

DEFAULTS: dict[str, Any] = {
    # twelve.platforms
    "RELEASE": "",
    "COMMIT": "",
    "BUILD_COMMIT": "",
    "PROCESS_NAME": "",
    "PROCESS_TYPE": "",
    "ADMIN_USER": "",
    # twelve.logs
    "TRUSTED_PROXY_COUNT": 0,
    "SENTRY_DSN": None,
    # twelve.web
    "WEB_REQUEST_SECONDS": 25,  # in which a view answers, else its process is replaced; routers end a request after 30
    "WEB_CLIENT_SECONDS": 5,  # in which a client sends its headers and each 16 KiB of a body, and reads 16 of an answer
    "WEB_BODY_SECONDS": 900,  # in which a client sends a whole body
    # twelve.tasks
    "CELERY": {"task_always_eager": True},
    "TASKS_SCHEDULE": {},
    "TASKS_KEEP_DAYS": 14,
    "TASKS_LEASE_SECONDS": 30,
    # twelve.services
    "TLS": tls.DEFAULT,
    "UPLOAD_MAX_BYTES": 20_000_000,
    "MEDIA_DIRECT_UPLOAD": False,
}


class Settings:
    def __getattr__(self, name: str) -> Any:
        if name in DEFAULTS:
            return getattr(django_settings, name, DEFAULTS[name])
        return getattr(django_settings, name)


settings = Settings()
