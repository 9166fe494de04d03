"""Parameters of every notebook: said, checked before anything is computed, refused in a sentence."""

import re

import papermill
import pytest
from golden import ROOT

from models import parameters

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SENTENCE = re.compile(r"\w+: .+ was found(, but the notebook has no such parameter)?[;,] .+")


@pytest.mark.parametrize(
    ("value", "kind", "bounds", "said"),
    [
        (3, "int", (1, None), ""),
        (3, "float", (0, None), ""),
        (0.5, "float", (0, 1), ""),
        (True, "bool", (None, None), ""),
        ("a", "str", (None, None), ""),
        (0, "int", (1, None), "0 was found; expected a whole number of at least 1"),
        (2.0, "int", (1, None), "2.0 was found; expected a whole number of at least 1; write 2"),
        (2.5, "int", (1, None), "2.5 was found; expected a whole number of at least 1"),
        (True, "int", (1, None), "True was found; expected a whole number of at least 1"),
        ("abc", "float", (0, None), "'abc' was found; expected a number of at least 0"),
        (float("nan"), "float", (0, None), "nan was found; expected a number of at least 0"),
        (float("inf"), "float", (0, None), "inf was found; expected a number of at least 0"),
        (1.5, "float", (0, 1), "1.5 was found; expected a number from 0 to 1"),
        (2, "float", (None, 1), "2 was found; expected a number of at most 1"),
        (None, "str", (None, None), "None was found; expected text"),
        (1, "bool", (None, None), "1 was found; expected true or false"),
    ],
)
def test_what_is_wrong_with_a_value(value, kind, bounds, said):
    assert parameters.fault(value, kind, bounds) == said


def test_declared_and_given_names_are_told_apart():
    cells = [
        "rate: float = 2.0  # a rate, 1/s\nn: int = 1",
        "# Parameters\nrate = 3\nx = [1]\n",
        "y = 1",
    ]
    assert parameters.read(cells) == ({"rate": "float", "n": "int"}, ["rate", "x"])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_has_a_type_and_a_meaning(notebook):
    known = papermill.inspect_notebook(str(notebook))
    assert known
    for name, parameter in known.items():
        assert parameter["inferred_type_name"] in parameters.WORDS, name
        assert parameter["help"], name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_faults_are_said_at_once_and_nothing_is_computed(notebook, tmp_path):
    known = papermill.inspect_notebook(str(notebook))
    counts = [name for name, parameter in known.items() if parameter["inferred_type_name"] == "int"]
    words = [name for name, parameter in known.items() if parameter["inferred_type_name"] == "str"]
    wrong = {name: 5 if name in words else "abc" for name in known}
    wrong |= {counts[0]: 2.5, counts[1]: -1, f"{counts[1]}_": 5}
    out = tmp_path / "out.ipynb"
    engine = None if notebook == NOTEBOOKS[0] else "in-this-process"  # None: in a kernel
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(notebook, out, wrong, engine, cwd=ROOT, progress_bar=False)
    assert caught.value.ename == "ParameterError"
    lines = caught.value.evalue.split("\n")
    assert len(lines) == len(known) + 1
    assert lines[0] == (
        f"{counts[1]}_: 5 was found, but the notebook has no such parameter; "
        f"did you mean '{counts[1]}'?"
    )
    assert all(SENTENCE.fullmatch(line) for line in lines), lines
    assert caught.value.traceback == [f"ParameterError: {caught.value.evalue}"]
