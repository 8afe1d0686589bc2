"""Mail: written as a job by the default mailer, sent by the worker through EMAIL_URL."""

from typing import Any

from environ import Env

from config.env import env

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
    return {
        "BACKEND": found["EMAIL_BACKEND"],
        "OPTIONS": {
            "host": found["EMAIL_HOST"],
            "port": found["EMAIL_PORT"] or DEFAULT_PORTS[scheme],
            "username": found["EMAIL_HOST_USER"] or "",
            "password": found["EMAIL_HOST_PASSWORD"] or "",
            "use_tls": scheme == "smtp+tls",
            "use_ssl": scheme == "smtp+ssl",
            "timeout": _timeout,
        },
    }


MAILERS = {
    "default": {"BACKEND": "apps.jobs.mail.JobBackend"},
    "delivery": env.url(
        "EMAIL_URL",
        debug="consolemail://",
        schemes=(*DEFAULT_PORTS, "consolemail"),
        parse=parse,
        example="smtp+tls://user:password@smtp.example.com:587",
        help="The mail server: smtp, smtp+tls (STARTTLS), smtp+ssl (implicit TLS), or consolemail to log mails.",
    )
    or {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"},
}
DEFAULT_FROM_EMAIL = env.str(
    "DEFAULT_FROM_EMAIL", default="webmaster@localhost", help="The sender of the mails.", example="hello@example.com"
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL
