"""TLS to the backing services: every certificate is verified, unless TLS_UNVERIFIED names the server."""

import re
import ssl
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import certifi

from twelve.env import Env, env

HINT = "TLS_CA_FILE names a private authority, TLS_UNVERIFIED={} accepts any certificate"


class Policy(NamedTuple):
    verify: bool = True
    authorities: str = certifi.where()  # the path of a PEM file

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authorities)
        context.check_hostname = self.verify
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        return context


class Policies(NamedTuple):
    """One policy for each kind of server; Redis has one as cache and as queue."""

    database: Policy = Policy()
    redis: Policy = Policy()
    rabbitmq: Policy = Policy()
    mail: Policy = Policy()
    s3: Policy = Policy()


DEFAULT = Policies()


def from_environment(env: Env = env) -> Policies:
    """Return the policies by TLS_CA_FILE and TLS_UNVERIFIED."""

    def check_certificates(path: str) -> None:
        try:
            ssl.create_default_context(cafile=str(env.base_dir / path))
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"is {path!r}, which is not a PEM file of certificates that can be read") from error

    def check_server(name: str) -> None:
        if name not in Policies._fields:
            raise ValueError(f"has {name!r} in it; it may name {', '.join(Policies._fields)}")

    path = env.str(
        "TLS_CA_FILE",
        default="",
        check=check_certificates,
        example="config/ca.pem",
        help="The PEM file of the authorities that sign the servers' certificates, in place of the public ones.",
    )
    unverified = env.list(
        "TLS_UNVERIFIED",
        default=[],
        check=check_server,
        example="database,redis",
        help="Servers whose certificate is not checked, such as self-signed ones: database, redis, rabbitmq, mail, s3.",
    )
    authorities = str(env.base_dir / path) if path else certifi.where()
    return Policies(*(Policy(name not in unverified, authorities) for name in Policies._fields))


def refuse_parameters(url: str) -> None:
    """Raise ValueError for a URL with parameters of TLS, which a client would prefer to the policy."""
    if any(re.match(r"ssl|verify|cacertfile", name) for name, _ in parse_qsl(urlsplit(url).query, True)):
        raise ValueError("has parameters of TLS; set TLS_UNVERIFIED or TLS_CA_FILE instead")


def redis_options(url: str, policy: Policy) -> dict[str, Any]:
    """Return redis-py's options, for the cache and the queue; none without TLS."""
    if not url.lower().startswith("rediss://"):
        return {}
    cert_reqs = "required" if policy.verify else "none"
    return {"ssl_cert_reqs": cert_reqs, "ssl_check_hostname": policy.verify, "ssl_ca_certs": policy.authorities}
