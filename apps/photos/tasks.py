from itertools import islice

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
    """Look at a part of the keys, and leave the rest to a job of its own: killed, it begins anew at its part."""
    pages = list(islice(services.purge_orphaned_media(after), PURGE_PAGES))
    if len(pages) == PURGE_PAGES:
        enqueue(purge_orphaned_media, pages[-1].last)
