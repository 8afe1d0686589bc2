"""A strict reader of the environment, on django-environ, which declares each variable and collects every problem.

Reading never raises: the problem is recorded and a harmless value is returned, so that the settings always import.
"""

import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from environ import FileAwareEnv
from environ.fileaware_mapping import FileAwareMapping

from twelve.env.former import NOW

REQUIRED: Any = object()  # the default of a variable that a deploy must set
SAME: Any = object()  # no other default while DEBUG is on
BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
Check = Callable[[str], object]
DOT_ENV_LINE = re.compile(r"\s*(#|$)|(export )?[A-Za-z_][A-Za-z_0-9]*=")


@dataclass
class Variable:
    """One declaration, with what the environment has. `.env.example` and `app.json` are written from them."""

    name: str
    default: Any
    help: str  # one sentence
    debug: Any = SAME  # the default while DEBUG is on
    example: str = ""  # a valid value
    secret: bool = False  # is never printed
    blank: bool = False  # a blank value means none
    required_for: str = ""  # the only process type that needs it
    platform: bool = False  # set by a platform or before .env is read, never in .env
    fallbacks: tuple[str, ...] = ()  # the names that platforms use for it: the first that is set, when this one is not
    raw: str | None = None  # the text of the environment; None if unset
    source: str = "default"  # environment, .env, file, default, or the fallback that was taken
    in_force: Any = None  # the default that holds now
    valid: bool = True

    @property
    def shown(self) -> str:
        """The effective value, safe to print: a URL without credentials and query, any other secret as ***."""
        if self.raw is None:
            return as_text(self.in_force)
        url = re.match(r"([a-zA-Z0-9+.-]+://)(.*@)?([^?#]*)(.*)", self.raw)
        if url and self.valid:
            return f"{url[1]}{'***@' if url[2] else ''}{url[3]}{'' if self.secret else url[4]}"
        return "***" if self.secret or "://" in self.raw else self.raw


class Problem(NamedTuple):
    """What is wrong with a variable, or with .env."""

    variable: str
    text: str
    example: str = ""
    required_for: str = ""

    def __str__(self) -> str:
        return f"{self.variable} {self.text}{f' (for example {self.variable}={self.example})' if self.example else ''}"


