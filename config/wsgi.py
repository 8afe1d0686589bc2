"""The WSGI application, for gunicorn and every other WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from config import logs, settings  # noqa: F401  # the settings declare every variable
from config.env import env

logs.start("web")
env.exit_on_problems("web")

application = get_wsgi_application()
