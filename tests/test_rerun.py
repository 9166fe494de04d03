"""A notebook with other parameters: refused before it runs, run, compared, in grids, resumed."""

import csv
import io
import json
import math
import re
import signal
import subprocess
import sys
import time

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner

from models import parameters, rerun
from models.cli import main
from models.reading import NOTEBOOKS

SOURCES = [
    "workers: int = 4  # workers of the service\n"
    "rate_per_s: float = 2.0  # requests, 1/s\n"
    "preset: str = 'none'  # a name\n"
    "seed: int = 1  # seed",
    "import math\nimport time\n\nfrom models import parameters, publish\n\n"
    "ABOVE = (0.001, None)\n"
    "parameters.check(workers=(1, 64), **dict.fromkeys(['rate_per_s'], ABOVE), seed=(0, None))\n"
    "if rate_per_s >= 10 * workers:\n"
    "    raise ValueError(f'rate_per_s: {rate_per_s!r} was given; expected less than 10 * workers')",
    "time.sleep(30 if preset == 'slow' and workers > 4 else 0)",
    "publish.value('load', 100 * rate_per_s / workers / 10, '%', half_width=0.5)\n"
    "publish.value('workers', workers)\n"
    "publish.value('word', 'many' if workers > 4 else 'few')\n"
    "publish.value('limit', math.inf if preset == 'none' else 3.0, 'ms')\n"
    "if preset == 'broken':\n    1 / 0",
    "publish.claim('saga-needs-async', 'holds' if workers < 8 else 'does not hold here', 'w', 'e')",
]


@pytest.fixture(scope="session")
def claim():
    from models import publish

    return next(iter(publish.claims()))


