"""What all tests share: static files as the build leaves them, and media in a temporary folder."""

import os
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command


@pytest.fixture(scope="session", autouse=True)
def build(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Collect the static files once, into a folder of this run: pages name them by their hash, as in a deploy."""
    settings.STATIC_ROOT = os.environ["STATIC_ROOT"] = str(tmp_path_factory.mktemp("static"))
    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture(autouse=True)
def test_settings(settings) -> None:  # type: ignore[no-untyped-def]
    """Passwords that are quick to hash, and mail as a job in front of the outbox that Django's runner puts in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MAILERS = settings.MAILERS | {"default": {"BACKEND": "apps.jobs.mail.JobBackend"}}


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings) -> Path:  # type: ignore[no-untyped-def]
    """Where this test's uploads go."""
    folder = tmp_path / "media"
    settings.STORAGES = settings.STORAGES | {
        "default": settings.STORAGES["default"] | {"OPTIONS": {"location": str(folder)}}
    }
    return folder
