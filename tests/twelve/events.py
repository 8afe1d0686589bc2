"""The log events of a deploy's processes, and work of tests.twelve.factors.noise that makes some."""

import json
import re

from tests.twelve.processes import wait_until

FIELDS = {"timestamp", "level", "logger", "message", "process_type", "process", "release", "commit", "request_id"}
ID = "from-the-router-0123"


def events(text):
    """The events of an output; fails for a line that is none."""
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        assert event.keys() >= FIELDS, event
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
    return found


def enqueue(deploy, *lines):
    """Run these lines in a one-off process of the deploy, under a known request id."""
    code = f"from tests.twelve.factors.noise import *; from twelve import logs; logs.request_id.set('{ID}'); "
    deploy.manage("shell", "--no-imports", "-c", code + "; ".join(lines))


def wait_for_event(process, **fields):
    def found():
        return [e for e in events(process.text) if all(e.get(name) == value for name, value in fields.items())]

    return wait_until(found, 40, lambda: f"{fields} in\n{process.text}")
