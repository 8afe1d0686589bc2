"""The web server: the settings of twelve.web.gunicorn. Below them, a name of gunicorn's changes one."""

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
gc.disable()  # imports make no garbage, and each collection would look through all that is imported

from twelve.web.gunicorn import *  # noqa: E402, F403

gc.freeze()
gc.enable()

wsgi_app = "config.wsgi"
