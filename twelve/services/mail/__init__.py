"""Mail: the default mailer writes a task, and the worker sends it to the server in EMAIL_URL.

Why a mail was not sent is the `error` of its task, `deliver` in backends.py: see Tasks in the admin, and the log.
Its arguments are secret: search for the request id of the page that sent it.
"""

import ssl
from typing import Any

import environ

from twelve.conf import settings
from twelve.env import Env, env
from twelve.services.tls import Policy


def from_environment(tls: Policy, env: Env = env, *, timeout: int = 10) -> dict[str, Any]:
    """Return MAILERS: `default` writes a task, with which a worker sends the mail through `delivery`.

    `timeout` is the time limit in seconds for each answer of the mail server.
    """
    delivery = env.url(
        "EMAIL_URL",
        debug="consolemail://",
        schemes=("smtp", "smtp+tls", "smtp+ssl", "consolemail"),
        parse=lambda url: parse_url(url, tls, timeout),
        example="smtp+tls://user:password@smtp.example.com:587",
        help="The mail server: smtp, smtp+tls (STARTTLS), smtp+ssl (implicit TLS), or consolemail to log mails.",
    )
    return {
        "default": {"BACKEND": "twelve.services.mail.backends.TaskBackend"},
        "delivery": delivery or {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"},
    }


def parse_url(url: str, policy: Policy, timeout: int = 10) -> Any:
    """Return the mailer that delivers: a backend with its options."""
    found, scheme = environ.Env.email_url_config(url), url.partition("://")[0].lower()
    if scheme == "consolemail":
        return {"BACKEND": "twelve.services.mail.backends.LogBackend"}
    if not found["EMAIL_HOST"]:
        raise ValueError("names no host")
    if "?" in url:
        raise ValueError("has parameters; the scheme selects TLS: smtp+tls (STARTTLS) or smtp+ssl")
    if bool(found["EMAIL_HOST_USER"]) != bool(found["EMAIL_HOST_PASSWORD"]):
        raise ValueError("has a user name or a password without the other")
    return {
        "BACKEND": "twelve.services.mail.backends.SMTPBackend",
        "OPTIONS": {
            "host": found["EMAIL_HOST"],
            "port": found["EMAIL_PORT"],  # None: Django knows the port of each scheme
            "username": found["EMAIL_HOST_USER"],
            "password": found["EMAIL_HOST_PASSWORD"],
            "use_tls": scheme == "smtp+tls",
            "use_ssl": scheme == "smtp+ssl",
            "timeout": timeout,
            "tls": policy,
        },
    }


def probe(answer: Any) -> None:
    """Greet the mail server; fill in the answer of twelve.services.probe."""
    from django.core.mail import mailers

    backend: Any = mailers["delivery"]
    answer.kind, answer.policy = settings.MAILERS["delivery"]["BACKEND"].rpartition(".")[2], "mail"
    if not hasattr(backend, "host"):
        answer.record("", backend.open, None)
        return
    answer.kind, answer.address = "smtp", f"{backend.host}:{backend.port}"
    with backend:  # opens a connection
        answer.record("", backend.connection.noop, isinstance(backend.connection.sock, ssl.SSLSocket))
