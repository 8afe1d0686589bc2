"""Which process of which release this is, as the platform tells it: shown in every event."""

import subprocess
from contextlib import suppress

from config.env import BASE_DIR, env

from .storage import STATIC_ROOT


def first(*names: str, help: str) -> str:
    """The first of these variables of platforms that is set."""
    return next(filter(None, [env.str(name, default="", platform=True, help=help) for name in names]), "")


def type_of_dyno(name: str) -> str:
    """Heroku names its processes web.1, or web-12a34b56d-e78f9 on Fir; a one-off process is known by its command."""
    type_ = name.partition(".")[0].partition("-")[0]
    return "" if type_ in ("run", "release", "scheduler") else type_


_dyno = first("DYNO", help="The process's name.")
_machine = first("FLY_MACHINE_ID", "RENDER_INSTANCE_ID", "RAILWAY_REPLICA_ID", help="The process's name.")
PROCESS_NAME = _dyno or _machine
ADMIN_USER = env.str(
    "ADMIN_USER", default="", platform=True, help="Who runs a one-off command, for its trail; else the system's user."
)
PROCESS_TYPE = first("FLY_PROCESS_GROUP", help="The process's type.") or type_of_dyno(_dyno)

_version = env.str("RELEASE_VERSION", default="", example="v42", help="The id of the release, shown in events.")
_image = first("HEROKU_RELEASE_VERSION", "RAILWAY_DEPLOYMENT_ID", "FLY_IMAGE_REF", help="The id of the release.")
RELEASE = _version or _image
# Some platforms tell it only to the build, which keeps it here. Whoever reads it learns what /health/live/ tells.
COMMIT_FILE = STATIC_ROOT / "commit.txt"
BUILD_COMMIT = first(
    "HEROKU_BUILD_COMMIT",
    "SOURCE_VERSION",
    "RENDER_GIT_COMMIT",
    "RAILWAY_GIT_COMMIT_SHA",
    "GIT_REV",
    help="The commit of the release.",
)
if not BUILD_COMMIT and (BASE_DIR / ".git").exists():
    with suppress(OSError):  # without git it is not known
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=BASE_DIR, capture_output=True, text=True, check=False)  # noqa: S607
        BUILD_COMMIT = git.stdout.strip()
_slug_commit = first("HEROKU_SLUG_COMMIT", help="The commit of the release, or of a former one after a promotion.")
COMMIT = BUILD_COMMIT
if not COMMIT:
    with suppress(OSError, UnicodeDecodeError):  # a build before its first collectstatic
        COMMIT = COMMIT_FILE.read_text(encoding="utf-8").strip()
COMMIT = COMMIT or _slug_commit
