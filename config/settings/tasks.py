"""Background tasks: their queues, the schedule of recurring ones, and how long finished ones are kept."""

TASKS = {"default": {"BACKEND": "twelve.tasks.backend.DurableBackend", "QUEUES": ["default", "slow"]}}

# A task and its crontab line in UTC, beside the machinery's own. A run that was missed because no clock ran is made up
# once, unless the entry says {"crontab": "32 2 * * *", "catch_up": False}.
TASKS_SCHEDULE = {
    "apps.photos.tasks.purge_orphaned_media": "32 2 * * *",
    "apps.users.tasks.delete_abandoned_accounts": "37 2 * * *",
}
TASKS_KEEP_DAYS = 14  # for which a finished task is kept
TASKS_LEASE_SECONDS = 30  # without a renewal, after which another worker gets the task
