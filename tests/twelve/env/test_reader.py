"""The reader of the environment: strict, complete in its complaints, and silent about secrets."""

import os

import dj_database_url
import pytest

from twelve.env import Env, check_url

SCHEMES = ("postgres", "redis", "sqlite", "smtp")


@pytest.fixture
def read(monkeypatch):
    """An Env over nothing but the variables given."""

    def make(**variables):
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        env = Env()
        env.debug = False
        return env

    from environ import FileAwareEnv

    FileAwareEnv.ENVIRON.files_cache.clear()
    return make


def texts(env):
    return [str(problem) for problem in env.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("1", True),
        ("YES", True),
        ("On", True),
        ("false", False),
        ("0", False),
        ("no", False),
        ("off", False),
    ],
)
def test_a_boolean_is_one_of_eight_words(read, text, value):
    env = read(X=text)
    assert env.bool("X", help="") is value
    assert not env.problems


@pytest.mark.parametrize("text", ["maybe", "ture", "2", "yes!", "None", "true # a comment"])
def test_a_boolean_is_never_guessed(read, text):
    env = read(X=text)
    assert env.bool("X", default=True, help="") is False
    assert repr(text) in texts(env)[0]


@pytest.mark.parametrize("text", ["1e3", "ten", "1.5", "0x10", "1_000", "--1", "9" * 30])
def test_a_number_is_never_guessed(read, text):
    env = read(X=text)
    env.int("X", default=1, help="")
    assert "not a whole number" in texts(env)[0]


def test_a_number_below_its_minimum_is_a_problem(read):
    env = read(X="0", Y="-1", Z="99999")
    assert env.int("X", minimum=1, help="") == 1
    env.int("Y", help="")
    env.int("Z", maximum=65535, help="")
    assert texts(env).pop() == "Z is 99999, which is above 65535"
    env.problems.pop()
    assert [problem.variable for problem in env.problems] == ["X", "Y"]


def test_every_problem_is_reported_at_once_with_an_example(read, capsys):
    env = read(A="maybe", B="", C="x")
    env.bool("A", default=False, help="")
    env.int("B", default=3, help="")
    env.str("C", choices=("json", "console"), help="")
    env.str("D", example="right", help="")
    with pytest.raises(SystemExit) as stop:
        env.exit_on_problems()
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "The configuration has 4 problems:"
    assert [line.split()[0] for line in lines[1:5]] == ["A", "B", "C", "D"]
    assert "(for example D=right)" in lines[4]


def test_blank_is_a_problem_unless_it_is_the_default(read):
    env = read(A="", B=" ", C="", D="")
    assert env.str("A", default="", help="") == ""
    assert env.list("B", default=[], help="") == []
    env.str("C", default="x", help="")
    env.str("D", help="")
    assert [problem.variable for problem in env.problems] == ["C", "D"]
    assert "is blank" in texts(env)[0]


def test_blank_means_none_where_the_declaration_says_so(read):
    env = read(A="")
    assert env.str("A", default="X-Forwarded-Proto", blank=True, help="") == ""
    assert env.str("B", default="X-Forwarded-Proto", blank=True, help="") == "X-Forwarded-Proto"
    assert not env.problems


def test_a_value_that_starts_with_a_dollar_is_itself(read):
    env = read(X="$HOME", HOME="/home/me")
    assert env.str("X", help="") == "$HOME"


def test_a_list_is_split_at_commas(read):
    assert read(X=" a, b ,,c").list("X", help="") == ["a", "b", "c"]


