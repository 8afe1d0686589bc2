from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.photos.models import Photo
from apps.users.models import User
from tests.photos.pictures import picture
from tests.twelve.object_storage import S3
from twelve import testing


@pytest.fixture(scope="module")
def server(s3: S3) -> S3:
    """An S3 server with an empty bucket."""
    s3.empty()
    return s3


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("ada@example.com")


@pytest.fixture
def client(owner: User) -> Client:
    """A browser in which the owner is signed in."""
    return testing.signed_in(owner)


@pytest.fixture
def upload(client: Client) -> Callable[..., Any]:
    """Post a file to the form."""

    def post(name: str = "", content: bytes = b"", client: Client = client) -> Any:
        return client.post(reverse("photos:list"), {"photo": SimpleUploadedFile(name, content)} if name else {})

    return post


@pytest.fixture
def uploaded(upload: Callable[..., Any]) -> Callable[..., Photo]:
    """A photo that was uploaded through the form; its task has not run."""

    def make(content: bytes | None = None, name: str = "holiday.jpg") -> Photo:
        before = set(Photo.objects.values_list("pk", flat=True))
        assert upload(name, picture() if content is None else content).status_code == 302
        return Photo.objects.exclude(pk__in=before).get()

    return make


@pytest.fixture
def run_tasks() -> Callable[[], int]:
    """Run what waits, as a worker does."""
    return testing.run_tasks


@pytest.fixture
def ready(uploaded: Callable[..., Photo], run_tasks: Callable[[], int]) -> Callable[..., Photo]:
    """A photo whose task has run."""

    def make(*arguments: Any, **options: Any) -> Photo:
        photo = uploaded(*arguments, **options)
        run_tasks()
        photo.refresh_from_db()
        return photo

    return make


@pytest.fixture
def stored(media: Path) -> Callable[[], list[str]]:
    """Every file in the storage, as keys."""
    return lambda: sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())
