"""Atheris on the readers of Compose files and Kubernetes manifests: a draft or sentences come out.

Both read whatever the bytes are. A draft can be written and read again; and no file outside the
folder is opened, whatever a file says is to be included.

python tests/fuzz/manifests.py CORPUS [-max_total_time=SECONDS] [-runs=COUNT] ...
"""

import re
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["models.compose", "models.kube", "models.manifests", "models.reading"]
):
    from models.checks import InvalidSystem
    from models.compose import compose
    from models.kube import kubernetes
    from models.reading import parse

FOLDER = Path(tempfile.mkdtemp()).resolve()
PATH = FOLDER / "fuzzed.yml"
SENTENCE = re.compile(r"[^\n:]+(?:, line \d+, column \d+)?: [^\n]+")
opened: list[Path] = []


def watch(event, about):
    if event in ("open", "socket.connect", "subprocess.Popen", "os.system"):
        opened.append(Path(str(about[0])))


def one(data):
    PATH.write_bytes(data)
    opened.clear()
    for read in (compose, lambda path: kubernetes([path])):
        try:
            draft = read(str(PATH))
        except InvalidSystem as error:
            assert all(map(SENTENCE.fullmatch, str(error).split("\n"))), str(error)
        else:
            assert parse(draft.to_yaml()) == draft.data
            assert all(line.isprintable() for line in draft.left_out)
            assert draft.gaps()  # how often requests come is never said
    assert all(path.resolve().is_relative_to(FOLDER) for path in opened), opened


if __name__ == "__main__":
    one(b"services: {web: {image: web}}")  # so that nothing is imported later
    sys.addaudithook(watch)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
