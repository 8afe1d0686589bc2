"""The shape of the repository: what stands at its root, and how large its code may grow."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AT_THE_ROOT = """
README.md LICENSE Makefile Procfile app.json manage.py pyproject.toml requirements.txt
config apps tests requirements docs .ci .github .env.example .gitignore .python-version
"""


def tracked():
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_nothing_stands_at_the_root_that_does_not_have_to():
    assert {name.partition("/")[0] for name in tracked()} <= set(AT_THE_ROOT.split())


def test_the_code_stays_small():
    """Lines of config/ and apps/ without blank lines, comments and migrations."""
    paths = [ROOT / name for name in tracked() if name.startswith(("config/", "apps/")) and name.endswith(".py")]
    lines = [
        line.strip() for path in paths if path.parent.name != "migrations" for line in path.read_text().splitlines()
    ]
    assert len([line for line in lines if line and not line.startswith("#")]) <= 5300


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
