from django.core.management import call_command

from apps.jobs.services import job


@job()
def clear_expired_sessions() -> None:
    call_command("clearsessions")
