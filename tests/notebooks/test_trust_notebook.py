"""Notebook trust: shorter runs make wider intervals, and the engines agree with another seed."""

import golden


def test_shorter_runs_say_less(tmp_path):
    book = golden.values(golden.golden("trust"))
    short = golden.values(golden.run("trust", tmp_path, requests=5_000, both=200, seed=7))
    assert short["widest"] > book["widest"]
    assert short["compared"] == short["identical"] < book["compared"]
    assert short["rows"] == book["rows"]
