"""For the tests of a project: run the waiting tasks, read the mails, sign in."""

import base64
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from django.tasks import TaskResultStatus
from django.test import Client
from django.utils import timezone

from twelve.models import TaskRecord
from twelve.services.mail.backends import deliver
from twelve.tasks.worker import perform


def run_tasks() -> int:
    """Run the tasks that wait and are due, the oldest first, as a worker does. Return how many.

    A task that these enqueue waits for the next call: `while run_tasks(): pass` runs them all.
    """
    waiting = TaskRecord.objects.filter(status=TaskResultStatus.READY, due__lte=timezone.now()).order_by("pk")
    pks = list(waiting.values_list("pk", flat=True))
    for pk in pks:
        perform(pk)
    return len(pks)


def mails() -> list[EmailMessage]:
    """Return the mails that wait for the worker, the oldest first. run_tasks() sends them to mail.outbox of Django."""
    tasks = TaskRecord.objects.filter(task=deliver.module_path, status=TaskResultStatus.READY).order_by("pk")
    return [message_from_bytes(base64.b64decode(task.args[2]), policy=policy.default) for task in tasks]


def signed_in(user: Any) -> Client:
    """Return a client in which the user is signed in."""
    client = Client()
    client.force_login(user)
    return client
