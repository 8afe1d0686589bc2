"""The task that deletes objects of the storage."""

from twelve.services.storage import files
from twelve.tasks import task


@task
def delete_media(*names: str) -> None:
    files.delete_media(*names)
