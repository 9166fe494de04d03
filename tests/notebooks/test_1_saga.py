"""Chapter 1's notebook: other parameters move its numbers the right way."""

import golden
import pytest


def test_other_parameters_move_the_right_way(tmp_path):
    book = golden.golden("1-saga")["values"]
    other = golden.run(
        "1-saga",
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


def test_a_system_of_ones_own_brings_its_own_saga(tmp_path):
    found = golden.run(
        "1-saga", tmp_path, system="online-boutique", workers=3, requests=1500, replications=2
    )
    own = golden.values(found)
    assert (own["flow"], own["coordinator"], own["rate"]) == ("checkout", "checkout", 5)
    table = found["tables"]["participants"]["table"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["participant"] for row in rows] == ["charge card", "ship order"]
    assert [row["work (ms)"] for row in rows] == [20, 5]
    assert {row["workers"] for row in rows} == {"3"}  # set by hand, for all of them
    assert own["commit-probability"] == pytest.approx(0.98**2)  # assumed, the file says nothing
    held_ms = 5 + 20.5 + 5.5  # checkout itself, and both with their round trips
    assert own["fairy-tale-capacity-formula"] == pytest.approx(min(2000 / held_ms, 150))
    assert own["own"] and own["has-saga"] and not own["overloaded"]


def test_a_system_that_undoes_nothing_keeps_the_books_saga(tmp_path):
    own = golden.values(
        golden.run("1-saga", tmp_path, system="social-network", requests=1000, replications=2)
    )
    book = golden.values(golden.golden("1-saga"))
    assert not own["own"] and not own["has-saga"]
    for key in ("participants", "rate", "undone-parallel", "fairy-tale-capacity-formula"):
        assert own[key] == book[key], key
