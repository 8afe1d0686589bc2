"""The folder as a broker: a message is seen when it is whole."""

import json
from pathlib import Path

from kombu import Connection

import config.celery  # noqa: F401  # registers the transport


def test_a_message_is_whole_before_it_has_its_name(tmp_path, monkeypatch):
    rename, seen = Path.rename, []

    def spy(part, whole):
        assert not list(tmp_path.glob("*.msg"))
        seen.append(json.loads(part.read_text())["headers"]["id"])
        rename(part, whole)

    monkeypatch.setattr(Path, "rename", spy)
    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), str(tmp_path))
    options = folders | {"control_folder": str(tmp_path / "control")}
    with Connection("filesystem://", transport_options=options) as connection:
        queue = connection.SimpleQueue("tasks")
        queue.put("do it", headers={"id": 7})
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
    assert (message.payload, seen) == ("do it", [7])
