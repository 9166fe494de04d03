"""Atheris on the reader of system files: whatever the bytes, a valid system or sentences come out.

A valid system can be written, read again and run; and whatever stands in the file, no other file is
opened for it.

python tests/fuzz/system_files.py CORPUS [-max_total_time=SECONDS] [-runs=COUNT] ...
"""

import re
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["yaml", "models.system", "models.reading", "models.checks"]
):
    from models.reading import parse
    from models.system import InvalidSystem, System

PATH = Path(tempfile.mkdtemp()) / "fuzzed.yml"
SENTENCE = re.compile(r"[^\n:]+(?:, line \d+, column \d+)?: [^\n]+")
opened: list[str] = []


def watch(event, about):
    if event in ("open", "socket.connect", "subprocess.Popen", "os.system"):
        opened.append(str(about[0]))


def one(data):
    PATH.write_bytes(data)
    opened.clear()
    try:
        system = System.load(PATH)
    except InvalidSystem as error:
        assert error.faults and all(map(SENTENCE.fullmatch, str(error).split("\n"))), str(error)
        system = None
    assert set(opened) <= {str(PATH)}, opened
    if system is not None:
        assert System.model_validate(parse(system.to_yaml())) == system
        system.loads(), system.warnings(), system.plan()


if __name__ == "__main__":
    System.load("shop").plan()  # so that nothing is imported later
    sys.addaudithook(watch)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
