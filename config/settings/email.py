"""Mail: written as a job by the default mailer, sent by the worker through EMAIL_URL."""

from typing import Any
from urllib.parse import quote

from environ import Env

from config.env import env

from .tls import EMAIL_TLS

DEFAULT_PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}
_timeout = env.int("MAIL_TIMEOUT", default=10, minimum=1, help="Seconds to wait for the mail server.")


def parse(url: str) -> Any:
    """The mailer that delivers: a backend with its options."""
    found = Env.email_url_config(url)
    scheme = url.partition("://")[0].lower()
    if scheme == "consolemail":
        return {"BACKEND": "apps.jobs.mail.LogBackend"}
    if not found["EMAIL_HOST"]:
        raise ValueError("names no host")
    if "?" in url:
        raise ValueError("has parameters; TLS is said by the scheme, smtp+tls (STARTTLS) or smtp+ssl")
    if bool(found["EMAIL_HOST_USER"]) != bool(found["EMAIL_HOST_PASSWORD"]):
        raise ValueError("has a user name or a password without the other")
    return {
        "BACKEND": "apps.jobs.mail.SMTPBackend",
        "OPTIONS": {
            "host": found["EMAIL_HOST"],
            "port": found["EMAIL_PORT"] or DEFAULT_PORTS[scheme],
            "username": found["EMAIL_HOST_USER"] or "",
            "password": found["EMAIL_HOST_PASSWORD"] or "",
            "use_tls": scheme == "smtp+tls",
            "use_ssl": scheme == "smtp+ssl",
            "timeout": _timeout,
            "tls": EMAIL_TLS,
        },
    }


def smtp(host: str, port: str, user: str, password: str) -> str:
    return f"smtp+tls://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"


def platform(name: str, default: str = "") -> str:
    return env.str(name, default=default, platform=True, help=f"Of the mail add-on {name.partition('_')[0].title()}.")


_mailgun = (
    platform("MAILGUN_SMTP_SERVER", "smtp.mailgun.org"),
    platform("MAILGUN_SMTP_PORT", "587"),
    platform("MAILGUN_SMTP_LOGIN"),
)
_postmark = platform("POSTMARK_SMTP_SERVER", "smtp.postmarkapp.com")

MAILERS = {
    "default": {"BACKEND": "apps.jobs.mail.JobBackend"},
    "delivery": env.url(
        "EMAIL_URL",
        debug="consolemail://",
        schemes=(*DEFAULT_PORTS, "consolemail"),
        parse=parse,
        fallbacks={
            "SENDGRID_API_KEY": lambda key: smtp("smtp.sendgrid.net", "587", "apikey", key),
            "MAILGUN_SMTP_PASSWORD": lambda password: smtp(*_mailgun, password=password),
            "POSTMARK_API_TOKEN": lambda token: smtp(_postmark, "587", token, token),
        },
        example="smtp+tls://user:password@smtp.example.com:587",
        help="The mail server: smtp, smtp+tls (STARTTLS), smtp+ssl (implicit TLS), or consolemail to log mails.",
    )
    or {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"},
}
DEFAULT_FROM_EMAIL = env.str(
    "DEFAULT_FROM_EMAIL", default="webmaster@localhost", help="The sender of the mails.", example="hello@example.com"
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL
