"""The settings of the site with the limits that a test asks for, in TEST_LIMITS: processes.LIMITS says of what."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import CACHES, CELERY, DATABASES, DEBUG, MAILERS, STORAGES, TLS  # noqa: F401
from tests.twelve.processes import LIMITS
from twelve.env import Env, env
from twelve.services import database, mail, queue, storage

limits: dict[str, dict[str, int]] = {}
for name, seconds in json.loads(os.environ["TEST_LIMITS"]).items():
    room, argument = LIMITS[name]
    limits.setdefault(room, {})[argument] = seconds

# A second reader of the same environment, since a variable is declared once.
again = Env()
again.base_dir, again.debug = env.base_dir, DEBUG

if "database" in limits:
    DATABASES = database.from_environment(TLS.database, again, **limits["database"])
if "mail" in limits:
    MAILERS = mail.from_environment(TLS.mail, again, **limits["mail"])
if "queue" in limits:
    CELERY = queue.from_environment(TLS, again, **limits["queue"])
if "storage" in limits:
    STORAGES = STORAGES | {"default": storage.from_environment(TLS.s3, again, **limits["storage"])}
globals().update(limits.get("", {}))
