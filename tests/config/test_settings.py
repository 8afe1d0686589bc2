"""The settings of this site: one home for each, a list of variables that no environment changes, safe defaults.

These tests are the site's own: change them with config/.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.twelve.processes import GOOD, named, run
from twelve.env import env

MODULES = sorted(Path("config/settings").glob("[a-z]*.py"))
ENVIRONMENTS = {
    "production",
    "prod",
    "staging",
    "stage",
    "development",
    "develop",
    "dev",
    "testing",
    "ci",
    "environment",
}
SHOW = "from twelve.env import env; from config import settings; env.exit_on_problems('web');"
KEY = {"AWS_ACCESS_KEY_ID": "the-key-id", "AWS_SECRET_ACCESS_KEY": "the-secret-key"}


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
    assert homes
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_a_module_imports_no_app_and_its_siblings_only_by_name():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("apps"), path
                assert path.name == "__init__.py" or node.names[0].name != "*", path


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
    ids=["none", "right", "debug", "nonsense", "platform", "servers"],
)
def test_the_list_of_variables_is_the_same_under_every_environment(variables):
    import config.gunicorn  # noqa: F401

    show = "import config.settings, config.gunicorn; from twelve.env import env; print(*env.variables)"
    result = run(("python", "-c", show), **variables)
    assert result.stdout.split() == list(env.variables), result.stderr


def test_no_variable_is_of_one_environment():
    words = {word for name in env.variables for word in name.lower().split("_")}
    assert not words & ENVIRONMENTS


OWN = [*Path("config").rglob("*.py"), *(path for path in Path("apps").rglob("*.py") if "migrations" not in path.parts)]


def test_nothing_is_compared_with_the_name_of_an_environment_or_called_after_one():
    assert len(OWN) > 20
    for path in OWN:
        assert path.stem not in ENVIRONMENTS, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.lower() not in ENVIRONMENTS, f"{path}:{node.lineno}"


def test_nothing_but_the_reader_decides_by_the_environment():
    """Entry points name the settings, and that is all."""
    for path in OWN:
        lines = [line for line in path.read_text().splitlines() if re.search(r"\b(environ|getenv)\b", line)]
        assert all(line.startswith('os.environ.setdefault("DJANGO_SETTINGS_MODULE", ') for line in lines), path


def test_time_is_utc():
    assert shown("settings.TIME_ZONE") == "UTC"


def test_an_import_leaves_no_name_in_the_settings():
    """Django takes every name in capitals for a setting."""
    from config import settings

    assert set(filter(str.isupper, dir(settings))) == {name for path in MODULES for name in assigned(path)}


def test_the_import_of_the_settings_starts_no_process_and_makes_no_folder(tmp_path):
    code = "import sys; sys.addaudithook(lambda event, args: print(event) if event in EVENTS else None); EVENTS = "
    code += "('subprocess.Popen', 'os.posix_spawn', 'os.fork', 'os.system', 'os.mkdir'); from config import settings"
    result = run(("python", "-c", code), DEBUG="true", SECRET_KEY="x", DATABASE_URL=f"sqlite:///{tmp_path.name}/a/b")
    assert (result.stdout, result.returncode) == ("", 0), result.stderr


def shown(expression, **variables):
    """What a process with these variables prints of its settings."""
    code = f"{SHOW} from django.utils.csp import build_policy; print({expression})"
    result = run(("python", "-c", code), **GOOD | variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("s3://bucket?region=eu-central-1", "https://bucket.s3.eu-central-1.amazonaws.com"),
        ("file://", ""),
        ("s3://bucket?endpoint_url=https://s3.example.com", "https://s3.example.com/bucket/"),
    ],
    ids=["aws", "directory", "elsewhere"],
)
def test_a_page_may_load_media_from_the_bucket_and_put_them_there_if_it_is_safe(url, origin):
    def policy(**variables):
        text = shown("build_policy(settings.SECURE_CSP)", **KEY, MEDIA_STORAGE_URL=url, **variables)
        return dict(part.strip().partition(" ")[::2] for part in text.split(";"))

    found, allowed = policy(), f"'self' {origin}".strip()
    assert found["img-src"] == allowed
    assert found["connect-src"] == (allowed if "example.com" not in url else "'self'")
    assert "amazonaws" not in found["script-src"]
    assert policy(MEDIA_DIRECT_UPLOAD="on")["connect-src"] == allowed
    assert policy(MEDIA_DIRECT_UPLOAD="off")["connect-src"] == "'self'"


def test_a_deploy_without_a_proxy_trusts_no_header_of_a_client():
    assert shown("settings.SECURE_PROXY_SSL_HEADER") == "('HTTP_X_FORWARDED_PROTO', 'https')"
    assert shown("settings.SECURE_PROXY_SSL_HEADER", SECURE_PROXY_SSL_HEADER="") == "None"


def test_a_deploy_is_safe_by_default():
    names = ("DEBUG", "SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
    values = ", ".join(f"settings.{name}" for name in names)
    assert shown(f"{values}, settings.SECURE_HSTS_SECONDS > 0") == "False True True True True"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TLS_UNVERIFIED", "postgres"),
        ("CSRF_TRUSTED_ORIGINS", "www.example.com"),
        ("ALLOWED_HOSTS", "https://www.example.com"),
    ],
)
def test_what_would_fail_later_is_reported_at_once(name, value):
    result = run(("python", "-c", SHOW), **GOOD | {name: value})
    assert result.returncode == 1
    assert named(result) == {name}
    assert "Traceback" not in result.stderr


def test_the_host_that_a_platform_announces_counts_as_given():
    without = {name: value for name, value in GOOD.items() if name != "ALLOWED_HOSTS"}
    code = f"{SHOW} print(settings.ALLOWED_HOSTS)"
    result = run(("python", "-c", code), **without, FLY_APP_NAME="a")
    assert (result.returncode, result.stdout) == (0, "['a.fly.dev']\n"), result.stderr


# How each process type starts, and what it does without until something needs it.
SETUP = "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'; import django; django.setup()"
CLIENTS = {"boto3", "botocore", "s3transfer", "storages", "google.cloud", "smtplib", "sentry_sdk"}
QUEUE = {"celery", "kombu", "amqp"}
UNUSED = {
    "web": ("import config.wsgi", CLIENTS | QUEUE),
    "worker": (f"import config.celery; {SETUP}", CLIENTS | {"gunicorn"}),
    "one-off": (SETUP, CLIENTS | QUEUE | {"gunicorn"}),
}


@pytest.mark.parametrize(("start", "unused"), UNUSED.values(), ids=UNUSED)
def test_a_process_starts_without_what_it_may_not_need(start, unused):
    code = f"{start}; import sys; sys.exit(bool(sys.modules.keys() & {unused}))"
    result = run(("python", "-c", code), **GOOD | KEY | {"MEDIA_STORAGE_URL": "s3://bucket?region=eu-central-1"})
    assert result.returncode == 0, result.stdout + result.stderr


def test_garbage_is_collected_once_a_web_process_has_started():
    code = "import gc, config.gunicorn; master = gc.isenabled(); import config.wsgi, sys; "
    code += "sys.exit(0 if master and gc.isenabled() and gc.get_freeze_count() else 1)"
    result = run(("python", "-c", code), **GOOD | KEY)
    assert result.returncode == 0, result.stdout + result.stderr
