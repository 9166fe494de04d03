"""What a system file says about the claims: each verdict turns where it should."""

import json

import pytest
from click.testing import CliRunner

from models import System, cli, publish, verdicts

SHOP = System.load("shop")


def changed(**services):
    data = SHOP.to_dict()
    for name, parts in services.items():
        data["services"][name] |= parts
    return System.model_validate(data)


def test_every_claim_is_spoken_of_in_the_order_of_the_chapters():
    found = verdicts.verdicts(SHOP, 2, 2_000)
    assert {each.id for each in found} == set(publish.claims())
    chapters = [publish.claims()[each.id]["chapter"] for each in found]
    assert chapters == sorted(chapters)
    for each in found:
        assert each.evidence and (each.holds is None) == (each.id in verdicts.BEYOND)
        assert each.holds is None or (each.holds in publish.VERDICTS and each.edge)


def test_distance_is_fatal_where_workers_are_few():
    many = {name: {"workers": 500} for name in SHOP.services}
    assert verdicts.latency(SHOP).holds == "holds"
    assert verdicts.latency(changed(**many)).holds == "holds only if"


def test_a_consumer_without_capacity_has_no_pace_of_its_own():
    assert verdicts.pace(SHOP).holds == "holds only if"
    slow = SHOP.with_("flows.place_order.rate_per_s", 400)
    assert verdicts.pace(slow).holds == "does not hold here"
    load = 100 * 0.012 / 2  # shipping: 100/s, 12 ms, 2 workers, and what it sends at once
    _, measured = verdicts.fullest(verdicts.stages.at(SHOP, "asynchronous"), {"shipping"})
    assert measured == pytest.approx(load, rel=0.1)


def test_messages_take_services_out_of_the_way_of_the_answer():
    calls, messages = (
        verdicts.lost(verdicts.stages.at(SHOP, stage), "service")
        for stage in ("synchronous", "asynchronous")
    )
    assert calls["loyalty"] == 0.5 and messages["loyalty"] == 0
    assert calls["payment"] == messages["payment"] == 0.5


def test_separation_moves_what_is_reached_by_messages_alone():
    apart = verdicts.stages.at(SHOP, "separated")
    moved = sum(apart.services[name].infrastructure != "shop" for name in apart.services)
    assert verdicts.permits(SHOP).evidence.startswith(f"{moved} of {len(SHOP.services)} ")
    before, after = (
        verdicts.lost(verdicts.stages.at(SHOP, stage), "infrastructure")
        for stage in ("asynchronous", "separated")
    )
    assert before == {"shop": 1.0}
    assert after["shop"] == 1.0 and set(after.values()) == {0.0, 1.0}


def test_a_system_of_reads_says_why_it_cannot_be_asked():
    data = SHOP.to_dict()
    del data["flows"]["place_order"]
    found = {each.id: each for each in verdicts.verdicts(System.model_validate(data), 2, 2_000)}
    asked = found["async-permits-separation"]
    assert asked.holds is None and "no step is marked deferrable" in asked.evidence


def test_the_command_prints_all_of_them_and_json():
    plain, machine = (
        CliRunner().invoke(cli.main, ["claims", "shop", *options]) for options in ([], ["--json"])
    )
    assert plain.exit_code == machine.exit_code == 0
    rows = json.loads(machine.stdout)["claims"]
    assert len(rows) == len(publish.claims())
    for row in rows:
        assert f"{row['id']}: {row['verdict'] or 'no verdict'}" in plain.stdout
    wrong = CliRunner().invoke(cli.main, ["claims", "shpo"])
    assert wrong.exit_code == 2 and "shop" in wrong.stderr
