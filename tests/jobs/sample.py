"""Jobs for the tests: what they did is in `done`."""

from typing import Any

from apps.jobs.services import PermanentFailure, job

done: list[Any] = []


@job()
def note(value: Any) -> None:
    done.append(value)


@job(max_attempts=3)
def refused() -> None:
    raise ConnectionRefusedError("nobody there")


@job(on_failure=lambda reason, *arguments: done.append((reason, *arguments)))
def hopeless(value: Any) -> None:
    raise PermanentFailure("no way")


@job()
def broken() -> None:
    raise KeyError("a bug")


@job(secret=True)
def whisper(secret: str) -> None:
    done.append(secret)
