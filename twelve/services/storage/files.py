"""Files of requests, forms and models: what is accepted, how it reaches the storage, and when it is deleted.

The settings import this module, so it imports no model: the task that deletes objects is imported when it is needed.
"""

import mimetypes
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from itertools import batched
from pathlib import PurePosixPath
from typing import Any

from django import forms
from django.core.exceptions import RequestDataTooBig, ValidationError
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.db import models
from django.db.models import signals
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from twelve.conf import settings

INCOMING = "incoming"  # the folder of the bucket to which browsers send files
FORM_SECONDS = 300  # for which a signed form is valid
storage: Any = default_storage  # the storages of this package have more methods than Django's


def accepts_uploads[View: Callable[..., Any]](view: View) -> View:
    """Mark a view to which signed-in users send files, UPLOAD_MAX_BYTES in a request."""
    view.accepts_uploads = True  # type: ignore[attr-defined]
    return view


class BoundedUploadHandler(MemoryFileUploadHandler):
    """Refuses a multipart request above DATA_UPLOAD_MAX_MEMORY_SIZE before its body is read.

    Only a view marked by `accepts_uploads` takes more, and only from signed-in users. Django reads the body while it
    checks the CSRF token, before the view and its `login_required` are called: the view cannot refuse it in time.
    """

    def handle_raw_input(self, input_data: Any, meta: Any, content_length: int, *arguments: Any) -> None:
        # The server reads no more than Content-Length, and no body without one.
        allowed, match = settings.DATA_UPLOAD_MAX_MEMORY_SIZE, getattr(self.request, "resolver_match", None)
        user = getattr(self.request, "user", None)  # queries the database only where uploads are expected
        if match and getattr(match.func, "accepts_uploads", False) and user and user.is_authenticated:
            allowed += settings.UPLOAD_MAX_BYTES
        if content_length > allowed:
            raise RequestDataTooBig(f"{content_length} bytes, of {allowed} that this view accepts from this user.")
        super().handle_raw_input(input_data, meta, content_length, *arguments)


# -- Forms ------------------------------------------------------------------------------------------------------------


def check_size(size: int, max_bytes: int | None = None) -> None:
    """Raise ValidationError if a file of `size` bytes is empty or larger than `max_bytes` or UPLOAD_MAX_BYTES."""
    max_bytes = max_bytes or settings.UPLOAD_MAX_BYTES
    if size < 1:
        raise ValidationError(_("The file is empty."))
    if size > max_bytes:
        raise ValidationError(
            _("The file is too large: %(megabytes)g MB are allowed."), params={"megabytes": max_bytes / 1e6}
        )


class UploadField(forms.FileField):
    """A form field for a file of at most `max_bytes` and of one of the content `types`; without these, of any type.

    The type is that of the name's extension, and the object gets it. Override `check()` to look at the content.
    """

    def __init__(self, *, max_bytes: int | None = None, types: Sequence[str] = (), **options: Any) -> None:
        self.max_bytes, self.types = max_bytes, types
        super().__init__(**options)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return super().widget_attrs(widget) | ({"accept": ",".join(self.types)} if self.types else {})

    def to_python(self, data: Any) -> Any:
        if not data:
            return None
        if isinstance(data, DirectUpload):
            data.claim()
        check_size(data.size, self.max_bytes)
        return self.check(data)

    def check(self, file: Any) -> Any:
        """Return what the field cleans to. Raises ValidationError."""
        if self.types:
            file.content_type = mimetypes.guess_type(file.name, strict=False)[0]
            if file.content_type not in self.types:
                types = ", ".join(self.types)
                raise ValidationError(_("The file is not of an accepted type (%(types)s)."), params={"types": types})
        return super().to_python(file)


# -- From the browser to the bucket -----------------------------------------------------------------------------------


def sign_upload(user: Any, size: str) -> dict[str, Any]:
    """Return the id of a new upload, and the URL and fields of a form with which so many bytes may be sent.

    `size` is what the browser says of the file. Raises ValidationError.
    """
    check_size(number := forms.IntegerField().clean(size))
    upload = DirectUpload(user, uuid.uuid4().hex)
    return {"upload": upload.id} | storage.presign_post(upload.key, number, FORM_SECONDS)


class DirectUpload(UploadedFile):
    """A file that a browser has sent to the bucket. What is never claimed belongs to no row: it is an orphan."""

    def __init__(self, user: Any, upload: str, name: str = "") -> None:
        super().__init__(None, "".join(filter(str.isprintable, name)) or "file")  # as Django cleans a form's names
        self.id = upload
        self.key = f"{INCOMING}/{user.pk}/{upload}"  # with the user's id, so that no other user can claim it

    def claim(self) -> None:
        """Read the object into a temporary file, which its user can no longer change. Raises ValidationError."""
        try:
            if not re.fullmatch("[0-9a-f]{32}", self.id):
                raise FileNotFoundError
            self.file = file = storage.open(self.key)
        except FileNotFoundError as error:
            raise ValidationError(_("The file did not arrive. Choose it again.")) from error
        self.size = file.size