class Env:
    """Reads, converts strictly and remembers. A declaration takes the fields of Variable."""

    REQUIRED = REQUIRED

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Read `environ`; a test gives a dictionary of its own."""
        self.environ = environ
        self.files = FileAwareMapping(environ, cache=False)  # NAME_FILE stands for NAME
        self.variables: dict[str, Variable] = {}
        self.problems: list[Problem] = []
        self.fallbacks: dict[str, str | None] = {}  # every fallback, with its value if that is secret
        self.base_dir = Path()  # the folder that relative paths start from
        self.debug: bool | None = None  # set by the settings once DEBUG is declared: other defaults may follow it
        self.own = frozenset(environ)  # the variables set before .env is read

    def start(self, base_dir: Path) -> None:
        """Set the project's folder and read its .env; settings call this first."""
        self.base_dir = base_dir
        words = "Read .env beside manage.py. The environment wins."
        if self.bool("READ_DOT_ENV", default=True, platform=True, help=words):
            self.load(base_dir / ".env")

    def load(self, dot_env: Path) -> None:
        """Load a .env file, if it exists. The environment takes precedence."""
        try:
            lines = dot_env.read_text(encoding="utf-8").splitlines() if dot_env.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(Problem(".env", f"cannot be read: {type(error).__name__}"))
            return
        wrong = [number for number, line in enumerate(lines, 1) if not DOT_ENV_LINE.match(line)]
        self.problems += [Problem(".env", f"line {number} is not NAME=value") for number in wrong]
        # django-environ would print a line that it does not understand, whatever secret is in it.
        text = StringIO("\n".join(filter(DOT_ENV_LINE.match, lines)))

        class Reader(FileAwareEnv):
            ENVIRON = self.environ

        Reader.read_env(text)

    def _find(self, name: str) -> tuple[str | None, str]:
        """Return the raw value and its source; raises ValueError if the file of NAME_FILE cannot be read."""
        try:
            raw = self.files.get(name)
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot be read from {self.environ[name + '_FILE']}: {type(error).__name__}") from error
        if raw is None:
            return None, "default"
        if self.environ.get(f"{name}_FILE"):
            return raw.rstrip("\r\n"), "file"
        return raw, "environment" if name in self.own else ".env"

    def _declare(self, name: str, default: Any, convert: Callable[[str], Any], stand_in: Any, **declared: Any) -> Any:
        """Return the converted value or the default; `stand_in` for a wrong value, which becomes a problem."""
        if name in self.variables:
            raise RuntimeError(f"{name} is declared twice")
        variable = self.variables[name] = Variable(name, default, **declared)
        variable.in_force = variable.debug if variable.debug is not SAME and self.debug else default
        variable.example = variable.example or as_text(default)
        try:
            variable.raw, variable.source = self._find(name)
            for fallback in variable.fallbacks:
                raw, _ = self._find(fallback)
                self.fallbacks[fallback] = raw if variable.secret else None
                if variable.raw is None and raw:
                    variable.raw, variable.source = raw, fallback  # which a problem of the value names
            if variable.raw and variable.raw.strip():
                return convert(variable.raw)
            if variable.raw is None and variable.in_force is not REQUIRED:
                return variable.in_force
            if variable.raw is None:
                raise ValueError("is not set")
            if not variable.blank and variable.in_force not in ("", []):
                raise ValueError("is blank: give it a value or remove it")
        except ValueError as error:
            variable.valid = False
            culprit = variable.source if variable.source in variable.fallbacks else name
            self.problems.append(Problem(culprit, str(error), variable.example, variable.required_for))
        return stand_in

    def problems_for(self, process_type: str) -> list[Problem]:
        """Return the problems that stop a process of this type; "" is any command."""
        return [problem for problem in self.problems if problem.required_for in ("", process_type)]

    def secret_values(self) -> set[str]:
        """Return the values that logs mask: those of secret variables; of a URL, its password and query."""
        parts: list[str] = []
        secrets = [variable.raw for variable in self.variables.values() if variable.secret]
        for raw in filter(None, [*secrets, *self.fallbacks.values()]):
            if re.match(r"[a-zA-Z0-9+.-]+://", raw):
                authority, _, query = raw.partition("://")[2].partition("?")
                options = [option.partition("=")[2] for option in query.split("&")]
                # sslmode=require is no secret: a plain word would mask innocent text.
                parts += [option for option in options if not re.fullmatch(r"[a-z]+(-[a-z]+)?", option)]
                parts.append(authority.rpartition("@")[0].partition(":")[2])
            else:
                # Of a key in JSON, each of its lines: an event may have them one by one.
                lines = [line for line in re.split(r"\\n|[\n\"]", raw) if len(line) >= 30 and "://" not in line]
                parts += [raw, *raw.split(","), *lines]
        values = {form.strip() for part in parts for form in (part, unquote(part))}
        return {value for value in values if len(value) >= 6}  # a shorter one would mask innocent text

    def near_misses(self) -> list[str]:
        """Return a sentence for each name in the environment that is a former variable or looks misspelt."""
        lines = [f"{name} is no longer read. Instead: {NOW[name]}" for name in sorted(NOW.keys() & set(self.environ))]
        known = {*self.variables, *self.fallbacks}
        known |= {f"{name}_FILE" for name in known}
        # Variables that a platform sets are not typed, and short names are common.
        platforms = {variable.name for variable in self.variables.values() if variable.platform}
        typed = {name for name in known - platforms if "_" in name} | {"DEBUG"}
        for name in sorted(set(self.environ) - known - NOW.keys()):
            meant = difflib.get_close_matches(name, typed, n=1, cutoff=0.9)
            lines += [f"{name}: did you mean {other}?" for other in meant]
        return lines

    def exit_on_problems(self, process_type: str = "") -> None:
        """Print every problem to stderr and exit with 1, if there is one."""
        if problems := self.problems_for(process_type):
            exit_with(
                f"The configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}:",
                *(f"  {line}" for line in [*problems, *self.near_misses()]),
                "Correct them in the environment or in .env. `python manage.py env` lists every variable.",
            )

    # The typed readers stand last: their names hide Python's own in the rest of the class. `check` and `parse` raise
    # ValueError, with a printable reason, for a wrong value.

    def url(
        self,
        name: str,
        default: Any = REQUIRED,
        *,
        schemes: Collection[str],
        parse: Callable[[str], Any],
        **declared: Any,
    ) -> Any:
        """Return `parse(url)` of a URL with one of `schemes`. A default is a URL as well, or None."""

        def convert(text: str) -> Any:
            check_url(text, schemes)
            return parse(text)

        value = self._declare(name, default, convert, None, **{"secret": True} | declared)
        return parse(value) if isinstance(value, str) else value

    def list(self, name: str, default: Any = REQUIRED, *, check: Check = len, **declared: Any) -> list[str]:
        """Return values separated by commas, stripped."""

        def convert(text: str) -> Any:
            items = [item.strip() for item in text.split(",") if item.strip()]
            for item in items:
                check(item)
            return items

        return self._declare(name, default, convert, [], **declared)

    def int(
        self, name: str, default: Any = REQUIRED, *, minimum: int = 0, maximum: int = 10**15, **declared: Any
    ) -> int:
        def convert(text: str) -> Any:
            if not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text):
                raise ValueError(f"is {text!r}, which is not a whole number")
            if int(text) < minimum:
                raise ValueError(f"is {text}, which is below {minimum}")
            if int(text) > maximum:
                raise ValueError(f"is {text}, which is above {maximum}")
            return int(text)

        return self._declare(name, default, convert, minimum, **declared)

    def bool(self, name: str, default: Any = REQUIRED, **declared: Any) -> bool:
        return self._declare(name, default, lambda text: BOOLEANS[choose(text, BOOLEANS)], False, **declared)

    def str(
        self, name: str, default: Any = REQUIRED, *, choices: Collection[str] = (), check: Check = len, **declared: Any
    ) -> str:
        """Return a text; with `choices`, one of them in lower case."""

        def convert(text: Any) -> Any:
            check(text)
            return choose(text, choices) if choices else text

        return self._declare(name, default, convert, "", **declared)


