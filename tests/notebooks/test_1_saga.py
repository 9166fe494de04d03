"""Chapter 1's notebook: the book's numbers are the golden ones, other parameters move them rightly.

After a change that is meant: `python tests/notebooks/test_1_saga.py` writes the golden file anew.
"""

import json
from pathlib import Path

import papermill
import pytest

from models import publish

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "1-saga.json"
RELATIVE = 1e-6  # sums of the same numbers, on other processors


def run(folder, **parameters):
    out = Path(folder) / "1-saga.ipynb"
    papermill.execute_notebook(
        ROOT / "notebooks" / "1-saga.ipynb", out, parameters, cwd=ROOT, progress_bar=False
    )
    return publish.read(out)


def same(found, expected, place=""):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            same(found[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for number, item in enumerate(expected):
            same(found[number], item, f"{place}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=RELATIVE, abs=1e-9), place
    else:
        assert found == expected, place


def test_the_books_parameters_give_the_golden_numbers(tmp_path):
    same(run(tmp_path), json.loads(GOLDEN.read_text("utf-8")))


def test_other_parameters_move_the_right_way(tmp_path):
    book = json.loads(GOLDEN.read_text("utf-8"))["values"]
    other = run(
        tmp_path,
        participants=8,
        fails=0.05,
        coordinator_workers=8,
        rate_per_s=15.0,
        rtt_ms=10.0,
        requests=4000,
        replications=3,
    )["values"]

    def change(key):
        return other[key]["value"] - book[key]["value"]

    for key in ("undone-sequential", "undone-parallel", "fairy-tale-undone", "parallel-undone"):
        assert change(key) > 0, key
    for key in ("fairy-tale-answer", "fairy-tale-done", "fairy-tale-held", "fairy-tale-needed"):
        assert change(key) > 0, key
    assert change("commit-probability") < 0
    lost = {
        name: 1 - other[f"{name}-capacity"]["value"] / book[f"{name}-capacity"]["value"]
        for name in ("fairy-tale", "parallel")
    }
    assert lost["fairy-tale"] > 2 * lost["parallel"]  # distance takes workers from those who wait
    assert change("parallel-needed") == 0


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(run(folder), indent=1, ensure_ascii=False, sort_keys=True)
    GOLDEN.write_text(text + "\n", "utf-8")
