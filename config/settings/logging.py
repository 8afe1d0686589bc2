"""Logs are an event stream on stdout, which the platform keeps. docs/logs.md has the fields."""

from twelve import logs

LOGGING = logs.from_environment()
SENTRY_DSN = logs.sentry_from_environment()
