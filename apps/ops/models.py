"""What an operator looks up later: the releases there were."""

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
