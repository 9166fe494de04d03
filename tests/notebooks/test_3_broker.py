"""Chapter 3's notebook: other parameters move its numbers the right way."""

import golden
import odd
import pytest

from models import System


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    book = golden.values(golden.golden("3-broker"))
    found = golden.run(
        "3-broker",
        tmp_path,
        ack_ms=5.0,
        distance_ms=100.0,
        burst_factor=4.0,
        consumers=10,
        buffer=4000,
        replication_ms=100.0,
        linger_ms=20.0,
        skew=0.5,
        standstill_s=20.0,
        rebalance_s=6.0,
        prefetch_work_ms=10.0,
        ledger_errors=0.3,
        max_deliveries=2,
        lag_ms=20.0,
        overload=2.0,
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
    assert other["capacity-call"] == pytest.approx(96_000 / (4 + 100 + 20))
    assert other["capacity-message"] == pytest.approx(96_000 / (4 + 0.5 + 5))
    assert other["in-order-far"] == pytest.approx(1000 / (100 + 20))
    assert other["in-order-near"] == book["in-order-near"] > 10 * book["in-order-far"]
    assert other["peak"] > book["peak"] * 1.2  # 300/s too many for as long, not 200/s
    assert other["largest-change"] == 0
    assert other["wait-pooled"] < book["wait-pooled"]

    assert other["full-fluid"] == 20 == 2 * book["full-fluid"]
    assert other["full"] == pytest.approx(20, abs=1) != pytest.approx(book["full"], abs=1)
    assert other["worst-blocked"] == pytest.approx(10, abs=1)
    assert other["calm"] == pytest.approx(book["calm"], rel=0.1)  # done once it is in the buffer
    assert other["lost-by-leader-formula"] == pytest.approx(20)
    assert other["lost-by-leader"] > 2 * book["lost-by-leader"]
    assert other["linger-batch"] > book["linger-batch"]
    assert other["linger-delay"] > book["linger-delay"]
    assert other["retention-lasts"] < book["retention-lasts"]
    assert other["lost-share"] == pytest.approx(50, abs=3) and book["lost-share"] < 20
    assert other["skewed-load"] < book["skewed-load"]
    assert other["still-peak"] == pytest.approx(4000, rel=0.1)
    assert other["still-drain"] < book["still-drain"]
    assert other["grown-eager"] == pytest.approx(1200, rel=0.1)  # 6 s of 200 a second
    assert other["grown-cooperative"] == pytest.approx(120, rel=0.25)  # of one consumer of ten
    assert book["grown-eager"] == pytest.approx(book["grown-eager-formula"], rel=0.1)
    assert (other["window"], other["window-double"]) == (11, 21)
    assert other["busy-at-one"] == pytest.approx(100 / 11, rel=0.01)
    assert other["memory-wait"] == pytest.approx(100, abs=0.01)
    assert other["duplicates"] == pytest.approx(0.3, abs=0.05)
    assert other["dead"] == pytest.approx(9, abs=1.5)
    assert (other["mirror-response"], book["mirror-response"]) == (0, 0)
    assert other["mirror-completion"] == pytest.approx(20.25, abs=2)


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
    for key in ("drain-fluid", "still-drain-fluid", "still-drain"):
        assert found["values"][key]["text"].startswith("∞")


def test_a_buffer_that_holds_the_outage_never_fills(tmp_path):
    found = golden.run(
        "3-broker",
        tmp_path,
        buffer=10_000,
        linger_ms=0.0,
        ledger_errors=0.0,
        replication_ms=0.0,
        replications=2,
        requests=2000,
        wait_requests=4000,
    )
    assert found["values"]["full"]["text"].startswith("∞")
    other = golden.values(found)
    assert other["worst-blocked-fluid"] == 0
    assert other["worst-blocked"] < 0.2  # the producer's own work, and nothing else
    assert (other["linger-batch"], other["linger-delay"]) == (1, 0)
    assert (other["duplicates"], other["dead"], other["lost-by-leader"]) == (0, 0, 0)


QUICK = {"replications": 2, "requests": 2000, "wait_requests": 4000}


def test_a_system_of_ones_own_brings_its_own_figures(tmp_path):
    found = golden.run("3-broker", tmp_path, system="online-boutique", burst_s=50.0, **QUICK)
    own = golden.values(found)
    checkout = System.load("online-boutique").flows["checkout"]
    assert (own["system"], own["flow"]) == ("Online Boutique", "checkout")
    assert (own["producer"], own["consumer"]) == ("checkout", "cart")
    assert own["rate"] == checkout.rate_per_s
    assert own["capacity"] == pytest.approx(1000 / 2.0)  # one worker, 2 ms to empty the cart
    assert own["burst"] == 50  # set by hand
    assert own["broker-down"] == 100  # what the system makes of it
    assert not own["piles-up"] and own["peak-fluid"] == 0
    assert found["claims"]["async-own-pace"]["holds"] == "holds"
    assert found["claims"]["async-tolerates-latency"]["holds"] == "holds only if"


def test_a_system_without_messages_leaves_the_claims_open(tmp_path):
    file = tmp_path / "calls.yml"
    file.write_text(odd.system("calls only").to_yaml(), "utf-8")
    found = golden.run("3-broker", tmp_path, system=str(file), **QUICK)
    assert {claim["holds"] for claim in found["claims"].values()} == {"not decided"}
    assert "Two services sends no messages" in found["claims"]["async-own-pace"]["evidence"]
    assert golden.values(found)["rate"] == golden.values(golden.golden("3-broker"))["rate"]
