"""The web server: the settings of twelve.web.gunicorn. Below them, a name of gunicorn's changes one."""

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
gc.disable()  # while modules are imported, which stay: twelve.web enables it

from twelve.web.gunicorn import *  # noqa: E402, F403

wsgi_app = "config.wsgi"
