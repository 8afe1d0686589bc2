from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.jobs.models import Job
from apps.jobs.services import perform
from apps.photos.models import Photo
from apps.users.models import User
from tests.object_storage import S3
from tests.photos.pictures import picture


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    """An S3 server with an empty bucket."""
    with S3() as server:
        yield server


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("ada@example.com")


@pytest.fixture
def client(client: Client, owner: User) -> Client:
    """A browser in which the owner is signed in."""
    client.force_login(owner)
    return client


@pytest.fixture
def upload(client: Client) -> Callable[..., Any]:
    """Post files, given as pairs of name and content, to the form."""

    def post(*files: tuple[str, bytes], client: Client = client) -> Any:
        photos = [SimpleUploadedFile(name, content) for name, content in files]
        return client.post(reverse("photos:list"), {"photos": photos})

    return post


@pytest.fixture
def uploaded(upload: Callable[..., Any]) -> Callable[..., Photo]:
    """A photo that was uploaded through the form; its job has not run."""

    def make(content: bytes | None = None, name: str = "holiday.jpg") -> Photo:
        before = set(Photo.objects.values_list("pk", flat=True))
        assert upload((name, picture() if content is None else content)).status_code == 302
        return Photo.objects.exclude(pk__in=before).get()

    return make


@pytest.fixture
def run_jobs() -> Callable[[], None]:
    """Be the worker: perform what waits."""

    def run() -> None:
        for pk in Job.objects.filter(state=Job.State.WAITING).order_by("pk").values_list("pk", flat=True):
            perform(pk)

    return run


@pytest.fixture
def ready(uploaded: Callable[..., Photo], run_jobs: Callable[[], None]) -> Callable[..., Photo]:
    """A photo whose job has run."""

    def make(*arguments: Any, **options: Any) -> Photo:
        photo = uploaded(*arguments, **options)
        run_jobs()
        photo.refresh_from_db()
        return photo

    return make


@pytest.fixture
def stored(media: Path) -> Callable[[], list[str]]:
    """Every file in the storage, as keys."""
    return lambda: sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())
