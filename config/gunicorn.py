"""The web server: the settings of twelve.web.gunicorn. Below them, a name of gunicorn's changes one."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from twelve.web.gunicorn import *  # noqa: F403

wsgi_app = "config.wsgi"
