"""What Django itself needs: key, debug, apps, middleware, templates, users, language and time."""

from pathlib import Path

from twelve import platforms
from twelve.env import env

BASE_DIR = Path(__file__).resolve().parents[2]
env.start(BASE_DIR)  # reads .env

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
    "apps.photos",
    "twelve",
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
    "twelve.logs.RequestMiddleware",
    "twelve.web.HealthMiddleware",  # before the host check and the HTTPS redirect: probes come by IP and http
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

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / env.str(
    "STATIC_ROOT", default="staticfiles", help="Where the build collects static files, from the project on."
)
WHITENOISE_ALLOW_ALL_ORIGINS = False
# Hashed names have this form. The default test looks each file up in the storage while a web process starts.
WHITENOISE_IMMUTABLE_FILE_TEST = r"\.[0-9a-f]{12}\."

# The platform's variables of this process, logged with every event.
PROCESS_NAME, PROCESS_TYPE, ADMIN_USER, RELEASE, COMMIT, BUILD_COMMIT = platforms.from_environment(STATIC_ROOT)

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"  # of the pages; the database keeps UTC
USE_TZ = True

AUTH_USER_MODEL = "users.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"

ACCOUNT_ADAPTER = "apps.users.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
# A code proves that the person reads the mails and has the session that requested it; a link proves only the first.
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
# By client, not by address, so that a stranger's requests do not lock out the owner of the address. In return one
# client can send 20 mails a minute to a mailbox.
ACCOUNT_RATE_LIMITS = {"confirm_email": "20/m/ip", "reset_password": "20/m/ip"}
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # before the addresses of an account are changed
ACCOUNT_FORMS = {"reset_password": "apps.users.forms.ResetPasswordForm"}
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_NOTIFICATIONS = True  # a mail to the owner when the password changes
TRUSTED_PROXY_COUNT = ALLAUTH_TRUSTED_PROXY_COUNT = env.int(
    "TRUSTED_PROXY_COUNT",
    default=1,
    debug=0,
    help="Proxies in front that append to X-Forwarded-For; sign-in limits count by the address behind them.",
)
