"""TLS to the backing services: one policy for each protocol, whoever uses it, verified unless told not to."""

import ssl
from typing import NamedTuple

import certifi

from config.env import BASE_DIR, env


class Policy(NamedTuple):
    verify: bool
    authorities: str  # the path of a PEM file

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authorities)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def check_certificates(path: str) -> None:
    try:
        ssl.create_default_context(cafile=str(BASE_DIR / path))
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"is {path!r}, which is not a PEM file of certificates that can be read") from error


def policy(protocol: str, server: str) -> Policy:
    verify = env.bool(
        f"{protocol}_TLS_VERIFY",
        default=True,
        help=f"Verify the certificate of {server}; false accepts any, which a self-signed one needs.",
    )
    path = env.str(
        f"{protocol}_TLS_CA",
        default="",
        check=check_certificates,
        example="config/ca.pem",
        help=f"The PEM file with the authority that signed the certificate of {server}, if it is not a public one.",
    )
    return Policy(verify, str(BASE_DIR / path) if path else certifi.where())


DATABASE_TLS = policy("DATABASE", "the database")
REDIS_TLS = policy("REDIS", "Redis, be it the cache or the queue")
AMQP_TLS = policy("AMQP", "RabbitMQ")
EMAIL_TLS = policy("EMAIL", "the mail server")
