"""The tables of durable work: the jobs, and when the clock last fired each entry of its schedule."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Job(models.Model):
    """One piece of work that must happen. `apps.jobs.services` alone changes its state."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    task = models.CharField(_("task"), max_length=200, help_text=_("The dotted path of the function."))
    arguments = models.JSONField(_("arguments"), default=list)
    key = models.CharField(_("unique key"), max_length=200, null=True, unique=True)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.WAITING)
    due = models.DateTimeField(_("due"), default=timezone.now)
    sweep_at = models.DateTimeField(
        _("sweep at"),
        help_text=_("When the sweeper looks at it: unclaimed, it is published again; running, its worker is dead."),
    )
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    error = models.TextField(_("error"), blank=True)
    request_id = models.CharField(_("request id"), max_length=64, blank=True)
    created = models.DateTimeField(_("created"), auto_now_add=True)
    finished = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        indexes = (
            models.Index(fields=["state", "sweep_at"], name="job_sweep"),
            models.Index(fields=["state", "finished"], name="job_prune"),
        )

    def __str__(self) -> str:
        return f"{self.task.rpartition('.')[2]} {self.pk}"


class ClockEntry(models.Model):
    """An entry of JOBS_SCHEDULE and when a clock last fired it: what lets two clocks fire it once."""

    name = models.CharField(_("name"), max_length=200, primary_key=True)
    last_run_at = models.DateTimeField(_("last run at"))

    class Meta:
        verbose_name = _("clock entry")
        verbose_name_plural = _("clock entries")

    def __str__(self) -> str:
        return self.name
