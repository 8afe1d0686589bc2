"""A photo: who owns it, where its original is stored, and whether its renditions are made."""

import uuid
from typing import NamedTuple

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import models
from django.utils.http import content_disposition_header
from django.utils.translation import gettext_lazy as _

from twelve.services.storage import StoredFileField

ROOT = "photos"  # the folder of the storage below which everything of this app is kept
SMALL, LARGE = 320, 1600  # pixels of a rendition's longer side, at most


class Rendition(NamedTuple):
    key: str
    width: int
    height: int

    @property
    def url(self) -> str:
        return default_storage.url(self.key)


class Photo(models.Model):
    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        READY = "ready", _("ready")
        FAILED = "failed", _("failed")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="photos", verbose_name=_("owner")
    )
    original = StoredFileField(
        _("original"),
        max_length=100,
        upload_to=lambda photo, name: f"{photo.folder}/{name}",
        names_of=lambda photo: [photo.folder],  # with the renditions
        help_text=_("Its key in the storage."),
    )
    filename = models.CharField(_("file name"), max_length=200, help_text=_("As the person named it; only shown."))
    content_type = models.CharField(_("content type"), max_length=50)
    size = models.PositiveBigIntegerField(_("size"), help_text=_("In bytes."))
    sha256 = models.CharField("SHA-256", max_length=64)
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
        """Return where its objects are: random, as its id is, with nothing in it that a person typed."""
        return f"{ROOT}/{self.id.hex}"

    @property
    def download_url(self) -> str:
        """Return a signed link that expires, under which the browser saves the original by its owner's name for it."""
        disposition = content_disposition_header(as_attachment=True, filename=self.filename)
        return default_storage.url(str(self.original), {"ResponseContentDisposition": disposition})  # type: ignore[call-arg]

    small = property(lambda self: self.rendition(SMALL))
    large = property(lambda self: self.rendition(LARGE))

    def rendition(self, size: int) -> Rendition:
        scale = min(1, size / max(self.width, self.height))
        width, height = (max(1, round(side * scale)) for side in (self.width, self.height))
        return Rendition(f"{self.folder}/{size}.webp", width, height)

    def stored_keys(self) -> set[str]:
        return {str(self.original), self.small.key, self.large.key}
