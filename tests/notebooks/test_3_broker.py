"""Chapter 3's notebook: other parameters move its numbers the right way."""

import golden
import pytest


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    book = golden.values(golden.golden("3-broker"))
    found = golden.run(
        "3-broker",
        tmp_path,
        ack_ms=5.0,
        distance_ms=100.0,
        burst_factor=4.0,
        consumers=10,
        replications=3,
        requests=5000,
    )
    other = golden.values(found)
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
    found = golden.run(
        "3-broker",
        tmp_path,
        consume_ms=40.0,
        burst_factor=2.0,
        burst_s=20.0,
        replications=2,
        requests=3000,
    )
    assert found["claims"]["async-own-pace"]["holds"] == "does not hold here"
    assert found["values"]["drain-fluid"]["text"].startswith("∞")
