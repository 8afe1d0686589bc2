from apps.jobs.services import job
from apps.photos import services


@job(on_failure=services.mark_failed)
def make_renditions(pk: str) -> None:
    services.make_renditions(pk)


@job()
def delete_media(folder: str) -> None:
    services.delete_media(folder)


@job()
def purge_orphaned_media() -> None:
    services.purge_orphaned_media()
