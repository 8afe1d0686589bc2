"""The variables of platforms: the name and type of the process, the release, the commit, the host names."""

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from twelve.env import Env, env

COMMIT_FILE = "commit.txt"  # in STATIC_ROOT: some platforms announce the commit to the build alone, which keeps it

# The variables of platforms, the first that is set wins.
PROCESSES = ("FLY_MACHINE_ID", "RENDER_INSTANCE_ID", "RAILWAY_REPLICA_ID")
RELEASES = ("HEROKU_RELEASE_VERSION", "RAILWAY_DEPLOYMENT_ID", "FLY_IMAGE_REF")
COMMITS = ("HEROKU_BUILD_COMMIT", "SOURCE_VERSION", "RENDER_GIT_COMMIT", "RAILWAY_GIT_COMMIT_SHA", "GIT_REV")
HOSTS = {
    "HEROKU_APP_DEFAULT_DOMAIN_NAME": "{}",
    "RENDER_EXTERNAL_HOSTNAME": "{}",
    "RAILWAY_PUBLIC_DOMAIN": "{}",
    "FLY_APP_NAME": "{}.fly.dev",
}


class Platform(NamedTuple):
    """Fields that the platform does not provide are blank."""

    process_name: str
    process_type: str
    admin_user: str
    release: str
    commit: str
    build_commit: str  # the commit that the build keeps


def read(env: Env, name: str, help: str) -> str:
    return env.str(name, default="", platform=True, help=help)


def first(env: Env, names: tuple[str, ...], help: str) -> str:
    """Return the first of these variables that is set."""
    return next(filter(None, [read(env, name, help) for name in names]), "")


def type_of_dyno(name: str) -> str:
    """Return the type of a process that Heroku names web.1, or web-12a34b56d-e78f9 on Fir; "" for a one-off process."""
    type_ = name.partition(".")[0].partition("-")[0]
    return "" if type_ in ("run", "release", "scheduler") else type_


def hosts(env: Env = env) -> list[str]:
    """Return the host names that the platform announces."""
    found = {name: read(env, name, "The host name, set by the platform.") for name in HOSTS}
    return [HOSTS[name].format(host) for name, host in found.items() if host]


def from_environment(static_root: Path, env: Env = env) -> Platform:
    dyno = read(env, "DYNO", "The process's name.")
    name = dyno or first(env, PROCESSES, "The process's name.")
    admin_user = read(env, "ADMIN_USER", "Who runs a one-off command, for its trail; else the system's user.")
    process_type = read(env, "FLY_PROCESS_GROUP", "The process's type.") or type_of_dyno(dyno)
    version = env.str("RELEASE_VERSION", default="", example="v42", help="The id of the release, shown in events.")
    release = version or first(env, RELEASES, "The id of the release.")
    build_commit = first(env, COMMITS, "The commit of the release.")
    slug_commit = read(env, "HEROKU_SLUG_COMMIT", "The commit of the release, or of a former one after a promotion.")
    commit = build_commit or kept_commit(static_root) or slug_commit
    return Platform(name, process_type, admin_user, release, commit, build_commit)


def commit_of_checkout(folder: Path) -> str:
    """Return the commit that is checked out in the folder; "" without git."""
    if not (folder / ".git").exists():
        return ""
    with suppress(OSError):  # git is not installed
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S607
        return git.stdout.strip()
    return ""


def kept_commit(static_root: Path) -> str:
    """Return the commit that the build kept; "" before the first collectstatic."""
    with suppress(OSError, UnicodeDecodeError):
        return (static_root / COMMIT_FILE).read_text(encoding="utf-8").strip()
    return ""
