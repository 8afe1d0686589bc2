"""Hosts, HTTPS, cookies and the content security policy: right for a platform's router by default."""

from django.utils import csp

from twelve import platforms
from twelve.env import checks, env
from twelve.services import storage

from .services import MEDIA_DIRECT_UPLOAD, STORAGES

announced = platforms.hosts()  # they count as given
ALLOWED_HOSTS = announced + env.list(
    "ALLOWED_HOSTS",
    default=[] if announced else env.REQUIRED,
    debug=["localhost", "127.0.0.1", "[::1]"],
    required_for="web",
    check=checks.host,
    example="www.example.com",
    help="Host names that the site answers to, beside those that the platform announces.",
)
CSRF_TRUSTED_ORIGINS = env.list(
    "CSRF_TRUSTED_ORIGINS",
    default=[],
    check=checks.origin,
    example="https://www.example.com",
    help="Origins that may post forms; only for a proxy that hides the host or the scheme.",
)

_header = env.str(
    "SECURE_PROXY_SSL_HEADER",
    default="X-Forwarded-Proto",
    debug="",
    blank=True,
    help="The header in which the proxy says https, which it must set or strip itself. Blank: no proxy.",
)
SECURE_PROXY_SSL_HEADER = (f"HTTP_{_header.upper().replace('-', '_')}", "https") if _header else None
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True, debug=False, help="Send http requests to https.")
SECURE_HSTS_SECONDS = 2_592_000 if SECURE_SSL_REDIRECT else 0  # the browser uses https alone for so long
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool(
    "SESSION_COOKIE_SECURE", default=True, debug=False, help="Send the session's and the form's cookie over https only."
)
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: they may be another team's
    "security.W021",  # HSTS preloading: cannot be taken back
]

sources = storage.sources(STORAGES["default"])  # from where a browser loads media, beside this site
SECURE_CSP = {
    "default-src": [csp.CSP.SELF],
    "script-src": [csp.CSP.SELF, csp.CSP.NONCE],
    "style-src": [csp.CSP.SELF, csp.CSP.NONCE],
    "img-src": [csp.CSP.SELF, *sources],
    "media-src": [csp.CSP.SELF, *sources],
    "connect-src": [csp.CSP.SELF, *(sources if MEDIA_DIRECT_UPLOAD else [])],
    "object-src": [csp.CSP.NONE],
    "base-uri": [csp.CSP.NONE],
    "form-action": [csp.CSP.SELF],
    "frame-ancestors": [csp.CSP.NONE],
}
