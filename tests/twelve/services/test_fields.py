"""Files of models and forms: what is accepted, under which key it is stored, and when it is deleted."""

import os
from datetime import timedelta

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, models, transaction
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState
from django.tasks import TaskResultStatus
from django.test.utils import isolate_apps

from twelve.models import TaskRecord
from twelve.services.storage import StorageError, StoredFileField, UploadField, delete_media, find_orphans
from twelve.tasks.worker import perform


@pytest.fixture
def stored(media):
    return lambda: {path.relative_to(media).as_posix() for path in media.rglob("*") if path.is_file()}


@pytest.fixture
def run_tasks():
    def run():
        for record in TaskRecord.objects.filter(status=TaskResultStatus.READY):
            perform(record.pk)

    return run


@pytest.fixture
def document(db):
    """A model with a file; its table is made in the test's transaction."""
    with isolate_apps("twelve"):

        class Document(models.Model):  # noqa: DJ008  # shown nowhere
            file = StoredFileField(blank=True, max_bytes=1000, types=["text/plain", "application/pdf"])
            title = models.CharField(max_length=50, default="")

            class Meta:
                app_label = "twelve"

        with connection.cursor() as cursor:
            kind = {"postgresql": "bigserial", "mysql": "integer AUTO_INCREMENT"}.get(connection.vendor, "integer")
            columns = f"id {kind} PRIMARY KEY, file varchar(100), title varchar(50)"
            cursor.execute(f"CREATE TEMPORARY TABLE twelve_document ({columns})")  # which commits nothing on MariaDB
        yield Document
        if connection.vendor == "mysql":
            with connection.cursor() as cursor:
                cursor.execute("DROP TEMPORARY TABLE twelve_document")


def make(model, content=b"content", name="My Report.PDF"):
    row = model()
    row.file.save(name, ContentFile(content))
    return row


def test_a_key_is_random_and_holds_nothing_that_a_person_typed_but_a_known_extension(document):
    names = [make(document, name=name).file.name for name in ("secret.PDF", "secret.PDF", "secret.sécret", "secret")]
    assert len(set(names)) == 4
    assert [name[: len("twelve/")] for name in names] == ["twelve/"] * 4
    assert [name.partition(".")[2] for name in names] == ["pdf", "pdf", "", ""]
    assert not any("secret" in name for name in names)


def test_the_object_is_deleted_with_its_row_however_that_is_deleted(document, stored, run_tasks):
    rows = [make(document) for _number in range(3)]
    rows[0].delete()
    document.objects.filter(pk=rows[1].pk).delete()
    assert stored() == {row.file.name for row in rows}  # until the task has run
    run_tasks()
    assert stored() == {rows[2].file.name}


def test_a_replaced_object_is_deleted_and_a_kept_one_is_not(document, stored, run_tasks):
    row = make(document)
    row.title = "changed"
    row.save()
    document.objects.get(pk=row.pk).save()
    assert not TaskRecord.objects.exists()
    old = row.file.name
    row = document.objects.get(pk=row.pk)
    row.file = ContentFile(b"new", "new.txt")
    row.save()
    assert stored() == {old, row.file.name}
    run_tasks()
    assert stored() == {row.file.name}
    row.file = ""
    row.save(update_fields=["file"])
    run_tasks()
    assert stored() == set()


@pytest.mark.parametrize("change", ["delete", "replace"])
def test_a_transaction_that_is_rolled_back_deletes_nothing(document, stored, run_tasks, change):
    row = make(document)
    name = row.file.name
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        if change == "delete":
            row.delete()
        else:
            row.file = ""
            row.save()
        1 / 0  # noqa: B018
    run_tasks()
    assert stored() == {name}


def test_an_object_that_another_row_names_stays(document, stored, run_tasks):
    row = make(document)
    copy = document.objects.create(file=row.file.name)
    row.delete()
    run_tasks()
    assert stored() == {copy.file.name}
    copy.delete()
    run_tasks()
    assert stored() == set()


