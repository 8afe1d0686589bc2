"""Durable tasks: Django's Tasks API over a table, which Celery's workers read."""

from twelve.tasks.base import DurableTask, PermanentFailure, task

__all__ = ["DurableTask", "PermanentFailure", "task"]
