"""The WSGI application, for gunicorn and every other WSGI server."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from twelve.web import wsgi_application

application = wsgi_application()