def test_a_secret_from_a_file_loses_its_newline(read, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    env = read(X_FILE=str(secret))
    assert env.str("X", secret=True, help="") == "s3cret"
    assert env.variables["X"].source == "file"


def test_a_file_that_is_not_there_is_a_problem(read):
    env = read(X_FILE="/nowhere/secret")
    env.str("X", secret=True, help="")
    assert "cannot be read from /nowhere/secret" in texts(env)[0]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "is not a URL"),
        ("hunter2:secret@host", "is not a URL"),
        ("foo://host/db", "has the scheme 'foo'; the schemes served are postgres, redis, sqlite, smtp"),
        ("postgres://user:hunter#2@host/db", "percent-encoded"),
        ("postgres://user:12#hunter@host/db", "percent-encoded"),
        ("postgres://user:hunter?2@host/db", "percent-encoded"),
        ("postgres://user:hunter/2@host/db", "percent-encoded"),
        ("postgres://user:hunter[2@host/db", "percent-encoded"),
        ("postgres://user:hunter@2@host/db", "percent-encoded"),
        ("postgres://user:hunter%2@host/db", "percent-encoded"),
        ("postgres://user:hunter@host:port/db", "has a port that is not a number"),
        ("postgres://user:hunter@host:99999/db", "has a port that is not a number"),
        ("postgres://user:hunter 2@host/db", "a space"),
    ],
)
def test_a_url_that_would_not_work_is_explained_without_its_password(url, words):
    with pytest.raises(ValueError) as error:
        check_url(url, SCHEMES)
    assert words in str(error.value)
    assert "hunter" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:pa%23ss%40@host:5432/db?sslmode=require",
        "postgres://user@host/db",
        "postgres://%2Fvar%2Frun%2Fpostgresql/db",
        "postgres://user:p@[::1]:5432/db",
        "redis://:password@host:6379/0",
        "sqlite:////srv/site@home/db.sqlite3",
        "smtp://host?from=me@example.com",
    ],
)
def test_a_right_url_passes(url):
    check_url(url, SCHEMES)


def test_a_url_is_parsed_and_a_default_as_well(read):
    env = read(X="redis://host/1")
    assert env.url("X", schemes=SCHEMES, parse=str.upper, help="") == "REDIS://HOST/1"
    assert env.url("Y", default="sqlite:///x", schemes=SCHEMES, parse=str.upper, help="") == "SQLITE:///X"
    assert env.url("Z", default=None, schemes=SCHEMES, parse=str.upper, help="") is None


def test_a_url_is_never_shown_with_its_credentials(read):
    env = read(
        X="postgres://user:hunter2@host:5432/db?password=hunter2",
        Y="hunter2",
        Z="redis://host/0",
        V="postgres://user:hunter2",
        W="s3://key:hunter2@bucket",
    )
    env.url("X", schemes=SCHEMES, parse=dj_database_url.parse, help="")
    env.str("Y", secret=True, help="")
    env.url("Z", schemes=SCHEMES, parse=str, help="")
    for name in ("V", "W"):  # no password is seen where a URL is wrong
        env.url(name, schemes=SCHEMES, parse=str, help="")
    assert (env.variables["V"].shown, env.variables["W"].shown) == ("***", "***")
    del env.variables["V"], env.variables["W"]
    shown = {name: variable.shown for name, variable in env.variables.items()}
    assert shown == {"X": "postgres://***@host:5432/db", "Y": "***", "Z": "redis://host/0"}


def test_a_default_follows_debug(read):
    env = read()
    assert env.bool("A", default=True, debug=False, help="") is True
    env.str("B", debug="local", help="")
    assert [problem.variable for problem in env.problems] == ["B"]
    env = read()
    env.debug = True
    assert env.bool("A", default=True, debug=False, help="") is False
    assert env.str("B", debug="local", help="") == "local"


def test_a_problem_of_the_web_stops_only_the_web(read, capsys):
    env = read()
    env.list("HOSTS", required_for="web", help="")
    env.exit_on_problems()
    env.exit_on_problems("worker")
    with pytest.raises(SystemExit):
        env.exit_on_problems("web")


def test_a_variable_is_declared_once(read):
    env = read(X="1")
    env.int("X", help="")
    with pytest.raises(RuntimeError, match="X is declared twice"):
        env.int("X", help="")


