"""Tasks for the tests: what they did is in `done`."""

from typing import Any

from django.db import connection

from twelve.tasks import PermanentFailure, task

done: list[Any] = []
reason = ""


@task
def note(value: Any) -> None:
    done.append(value)


@task(max_attempts=3)
def refused() -> None:
    raise ConnectionRefusedError("nobody there")


@task(on_failure=lambda reason, *arguments: done.append((reason, *arguments)))
def hopeless(value: Any) -> None:
    raise PermanentFailure("no way")


@task
def broken() -> None:
    raise KeyError("a bug")


@task(secret=True)
def whisper(secret: str) -> None:
    done.append(secret)


@task
def gives_reason() -> None:
    raise OSError(reason)


@task
def add(a: int, *, b: int = 0) -> int:
    return a + b


@task(takes_context=True)
def describe_attempt(context: Any, value: Any) -> list[Any]:
    return [context.attempt, context.task_result.id, value]


@task
async def add_later(a: int, b: int) -> int:
    return a + b


@task
def returns_nothing_of_json() -> object:
    return object()


def fail_again(reason: str, *args: Any) -> None:
    raise TypeError("a bug in on_failure")


@task(on_failure=fail_again)
def fails_twice() -> None:
    raise KeyError("a bug")


@task
def returns_null() -> str:
    return "a\0b"


@task
def breaks_the_transaction() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")


@task(secret=True)
def whispers(*, secret: str) -> None:
    done.append(secret)
