"""Mail as a task: no request waits for a mail server or fails because of it.

MAILERS["default"] is TaskBackend, which writes a task in the caller's transaction; the worker sends it through
MAILERS["delivery"]. A mail is sent at least once: its Message-ID stays the same if it is sent again.
"""

import base64
import logging
import smtplib
import ssl
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage as MIMEMessage
from typing import Any

from django.core.mail import EmailMessage, mailers
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend
from django.db import transaction

from twelve.logs import request_id
from twelve.services.tls import HINT, Policy
from twelve.tasks import PermanentFailure, task

logger = logging.getLogger(__name__)


class TaskBackend(BaseEmailBackend):
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        sent = [message for message in email_messages if message.recipients()]
        with transaction.atomic():
            for message in sent:
                if request_id.get():
                    message.extra_headers.setdefault("X-Request-ID", request_id.get())
                raw = message.message().as_bytes(policy=policy.SMTP)
                for recipient in message.recipients():  # a task for each: a refused one does not delay the others
                    deliver.enqueue(message.from_email, [recipient], base64.b64encode(raw).decode("ascii"))
        return len(sent)


class SMTPBackend(EmailBackend):
    """Django's backend with a TLS policy, for STARTTLS and implicit TLS."""

    def __init__(self, *, tls: Policy, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context = tls.context()


class LogBackend(BaseEmailBackend):
    """Logs each mail, decoded, so that its links can be opened from the terminal. For local work."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            mime: Any = message.message()
            body = mime.get_body(("plain", "html"))
            text = body.get_content() if body else ""
            logger.info(
                "mail to %s: %s\n\n%s", ", ".join(message.recipients()), mime["Subject"], text, extra={"verbatim": True}
            )
        return len(email_messages)


class StoredMessage(EmailMessage):
    """A mail that was serialized before, sent byte for byte."""

    def __init__(self, sender: str, recipients: list[str], raw: bytes) -> None:
        super().__init__(from_email=sender, to=recipients)
        self.raw = raw

    def message(self, *, policy: Any = policy.default) -> Any:
        return message_from_bytes(self.raw, _class=MIMEMessage, policy=policy)


@task(max_attempts=20, secret=True)
def deliver(sender: str, recipients: list[str], raw: str) -> None:
    """Send one stored mail. A permanent refusal (5xx) is not retried, every other failure is."""
    try:
        mailers["delivery"].send_messages([StoredMessage(sender, recipients, base64.b64decode(raw))])
    except ssl.SSLCertVerificationError as error:
        raise OSError(f"{error} ({HINT.format('mail')})") from error
    except smtplib.SMTPRecipientsRefused as error:
        raise_if_permanent(min(code for code, _ in error.recipients.values()), "recipient")
        raise
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        raise_if_permanent(error.smtp_code, "mail")
        raise


def raise_if_permanent(code: int, refused: str) -> None:
    if code >= 500 and code != 530:  # 530 concerns the login
        raise PermanentFailure(f"The mail server refuses the {refused} ({code}).")
