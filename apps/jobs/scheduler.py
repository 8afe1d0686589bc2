"""The clock: Celery's beat, which keeps its state in the database and writes jobs instead of messages.

Two clocks may run. Each firing of an entry is claimed by one UPDATE, in the transaction that writes its job,
so it happens once; a firing that was missed while no clock ran happens once when one starts.
"""

import logging
import time
from typing import Any
from uuid import uuid4

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import crontab
from django.conf import settings
from django.db import DatabaseError, close_old_connections, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from apps.jobs.models import ClockEntry
from apps.jobs.services import enqueue, sweep
from config.logs import request_id

logger = logging.getLogger(__name__)

SWEEP_SECONDS = min(5, settings.JOBS_LEASE_SECONDS / 3)


class DatabaseScheduler(Scheduler):
    max_interval = SWEEP_SECONDS
    producer = None  # what is due becomes a job: the clock runs on while the broker is away
    _swept = 0.0

    def setup_schedule(self) -> None:
        self.merge_inplace(
            {
                task: {"task": task, "schedule": crontab.from_string(line)}
                for task, line in settings.JOBS_SCHEDULE.items()
            }
        )

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Fire what is due and sweep; returns the seconds until the next call. Survives a database that is away."""
        try:
            close_old_connections()
            if time.monotonic() - self._swept >= SWEEP_SECONDS:
                self._swept = time.monotonic()
                sweep()
            return min(super().tick(*args, **kwargs), SWEEP_SECONDS)
        except DatabaseError as error:
            logger.warning("the clock waits for the database: %s", error)
            self._heap = None  # an entry that could not be fired is read from the database again
            return SWEEP_SECONDS

    def populate_heap(self, *args: Any, **kwargs: Any) -> None:
        known = dict(ClockEntry.objects.values_list("name", "last_run_at"))
        for entry in self.schedule.values():
            if entry.name not in known:
                ClockEntry.objects.get_or_create(name=entry.name, defaults={"last_run_at": timezone.now()})
            entry.last_run_at = known.get(entry.name, timezone.now())
        super().populate_heap(*args, **kwargs)

    def is_due(self, entry: ScheduleEntry) -> Any:
        known, _ = ClockEntry.objects.get_or_create(name=entry.name, defaults={"last_run_at": timezone.now()})
        entry.last_run_at = known.last_run_at  # another clock may have fired it
        return entry.is_due()

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        with transaction.atomic():
            if ClockEntry.objects.filter(name=entry.name, last_run_at=entry.last_run_at).update(
                last_run_at=timezone.now()
            ):
                token = request_id.set(uuid4().hex)  # a firing is a cause of its own, as a request is
                try:
                    logger.info("the clock fires %s", entry.name)
                    enqueue(import_string(entry.task))
                finally:
                    request_id.reset(token)
