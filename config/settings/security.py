"""Hosts, HTTPS, cookies and the content security policy: right for a platform's router by default."""

from django.utils.csp import CSP

from config.env import REQUIRED, env

from .media import MEDIA_DIRECT_UPLOAD, MEDIA_SOURCES


def check_host(name: str) -> None:
    if "/" in name:
        raise ValueError(f"has {name!r} in it; a host name has no scheme and no path")


def check_origin(origin: str) -> None:
    if "://" not in origin:
        raise ValueError(f"has {origin!r} in it; an origin starts with https://")


# The host names that platforms announce count as given.
announced = [
    pattern.replace("*", host)
    for name, pattern in (
        ("HEROKU_APP_DEFAULT_DOMAIN_NAME", "*"),
        ("RENDER_EXTERNAL_HOSTNAME", "*"),
        ("RAILWAY_PUBLIC_DOMAIN", "*"),
        ("FLY_APP_NAME", "*.fly.dev"),
    )
    if (host := env.str(name, default="", platform=True, help="The host name, as the platform tells it."))
]
ALLOWED_HOSTS = announced + env.list(
    "ALLOWED_HOSTS",
    default=[] if announced else REQUIRED,
    debug=["localhost", "127.0.0.1", "[::1]"],
    required_for="web",
    check=check_host,
    example="www.example.com",
    help="Host names that the site answers to, beside those that the platform announces.",
)
CSRF_TRUSTED_ORIGINS = env.list(
    "CSRF_TRUSTED_ORIGINS",
    default=[],
    check=check_origin,
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
SECURE_HSTS_SECONDS = env.int(
    "SECURE_HSTS_SECONDS", default=2592000, debug=0, help="Seconds for which a browser insists on https; 0 is off."
)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool(
    "SESSION_COOKIE_SECURE", default=True, debug=False, help="Send the session's and the form's cookie over https only."
)
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: they may be another team's
    "security.W021",  # HSTS preloading: cannot be taken back
]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF, CSP.NONCE],
    "img-src": [CSP.SELF, *MEDIA_SOURCES],
    "media-src": [CSP.SELF, *MEDIA_SOURCES],
    "connect-src": [CSP.SELF, *(MEDIA_SOURCES if MEDIA_DIRECT_UPLOAD else [])],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}