def test_a_misspelt_name_is_pointed_out(read):
    env = read(DATABSE_URL="x", PATH="/bin", DATABASE_URL_FIL="y", HOME="/")
    env.str("DATABASE_URL", default="", help="")
    assert env.near_misses() == [
        "DATABASE_URL_FIL: did you mean DATABASE_URL_FILE?",
        "DATABSE_URL: did you mean DATABASE_URL?",
    ]


def test_a_former_name_is_followed_by_what_took_its_place(read):
    env = read(CONN_MAX_AGE="60", REDIS_TLS_VERIFY="false", TIME_ZONE="UTC")
    assert env.near_misses() == [
        "CONN_MAX_AGE is no longer read. Instead: the argument max_age of database.from_environment"
        " in config/settings/services.py.",
        "REDIS_TLS_VERIFY is no longer read. Instead: TLS_UNVERIFIED=redis.",
        "TIME_ZONE is no longer read. Instead: the setting of the same name in config/settings/base.py.",
    ]


def test_the_environment_wins_over_dot_env_and_each_says_where_it_came_from(read, tmp_path):
    dot_env = tmp_path / ".env"
    dot_env.write_text('# a comment\n\nA=from file\nexport B="from file"\n')
    env = read(A="from environment")
    env.load(dot_env)
    assert (env.str("A", help=""), env.variables["A"].source) == ("from environment", "environment")
    assert (env.str("B", help=""), env.variables["B"].source) == ("from file", ".env")
    assert not env.problems


def test_a_line_of_dot_env_that_means_nothing_is_a_problem(read, tmp_path):
    dot_env = tmp_path / ".env"
    dot_env.write_text("A=1\nthis is not a variable\n")
    env = read()
    env.load(dot_env)
    assert texts(env) == [".env line 2 is not NAME=value"]


def test_a_secret_in_a_line_that_means_nothing_is_not_printed(read, tmp_path, caplog, recwarn, capsys):
    dot_env = tmp_path / ".env"
    dot_env.write_text("DATABASE_URL = postgres://user:hunter2@host/db\n")
    env = read()
    env.load(dot_env)
    output = (
        caplog.text
        + "".join(texts(env))
        + "".join(str(warning.message) for warning in recwarn)
        + capsys.readouterr().err
    )
    assert "line 1 is not NAME=value" in output
    assert "hunter2" not in output


def test_a_dot_env_that_is_not_text_is_a_problem(read, tmp_path):
    dot_env = tmp_path / ".env"
    dot_env.write_bytes(b"\xff\xfe")
    env = read()
    env.load(dot_env)
    assert "cannot be read" in texts(env)[0]


def test_what_a_platform_sets_is_taken_where_the_variable_is_unset(read):
    def declare(env):
        return env.str("QUEUE", fallbacks=("CLOUD_QUEUE", "REDIS"), help="")

    for variables, value, source in (
        ({"REDIS": "redis"}, "redis", "REDIS"),
        ({"REDIS": "redis", "CLOUD_QUEUE": "cloud"}, "cloud", "CLOUD_QUEUE"),
        ({"REDIS": "redis", "CLOUD_QUEUE": ""}, "redis", "REDIS"),
        ({"REDIS": "redis", "QUEUE": "mine"}, "mine", "environment"),
    ):
        env = read(**variables)
        assert declare(env) == value
        assert (env.variables["QUEUE"].source, env.problems) == (source, [])
    env = read()
    declare(env)
    assert texts(env) == ["QUEUE is not set"]


def test_a_problem_names_the_variable_that_was_taken_and_all_of_them_are_masked(read):
    env = read(REDIS="nonsense-secret", OTHER="redis://:hunter2-secret@host/0", OTHE="x")
    env.url("CACHE", schemes=SCHEMES, parse=str, fallbacks=("REDIS", "OTHER"), help="")
    assert texts(env) == ["REDIS is not a URL; the schemes served are postgres, redis, sqlite, smtp"]
    assert env.secret_values() == {"nonsense-secret", "hunter2-secret"}
    assert env.near_misses() == []  # too short to be taken for a mistake