def received_files(request: HttpRequest, field: str) -> Any:
    """Return the files for a form. An upload that the browser has sent to the bucket takes the place of the `field`.

    Such a request has the upload's id as `upload` and the file's name as `name`.
    """
    if settings.MEDIA_DIRECT_UPLOAD and "upload" in request.POST:
        return {field: DirectUpload(request.user, request.POST["upload"], request.POST.get("name", ""))}
    return request.FILES


# -- Models -----------------------------------------------------------------------------------------------------------


def delete_media(*names: str) -> None:
    """Delete the objects of these names and everything below them; there may be none. Raises StorageError."""
    for name in names:
        for key, _changed in storage.list_objects(name):
            storage.delete(key)
        storage.delete(name)


def delete_later(*names: str) -> None:
    """Delete these objects and everything below them, by a task that commits with the caller's transaction."""
    from twelve.services.storage import tasks

    tasks.delete_media.enqueue(*names)


def find_orphans(
    folders: Sequence[str], owned_keys: Callable[[list[str]], Collection[str]], age: timedelta
) -> Iterator[tuple[list[str], int]]:
    """Yield lists of keys below the folders and INCOMING that belong to no row, each with the number of keys compared.

    `owned_keys` returns those of up to 1000 keys that belong to a row. An object younger than `age` may belong to an
    upload under way.
    """
    before = timezone.now() - age
    for folder in (INCOMING, *folders):
        for page in batched(storage.list_objects(folder), 1000):
            owned = owned_keys([key for key, _changed in page])
            yield [key for key, changed in page if key not in owned and changed < before], len(page)


def random_key(instance: models.Model, filename: str) -> str:
    """Return a key that no other upload has, with nothing of the file's name in it but a known extension."""
    suffix = PurePosixPath(filename).suffix.lower()
    known = mimetypes.guess_type(f"file{suffix}", strict=False) != (None, None)
    return f"{instance._meta.app_label}/{uuid.uuid4().hex}{suffix if known else ''}"


class StoredFileField(models.FileField):
    """A model's file, whose object is deleted once the transaction commits that deletes the row or replaces the file.

    Forms check `max_bytes` and `types`, as UploadField does. `names_of` returns the names of the objects and folders
    that are deleted with a row, if it has more than this one. An object that another row names stays.
    `QuerySet.update()` and a deletion through a proxy model delete no object.
    """

    max_bytes: int | None = None
    types: Sequence[str] = ()
    names_of: Callable[[Any], Sequence[str]] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        for name in options.keys() & {"max_bytes", "types", "names_of"}:
            setattr(self, name, options.pop(name))
        super().__init__(*arguments, **options)
        self.upload_to = self.upload_to or random_key

    def deconstruct(self) -> Any:
        """Be Django's own field in migrations, which then need neither this class nor its options."""
        name, _path, arguments, options = super().deconstruct()
        return name, "django.db.models.FileField", arguments, options | {"upload_to": ""}

    def formfield(self, **options: Any) -> Any:
        own = {"form_class": UploadField, "max_bytes": self.max_bytes, "types": self.types}
        return super().formfield(**own | options)

    def contribute_to_class(self, cls: Any, name: str, *arguments: Any, **options: Any) -> None:
        super().contribute_to_class(cls, name, *arguments, **options)
        if not cls._meta.abstract:
            signals.post_save.connect(self.delete_unused, sender=cls)
            signals.post_delete.connect(self.delete_unused, sender=cls)

    def pre_save(self, instance: Any, add: bool) -> Any:
        if not instance._state.adding:
            rows = type(instance)._base_manager.using(instance._state.db).filter(pk=instance.pk)
            setattr(instance, f"_{self.name}_before", rows.values_list(self.attname, flat=True).first())
        return super().pre_save(instance, add)

    def delete_unused(self, instance: Any, signal: Any, **options: Any) -> None:
        """Delete what the row named before it was saved, or all of a deleted row, unless another row names it."""
        name, deleted = getattr(instance, self.attname).name, signal is signals.post_delete
        before = name if deleted else instance.__dict__.pop(f"_{self.name}_before", None)
        if not before or (before == name and not deleted):
            return
        if not type(instance)._base_manager.using(instance._state.db).filter(**{self.attname: before}).exists():
            delete_later(*(self.names_of(instance) if deleted and self.names_of else [before]))