def test_a_storage_that_fails_leaves_no_row(document, monkeypatch):
    def fail(*arguments, **options):
        raise StorageError("unreachable")

    monkeypatch.setattr(type(default_storage), "save", fail, raising=False)
    with pytest.raises(StorageError), transaction.atomic():
        document(file=ContentFile(b"content", "a.txt")).save()
    assert not document.objects.exists()


def test_a_folder_is_deleted_with_all_that_is_below_it(media, stored):
    for name in ("app/one/original", "app/one/deeper/small", "app/two/original"):
        default_storage.save(name, ContentFile(b"x"))
    delete_media("app/one")
    delete_media("app/one", "app/none")
    assert stored() == {"app/two/original"}
    assert [path.name for path in (media / "app").iterdir()] == ["two"]


def test_other_objects_go_along_with_the_row(db, stored, run_tasks):
    with isolate_apps("twelve"):

        class Picture(models.Model):  # noqa: DJ008  # shown nowhere
            file = StoredFileField(upload_to="pictures/one", names_of=lambda row: ["pictures/one"])

            class Meta:
                app_label = "twelve"

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE twelve_picture (id integer PRIMARY KEY, file varchar(100))")
    default_storage.save("pictures/one/small", ContentFile(b"x"))
    row = Picture(pk=1)
    row.file.save("original", ContentFile(b"x"), save=False)
    row.save(force_insert=True)
    assert stored() == {"pictures/one/original", "pictures/one/small"}
    row.delete()
    run_tasks()
    assert stored() == set()


def test_orphans_are_old_objects_that_no_row_names(document, media):
    row, young = make(document), make(document)
    young_key = young.file.name
    document.objects.filter(pk=young.pk).update(file="")  # leaves its object
    for key in ("twelve/1.pdf", "twelve/2.pdf", "other/3.pdf"):
        default_storage.save(key, ContentFile(b"x"))
        os.utime(media / key, (0, 0))
    os.utime(media / row.file.name, (0, 0))

    def owned(keys):
        return set(document.objects.filter(file__in=keys).values_list("file", flat=True))

    assert list(find_orphans(["other", "twelve"], owned, timedelta(days=1))) == [
        (["other/3.pdf"], 1),
        (["twelve/1.pdf", "twelve/2.pdf"], 4),
    ]
    assert default_storage.exists(young_key)


def test_a_migration_has_djangos_field_and_no_further_change(document):
    state = ModelState.from_model(document)
    _name, path, _arguments, options = state.fields["file"].deconstruct()
    assert (path, options) == ("django.db.models.FileField", {"blank": True, "upload_to": ""})
    old, new = ProjectState(), ProjectState()
    fields = dict(state.fields) | {"file": models.FileField(blank=True)}
    old.add_model(ModelState("twelve", "Document", list(fields.items())))
    new.add_model(state)
    assert MigrationAutodetector(old, new)._detect_changes() == {}


# -- Forms ------------------------------------------------------------------------------------------------------------


def refusals(field, file):
    with pytest.raises(ValidationError) as refused:
        field.clean(file)
    return [str(message) for message in refused.value.messages]


def file(name="a.pdf", content=b"content", content_type="text/html"):
    return SimpleUploadedFile(name, content, content_type)


def test_a_form_of_the_model_checks_size_and_type(document):
    form_class = forms.modelform_factory(document, fields=["file"])
    assert 'accept="text/plain,application/pdf"' in form_class().as_p()
    for upload, message in (
        (file(content=b"x" * 1001), "The file is too large: 0.001 MB are allowed."),
        (file(content=b""), "The file is empty."),
        (file("a.html"), "The file is not of an accepted type (text/plain, application/pdf)."),
    ):
        assert form_class({}, {"file": upload}).errors["file"] == [message]
    form = form_class({}, {"file": file()})
    assert form.is_valid()
    assert form.cleaned_data["file"].content_type == "application/pdf"  # of the name, whatever the browser says
    assert form.save().file.read() == b"content"
    assert form_class({}, {}).is_valid()  # blank=True


def test_without_a_limit_of_its_own_a_field_has_that_of_the_site(settings):
    settings.UPLOAD_MAX_BYTES = 5
    assert refusals(UploadField(), file()) == ["The file is too large: 5e-06 MB are allowed."]
    assert UploadField().clean(file(content=b"x")).size == 1
