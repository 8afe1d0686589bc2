"""Releases: migrate under a lock, find migrations that break the running release, record one-off commands."""

from typing import Any

__all__ = ["AddIndexConcurrently"]


def __getattr__(name: str) -> Any:
    """Import the operation when a migration uses it: with it comes the driver of PostgreSQL."""
    if name == "AddIndexConcurrently":
        from twelve.release.operations import AddIndexConcurrently

        return AddIndexConcurrently
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
