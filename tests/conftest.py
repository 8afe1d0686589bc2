"""What all tests share: static files as the build leaves them, and media in a temporary folder."""

import os
from collections.abc import Iterator
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
def media(tmp_path: Path, settings) -> Iterator[Path]:  # type: ignore[no-untyped-def]
    folder = tmp_path / "media"
    settings.STORAGES = settings.STORAGES | {
        "default": settings.STORAGES["default"] | {"OPTIONS": {"location": str(folder)}}
    }
    yield folder