def choose(text: str, choices: Collection[str]) -> str:
    """Return the text in lower case; raise ValueError if it is none of the choices."""
    if text.strip().lower() not in choices:
        raise ValueError(f"is {text!r}, which is none of {', '.join(choices)}")
    return text.strip().lower()


def as_text(value: Any) -> str:
    """Return a default as it is written in the environment."""
    if value is REQUIRED or value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def check_url(text: str, schemes: Collection[str]) -> None:
    """Raise ValueError, without a credential in it, for a URL that no backend serves or that was not encoded."""
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z0-9+.-]+", scheme):
        raise ValueError(f"is not a URL; the schemes served are {', '.join(schemes)}")
    if scheme.lower() not in schemes:
        raise ValueError(f"has the scheme {scheme!r}; the schemes served are {', '.join(schemes)}")
    if re.search(r"\s", text):
        raise ValueError("has a space or a line break in it; write a space as %20")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    # A / ? or # in the password ends the authority early, before its @.
    cut_short = authority and "@" in rest.removeprefix(authority).partition("=")[0]
    if cut_short or re.search(r"[@\[\]]|%(?![0-9A-Fa-f]{2})", authority.rpartition("@")[0]):
        raise ValueError(
            "has a character in its user name or password that must be percent-encoded: "
            "# as %23, ? as %3F, / as %2F, @ as %40, % as %25"
        )
    try:
        urlsplit(text).port  # noqa: B018  # the property raises
    except ValueError:
        raise ValueError("has a port that is not a number up to 65535") from None


def exit_with(*lines: object) -> None:
    """Print why the process cannot start to stderr, and exit with 1."""
    print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201  # there may be no logging yet
    raise SystemExit(1)


env = Env()  # the process's own
