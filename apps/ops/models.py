"""What an operator looks up later: the releases there were, and the runs of one-off processes."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Release(models.Model):
    """One run of `manage.py release`: a build, joined with a config. What the platform does not tell is blank."""

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
    """One command of `manage.py`, from its start to its end. `apps.ops.trail` alone writes it."""

    command = models.CharField(_("command"), max_length=200)
    arguments = models.TextField(_("arguments"), blank=True, help_text=_("What is secret or quoted in them is ***."))
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
