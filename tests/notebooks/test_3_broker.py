"""Notebook 3: the book's numbers are the golden ones; other parameters move them the right way."""

import json
from pathlib import Path

import papermill
import pytest

from models import publish

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "3-broker.ipynb"
GOLDEN = ROOT / "tests" / "golden" / "3-broker.json"
TOLERANCE = 1e-6  # relative: elementary functions differ in the last digits between machines
DRAWN_ELSEWHERE = "system"  # how systems are drawn has tests of its own


def run(tmp_path, **parameters):
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        NOTEBOOK, out, parameters, cwd=ROOT, progress_bar=False, log_output=False
    )
    return publish.read(out)


def same(found, golden, place=""):
    if isinstance(golden, dict):
        assert found.keys() == golden.keys(), place
        for key in golden:
            same(found[key], golden[key], f"{place}.{key}")
    elif isinstance(golden, list):
        assert len(found) == len(golden), place
        for number, (one, other) in enumerate(zip(found, golden, strict=True)):
            same(one, other, f"{place}[{number}]")
    elif isinstance(golden, float):
        assert found == pytest.approx(golden, rel=TOLERANCE, abs=1e-9), place
    else:
        assert found == golden, place


def test_the_book_prints_the_golden_numbers(tmp_path):
    found = run(tmp_path)
    found["charts"][DRAWN_ELSEWHERE].pop("drawn")
    same(json.loads(json.dumps(found)), json.loads(GOLDEN.read_text("utf-8")))


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    golden = json.loads(GOLDEN.read_text("utf-8"))
    book = {key: record["value"] for key, record in golden["values"].items()}
    found = run(
        tmp_path,
        ack_ms=5.0,
        distance_ms=100.0,
        burst_factor=4.0,
        consumers=10,
        replications=3,
        requests=5000,
    )
    other = {key: record["value"] for key, record in found["values"].items()}
    assert other["broker-price"] == book["broker-price"] + 4
    assert other["broker-share"] > book["broker-share"]
    assert other["growth-call"] < book["growth-call"]
    assert other["growth-far"] < book["growth-far"]
    assert other["growth-near"] == 0
    assert other["growth-completion"] == pytest.approx(50, abs=1)
    assert other["busy-call"] < book["busy-call"]
    assert other["peak"] > book["peak"] * 1.2  # 300/s too many for as long, not 200/s
    assert other["largest-change"] == 0
    assert other["wait-pooled"] < book["wait-pooled"]


def test_without_spare_capacity_the_verdict_changes(tmp_path):
    found = run(
        tmp_path, consume_ms=40.0, burst_factor=2.0, burst_s=20.0, replications=2, requests=3000
    )
    assert found["claims"]["async-own-pace"]["holds"] == "does not hold here"
    assert found["values"]["drain-fluid"]["text"].startswith("∞")


def test_every_parameter_has_a_meaning():
    parameters = papermill.inspect_notebook(str(NOTEBOOK))
    assert len(parameters) > 10
    for name, parameter in parameters.items():
        assert parameter["help"] and parameter["inferred_type_name"] != "None", name
