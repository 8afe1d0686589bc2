"""The queue between web and worker: Celery's settings of the broker in CELERY_BROKER_URL."""

import re
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from twelve.conf import settings
from twelve.env import Env, env
from twelve.services.tls import DEFAULT, Policies, Policy, redis_options, refuse_parameters


def from_environment(
    tls: Policies, env: Env = env, *, task_time_limit: int = 600, soft_shutdown_timeout: int = 20
) -> dict[str, Any]:
    """Return Celery's settings, by Celery's own names.

    A task's process is killed after `task_time_limit` seconds. A worker that stops gives its running tasks
    `soft_shutdown_timeout` seconds; platforms kill it 30 s after SIGTERM.
    """
    url, options, ssl_options = env.url(
        "CELERY_BROKER_URL",
        debug=None,
        schemes=("amqp", "amqps", "redis", "rediss", "filesystem"),
        parse=lambda url: parse_url(url, tls, task_time_limit, env.base_dir),
        fallbacks=("CLOUDAMQP_URL", "REDIS_URL"),
        example="redis://localhost:6379/0",
        help="The queue from web to worker: RabbitMQ, Redis, a local folder; none (with DEBUG): tasks run in the web.",
    ) or (None, {}, None)
    return {
        "broker_url": url,
        # Celery prefers the environment's CELERY_BROKER_URL to the setting, but these two to both.
        "broker_read_url": url,
        "broker_write_url": url,
        "broker_transport_options": options,
        "broker_use_ssl": ssl_options,
        # Without a broker a task runs in the process that enqueued it.
        "task_always_eager": url is None,
        "task_ignore_result": True,
        # Publishing is bounded: the task is in the database and the sweeper publishes it again.
        "broker_connection_timeout": 1,
        "broker_pool_acquire_timeout": 1,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
        # A worker may be killed at any moment: a message is acknowledged when its work is done, one at a time.
        "task_time_limit": task_time_limit,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "broker_connection_retry_on_startup": True,
        "broker_heartbeat": 15,  # seconds; after two RabbitMQ and the worker notice that the other is unreachable
        # On RabbitMQ its queue is exclusive: a worker that reconnects after a network failure finds it locked, and
        # exits. On Redis a worker notices by it that the server died while a task ran.
        "worker_enable_remote_control": not str(url).lower().startswith("amqp"),
        "broker_connection_max_retries": None,  # a worker waits for its broker without limit
        "worker_soft_shutdown_timeout": soft_shutdown_timeout,
        "worker_concurrency": env.int(
            "CELERY_WORKER_CONCURRENCY",
            default=2,
            minimum=1,
            help="Tasks that one worker does at the same time, each in a process of 60 MB and what the task takes.",
        ),
        "worker_redirect_stdouts": False,
        "beat_scheduler": "twelve.tasks.scheduler:DatabaseScheduler",
    }


def parse_url(url: str, tls: Policies = DEFAULT, task_time_limit: int = 600, base_dir: Path = Path()) -> Any:
    """Return the URL, the options of its transport, and those of TLS, which the URL cannot change."""
    parts = urlsplit(url)
    if parts.scheme == "filesystem":
        if parts.netloc:
            raise ValueError("names a host; write a directory with three slashes, as in filesystem:///srv/broker")
        path = unquote(parts.path)
        folder = path if path.strip("/") else str(base_dir / "var/broker")
        # Celery polls the folder, and a worker notices a signal only between two polls.
        options: dict[str, Any] = {"control_folder": f"{folder}/control", "polling_interval": 0.2}
        return url, options | {"data_folder_in": folder, "data_folder_out": folder}, None
    refuse_parameters(url)
    if parts.scheme in ("redis", "rediss"):
        if not re.fullmatch(r"/?[0-9]*", parts.path):
            raise ValueError("has a path that is not the number of a database, as in redis://host:6379/0")
        # The message of a dead worker is delivered again after this timeout, which is longer than any task may take.
        options = {"visibility_timeout": task_time_limit + 600, "socket_connect_timeout": 1, "socket_timeout": 2}
        return parts.geturl(), options, redis_options(url, tls.redis) or None  # the scheme in lower case, for redis-py
    options = {"confirm_publish": True, "read_timeout": 3, "write_timeout": 3}
    return url, options, rabbitmq_options(parts.hostname, tls.rabbitmq) if parts.scheme == "amqps" else None


def rabbitmq_options(host: str | None, policy: Policy) -> dict[str, Any]:
    """Return Kombu's options of TLS."""
    if not policy.verify:
        return {"cert_reqs": ssl.CERT_NONE}
    # Without server_hostname no name is compared.
    return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": policy.authorities, "server_hostname": host}


def probe(answer: Any) -> None:
    """Ask the broker on a connection of its own; fill in the answer of twelve.services.probe."""
    broker: dict[str, Any] = settings.CELERY
    options, tls = broker["broker_transport_options"], broker["broker_use_ssl"]
    answer.locate(broker["broker_url"])
    answer.policy = "rabbitmq" if answer.kind.startswith("amqp") else "redis"
    if folder := options.get("data_folder_in"):
        Path(folder).mkdir(parents=True, exist_ok=True)  # as the first message would
        with tempfile.TemporaryFile(dir=folder) as file:
            answer.record("", lambda: file.write(b"probe"), None)
        return
    # By the clients that Kombu uses: in a web process only the thread that publishes imports Kombu, which is large.
    if answer.policy == "redis":
        import redis

        limits = {"socket_connect_timeout": 1, "socket_timeout": 2}
        with redis.Redis.from_url(broker["broker_url"], **limits, **tls or {}) as client:
            answer.record(f"Redis {client.info('server')['redis_version']}", client.ping, bool(tls))
        return
    import amqp

    parts = urlsplit(broker["broker_url"])
    host = parts.netloc.rpartition("@")[2] if parts.port else f"{parts.hostname}:{5671 if tls else 5672}"
    login = [unquote(parts.username or "guest"), unquote(parts.password or "guest")]
    limits = {"connect_timeout": 1, "read_timeout": 2, "write_timeout": 2}
    with amqp.Connection(host, *login, virtual_host=unquote(parts.path[1:]) or "/", ssl=tls, **limits) as server:
        product, version = (server.server_properties[name] for name in ("product", "version"))
        answer.record(f"{product} {version}", lambda: server.channel().close(), bool(tls))
