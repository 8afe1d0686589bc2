"""Mail as a job: a sign-up never waits for a mail server, and never fails because of it.

MAILERS["default"] is JobBackend, which writes a job in the caller's transaction; the worker sends it through
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

from django.conf import settings
from django.core.mail import EmailMessage, mailers
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend
from django.db import transaction
from django.utils.functional import cached_property

from apps.jobs.services import PermanentFailure, enqueue, job
from config.logs import request_id

logger = logging.getLogger(__name__)


class JobBackend(BaseEmailBackend):
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        sent = [message for message in email_messages if message.recipients()]
        with transaction.atomic():
            for message in sent:
                if request_id.get():
                    message.extra_headers.setdefault("X-Request-ID", request_id.get())
                raw = message.message().as_bytes(policy=policy.SMTP)
                for recipient in message.recipients():  # a job each: who is refused keeps it from nobody else
                    enqueue(deliver, message.from_email, [recipient], base64.b64encode(raw).decode("ascii"))
        return len(sent)


class SMTPBackend(EmailBackend):
    """Django's, with a TLS policy: an object whose `context()` is the ssl.SSLContext of STARTTLS and implicit TLS."""

    def __init__(self, *, tls: Any, **options: Any) -> None:
        super().__init__(**options)
        self.tls = tls

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        return self.tls.context()


class LogBackend(BaseEmailBackend):
    """For local work: each mail is a log event, decoded, so that its links can be followed from the terminal."""

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
    """A mail as it was written, byte for byte, with its envelope."""

    def __init__(self, sender: str, recipients: list[str], raw: bytes) -> None:
        super().__init__(from_email=sender, to=recipients)
        self.raw = raw

    def message(self, *, policy: Any = policy.default) -> Any:
        return message_from_bytes(self.raw, _class=MIMEMessage, policy=policy)


@job(max_attempts=20, secret=True)
def deliver(sender: str, recipients: list[str], raw: str) -> None:
    """Send one stored mail. A refusal for good (5xx) is not tried again; anything else that passes is.

    530 is about us, not about the mail: the server wants a login.
    """
    try:
        mailers["delivery"].send_messages([StoredMessage(sender, recipients, base64.b64decode(raw))])
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        if min(codes) >= 500:
            raise PermanentFailure(f"The mail server refuses the recipient ({min(codes)}).") from error
        raise
    except ssl.SSLCertVerificationError as error:
        raise OSError(f"{error} ({settings.EMAIL_TLS.hint})") from error
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        if error.smtp_code >= 500 and error.smtp_code != 530:
            raise PermanentFailure(f"The mail server refuses the mail ({error.smtp_code}).") from error
        raise
