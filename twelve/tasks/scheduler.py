"""The clock: a scheduler for Celery's beat that keeps its state in the database and enqueues durable tasks.

Any number of clocks may run. Each time at which an entry is due is a slot, and its task has the unique key
`entry:slot`, so that a slot has one task whichever clocks see it.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from celery.beat import Scheduler
from celery.schedules import crontab
from django.db import DatabaseError, close_old_connections, transaction
from django.utils import timezone

from twelve.conf import settings
from twelve.logs import request_id
from twelve.models import ClockEntry
from twelve.tasks.base import find_task
from twelve.tasks.maintenance import SCHEDULE
from twelve.tasks.table import sweep

logger = logging.getLogger(__name__)

SWEEP_SECONDS = min(5, settings.TASKS_LEASE_SECONDS / 3)
MISSED = timedelta(minutes=5)  # a slot that is older was missed: no clock ran


@dataclass
class Entry:
    task: str
    line: str
    catch_up: bool = True

    def __post_init__(self) -> None:
        self.crontab = crontab.from_string(self.line)

    def next_slot(self, since: datetime) -> datetime:
        """Return the first time after `since` at which the entry is due."""
        start, remaining, _now = self.crontab.remaining_delta(since)
        return (start + remaining).astimezone(UTC)


def read_schedule() -> tuple[list[Entry], list[str]]:
    """Return the entries of the machinery and of TASKS_SCHEDULE, and what is wrong with others."""
    entries, problems = [], []
    for path, line in (SCHEDULE | settings.TASKS_SCHEDULE).items():
        options = dict(line) if isinstance(line, Mapping) else {"crontab": line}
        try:
            entry = Entry(path, options.pop("crontab"), **options)
            if find_task(path) is None:
                raise ValueError("there is no such durable task")
            entries.append(entry)
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"TASKS_SCHEDULE cannot enqueue {path} at {line!r}: {error}")
    return entries, problems


class DatabaseScheduler(Scheduler):
    max_interval = SWEEP_SECONDS
    _swept = 0.0

    def setup_schedule(self) -> None:
        entries, problems = read_schedule()
        self.schedule = {entry.task: entry for entry in entries}
        for problem in problems:
            logger.error("%s", problem)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Enqueue what is due, and sweep. Return the seconds until the next call."""
        try:
            close_old_connections()
            if time.monotonic() - self._swept >= SWEEP_SECONDS:
                self._swept = time.monotonic()
                sweep()
            now = timezone.now()
            last_slots = dict(ClockEntry.objects.values_list("name", "last_run_at"))
            for entry in self.schedule.values():
                self.fire_if_due(entry, last_slots.get(entry.task), now)
        except DatabaseError as error:
            logger.warning("the clock waits for the database: %s", error)
        return min(SWEEP_SECONDS, 60 - timezone.now().second)

    def fire_if_due(self, entry: Entry, last: datetime | None, now: datetime) -> None:
        if last is None:  # a new entry waits for its next slot
            ClockEntry.objects.get_or_create(name=entry.task, defaults={"last_run_at": now})
            return
        slot = entry.next_slot(last if entry.catch_up else max(last, now - MISSED))
        if slot > now:
            return
        with transaction.atomic():  # all that was missed counts as one slot
            if ClockEntry.objects.filter(name=entry.task, last_run_at=last).update(last_run_at=now):
                self.fire(entry, slot)

    def fire(self, entry: Entry, slot: datetime) -> None:
        token = request_id.set(uuid4().hex)  # like a request, a slot has an id of its own
        try:
            logger.info("the clock fires %s", entry.task)
            task: Any = find_task(entry.task)
            task.using(unique_key=f"{entry.task}:{slot:%Y-%m-%dT%H:%MZ}").enqueue()
        finally:
            request_id.reset(token)
