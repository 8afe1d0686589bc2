"""The settings as a whole: one home for each, and a list of variables that no environment changes."""

import ast
from pathlib import Path

import pytest
from django.conf import settings

from config.env import env
from tests.processes import GOOD, run

MODULES = sorted(Path("config/settings").glob("[a-z]*.py"))


def assigned(path):
    """The names that a settings module assigns at its top level."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            names |= {leaf.id for leaf in ast.walk(target) if isinstance(leaf, ast.Name)} if target else set()
    return {name for name in names if name.isupper() and not name.startswith("_")}


def test_each_setting_has_one_home():
    homes = {}
    for path in MODULES:
        for name in assigned(path):
            homes.setdefault(name, []).append(path.name)
    assert len(homes) > 40
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_a_module_imports_no_app_and_its_siblings_only_by_name():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("apps"), path
                assert path.name == "__init__.py" or node.names[0].name != "*", path


def test_only_the_reader_and_the_entry_points_touch_the_environment():
    entry_points = {"config/env.py", "config/gunicorn.py", "config/wsgi.py", "config/asgi.py", "config/celery.py"}
    for path in [*Path("config").rglob("*.py"), *Path("apps").rglob("*.py")]:
        if str(path) not in entry_points | {"apps/ops/processes.py"}:  # which starts processes with one
            assert "environ[" not in path.read_text(), path
            assert "os.environ" not in path.read_text(), path
            assert "getenv" not in path.read_text(), path


@pytest.mark.parametrize(
    "variables",
    [
        {},
        GOOD,
        {"DEBUG": "true"},
        {"DEBUG": "nonsense", "DATABASE_URL": "nonsense"},
        {"RENDER_EXTERNAL_HOSTNAME": "a.onrender.com", "CACHE_URL": "redis://localhost/1"},
        {"DATABASE_URL": "postgres://localhost/x", "CELERY_BROKER_URL": "amqp://localhost"},
    ],
)
def test_the_list_of_variables_is_the_same_under_every_environment(variables):
    import config.gunicorn  # noqa: F401

    show = "import config.settings, config.gunicorn; from config.env import env; print(*env.variables)"
    result = run(("python", "-c", show), **variables)
    assert result.stdout.split() == list(env.variables), result.stderr


def test_every_variable_says_what_it_is_for():
    for variable in env.variables.values():
        assert variable.help.endswith("."), variable.name


def test_a_deploy_is_safe_by_default():
    show = (
        "from django.conf import settings as s; print("
        "s.DEBUG, s.SECURE_SSL_REDIRECT, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS > 0)"
    )
    result = run(("python", "manage.py", "shell", "--no-imports", "-c", show), **GOOD)
    assert result.stdout.strip() == "False True True True True", result.stderr


def test_time_is_utc():
    assert settings.TIME_ZONE == "UTC"
