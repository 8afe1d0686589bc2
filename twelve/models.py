"""The tables: tasks, the entries of the clock, releases and one-off processes."""

from django.db import models
from django.tasks import TaskResultStatus
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class TaskRecord(models.Model):
    """A durable task. Only `twelve.tasks` changes its status."""

    task = models.CharField(_("task"), max_length=200, help_text=_("The dotted path of the task."))
    queue = models.CharField(_("queue"), max_length=100, default="default")
    args = models.JSONField(_("arguments"), default=list)
    kwargs = models.JSONField(_("keyword arguments"), default=dict)
    unique_key = models.CharField(_("unique key"), max_length=200, null=True, unique=True)
    status = models.CharField(_("status"), max_length=10, choices=TaskResultStatus, default=TaskResultStatus.READY)
    run_after = models.DateTimeField(_("run after"), null=True)
    due = models.DateTimeField(_("due"), default=timezone.now, help_text=_("The earliest time of the next attempt."))
    published = models.BooleanField(_("published"), default=True)
    sweep_at = models.DateTimeField(
        _("sweep at"), help_text=_("Until then a worker has it, a message is on its way, or it is not due.")
    )
    token = models.PositiveIntegerField(_("token"), default=0, help_text=_("The number of claims."))
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    worker_ids = models.TextField(_("worker ids"), blank=True)
    error = models.TextField(_("error"), blank=True)
    errors = models.JSONField(_("errors"), default=list)
    return_value = models.JSONField(_("return value"), null=True)
    request_id = models.CharField(_("request id"), max_length=64, blank=True)
    enqueued_at = models.DateTimeField(_("enqueued at"), default=timezone.now)
    started_at = models.DateTimeField(_("started at"), null=True)
    last_attempted_at = models.DateTimeField(_("last attempted at"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    class Meta:
        db_table = "twelve_task"
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        indexes = (
            models.Index(fields=["status", "sweep_at"], name="task_sweep"),
            models.Index(fields=["finished_at"], name="task_prune"),
        )

    def __str__(self) -> str:
        return f"{self.task.rpartition('.')[2]} {self.pk}"


class ClockEntry(models.Model):
    """An entry of TASKS_SCHEDULE with the time of its last run, which several clocks share."""

    name = models.CharField(_("name"), max_length=200, primary_key=True)
    last_run_at = models.DateTimeField(_("last run at"))

    class Meta:
        verbose_name = _("clock entry")
        verbose_name_plural = _("clock entries")

    def __str__(self) -> str:
        return self.name


class Release(models.Model):
    """One run of `manage.py release`. Fields that the platform does not provide are blank."""

    version = models.CharField(_("version"), max_length=200, blank=True)
    commit = models.CharField(_("commit"), max_length=64, blank=True)
    released_at = models.DateTimeField(_("released at"), default=timezone.now)
    released_by = models.CharField(_("released by"), max_length=200)

    class Meta:
        verbose_name = _("release")
        verbose_name_plural = _("releases")
        ordering = ("-pk",)

    def __str__(self) -> str:
        return self.version or self.commit[:7] or f"#{self.pk}"


class Run(models.Model):
    """One run of a command of `manage.py`. Only `twelve.release.trail` writes it."""

    command = models.CharField(_("command"), max_length=200)
    options = models.TextField(_("options"), blank=True, help_text=_("Their names, without values."))
    who = models.CharField(_("who"), max_length=200, help_text=_("ADMIN_USER, else the user of the system."))
    host = models.CharField(_("host"), max_length=200)
    process = models.CharField(_("process"), max_length=200)
    release = models.CharField(_("release"), max_length=200, blank=True)
    commit = models.CharField(_("commit"), max_length=200, blank=True)
    started = models.DateTimeField(_("started"), db_index=True)
    seconds = models.FloatField(_("seconds"))
    status = models.PositiveSmallIntegerField(_("exit status"), help_text=_("128 and the number, after a signal."))
    ending = models.CharField(_("ending"), max_length=200, blank=True, help_text=_("An exception, or a signal."))

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")

    def __str__(self) -> str:
        return f"{self.command} {self.pk}"
