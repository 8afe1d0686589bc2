"""The strict reader of the environment, on django-environ: declares each variable, collects every problem.

A variable is declared once, where its setting is made. Reading never raises: a problem is kept and a harmless
value stands in for it, so that settings always import; the entry points call `exit_on_problems`.
"""

import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from environ import FileAwareEnv

BASE_DIR = Path(__file__).resolve().parent.parent

REQUIRED: Any = object()  # the default of a variable that a deploy must set
SAME: Any = object()  # no other default while DEBUG is on
BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
DOT_ENV_LINE = re.compile(r"\s*(#|$)|(export )?[A-Za-z_][A-Za-z_0-9]*=")


@dataclass(frozen=True)
class Variable:
    """One declaration: `manage.py env` shows it, and `.env.example` and `app.json` are written from it."""

    name: str
    help: str
    default: Any
    debug: Any  # the default while DEBUG is on
    example: str
    secret: bool
    platform: bool  # set by a platform or before .env is read, never in .env
    fallbacks: tuple[str, ...]  # variables that are read when this one is unset, the first that is set
    raw: str | None  # as found; None when unset
    source: str  # environment, .env, file, default, or the fallback that was taken
    in_force: Any  # the default that holds now
    valid: bool

    @property
    def shown(self) -> str:
        """The value in force, safe to print: a URL without credentials and query, any other secret as ***."""
        if self.raw is None:
            return as_text(self.in_force)
        if not self.secret and "://" not in self.raw:
            return self.raw
        if not self.valid:
            return "***"
        url = re.match(r"([a-zA-Z0-9+.-]+://)(.*@)?([^?#]*)(.*)", self.raw)
        return f"{url[1]}{'***@' if url[2] else ''}{url[3]}{'' if self.secret else url[4]}" if url else "***"


@dataclass(frozen=True)
class Problem:
    variable: str
    text: str
    example: str
    required_for: str

    def __str__(self) -> str:
        return f"{self.variable} {self.text}{f' (for example {self.variable}={self.example})' if self.example else ''}"