@pytest.fixture
def notebook(tmp_path, monkeypatch, claim):
    """A small notebook in a folder of its own, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources = [source.replace("saga-needs-async", claim) for source in SOURCES]
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
    node.cells[0].metadata["tags"] = ["parameters"]
    path = tmp_path / "small.ipynb"
    nbformat.write(node, path)
    return path


def decouple(*words):
    return CliRunner().invoke(main, ["rerun", *map(str, words)])


@pytest.mark.parametrize("name", ["3-broker", "3", "broker"])
def test_a_notebook_of_the_book_has_three_names(name):
    found = rerun.load(name)
    assert found.name == "3-broker"
    assert found.book["producers"] == 96
    assert found.kinds["distance_ms"] == "float"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_the_ranges_of_every_notebook_are_known_before_it_runs(path):
    """What the notebook itself would refuse is refused, and its own values are not."""
    found = rerun.load(path.stem)
    ranges = parameters.ranges(found.cells)
    assert ranges["seed"] == (0, None) and set(ranges) <= set(found.kinds)
    found.check([found.book, {}])
    with pytest.raises(parameters.ParameterError, match="-1 was found; expected a whole number of"):
        found.check([{"seed": -1}])
    with pytest.raises(parameters.ParameterError, match="did you mean 'seed'?"):
        found.check([{"sead": 1}])


def test_ranges_are_read_without_running_what_they_do_not_need():
    cells = [
        "n: int = 0\nshare: float = 0.5",
        "import math\nfrom models import parameters, theory\n1 / 0\nHIGH = math.e\n"
        "SHARE = (0, HIGH)\nif not n:\n    n = theory.absent(1 / 0)\n"
        "parameters.check(share=SHARE, n=(2, None))\n1 / 0",
    ]
    assert parameters.ranges(cells) == {"share": (0, math.e), "n": (None, None)}
    assert parameters.ranges(cells[:1]) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "worker=3"], "worker: '3' was found, but the notebook has no such parameter; did"),
        (["-p", "workers=0"], "workers: 0 was found; expected a whole number from 1 to 64"),
        (["-p", "workers=2,4,65"], "workers: 65 was found; expected a whole number from 1 to 64"),
        (["-p", "workers=2.0"], "workers: 2.0 was found; expected a whole number from 1 to 64; wr"),
        (["-p", "workers=many"], "workers: 'many' was found; expected a whole number from 1 to 64"),
        (["-p", "rate_per_s=nan"], "rate_per_s: nan was found; expected a number of at least 0.0"),
        (["-p", "rate_per_s="], "rate_per_s: '' was found; expected a number of at least 0.001"),
        (["-p", "workers"], "-p: 'workers' was found; expected NAME=VALUE"),
        (["-p", "=3"], "-p: '=3' was found; expected NAME=VALUE"),
        (["-p", "seed=1", "-p", "seed=2"], "-p: 'seed' was found twice; expected it once; for a"),
        (["--chart", "a.html"], "--chart: one run was asked for; expected a grid; give several"),
        (["--keys", "a"], "--keys: one run was asked for"),
        (["-o", "a.csv"], "-o: 'a.csv' was found; expected a file name that ends in .ipynb"),
        (["-o", "no/a.ipynb"], "-o: 'no/a.ipynb' cannot be written: there is no folder no"),
        (["-p", "seed=1,2", "-o", "a.ipynb"], "-o: 'a.ipynb' was found; expected a file name"),
        (["-p", "seed=1,2", "--chart", "a.pdf"], "expected a file name that ends in .html or .svg"),
        (["-p", f"seed={','.join(map(str, range(10_001)))}"], "grid: 10,001 points were found"),
        (["--json", "--csv"], "expected one of them; leave one out"),
        (["-f", "no.yml"], "no.yml: no such file; expected a YAML file"),
        (["-p", "rate_per_s=50"], "rate_per_s: 50.0 was given; expected less than 10 * workers"),
        (["-p", "preset=broken"], "small, cell 4: ZeroDivisionError: division by zero; expected"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(notebook, words, said):
    result = decouple(notebook, *words)
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.count("\n") == 1
    assert [path.name for path in notebook.parent.iterdir()] == ["small.ipynb"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "f.yml: expected a mapping from the name of each parameter to its value"),
        ("seed: {a: 1}", "f.yml: seed: expected a value, or a list of values"),
        ("seed: []", "seed: an empty list was found; expected at least one value"),
        ("seed: [", "f.yml, line"),
        ("seed: one", "seed: 'one' was found; expected a whole number of at least 0"),
        ("seeds: 1", "did you mean 'seed'?"),
    ],
)
def test_a_file_of_parameters_is_read_with_care(notebook, text, said):
    (notebook.parent / "f.yml").write_text(text)
    result = decouple(notebook, "-f", "f.yml")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert said in result.output


@pytest.mark.parametrize("raw", ["", "{}", "[]", "text", '{"cells": 5}', '{"nbformat": 99}'])
def test_what_is_no_notebook_is_refused(tmp_path, raw):
    path = tmp_path / "x.ipynb"
    path.write_text(raw)
    result = decouple(path)
    assert result.exit_code == 2
    assert "this is no notebook" in result.output or "no parameters were found" in result.output


def test_the_books_numbers_stand_beside_yours(notebook, claim, monkeypatch):
    (notebook.parent / "f.yml").write_text("workers: 16\nrate_per_s: 3")
    result = decouple(notebook, "-f", "f.yml", "-p", "workers=8", "-o", "mine.ipynb")
    assert result.exit_code == 0, result.output
    lines = [re.split(r"  +", line.strip()) for line in result.stdout.splitlines()]
    assert ["workers: 8 (the book: 4)"] in lines and ["rate_per_s: 3 (the book: 2.0)"] in lines
    assert ["load", "%", "5.00 +- 0.50", "3.75 +- 0.50", "-25 %"] in lines
    assert ["workers", "4", "8", "+100 %"] in lines
    assert ["word", "few", "many", "changed"] in lines
    assert ["limit", "ms", "∞", "∞", "="] in lines
    assert [claim, "verdict", "holds", "does not hold here", "changed"] in lines
    assert lines[-1] == ["4 of 5 numbers and verdicts changed"]
    executed = nbformat.read("mine.ipynb", as_version=4)
    assert {row["key"]: row["value"] for row in rerun.rows(executed)}["workers"] == 8
    assert {path.name for path in notebook.parent.iterdir()} == {
        "cache", "f.yml", "mine.ipynb", "small.ipynb",
    }  # fmt: skip
    data = json.loads(decouple(notebook, "-p", "workers=8", "--json").stdout)
    assert data["parameters"] == {
        "workers": 8, "rate_per_s": 2.0, "preset": "none", "seed": 1,
    }  # fmt: skip
    by_key = {row["key"]: row for row in data["results"]}
    assert by_key["load"] == {
        "key": "load", "unit": "%", "book": 5.0, "book_half_width": 0.5, "yours": 2.5,
        "yours_half_width": 0.5, "change": -0.5,
    }  # fmt: skip
    assert by_key["limit"]["book"] is None and by_key["limit"]["change"] is None
    assert (notebook.parent / "small-rerun.ipynb").exists()
    monkeypatch.setattr(rerun, "execute", lambda *_: executed)
    rows = list(csv.DictReader(io.StringIO(decouple(notebook, "--csv").stdout)))
    assert [row["change"] for row in rows if row["key"] == "load"] == ["-0.25"]


def test_the_books_numbers_are_computed_anew_when_something_changes(notebook, monkeypatch):
    found = rerun.load(str(notebook))
    first = rerun.book_rows(found)
    ran = []
    monkeypatch.setattr(rerun, "execute", lambda *_: ran.append(1) or pytest.fail("it ran"))
    assert rerun.book_rows(found) == first
    other = nbformat.read(notebook, as_version=4)
    other.cells[3].source += "\n"
    nbformat.write(other, notebook)
    kept = rerun.cache() / "small.json"
    for change in ("cells", "models", "versions", "file"):
        with monkeypatch.context() as patch:
            about = rerun.about(found)
            if change == "file":
                kept.write_text('{"key": ')
            else:
                patch.setattr(rerun, "about", lambda _, c=change, a=about: {**a, c: "other"})
            with pytest.raises(pytest.fail.Exception, match="it ran"):
                rerun.book_rows(found)
    assert len(ran) == 4


def test_every_file_of_the_models_counts():
    about = rerun.about(rerun.load("1"))
    assert rerun.about(rerun.load("1")) == about
    assert rerun.about(rerun.load("2"))["models"] == about["models"]
    assert rerun.about(rerun.load("2"))["cells"] != about["cells"]


def test_a_grid_becomes_a_table_and_a_chart(notebook, claim):
    words = ["-p", "workers=2,8", "-p", "rate_per_s=1,2.5", "-p", "seed=7"]
    result = decouple(notebook, *words, "-o", "g.csv", "--chart", "g.html", "--jobs", 2)
    assert result.exit_code == 0, result.output
    table = pd.read_csv("g.csv")
    assert list(table) == ["workers", "rate_per_s", "seed", "key", "value", "half_width", "unit"]
    assert len(table) == 4 * 5 and set(table.seed) == {7}
    for row in table[table.key == "load"].itertuples():
        assert float(row.value) == pytest.approx(10 * row.rate_per_s / row.workers)
        assert (row.half_width, row.unit) == (0.5, "%")
    verdicts = table[table.unit == "verdict"]
    assert set(verdicts.key) == {claim}
    assert set(verdicts[verdicts.workers == 8].value) == {"does not hold here"}
    page = (notebook.parent / "g.html").read_text()
    assert page.count("<figure>") == 2  # load and workers; limit and words do not change as numbers
    assert "load (%)" in page and "rate_per_s = 2.5" in page
    assert not re.search(r"(?:src|href)=|@import|https?://(?!www\.w3\.org)", page)
    assert not (notebook.parent / "g.csv.unfinished").exists()
    numbers = table[table.key == "load"].assign(value=lambda rows: rows.value.astype(float))
    found = rerun.load(str(notebook))
    drawn = rerun.picture(found, numbers, ["load"], ["workers", "rate_per_s"], "png")
    assert drawn.startswith(b"\x89PNG")


def test_a_grid_with_a_wrong_key_keeps_what_was_computed(notebook, monkeypatch):
    words = [notebook, "-p", "workers=2,4", "-o", "g.csv", "--chart", "g.svg", "--keys"]
    for wrong, said in (("lod", "did you mean 'load'?"), ("word", "is published as words")):
        result = decouple(*words, wrong)
        assert result.exit_code == 2
        assert said in result.output
        assert "g.csv.unfinished, and the same command goes on from there" in result.output
    monkeypatch.setattr(rerun, "execute", lambda *_: pytest.fail("it ran again"))
    result = decouple(*words, "load", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["results"]) == 2 * 5
    assert (notebook.parent / "g.svg").read_text().startswith("<svg")
    assert not (notebook.parent / "g.csv.unfinished").exists()


def test_a_point_that_is_refused_says_which(notebook):
    result = decouple(notebook, "-p", "workers=1,4", "-p", "rate_per_s=20", "--jobs", 1)
    assert result.exit_code == 2
    assert result.output.startswith(
        "workers=1, rate_per_s=20.0: rate_per_s: 20.0 was given; expected less than 10 * workers"
    )


def test_an_interrupted_grid_goes_on_where_it_was(notebook):
    """The first point is finished, the second sleeps; after Ctrl-C only the second is run."""
    words = ["rerun", notebook, "-p", "workers=2,8", "-p", "preset=slow", "-o", "g.csv"]
    code = "from models.cli import main; main(prog_name='decouple')"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    kept = notebook.parent / "g.csv.unfinished"
    for _ in range(1200):
        if kept.exists() and kept.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate()
    assert (out, process.returncode) == ("", 1)
    assert said == (
        "interrupted; what was done is kept in g.csv.unfinished, and the same command goes on from "
        "there\n"
    )
    assert {path.name for path in notebook.parent.iterdir()} == {"g.csv.unfinished", "small.ipynb"}
    found = rerun.load(str(notebook))
    points = rerun.grid({"workers": [2, 8], "preset": ["slow"]})
    ran = []

    def execute(notebook, values, bar=False):
        ran.append(values["workers"])
        return original(notebook, {**values, "preset": "quick"})

    original, rerun.execute = rerun.execute, execute
    try:
        table = rerun.run_grid(found, points, kept)
    finally:
        rerun.execute = original
    assert ran == [8]
    assert set(table.workers) == {2, 8}


def test_an_interrupted_run_leaves_nothing(notebook):
    code = "from models.cli import main; main(prog_name='decouple')"
    words = ["rerun", str(notebook), "-p", "workers=8", "-p", "preset=slow"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate()
    assert (out, said.strip(), process.returncode) == ("", "Aborted!", 1)
    assert [path.name for path in notebook.parent.iterdir()] == ["small.ipynb"]
