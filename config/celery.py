"""The Celery application: `celery -A config worker` and `celery -A config beat`.

The web process imports this only to publish, so that it starts without Celery. A task that may be lost is a
plain one: `from config.celery import app`, then `@app.task`. What must not be lost is a job (apps.jobs).
"""

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from config import settings  # noqa: F401  # declares every variable
from config.env import env, exit_with

env.exit_on_problems("worker")

app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_configure.connect
def make_broker_folder(sender: Celery, **kwargs: Any) -> None:
    if folder := sender.conf.broker_transport_options.get("data_folder_in"):
        Path(folder).mkdir(parents=True, exist_ok=True)


@celeryd_init.connect
@beat_init.connect
def refuse_to_wait_for_nothing(**kwargs: Any) -> None:
    if app.conf.task_always_eager:
        exit_with("CELERY_BROKER_URL is not set, so no job comes here: with DEBUG on they run in the web process.")


@setup_logging.connect
def use_djangos_logging(**kwargs: Any) -> None:
    """Keep Celery from configuring logging a second time: Django's settings hold for every process."""
