"""Logs are an event stream on stdout; the platform keeps them."""

from config.env import env

LOG_LEVEL = env.str(
    "LOG_LEVEL",
    default="info",
    choices=("debug", "info", "warning", "error", "critical"),
    help="The least level logged.",
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "config.logs.RequestIDFilter"}},
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(request_id)s %(message)s"}},
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "filters": ["request_id"],
            "formatter": "line",
        }
    },
    "root": {"handlers": ["stdout"], "level": LOG_LEVEL.upper() or "INFO"},
    # Django's own handlers would print warnings and errors a second time.
    "loggers": {"django": {"handlers": [], "propagate": True}, "django.server": {"handlers": [], "propagate": True}},
}
