"""Chapter 2's notebook: its sliders are the model's, other parameters move it the right way."""

import json
import re
from dataclasses import replace

import golden
import odd
import pytest
from papermill.exceptions import PapermillExecutionError

from models import calls, publish

NAME = "2-calls"
QUICK = {"replications": 3, "requests": 4000}


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"r": 0, "d": 1, "c": 1, "a": 50},
        {"r": 20.5, "d": 2, "c": 16, "a": 250},
        {"r": 50, "d": 5, "c": 40, "a": 130},
        {"r": 33, "d": 3, "c": 64, "a": 400},
    ],
)
def test_the_sliders_say_what_the_model_says(as_in_the_book, setting):
    chart = publish.outputs(as_in_the_book(NAME))["chart", "floor-and-wall"][publish.MIME]
    in_full = json.dumps(chart["spec"]).replace("',.1f'", "'.10f'").replace("',.0f'", "'.10f'")
    spec = json.loads(in_full)
    for slider in spec["params"]:
        slider["value"] = setting.get(slider["name"], slider["value"])
    r, d, c, a = (slider["value"] for slider in spec["params"])
    chain = calls.Chain(rate_per_s=a, rtt_ms=r, depth=d, workers=c)
    shown = list(golden.texts(spec))
    response = next(text for text in shown if re.fullmatch(r"[\d.]+ ms", text))
    assert float(response.split()[0]) == pytest.approx(chain.response_ms, rel=1e-9)
    said = next(text for text in shown if text.startswith("capacity"))
    capacity, held = re.match(rf"capacity ([\d.]+)/s\|at {a:g}/s: ([\d.]+) of {c}", said).groups()
    assert float(capacity) == pytest.approx(chain.capacity_per_s, rel=1e-9)
    assert float(held) == pytest.approx(chain.busy, rel=1e-9)


def test_the_sliders_know_when_the_queue_is_endless(as_in_the_book):
    chart = publish.outputs(as_in_the_book(NAME))["chart", "floor-and-wall"][publish.MIME]
    for slider in chart["spec"]["params"]:
        if slider["name"] == "r":
            slider["value"] = 100
    shown = list(golden.texts(chart["spec"]))
    assert any("an endless queue" in text for text in shown)
    assert not any(re.fullmatch(r"[\d.,]+ ms", text) for text in shown)


def test_the_rows_under_the_sliders_are_the_models(as_in_the_book):
    table = publish.read(as_in_the_book(NAME))["charts"]["floor-and-wall"]["tables"][0]
    for row in table["rows"]:
        record = dict(zip(table["columns"], row, strict=True))
        at = replace(calls.Chain(rtt_ms=12.0), rate_per_s=record["rate_per_s"])
        assert record["response_ms"] == pytest.approx(at.response_ms)


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    book = golden.values(golden.golden(NAME))
    found = golden.run(
        NAME,
        tmp_path,
        depth=4,
        workers=12,
        far_ms=60.0,
        deep=7,
        fan_out=6,
        instances=8,
        instance_workers=2,
        start_s=60.0,
        **QUICK,
    )
    other = golden.values(found)
    assert other["far-p99"] > book["far-p99"]
    assert other["added-network"] == pytest.approx(4 * 59.9)
    assert other["near-capacity"] > book["near-capacity"]  # more workers
    assert other["far-capacity"] < book["far-capacity"]  # but farther, and deeper
    assert other["needed-far"] > book["needed-far"]
    assert other["limit-deep"] > book["limit-deep"]  # one call less
    assert other["limit-short"] > book["limit-short"]  # more workers
    lost = {
        who: other[f"{who}-capacity"] / book[f"{who}-capacity"] * 8 / 12 for who in ("turn", "once")
    }
    assert lost["turn"] < 0.8 < lost["once"]  # two more calls, in turn or at once
    assert other["call-p99-during"] < book["call-p99-during"]  # an eighth is away
    assert other["alone-calls"] == 2 * book["alone-calls"]
    assert other["in-hand"] == pytest.approx(book["in-hand"], rel=1e-3)
    assert other["message-answer"] == 0


def test_verdicts_change_where_they_should(tmp_path):
    here = golden.run(
        NAME, tmp_path, far_ms=5.0, deep=3, depth=2, service_per_s=80.0, tolerated=3.0, **QUICK
    )
    holds = {id: claim["holds"] for id, claim in here["claims"].items()}
    assert holds == {
        "sync-latency-fatal": "does not hold here",  # near enough, and not deep
        "sync-forces-closeness": "does not hold here",  # three calls reach a near region
        "sync-deploys-independently": "holds",  # hardly any calls in hand
    }
    there = golden.run(
        NAME, tmp_path, far_ms=120.0, target_ms=40.0, short=2, queue_limit=0, **QUICK
    )
    holds = {id: claim["holds"] for id, claim in there["claims"].items()}
    assert holds == {
        "sync-latency-fatal": "holds",
        "sync-forces-closeness": "holds",
        "sync-deploys-independently": "does not hold here",  # nobody may wait
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"work_ms": -5.0}, "work_ms: -5.0 was found; expected a number of at least 0.001"),
        ({"near_ms": 50.0}, "near_ms: 50.0 was given; expected less than far_ms, 33.0"),
        ({"deep": 1}, "short: 1 was given; expected less than deep, 1"),
        ({"instances": 1}, "instances: 1 was found; expected a whole number of at least 2"),
        ({"service_per_s": 800.0}, "service_per_s: 800.0 .* less than capacity_per_s, 800.0"),
    ],
)
def test_impossible_values_raise(tmp_path, wrong, message):
    with pytest.raises(PapermillExecutionError, match=message):
        golden.execute(NAME, tmp_path, **wrong)


def test_a_system_of_ones_own_brings_its_own_figures(tmp_path):
    found = golden.run(
        NAME, tmp_path, system="online-boutique", workers=20, replications=2, requests=2000
    )
    own = golden.values(found)
    assert (own["flow"], own["service"]) == ("product", "recommendation")
    assert (own["rate"], own["depth"], own["workers"]) == (65, 7, 20)  # the last one set by hand
    work_ms = 20 / 8
    held_ms = 20 + 7 * 33
    assert own["far-capacity-formula"] == pytest.approx(20_000 / held_ms)
    assert own["wall"] == pytest.approx((20_000 / 65 - 8 * work_ms) / 7)
    assert (own["instances"], own["instance-workers"], own["service-rate"]) == (2, 1, 80)
    rows = found["tables"]["apart"]["table"]["rows"]
    assert {row[0] for row in rows} <= {"home", "product", "view_cart", "add_to_cart", "checkout"}
    assert own["apart-first"] == rows[0][0]
    assert own["later"] == 2  # emptying the cart, the email


def test_what_a_system_does_not_have_is_said(tmp_path):
    file = tmp_path / "one.yml"
    file.write_text(odd.system("one service").to_yaml(), "utf-8")
    found = golden.run(NAME, tmp_path, system=str(file), replications=2, requests=2000)
    assert {claim["holds"] for claim in found["claims"].values()} == {"not decided"}
    for part in (found["charts"]["apart"], found["tables"]["apart"]):
        assert part["absent"].startswith("One service: nobody calls anybody")
    assert golden.values(found)["rate"] == golden.values(golden.golden(NAME))["rate"]
