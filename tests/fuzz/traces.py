"""Atheris on the reader of traces: whatever the bytes, a system or one sentence comes out.

python tests/fuzz/traces.py CORPUS [-max_total_time=SECONDS] [-runs=COUNT] ...
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["models.traces"]):
    from models.traces import InvalidTraces, read

PATH = Path(tempfile.mkdtemp()) / "fuzzed.json"


def one(data):
    PATH.write_bytes(data)
    try:
        read(PATH)
    except InvalidTraces as error:
        assert "\n" not in str(error)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
