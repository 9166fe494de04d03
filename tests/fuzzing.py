"""Running the fuzzers of `tests/fuzz`."""

import re
import subprocess
import sys
from pathlib import Path


def fuzz(name, corpus, folder, seconds, at_least, *settings):
    """Let `tests/fuzz/NAME.py` run for so long, from a corpus (name -> bytes) that is put in `folder`.

    It must find nothing, in at least so many runs.
    """
    (folder / "corpus").mkdir()
    for file, content in corpus.items():
        (folder / "corpus" / file).write_bytes(content)
    command = [sys.executable, Path(__file__).with_name("fuzz") / f"{name}.py", folder / "corpus",
               f"-max_total_time={seconds}", "-runs=20000", "-max_len=20000", "-seed=1",
               f"-artifact_prefix={folder}/", *settings]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs and int(runs[1]) > at_least, done.stderr[-1000:]
