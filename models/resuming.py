"""Long jobs: what is finished is kept until all is, and nothing is left half-written.

A job is made of points that can be computed in any order, such as those of a grid. Each finished
point is kept as a small file in a folder beside the output (`parts_of`), under a hash of everything
that it depends on; so a job that was interrupted goes on where it was, and one that has changed
takes nothing over that no longer holds. When the output is written, the folder is removed.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[0-9a-f]{32}\.json(\.\d+\.part)?")


class Parts:
    """The finished points in a folder, which is made when the first one is put there.

    `content` is whatever JSON can hold and says all that the point's result depends on: the system,
    the parameters, the seed, the version of the models (`models.publish.fingerprint`). A result is
    whatever JSON can hold, infinite and missing numbers included.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def get(self, content: Any) -> Any:
        """The result that was put there for this content; None if there is none to be read."""
        try:
            return json.loads(self._file(content).read_text("utf-8"))["result"]
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, content: Any, result: Any) -> None:
        """Keep a result: whole or not at all, whoever else writes there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self._file(content), json.dumps({"content": content, "result": result}))

    def done(self) -> None:
        """Remove what was kept, and the folder if there is nothing else in it."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if _NAME.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def _file(self, content: Any) -> Path:
        plain = json.dumps(content, sort_keys=True)
        return self.folder / f"{hashlib.sha256(plain.encode()).hexdigest()[:32]}.json"


def parts_of(output: str | Path) -> Parts:
    """The finished points of a job that writes `output`: in `output.parts/` beside it."""
    output = Path(output)
    return Parts(output.with_name(f"{output.name}.parts"))


def write(path: str | Path, data: str | bytes) -> None:
    """Write a file: all of it or nothing. Raises OSError; what was there before stays then."""
    path = Path(path)
    raw = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():  # a device, a pipe, or a directory
        path.write_bytes(raw)
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(raw)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
