"""What is written from the declared variables: the table of `manage.py env`, `.env.example` and `app.json`."""

import json
import textwrap
from pathlib import Path

import twelve.web.gunicorn  # noqa: F401  # declares the web server's variables; the settings declare all others
from twelve.env.reader import REQUIRED, SAME, Variable, as_text, env

HEAD = """\
# Copy this file to .env for local work; `make setup` does it and writes a SECRET_KEY.
# A deploy sets the same variables in its environment and has no .env. NAME_FILE reads NAME from a file.
# Written by `python manage.py env --write`."""
# What local work sets; every other variable is shown in .env.example with its default, commented out.
LOCAL = {
    "SECRET_KEY": "",
    "DEBUG": "true",
    "DATABASE_URL": "sqlite:///var/db.sqlite3",
    "CELERY_BROKER_URL": "filesystem://",  # var/broker
}
# The variables for which a platform's form needs no input.
HOW: dict[str, dict[str, object]] = {
    "SECRET_KEY": {"generator": "secret"},
    "DATABASE_URL": {"required": False},  # its add-on sets it
    "CELERY_BROKER_URL": {"required": False},  # the add-on of Redis sets REDIS_URL
    "TLS_UNVERIFIED": {"value": "database,redis"},  # Heroku's certificates are self-signed
}


def table() -> str:
    """Return every variable in columns: name, effective value (secrets masked), source, help."""
    rows = [(v.name, v.shown, v.source, v.help) for _, v in sorted(env.variables.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    line = "  ".join(f"{{:{width}}}" for width in widths) + "  {}"
    return "\n".join(line.format(*row) for row in rows)


def default_in_words(variable: Variable) -> str:
    words = "Required" if variable.default is REQUIRED else f"Default: {as_text(variable.default) or 'none'}"
    if variable.fallbacks:
        words = f"If unset, {', '.join(variable.fallbacks)}. {words}"
    if variable.debug is SAME:
        return f"{words}."
    return f"{words}; with DEBUG: {as_text(variable.debug) or 'none'}."


def example() -> str:
    """Return the text of `.env.example`."""
    blocks = [HEAD]
    for variable in env.variables.values():
        if not variable.platform:
            text = f"# {variable.help} {default_in_words(variable)}"
            local = LOCAL.get(variable.name)
            line = f"# {variable.name}={variable.example}" if local is None else f"{variable.name}={local}"
            blocks.append(f"{textwrap.fill(text, 110, subsequent_indent='# ')}\n{line}")
    return "\n\n".join(blocks) + "\n"


def app_json() -> str:
    """Return the text of `app.json` with a new `env`: the variables that a deploy must set."""
    content = json.loads((env.base_dir / "app.json").read_text(encoding="utf-8"))
    content["env"] = {}
    for variable in env.variables.values():
        if variable.default is REQUIRED or variable.name in HOW:
            content["env"][variable.name] = {"description": variable.help} | HOW.get(variable.name, {"required": True})
    return json.dumps(content, indent=2) + "\n"


def written() -> dict[Path, str]:
    """Return the files that follow the declarations, with their text; app.json only if the project has one."""
    files = {env.base_dir / ".env.example": example()}
    if (env.base_dir / "app.json").exists():
        files[env.base_dir / "app.json"] = app_json()
    return files


def stale() -> list[Path]:
    """Return the files that are out of date."""
    return [path for path, text in written().items() if path.exists() and path.read_text(encoding="utf-8") != text]


def write() -> list[str]:
    """Write the files; return the names of those that changed."""
    changed = [path for path in written() if not path.exists()] + stale()
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
    return [path.name for path in changed]
