"""The upload form: several files at once, each looked at before anything is saved."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.photos import images
from apps.photos.services import Upload, clean_filename


class ImagesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ImagesField(forms.FileField):
    """Cleans to what `save_uploads` takes, or raises an error for each file that is bad, naming it."""

    widget = ImagesInput

    def clean(self, data: "Sequence[UploadedFile[Any]] | None", initial: Any = None) -> list[Upload]:
        files, allowed = data or [], settings.UPLOAD_MAX_FILES
        if not files:
            raise ValidationError(_("Choose at least one photo."))
        if len(files) > allowed:
            message = ngettext(
                "At most %(allowed)d file at once is allowed, and you chose %(count)d. None was saved.",
                "At most %(allowed)d files at once are allowed, and you chose %(count)d. None was saved.",
                allowed,
            )
            raise ValidationError(message, params={"allowed": allowed, "count": len(files)})
        uploads: list[Upload] = []
        errors: list[ValidationError] = []
        for file in files:
            try:
                uploads.append((file, checked_header(file)))
            except ValidationError as error:
                errors.append(error)
        if errors and uploads:
            errors.append(ValidationError(_("So none of the files was saved.")))
        if errors:
            raise ValidationError(errors)
        return uploads


def check_size(name: str | None, size: int) -> None:
    """Raises ValidationError."""
    params = {"name": clean_filename(name)} | limits()
    if not size:
        raise ValidationError(_("“%(name)s” is empty."), params=params)
    if size > settings.UPLOAD_MAX_BYTES:
        raise ValidationError(_("“%(name)s” is too large: %(megabytes)s MB are allowed."), params=params)


def checked_header(file: "UploadedFile[Any]") -> images.Header:
    """Format and size of one upload. Raises ValidationError."""
    params = {"name": clean_filename(file.name)} | limits()
    try:
        if getattr(file, "missing", False):
            raise ValidationError(_("“%(name)s” did not arrive. Choose it again."), params=params)
        check_size(file.name, file.size or 0)
        return images.read_header(file)
    except images.NotAnImageError:
        message = _("“%(name)s” is damaged or not an image of a known format (%(formats)s).")
    except images.TooManyPixelsError as error:
        message = _("“%(name)s” has too many pixels: %(pixels)s megapixels are allowed.")
        params["pixels"] = f"{error.args[0] / 1e6:g}"
    raise ValidationError(message, params=params)


class UploadForm(forms.Form):
    photos = ImagesField(label=gettext_lazy("Photos"))
    max_files = property(lambda form: settings.UPLOAD_MAX_FILES)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["photos"]
        # A list, not image/*: with a list, a phone converts its own format to one of it.
        field.widget.attrs["accept"] = ",".join(f"image/{name.lower()}" for name in images.formats())
        field.help_text = _("%(formats)s; up to %(megabytes)s MB each, %(files)s at once.") % limits()


class SignForm(forms.Form):
    """What a browser says of a file before it puts it into the bucket."""

    name = forms.CharField(required=False)
    type = forms.CharField(required=False)
    size = forms.IntegerField(min_value=0)

    def clean_size(self) -> int:
        check_size(self.data.get("name"), size := self.cleaned_data["size"])
        return size


def limits() -> dict[str, str]:
    return {
        "formats": ", ".join(images.formats()),
        "megabytes": f"{settings.UPLOAD_MAX_BYTES / 1e6:g}",
        "files": str(settings.UPLOAD_MAX_FILES),
    }
