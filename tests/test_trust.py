"""What is known from elsewhere: every row agrees, and a wrong value would be seen."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from models import System, trust

ROOT = Path(__file__).parents[1]
ROWS = trust.known(50_000)
RUNS = 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_each_row_agrees(row):
    """Within three standard errors (t = 2.09 of them make the half width), and half a digit."""
    found = trust.compared([row], RUNS, 3).iloc[0]
    error = found.half_width / 2.093
    assert error <= 0.04 * row.exact
    assert abs(found["mean"] - row.exact) <= 3 * error + row.rounding


def test_a_wrong_value_is_outside():
    one = ROWS[0]
    found = trust.compared([one, replace(one, exact=1.3 * one.exact)], RUNS, 3)
    assert found.inside.tolist() == [True, False]


def test_both_engines_agree_and_a_difference_is_counted(monkeypatch):
    shop = {"shop": System.load("shop")}
    assert trust.engines(shop, 200, 1).same.tolist() == [200]
    simulate = trust.simulate

    def late(system, requests, seed, engine, **options):
        run = simulate(system, requests, seed, engine, **options)
        if engine == "simpy":
            run.requests.loc[5, "replied_ms"] += 1e-9
        return run

    monkeypatch.setattr(trust, "simulate", late)
    assert trust.engines(shop, 200, 1).same.tolist() == [199]


def test_every_source_is_among_the_references():
    references = (ROOT / "book" / "references.bib").read_text("utf-8")
    for each in ROWS:
        for word in re.findall(r"\b[A-Z][a-z]{2,}\b", each.source):
            assert word in references, (each.what, word)
