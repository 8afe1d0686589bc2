from apps.photos import services
from twelve.tasks import task


@task(queue_name="slow", time_limit=60, on_failure=services.mark_failed)
def make_renditions(pk: str) -> None:
    services.make_renditions(pk)


@task
def purge_orphaned_media() -> None:
    services.purge_orphaned_media()
