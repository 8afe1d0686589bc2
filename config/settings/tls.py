"""TLS to the backing services: one policy for each protocol, whoever uses it, verified unless told not to."""

import re
import ssl
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import certifi

from config.env import BASE_DIR, env


class Policy(NamedTuple):
    verify: bool
    authorities: str  # the path of a PEM file
    hint: str = ""  # what to do about a certificate that is refused

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
    hint = f"{protocol}_TLS_CA names a private authority, {protocol}_TLS_VERIFY=false accepts any certificate"
    return Policy(verify, str(BASE_DIR / path) if path else certifi.where(), hint)


def refuse_parameters(url: str) -> None:
    """Raise ValueError for a URL that says how TLS is done: a client would let it win over the policy."""
    names = [name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)]
    if any(re.match(r"ssl|verify|cacertfile", name) for name in names):
        raise ValueError("says how TLS is verified; REDIS_TLS_VERIFY, REDIS_TLS_CA and those of AMQP do")


def redis_tls(url: str) -> dict[str, Any]:
    """What redis-py takes, of the cache and of the queue; nothing without TLS."""
    if not url.lower().startswith("rediss://"):
        return {}
    if not REDIS_TLS.verify:
        return {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": REDIS_TLS.authorities}


def amqp_tls(url: str) -> Any:
    """What Kombu takes for RabbitMQ; None without TLS."""
    if not url.lower().startswith("amqps://"):
        return None
    if not AMQP_TLS.verify:
        return {"cert_reqs": ssl.CERT_NONE}
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": AMQP_TLS.authorities,
        "server_hostname": urlsplit(url).hostname,  # without it no name is compared
    }


DATABASE_TLS = policy("DATABASE", "the database")
REDIS_TLS = policy("REDIS", "Redis, be it the cache or the queue")
AMQP_TLS = policy("AMQP", "RabbitMQ")
EMAIL_TLS = policy("EMAIL", "the mail server")
S3_TLS = policy("S3", "the object storage")
