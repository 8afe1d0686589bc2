"""Staff see the tasks, never a secret of theirs, and let failed ones start anew."""

import pytest
from django.tasks import TaskResultStatus

from tests.twelve.kit import enqueue
from tests.twelve.tasks import sample
from twelve.tasks.worker import perform

pytestmark = pytest.mark.django_db

CHANGELIST = "/admin/twelve/taskrecord/"


def test_staff_see_each_task_with_its_reason(admin_client):
    record = enqueue(sample.broken)
    perform(record.pk)
    assert "KeyError: &#x27;a bug&#x27;" in admin_client.get(CHANGELIST).content.decode()
    page = admin_client.get(f"{CHANGELIST}{record.pk}/change/").content.decode()
    assert "tests.twelve.tasks.sample.broken" in page
    assert "<input" not in page.partition("<form")[0]


def test_arguments_are_shown_unless_they_are_a_secret(admin_client):
    for function, shown in ((sample.note, True), (sample.whisper, False)):
        record = enqueue(function, "hunter2")
        page = admin_client.get(f"{CHANGELIST}{record.pk}/change/").content.decode()
        assert ("hunter2" in page) is shown


def test_staff_start_a_failed_task_anew(admin_client, monkeypatch, django_capture_on_commit_callbacks):
    sent = []
    monkeypatch.setattr("twelve.tasks.table.publish", lambda record: sent.append(record.pk))
    record = enqueue(sample.broken)
    perform(record.pk)
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin_client.post(CHANGELIST, {"action": "retry", "_selected_action": [record.pk]}, follow=True)
    assert "1 failed task is started again." in answer.content.decode()
    record.refresh_from_db()
    assert record.status == TaskResultStatus.READY
    assert sent[-1] == record.pk


def test_nobody_adds_edits_or_deletes_a_task(admin_client):
    record = enqueue(sample.note, 1)
    assert admin_client.get(f"{CHANGELIST}add/").status_code == 403
    assert admin_client.post(f"{CHANGELIST}{record.pk}/change/", {"state": "done"}).status_code == 403
    assert admin_client.post(f"{CHANGELIST}{record.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get("/admin/twelve/clockentry/").status_code == 200


@pytest.mark.parametrize("lookup", ["args", "args__2__startswith", "kwargs__to__regex"])
def test_nobody_filters_tasks_by_their_arguments(admin_client, lookup):
    assert admin_client.get("/admin/twelve/taskrecord/", {lookup: "a"}).status_code == 400
