"""Mail is a task: written in the sender's transaction, sent as it was, erased once sent.

tests/twelve/services/test_mail_faults.py shows what becomes of it when the mail server fails.
"""

import base64

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives, send_mail
from django.tasks import TaskResultStatus

from twelve.models import TaskRecord
from twelve.services.mail.backends import LogBackend, StoredMessage, TaskBackend
from twelve.tasks.worker import perform

pytestmark = pytest.mark.django_db


def test_a_mail_is_sent_by_its_task_with_all_its_parts():
    message = EmailMultiAlternatives(
        "Grüße", "Text", "from@example.com", ["to@example.com"], bcc=["b@example.com"], headers={"X-A": "b"}
    )
    message.attach_alternative("<p>Text</p>", "text/html")
    message.attach("a.bin", b"\x00\xff", "application/octet-stream")
    assert message.send() == 1
    assert mail.outbox == []
    records = list(TaskRecord.objects.order_by("pk"))  # one for each recipient: a refused one keeps it from no other
    for record in records:
        perform(record.pk)
    assert [sent.recipients() for sent in mail.outbox] == [["to@example.com"], ["b@example.com"]]
    parsed = mail.outbox[0].message()
    assert parsed["Message-ID"] == mail.outbox[1].message()["Message-ID"]
    assert parsed["Subject"] == "Grüße"
    assert parsed["X-A"] == "b"
    assert parsed["Bcc"] is None
    assert [part.get_content_type() for part in parsed.walk() if not part.is_multipart()] == [
        "text/plain",
        "text/html",
        "application/octet-stream",
    ]
    for record in records:
        record.refresh_from_db()
        assert record.status == TaskResultStatus.SUCCESSFUL
        assert record.args == []


def test_a_mail_sent_again_has_the_same_message_id():
    send_mail("s", "b", None, ["to@example.com"])
    record = TaskRecord.objects.get()
    raw = base64.b64decode(record.args[2])
    assert raw.lower().count(b"message-id:") == 1


def test_a_mail_of_local_work_can_be_read_in_the_terminal(caplog):
    link = "http://localhost/" + "x" * 100
    raw = EmailMultiAlternatives("Grüße", f"你好\n\n{link}\n", None, ["to@example.com"]).message().as_bytes()
    with caplog.at_level("INFO"):
        LogBackend().send_messages([StoredMessage("from@example.com", ["to@example.com"], raw)])
    assert f"mail to to@example.com: Grüße\n\n你好\n\n{link}\n" in caplog.text


def test_a_mail_without_recipient_is_no_task():
    assert TaskBackend().send_messages([EmailMultiAlternatives("s", "b", None, [])]) == 0
    assert not TaskRecord.objects.exists()
