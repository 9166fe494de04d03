"""Chapter 1's notebook: other parameters move its numbers the right way."""

import golden


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
