"""The upload form: the header of the image is read before anything is saved."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.photos import images
from twelve.services.storage import UploadField


class ImageField(UploadField):
    """Cleans to the file and its images.Header."""

    def check(self, file: Any) -> tuple[Any, images.Header]:
        try:
            return file, images.read_header(file)
        except images.ImageError as error:
            raise ValidationError(gettext(str(error))) from error


class UploadForm(forms.Form):
    photo = ImageField(
        label=_("Photo"),
        # A list, not image/*: with a list, a phone converts its own format to one of it.
        types=[f"image/{name.lower()}" for name in images.EXTENSIONS],
        help_text=f"{', '.join(images.EXTENSIONS)}, up to {settings.UPLOAD_MAX_BYTES / 1e6:g} MB",
    )
