"""Long jobs: what is finished is kept until all is, and nothing is left half-written.

A job is made of pieces that can be computed in any order, such as the points of a grid. Each
finished piece becomes a line of a file beside the output (`unfinished`), under a key of everything
that it depends on (`key_of`). So a job that was interrupted goes on where it was, and what has
changed since is not taken for the same. When the output is safe, the file is removed (`done`).
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Busy(ValueError):
    """Somebody else is at the same job."""


def key_of(content: Any) -> str:
    """A key of whatever JSON can hold; what it cannot hold counts by its repr."""
    plain = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(plain.encode()).hexdigest()[:32]


def unfinished(output: str | Path) -> Path:
    """Where the finished pieces of a job are kept that writes `output`."""
    output = Path(output)
    return output.with_name(f"{output.name}.unfinished")


class Kept:
    """The finished pieces of a job in a file, by key; to be used in a `with`.

    A result is whatever JSON can hold, numbers that are infinite or missing included. Without a
    path nothing outlives the job. Raises Busy where another process has the file open, OSError
    where it cannot be written.
    """

    def __init__(self, path: str | Path | None):
        self.path = None if path is None else Path(path)
        self.found: dict[str, Any] = {}

    def __enter__(self) -> "Kept":
        if self.path is not None:
            self._file = self.path.open("a+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise Busy(
                    f"{self.path}: another process writes to it now; expected one at a time; "
                    "wait for it, or choose another output"
                ) from None
            self._file.seek(0)
            for line in self._file:
                try:
                    key, result = json.loads(line)
                    self.found[key] = result
                except (ValueError, TypeError):
                    pass  # it was being written when all stopped: that piece is done again
                if not line.endswith(b"\n"):
                    self._file.write(b"\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self.path is not None:
            if not self.found:  # nothing to keep
                self.done()
            self._file.close()

    def put(self, results: Mapping[str, Any]) -> None:
        """Keep some results, each by its key."""
        self.found.update(results)
        if self.path is not None:
            for key, result in results.items():
                self._file.write(json.dumps([key, result]).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def done(self) -> None:
        """Remove the file: the output is safe."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def write(path: str | Path, data: str | bytes) -> None:
    """Write a file: all of it or nothing. Raises OSError; what was there before stays then."""
    path = Path(path)
    raw = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():  # a device, a pipe, or a directory
        path.write_bytes(raw)
        return
    with replacing(path) as part:
        part.write_bytes(raw)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The name of a file to write, which then takes the place of `path`."""
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())  # before what it replaces is gone
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