class Env:
    """Reads, converts strictly and remembers.

    A declaration takes `help`, one sentence; `default`, without which the variable is required; `debug`, the
    default while DEBUG is on; `example`, a right value; `secret`, never shown; `blank`, a blank value
    means none; `required_for`, the process type that alone needs it; `platform`, not a line of .env; `fallbacks`,
    names under which platforms tell the same, each with what makes this variable's text of theirs, or "" if it is
    something else that has this name.
    """

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.problems: list[Problem] = []
        self.fallbacks: dict[str, str | None] = {}  # the names of all fallbacks, with the secrets found under them
        self.debug: bool | None = None  # set by config.settings.core, which comes before every other settings module
        self.own = frozenset(os.environ)  # what was there before .env

    def load(self, dot_env: Path) -> None:
        """Add the lines of a .env file, if there is one, to what the environment does not have."""
        try:
            lines = dot_env.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(Problem(".env", f"cannot be read: {type(error).__name__}", "", ""))
            return
        for number, line in enumerate(lines, 1):
            if not DOT_ENV_LINE.match(line):
                self.problems.append(Problem(".env", f"line {number} is not NAME=value", "", ""))
        # django-environ would print a line that it does not understand, whatever secret is in it.
        FileAwareEnv.read_env(StringIO("\n".join(line for line in lines if DOT_ENV_LINE.match(line))))

    def _find(self, name: str) -> tuple[str | None, str]:
        """The raw value and where it came from; raises ValueError when a NAME_FILE cannot be read."""
        try:
            raw = FileAwareEnv.ENVIRON[name]
        except KeyError:
            return None, "default"
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot be read from {os.environ[name + '_FILE']}: {type(error).__name__}") from error
        if os.environ.get(f"{name}_FILE"):
            return raw.rstrip("\r\n"), "file"
        return raw, "environment" if name in self.own else ".env"

    def _declare(
        self,
        name: str,
        default: Any,
        convert: Callable[[str], Any],
        stand_in: Any,
        *,
        help: str,
        debug: Any = SAME,
        example: str = "",
        secret: bool = False,
        blank: bool = False,
        required_for: str = "",
        platform: bool = False,
        fallbacks: Mapping[str, Callable[[str], str]] = {},
    ) -> Any:
        if name in self.variables:
            raise RuntimeError(f"{name} is declared twice")
        if debug is not SAME and self.debug is None:
            raise RuntimeError(f"{name} follows DEBUG, which config.settings.core declares first")
        in_force = debug if debug is not SAME and self.debug else default
        example = example or as_text(default)
        raw, source = None, "default"
        try:
            raw, source = self._find(name)
            for fallback, make in fallbacks.items():
                try:
                    told, _ = self._find(fallback)
                except ValueError:
                    source = fallback if raw is None else source
                    if raw is None:
                        raise
                    continue
                self.fallbacks[fallback] = told if secret else None
                if raw is None and told:
                    source = fallback  # to which what `make` complains of belongs
                    raw = make(told) or None
                    source = fallback if raw else "default"
            if raw is None and in_force is REQUIRED:
                raise ValueError("is not set")
            if raw is None:
                value = in_force
            elif raw.strip():
                value = convert(raw)
            elif blank or in_force in ("", []):
                value = stand_in
            else:
                raise ValueError("is blank: give it a value or remove it")
            valid = True
        except ValueError as error:
            value, valid = stand_in, False
            self.problems.append(Problem(source if source in fallbacks else name, str(error), example, required_for))
        self.variables[name] = Variable(
            name, help, default, debug, example, secret, platform, tuple(fallbacks), raw, source, in_force, valid
        )
        return value

    def problems_for(self, process_type: str) -> list[Problem]:
        """The problems that stop a process of this type ("" is any command)."""
        return [problem for problem in self.problems if problem.required_for in ("", process_type)]

    def secret_values(self) -> set[str]:
        """What must never be read in a log: the values of secret variables; of a URL, its password and query."""
        values = set()
        secrets = [variable.raw for variable in self.variables.values() if variable.secret]
        for raw in filter(None, [*secrets, *self.fallbacks.values()]):
            authority, _, query = raw.partition("://")[2].partition("?")
            password = authority.rpartition("@")[0].partition(":")[2]
            options = [part.partition("=")[2] for part in query.split("&")]
            # sslmode=require is no secret: a plain word would mask innocent text.
            found = [password, *(option for option in options if not re.fullmatch(r"[a-z]+(-[a-z]+)?", option))]
            if "://" not in raw:
                found = [raw, *raw.split(",")]
            values |= {form.strip() for part in found for form in (part, unquote(part))}
        return {value for value in values if len(value) >= 6}  # a shorter one would mask innocent text

    def near_misses(self) -> list[str]:
        """Names in the environment that look like a misspelt variable, each as a sentence."""
        names = [*self.variables, *self.fallbacks]
        known = {*names, *(f"{name}_FILE" for name in names)}
        found = []
        for name in sorted(set(os.environ) - known):
            meant = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            found += [f"{name}: did you mean {meant[0]}?"] if meant else []
        return found

    def exit_on_problems(self, process_type: str = "") -> None:
        """Print every problem to stderr and exit with 1, if there is one."""
        if problems := self.problems_for(process_type):
            exit_with(
                f"The configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}:",
                *(f"  {line}" for line in [*problems, *self.near_misses()]),
                "Set them in the environment or in .env. `python manage.py env` lists every variable.",
            )

    # The typed readers stand last: their names hide Python's own in the rest of the class.

    def url(
        self,
        name: str,
        default: Any = REQUIRED,
        *,
        schemes: Collection[str],
        parse: Callable[[str], Any],
        **declared: Any,
    ) -> Any:
        """What `parse` makes of a URL that has one of `schemes`; `parse` raises ValueError with a printable reason.

        A default is a URL too, or None for none.
        """

        def convert(text: str) -> Any:
            check_url(text, schemes)
            return parse(text)

        value = self._declare(name, default, convert, None, **{"secret": True} | declared)
        return parse(value) if isinstance(value, str) else value

    def list(
        self, name: str, default: Any = REQUIRED, *, check: Callable[[str], object] = len, **declared: Any
    ) -> list[str]:
        """Values separated by commas; spaces around them do not count. `check` raises ValueError for a wrong one."""

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
        def convert(text: str) -> Any:
            if text.strip().lower() not in BOOLEANS:
                raise ValueError(f"is {text!r}, which is none of {', '.join(BOOLEANS)}")
            return BOOLEANS[text.strip().lower()]

        return self._declare(name, default, convert, False, **declared)

    def str(
        self,
        name: str,
        default: Any = REQUIRED,
        *,
        choices: Collection[str] = (),
        check: Callable[[str], object] = len,
        **declared: Any,
    ) -> str:
        """A text; with `choices`, one of them, whatever its case. `check` raises ValueError for a wrong one."""

        def convert(text: Any) -> Any:
            check(text)
            if choices and text.strip().lower() not in choices:
                raise ValueError(f"is {text!r}, which is none of {', '.join(choices)}")
            return text.strip().lower() if choices else text

        return self._declare(name, default, convert, "", **declared)


def as_text(value: Any) -> str:
    """A default as one would write it in the environment."""
    if value is REQUIRED or value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def check_url(text: str, schemes: Collection[str]) -> None:
    """Raise ValueError, without a credential in it, for a URL that no backend serves or that was not encoded."""
    served = f"the schemes served are {', '.join(schemes)}"
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z0-9+.-]+", scheme):
        raise ValueError(f"is not a URL; {served}")
    if scheme.lower() not in schemes:
        raise ValueError(f"has the scheme {scheme!r}; {served}")
    if re.search(r"\s", text):
        raise ValueError("has a space or a line break in it; write a space as %20")
    authority, after = re.match(r"([^/?#]*)(.*)", rest).groups()  # type: ignore[union-attr]  # matches every text
    user_info = authority.rpartition("@")[0]
    cut_short = authority and "@" in after.partition("=")[0]  # a / ? or # in the password ended the authority early
    if cut_short or re.search(r"[@\[\]]|%(?![0-9A-Fa-f]{2})", user_info):
        raise ValueError(
            "has a character in its user name or password that must be percent-encoded: "
            "# as %23, ? as %3F, / as %2F, @ as %40, % as %25"
        )
    try:
        urlsplit(text).port  # noqa: B018  # the property raises
    except ValueError:
        raise ValueError("has a port that is not a number up to 65535") from None


def exit_with(*lines: object) -> None:
    """Say why the process cannot start, to stderr, and exit with 1."""
    print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201  # there may be no logging yet
    raise SystemExit(1)


env = Env()
if env.bool("READ_DOT_ENV", default=True, platform=True, help="Read .env beside manage.py. The environment wins."):
    env.load(BASE_DIR / ".env")
