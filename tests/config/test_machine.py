"""How many processes fit, by the limits of containers as Linux shows them."""

import os

import pytest

from config import machine
from tests.processes import GOOD, run, told

NO_LIMIT = "9223372036854771712"  # of version 1


def tree(root, groups, **files):
    """A root with these files, whose names have __ for / and end in the name of a limit."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        *folders, last = name.split("__")
        path = root.joinpath(
            "sys/fs/cgroup", *folders, last.replace("memory_", "memory.", 1).replace("cpu_", "cpu.", 1)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


V1 = "4:memory:/docker/abc\n3:cpuset:/\n1:cpu,cpuacct:/docker/abc\n"


@pytest.mark.parametrize(
    ("groups", "files", "megabytes", "processors"),
    [
        ("0::/\n", {"memory_max": 512 * 2**20, "cpu_max": "50000 100000"}, 512, 0.5),
        ("0::/a/b\n", {"a__memory_max": 300 * 2**20, "a__b__memory_max": "max", "a__cpu_max": "10000 20000"}, 300, 0.5),
        ("0::/a/b\n", {"a__memory_max": "max", "a__b__memory_max": 200 * 2**20, "cpu_max": "max 100000"}, 200, None),
        (V1, {"memory__memory_limit_in_bytes": 256 * 2**20, "cpu__cpu_cfs_quota_us": "-1"}, 256, None),
        (
            V1,
            {
                "memory__docker__abc__memory_limit_in_bytes": 128 * 2**20,
                "memory__memory_limit_in_bytes": NO_LIMIT,
                "cpu__docker__abc__cpu_cfs_quota_us": "25000",
                "cpu__docker__abc__cpu_cfs_period_us": "100000",
            },
            128,
            0.25,
        ),
        (V1, {"memory__memory_limit_in_bytes": NO_LIMIT}, None, None),
        ("0::/../../outside\n", {"memory_max": "nonsense", "cpu_max": ""}, None, None),
    ],
    ids=["v2", "v2-parent", "v2-own", "v1-top", "v1-own", "v1-no-limit", "nonsense"],
)
def test_the_limits_of_a_container_hold(groups, files, megabytes, processors, tmp_path):
    whole = tmp_path / "no-linux"
    root = tree(tmp_path / "root", groups, **files)
    expected = (megabytes * 2**20 if megabytes else machine.memory(whole), processors or machine.processors(whole))
    assert (machine.memory(root), machine.processors(root)) == expected


def test_without_a_limit_it_is_the_machines():
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < machine.memory() <= whole
    assert 0 < machine.processors() <= os.cpu_count()


@pytest.mark.parametrize(
    ("megabytes", "cpu", "web", "worker"),
    [
        (512, "800000", 2, 1),  # Heroku's smallest
        (1024, "800000", 4, 2),
        (256, "10000", 1, 1),
        (100, "10000", 1, 1),
        (4096, "100000", 2, 2),
        (64000, "6400000", 8, 8),
    ],
)
def test_memory_processors_and_a_bound_decide(megabytes, cpu, web, worker, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 2**20, "SC_PHYS_PAGES": 10**6}.get)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(64), raising=False)
    root = tree(tmp_path, "0::/\n", memory_max=megabytes * 2**20, cpu_max=f"{cpu} 100000")
    assert (machine.processes(256, root), machine.processes(400, root)) == (web, worker)


SHOW = (
    "python",
    "-c",
    "from config import gunicorn, settings as s; print(gunicorn.workers, s.CELERY_WORKER_CONCURRENCY)",
)


def test_a_number_of_the_deploy_or_its_platform_wins():
    assert run(SHOW, **GOOD, WEB_CONCURRENCY="7", CELERY_WORKER_CONCURRENCY="5").stdout == "7 5\n"
    assert run(SHOW, **GOOD).stdout == f"{machine.processes(256)} {machine.processes(400)}\n"


@pytest.mark.parametrize("value", ["", "many"])
def test_a_wrong_number_of_jobs_is_a_problem_of_the_config(value):
    result = run(("celery", "-A", "config", "worker"), **GOOD, CELERY_WORKER_CONCURRENCY=value)
    assert result.returncode == 1
    assert "CELERY_WORKER_CONCURRENCY is" in told(result)
