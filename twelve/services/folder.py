"""A local folder as the broker, for work without a server."""

import uuid
from pathlib import Path
from time import monotonic
from typing import Any

from kombu.transport import filesystem
from kombu.utils import json


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Give a message its name once it is whole: a worker that reads a part of one ends. Kombu writes in place."""
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"  # read in the order of their names
        part = Path(self.data_folder_out) / f"{name}.part"
        part.write_text(json.dumps(payload))
        part.rename(part.with_suffix(""))


class Transport(filesystem.Transport):
    Channel = Channel
