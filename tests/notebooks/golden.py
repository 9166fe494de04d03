"""Golden files: what every notebook published with the book's parameters.

They prove that nothing moved, never that it is true. After a change that is meant,
`python tests/notebooks/golden.py 3-broker` writes one anew.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import papermill
import pytest
import vl_convert
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_output
from traitlets.config import Config

from models import publish

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in ROOT.glob("notebooks/*.ipynb"))
TOLERANCE = 1e-6  # relative: elementary functions differ in the last digits between machines


def notebook(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


def file(name: str) -> Path:
    return ROOT / "tests" / "golden" / f"{name}.json"


def golden(name: str) -> dict[str, Any]:
    return json.loads(file(name).read_text("utf-8"))


def values(found: dict[str, Any]) -> dict[str, Any]:
    """The published values alone."""
    return {key: record["value"] for key, record in found["values"].items()}


class InThisProcess(papermill.engines.Engine):
    """Papermill without a kernel, which takes five seconds to start and to import everything."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **_: Any) -> None:
        shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
        shell.reset()
        for cell in nb_man.nb.cells:
            if cell.cell_type != "code":
                continue
            with capture_output() as shown:
                done = shell.run_cell(cell.source, store_history=True)
            cell.outputs = [
                new_output("display_data", data=output.data) for output in shown.outputs
            ]
            if error := done.error_before_exec or done.error_in_exec:
                name = type(error).__name__
                said = f"{name}: {error}"
                cell.outputs.append(
                    new_output("error", ename=name, evalue=str(error), traceback=[said])
                )
                return


papermill.engines.papermill_engines.register("in-this-process", InThisProcess)


def execute(name: str, folder: Path, **parameters: Any) -> Path:
    """The notebook, run with these parameters (in a kernel it is run for the book)."""
    out = folder / f"{name}.ipynb"
    with chdir(ROOT):
        papermill.execute_notebook(
            notebook(name), out, parameters, "in-this-process", progress_bar=False
        )
    return out


def run(name: str, folder: Path, **parameters: Any) -> dict[str, Any]:
    """What a notebook publishes with these parameters, as its golden file holds it."""
    return published(execute(name, folder, **parameters))


def published(out: Path) -> dict[str, Any]:
    """What an executed notebook published, as its golden file holds it."""
    found = publish.read(out)
    for (kind, key), bundle in publish.outputs(out).items():
        if kind == "chart" and "svg" in bundle[publish.MIME]:
            del found["charts"][key]["drawn"]  # how systems are drawn has tests of its own
    return json.loads(json.dumps(found))


def texts(spec: dict[str, Any]) -> Iterator[str]:
    """Every text that a chart shows when it is drawn."""

    def below(node: Any) -> Iterator[str]:
        if isinstance(node, list):
            for part in node:
                yield from below(part)
        elif isinstance(node, dict):
            if "text" in node:
                yield str(node["text"])
            for part in node.values():
                yield from below(part)

    return below(vl_convert.vegalite_to_scenegraph(spec))


def same(found: Any, expected: Any, place: str = "") -> None:
    """Require the same names, words and whole numbers, and floats within the tolerance."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            same(found[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for number, item in enumerate(expected):
            same(found[number], item, f"{place}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=1e-9), place
    else:
        assert found == expected, place


if __name__ == "__main__":
    for given in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            text = json.dumps(run(given, Path(place)), indent=1, ensure_ascii=False, sort_keys=True)
        file(given).write_text(text + "\n", "utf-8")
        print(f"{file(given)} written")
