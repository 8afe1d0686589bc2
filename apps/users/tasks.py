from apps.users import services
from twelve.tasks import task


@task
def delete_abandoned_accounts() -> None:
    services.delete_abandoned_accounts()
