"""What Django itself needs: key, debug, apps, middleware, templates, language and time."""

from zoneinfo import ZoneInfo

from django.conf.global_settings import LANGUAGES

from config.env import BASE_DIR, env  # noqa: F401  # BASE_DIR is a setting

DEBUG = env.debug = env.bool(
    "DEBUG", default=False, help="Show tracebacks in the browser and relax what only production needs."
)
SECRET_KEY = env.str(
    "SECRET_KEY", secret=True, example="fifty-or-more-random-characters", help="Signs sessions, links and tokens."
)
SECRET_KEY_FALLBACKS = env.list(
    "SECRET_KEY_FALLBACKS", default=[], secret=True, help="Former keys, still accepted while you rotate SECRET_KEY."
)

INSTALLED_APPS = [
    "apps.pages",  # before allauth and the admin: its templates win
    "apps.users",
    "apps.jobs",
    "apps.ops",
    "apps.factors",
    "apps.photos",
    "allauth",
    "allauth.account",
    "django_htmx",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",  # runserver serves static files as gunicorn does
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "config.logs.RequestMiddleware",
    "apps.ops.health.HealthMiddleware",  # before the host check and the HTTPS redirect: probes come by IP and http
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def check_time_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:
        raise ValueError(f"is {name!r}, which is no time zone") from error


def check_language(code: str) -> None:
    if code.lower() not in dict(LANGUAGES):
        raise ValueError(f"is {code!r}, which is no language of Django's, such as en, de or pt-br")


LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en", check=check_language, help="The language of the pages.")
TIME_ZONE = env.str(
    "TIME_ZONE", default="UTC", check=check_time_zone, help="The time zone of the pages; the database keeps UTC."
)
USE_TZ = True
