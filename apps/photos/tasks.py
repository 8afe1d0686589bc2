from django.core.files.storage import default_storage

from apps.jobs.services import enqueue, job
from apps.photos import services

PURGE_PAGES = 100  # of 1000 keys at most; a minute or so


@job(on_failure=services.mark_failed)
def make_renditions(pk: str) -> None:
    services.make_renditions(pk)


@job()
def delete_media(folder: str) -> None:
    services.delete_media(folder)


@job()
def purge_orphaned_media(after: str = "") -> None:
    """Purge a part of the keys, and leave the rest to a job of its own: killed, it begins anew at its part."""
    for number, page in enumerate(services.orphaned_media(after), 1):
        for key in page.orphans:
            default_storage.delete(key)
        if number == PURGE_PAGES:
            enqueue(purge_orphaned_media, page.last)
            return
