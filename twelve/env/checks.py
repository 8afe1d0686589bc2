"""Checks of values, for `check=`: each raises ValueError with a printable reason."""


def host(name: str) -> None:
    if "/" in name:
        raise ValueError(f"has {name!r} in it; a host name has no scheme and no path")


def origin(text: str) -> None:
    if "://" not in text:
        raise ValueError(f"has {text!r} in it; an origin starts with https://")
