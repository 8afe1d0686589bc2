"""The Celery application: `celery -A config worker` and `celery -A config beat`.

Work that may be lost is a plain task: `from config.celery import app`, then `@app.task`. Work that must not be lost
is a durable one, of twelve.tasks.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from twelve.celery import app

__all__ = ["app"]
