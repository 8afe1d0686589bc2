"""A photo: who owns it, where its original is stored, and whether its renditions are made."""

import uuid
from dataclasses import dataclass

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

ROOT = "photos"  # the folder of the storage below which everything of this app is kept
SMALL, LARGE = 320, 1600  # pixels of a rendition's longer side, at most


@dataclass(frozen=True)
class Rendition:
    key: str
    width: int
    height: int

    @property
    def url(self) -> str:
        return default_storage.url(self.key)


def folder_of(pk: uuid.UUID) -> str:
    """Where the objects of a photo are; random, as its id is, and free of anything that a person typed."""
    return f"{ROOT}/{pk.hex}"


class Photo(models.Model):
    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        READY = "ready", _("ready")
        FAILED = "failed", _("failed")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="photos", verbose_name=_("owner")
    )
    original = models.CharField(_("original"), max_length=100, help_text=_("Its key in the storage."))
    filename = models.CharField(_("file name"), max_length=200, help_text=_("As the person named it; only shown."))
    content_type = models.CharField(_("content type"), max_length=50)
    size = models.PositiveBigIntegerField(_("size"), help_text=_("In bytes."))
    sha256 = models.CharField("SHA-256", max_length=64)
    # The file's header says these at the upload; where EXIF turns the picture, its job swaps them.
    width = models.PositiveIntegerField(_("width"), help_text=_("In pixels, upright once the photo is ready."))
    height = models.PositiveIntegerField(_("height"), help_text=_("In pixels, upright once the photo is ready."))
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.WAITING)
    error = models.CharField(_("error"), max_length=200, blank=True)
    created = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("photo")
        verbose_name_plural = _("photos")
        ordering = ("-created", "-id")
        indexes = (models.Index(fields=["owner", "-created"], name="photo_owner_created"),)

    def __str__(self) -> str:
        return self.filename

    @property
    def folder(self) -> str:
        return folder_of(self.id)

    @property
    def reason(self) -> str:
        """Why it failed, in the language of the reader: the column keeps the untranslated sentence."""
        return gettext(self.error) if self.error else ""

    @property
    def small(self) -> Rendition:
        return self.rendition(SMALL)

    @property
    def large(self) -> Rendition:
        return self.rendition(LARGE)

    def rendition(self, size: int) -> Rendition:
        scale = min(1, size / max(self.width, self.height))
        width, height = (max(1, round(side * scale)) for side in (self.width, self.height))
        return Rendition(f"{self.folder}/{size}.webp", width, height)

    def stored_keys(self) -> set[str]:
        """Every object that may belong to the photo."""
        return {self.original, self.small.key, self.large.key}
