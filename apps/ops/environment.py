"""What is written from the declared variables: the table of `manage.py env`, `.env.example` and `app.json`."""

import json
import textwrap
from pathlib import Path

import config.gunicorn  # declares the web server's variables
import config.settings  # noqa: F401  # declares all others
from config.env import BASE_DIR, REQUIRED, SAME, Variable, as_text, env

# What local work sets; every other variable is shown in .env.example with its default, commented out.
LOCAL = {"SECRET_KEY": "", "DEBUG": "true", "DATABASE_URL": "sqlite:///var/db.sqlite3"}
# How a platform's form comes to a value that nobody has to type.
HOW: dict[str, dict[str, object]] = {
    "SECRET_KEY": {"generator": "secret"},
    "DATABASE_URL": {"required": False},  # its add-on sets it
    "CELERY_BROKER_URL": {"required": False},  # the add-on of Redis sets REDIS_URL
    "DATABASE_TLS_VERIFY": {"value": "false"},  # Heroku's certificates are self-signed
    "REDIS_TLS_VERIFY": {"value": "false"},
}


def rows_of_table() -> list[dict[str, str]]:
    variables = sorted(env.variables.values(), key=lambda variable: variable.name)
    return [{"name": v.name, "value": v.shown, "source": v.source, "help": v.help} for v in variables]


def as_json() -> str:
    return json.dumps(rows_of_table(), indent=2)


def table() -> str:
    """Every variable in columns: name, value in force (secrets masked), where it came from, what for."""
    rows = [tuple(row.values()) for row in rows_of_table()]
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
    """The text of `.env.example`."""
    blocks = [
        "# Copy this file to .env for local work; `make setup` does it and writes a SECRET_KEY.\n"
        "# A deploy sets the same variables in its environment and has no .env. NAME_FILE reads NAME from a file.\n"
        "# Written by `python manage.py env --write`."
    ]
    for variable in env.variables.values():
        if variable.platform:
            continue
        comment = textwrap.fill(
            f"{variable.help} {default_in_words(variable)}", 110, initial_indent="# ", subsequent_indent="# "
        )
        local = LOCAL.get(variable.name)
        line = f"# {variable.name}={variable.example}" if local is None else f"{variable.name}={local}"
        blocks.append(f"{comment}\n{line}")
    return "\n\n".join(blocks) + "\n"


def app_json() -> str:
    """The text of `app.json`: as it is, but for `env`, which asks for what a deploy must set."""
    content = json.loads((BASE_DIR / "app.json").read_text(encoding="utf-8"))
    content["env"] = {}
    for variable in env.variables.values():
        if variable.default is REQUIRED or variable.name in HOW:
            content["env"][variable.name] = {"description": variable.help} | HOW.get(variable.name, {"required": True})
    return json.dumps(content, indent=2) + "\n"


def written() -> dict[Path, str]:
    """The files that are kept in step with the declarations, with their text."""
    return {BASE_DIR / ".env.example": example(), BASE_DIR / "app.json": app_json()}


def write() -> list[str]:
    """Write them; returns the names of the files that changed."""
    changed = []
    for path, text in written().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path.name)
    return changed
