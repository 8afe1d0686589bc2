"""How many processes fit where this one runs: by the limits of its container, else by all that the machine has.

gunicorn and Celery ask where neither the deploy nor its platform says a number. Linux keeps the limits of a container
as files of its cgroup; of both versions, each that stands above a process holds as well.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MEGABYTE = 2**20
# Processes of one web or worker: more belong into more of them. 8 x 4 threads fit a third of PostgreSQL's connections.
MOST = 8


def cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the cgroups that limit this process, from its own up to the one that the container sees."""
    with suppress(OSError):  # not Linux
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / (controller if controllers else "")  # version 2 names no controllers
            own = top / path.lstrip("/")  # of version 1 a container may see only the top
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def number(folder: Path, name: str, field: int = 0) -> int | None:
    """The number in a file of a cgroup; None if there is none, which is no limit: max in version 2, -1 in version 1."""
    with suppress(OSError, IndexError):
        text = (folder / name).read_text(encoding="utf-8").split()[field]
        return int(text) if text.isdigit() else None
    return None


def memory(root: Path = Path("/")) -> int:
    """The bytes that this process and its children may use together."""
    limits = [2**63]
    if hasattr(os, "sysconf"):  # not on Windows
        limits += [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in cgroups(root, "memory"):
        limits += filter(None, [number(folder, "memory.max"), number(folder, "memory.limit_in_bytes")])
    return min(limits)


def processors(root: Path = Path("/")) -> float:
    """The processors that they may use, in part perhaps."""
    try:
        limits = [float(len(os.sched_getaffinity(0)))]
    except AttributeError:  # not Linux
        limits = [float(os.cpu_count() or 1)]
    for folder in cgroups(root, "cpu"):
        for quota, period in (
            (number(folder, "cpu.max"), number(folder, "cpu.max", 1)),
            (number(folder, "cpu.cfs_quota_us"), number(folder, "cpu.cfs_period_us")),
        ):
            limits += [quota / period] if quota and period else []
    return min(limits)


def processes(megabytes: int, root: Path = Path("/")) -> int:
    """How many of so many megabytes each: two a processor, since half of the time one waits for a server."""
    return max(1, min(memory(root) // (megabytes * MEGABYTE), int(2 * processors(root)), MOST))
