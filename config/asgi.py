"""The ASGI application, for uvicorn and every other ASGI server."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from twelve.web import asgi_application

application = asgi_application()
