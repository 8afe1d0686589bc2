"""The queue, the worker and the clock."""

from typing import Any
from urllib.parse import unquote, urlsplit

from config.env import BASE_DIR, env
from config.machine import processes

from .tls import amqp_tls, redis_tls, refuse_parameters


def parse(url: str) -> Any:
    """The URL, which goes to Celery as it is, with its transport's options and the TLS, which hold whatever it says."""
    parts = urlsplit(url)
    scheme, path = parts.scheme.lower(), unquote(parts.path)
    if scheme == "filesystem":
        folder = path if path.strip("/") else str(BASE_DIR / "var/broker")
        # Celery polls the folder; a stopping worker notices only between two polls.
        return (
            url,
            {
                "data_folder_in": folder,
                "data_folder_out": folder,
                "control_folder": f"{folder}/control",
                "polling_interval": 0.2,
            },
            None,
        )
    refuse_parameters(url)
    if scheme in ("redis", "rediss"):
        # A message that a dead worker took comes again after the visibility timeout: later than any job may take.
        return (
            url,
            {"socket_connect_timeout": 1, "socket_timeout": 2, "visibility_timeout": CELERY_TASK_TIME_LIMIT + 600},
            redis_tls(url) or None,
        )
    return url, {"confirm_publish": True, "read_timeout": 3, "write_timeout": 3}, amqp_tls(url)


CELERY_TASK_TIME_LIMIT = env.int(
    "CELERY_TASK_TIME_LIMIT", default=600, minimum=1, help="Seconds after which a job's process is killed."
)
CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS, CELERY_BROKER_USE_SSL = env.url(
    "CELERY_BROKER_URL",
    debug=None,
    schemes=("amqp", "amqps", "redis", "rediss", "filesystem"),
    parse=parse,
    fallbacks={"CLOUDAMQP_URL": str, "RABBITMQ_URL": str, "REDIS_URL": str},
    example="redis://localhost:6379/0",
    help="The queue between web and worker: RabbitMQ, Redis, a local folder; none (with DEBUG): jobs run in the web.",
) or (None, {}, None)
# Celery prefers the environment's CELERY_BROKER_URL to the setting, but these two to both: what was checked is used.
CELERY_BROKER_READ_URL = CELERY_BROKER_WRITE_URL = CELERY_BROKER_URL

# Without a broker a job runs in the process that enqueued it.
CELERY_TASK_ALWAYS_EAGER = CELERY_BROKER_URL is None
CELERY_TASK_IGNORE_RESULT = True

# Publishing is bounded: the job stands in the database and the sweeper sends it again.
CELERY_BROKER_CONNECTION_TIMEOUT = 1
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 1
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
CELERY_TASK_DEFAULT_EXCHANGE_TYPE = "topic"

# A worker may be killed at any moment: a message is acknowledged when its work is done, and taken one at a time.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_HEARTBEAT = 15  # seconds; RabbitMQ and its worker notice within two that the other is gone
# On RabbitMQ its queue is exclusive: a worker whose connection the network lost would find it locked on its return,
# and die. On Redis it is what notices that a server died while a job ran: without it the worker never came back.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = not str(CELERY_BROKER_URL).lower().startswith("amqp")
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker outlives any absence of its broker
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = env.int(
    "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", default=20, help="Seconds a stopping worker gives to the job at hand."
)
CELERY_WORKER_CONCURRENCY = env.int(
    "CELERY_WORKER_CONCURRENCY",
    default=None,
    minimum=1,
    example="2",
    help="Jobs that one worker does at the same time; without it as many as memory and processors allow.",
) or processes(400)  # MB: 60 at rest, and what IMAGE_MAX_PIXELS take while they are decoded
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

CELERY_BEAT_SCHEDULER = "apps.jobs.scheduler:DatabaseScheduler"
CELERY_TIMEZONE = "UTC"

# What the clock enqueues: a job, and when, as a crontab line in UTC.
JOBS_SCHEDULE = {
    "apps.jobs.tasks.prune_jobs": "12 2 * * *",
    "apps.ops.tasks.clear_expired_sessions": "22 2 * * *",
    "apps.ops.tasks.prune_runs": "27 2 * * *",
    "apps.photos.tasks.purge_orphaned_media": "32 2 * * *",
}
JOBS_KEEP_DAYS = env.int("JOBS_KEEP_DAYS", default=14, minimum=1, help="Days that a finished job stays in the table.")
JOBS_LEASE_SECONDS = env.int(
    "JOBS_LEASE_SECONDS",
    default=30,
    minimum=2,
    help="Seconds of silence after which a job is published again, or taken from its worker.",
)
