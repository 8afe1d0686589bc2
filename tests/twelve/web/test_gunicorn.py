"""How many processes the web and the worker have, by the environment."""

import re

import pytest

from tests.twelve.attached import complaints
from tests.twelve.processes import GOOD, run

SHOW = (
    "python",
    "-c",
    "from config import gunicorn, settings as s; print(gunicorn.workers, s.CELERY['worker_concurrency'])",
)


def test_a_number_of_the_deploy_or_its_platform_wins():
    assert run(SHOW, **GOOD, WEB_CONCURRENCY="7", CELERY_WORKER_CONCURRENCY="5").stdout == "7 5\n"
    assert run(SHOW, **GOOD).stdout == "2 2\n"


@pytest.mark.parametrize(("variables", "expected"), [({}, "2"), ({"WEB_CONCURRENCY": "3"}, "3")])
def test_gunicorn_starts_so_many_web_workers(variables, expected):
    """gunicorn reads WEB_CONCURRENCY itself, before the config file."""
    printed = run(("gunicorn", "--print-config", "-c", "python:config.gunicorn"), **GOOD, **variables).stdout
    assert re.findall(r"^workers += (.+)$", printed, re.MULTILINE) == [expected]


@pytest.mark.parametrize("value", ["", "many"], ids=["blank", "word"])
def test_a_wrong_number_of_worker_processes_is_a_problem_of_the_config(value):
    found = complaints(GOOD | {"CELERY_WORKER_CONCURRENCY": value})
    assert "CELERY_WORKER_CONCURRENCY is" in found["CELERY_WORKER_CONCURRENCY"]
