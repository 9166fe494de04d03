"""What a system file says about the claims: each verdict turns where it should."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from models import System, cli, ownership, publish, verdicts
from models.verdicts import Case

SHOP = System.load("shop")
GOLDEN = Path(__file__).parent / "golden"
SMALL = {"runs": 3, "requests": 4_000}


def case(system):
    return Case(system, **SMALL)


def changed(**services):
    data = SHOP.to_dict()
    for name, parts in services.items():
        data["services"][name] |= parts
    return System.model_validate(data)


def made(flows, team="a", **more):
    """A system of the services that its flows name, all on one infrastructure."""
    names = set()

    def walk(step):
        names.add(step["service"])
        for below in step.get("then", []):
            walk(below)

    for flow in flows.values():
        walk(flow["root"])
    owner = {"team": team} if team else {}
    services = {name: {"infrastructure": "here", "workers": 4} | owner for name in sorted(names)}
    data = {"name": "Made", "infrastructures": {"here": {}}, "services": services, "flows": flows}
    return System.model_validate(data | more)


ALONE = made({"ask": {"rate_per_s": 5, "root": {"service": "a", "work": {"mean_ms": 5}}}})
CHAIN = {"service": "a", "work": {"mean_ms": 5}, "then": [
    {"service": "b", "work": {"mean_ms": 5}, "deferrable": True}]}  # fmt: skip


@pytest.fixture(scope="module")
def shop():
    return {each.id: each for each in verdicts.verdicts(SHOP, 4, 8_000)}


def test_every_claim_is_spoken_of_in_the_order_of_the_chapters(shop):
    assert set(shop) == set(publish.claims()) == set(verdicts.DECIDED)
    chapters = [publish.claims()[id]["chapter"] for id in shop]
    assert chapters == sorted(chapters)
    for each in shop.values():
        assert each.evidence and (each.holds is None) == (each.id == "separate-hybrid")  # one place
        assert each.holds is None or (each.holds in publish.VERDICTS and each.edge)


def test_the_book_and_the_command_agree_on_the_shop(shop):
    """Where both speak: the book looks closer, and at more, but comes to the same."""
    book = {}
    for file in GOLDEN.glob("*.json"):
        book |= json.loads(file.read_text("utf-8"))["claims"]
    assert set(book) == set(shop)
    assert {id: each.holds for id, each in shop.items() if each.holds} == {
        id: book[id]["holds"] for id, each in shop.items() if each.holds
    }


def test_distance_is_fatal_where_neither_workers_nor_messages_help():
    assert verdicts.latency(case(SHOP))[0] == "holds only if"
    quick = made({"f": {"rate_per_s": 5, "root": CHAIN}})
    assert verdicts.latency(case(quick))[0] == "does not hold here"  # 33 ms more, of 500
    step = {"service": "end", "work": {"mean_ms": 1}}
    for number in range(20):
        step = {"service": f"s{number}", "work": {"mean_ms": 1}, "then": [step]}
    deep = made({"f": {"rate_per_s": 1, "root": step}})
    assert verdicts.latency(case(deep))[0] == "holds"  # 20 x 33 ms, whoever works


def test_closeness_is_forced_by_depth():
    quick = made({"f": {"rate_per_s": 5, "root": CHAIN}})
    assert verdicts.closeness(case(quick))[0] == "does not hold here"
    assert verdicts.closeness(case(SHOP))[0] == "holds only if"


def test_what_has_room_can_be_restarted():
    verdict, evidence, _ = verdicts.deploys(case(SHOP))
    assert verdict == "holds only if" and evidence.startswith("While stock")
    assert verdicts.deploys(case(made({"f": {"rate_per_s": 5, "root": CHAIN}})))[0] == "holds"
    full = changed(stock={"workers": 2, "queue_limit": 0})
    assert verdicts.deploys(case(full))[0] == "does not hold here"


def test_a_consumer_without_capacity_has_no_pace_of_its_own():
    assert verdicts.pace(case(SHOP))[0] == "holds only if"
    slow = SHOP.with_("flows.place_order.rate_per_s", 400)
    assert verdicts.pace(case(slow))[0] == "does not hold here"
    load = 100 * 0.012 / 2  # shipping: 100/s, 12 ms, 2 workers, and what it sends at once
    _, measured = verdicts.fullest(verdicts.stages.at(SHOP, "asynchronous"), {"shipping"})
    assert measured == pytest.approx(load, rel=0.1)


def test_another_division_must_hold_what_comes_while_it_is_closed():
    busy = SHOP.with_("flows.place_order.rate_per_s", 120)
    assert verdicts.division(case(SHOP))[0] == "holds only if"  # 100/s for 12 h, 2 kB each: 8.64 GB
    assert verdicts.division(case(busy))[0] == "does not hold here"


def joined(called=1.0, told=1.0, down_hours=6.2, **core):
    """A front in a cloud and a core on the premises: reads call over the line, writes do not."""
    hour_ms = 3_600_000.0
    work = {"mean_ms": 100}
    data = {
        "name": "Joined",
        "infrastructures": {"cloud": {}, "premises": {}},
        "network": {"between": [{"ends": ["cloud", "premises"], "rtt_ms": 5}]},
        "brokers": {"events": {"infrastructure": "cloud", "ack": {"mean_ms": 1}}},
        "services": {
            "front": {"infrastructure": "cloud", "team": "web"},
            "core": {"infrastructure": "premises", "team": "core", "workers": 1} | core,
        },
        "flows": {},
        "outages": [{
            "links": [["premises", "cloud"]],
            "up": {"mean_ms": hour_ms * 8760 / 2}, "down": {"mean_ms": hour_ms * down_hours},
        }],
    }  # fmt: skip
    for flow, rate, via in (("read", called, {}), ("write", told, {"via": "events"})):
        step = {"service": "core", "work": work} | via
        if rate:
            data["flows"][flow] = {"rate_per_s": rate, "root": {"service": "front", "then": [step]}}
    return System.model_validate(data)


def test_what_is_called_over_a_line_stops_with_it_and_what_is_told_waits():
    verdict, evidence, edge = verdicts.hybrid(case(joined()))
    lost = 8760 * (1 - ownership.Line(per_year=2, hours=6.2).availability())
    assert verdict == "holds only if" and "outages as in the file" in evidence
    assert f"read is stopped for {publish.number(lost)} h" in evidence
    assert "over a line: 2; stopped for more than 2 h a year: 1 " in evidence
    twice = 8760 * (1 - ownership.Line(per_year=2, hours=6.2).availability(2))
    assert f"{publish.number(twice)} h" in edge
    assert verdicts.hybrid(case(joined(called=0)))[0] == "holds"
    assert verdicts.hybrid(case(joined(told=0)))[0] == "does not hold here"
    assert verdicts.hybrid(case(joined(down_hours=0.5)))[0] == "holds"  # reads stop for an hour


def test_messages_over_a_line_are_too_late_where_it_is_down_for_long_or_the_core_is_full():
    late = ownership.Line(per_year=2, hours=100.0).late_share(8.0, 0.1)
    assert late > 0.01
    assert verdicts.hybrid(case(joined(called=0, down_hours=100.0)))[0] == "does not hold here"
    assert verdicts.hybrid(case(joined(called=0, told=11)))[0] == "does not hold here"  # load 1.1


def test_a_line_without_outages_in_the_file_has_assumed_ones_and_its_broker_may_be_beyond_it():
    calm = joined().to_dict()
    del calm["outages"]
    assert "some outage rates assumed" in verdicts.hybrid(case(System.model_validate(calm)))[1]
    far = joined(called=0).with_("brokers.events.infrastructure", "premises")
    assert verdicts.hybrid(case(far))[0] == "does not hold here"  # who writes needs the line


def test_messages_take_services_out_of_the_way_of_the_answer():
    calls, messages = (
        verdicts.lost(verdicts.stages.at(SHOP, stage), "service")
        for stage in ("synchronous", "asynchronous")
    )
    assert calls["loyalty"] == 0.5 and messages["loyalty"] == 0
    assert calls["payment"] == messages["payment"] == 0.5
    assert verdicts.isolates(case(SHOP))[0] == "holds"


def test_separation_moves_what_is_reached_by_messages_alone():
    apart = verdicts.stages.at(SHOP, "separated")
    moved = sum(apart.services[name].infrastructure != "shop" for name in apart.services)
    evidence = verdicts.permits(case(SHOP))[1]
    assert evidence.startswith(f"{moved} of {len(SHOP.services)} ")
    verdict, evidence, _ = verdicts.contains(case(SHOP))
    assert verdict == "holds only if" and "%" in evidence


def test_an_owner_of_too_much_becomes_the_queue():
    assert verdicts.owners(case(SHOP))[0] == "holds"
    data = SHOP.to_dict()
    for number in range(30):
        data["services"][f"more{number}"] = {"infrastructure": "shop", "team": "payments"}
    assert verdicts.owners(case(System.model_validate(data)))[0] == "holds only if"


def test_the_policy_of_the_file_decides_on_breakers():
    good = {"timeout_ms": 200} | verdicts.mesh.GOOD
    data = SHOP.to_dict() | {"mesh": good}
    assert verdicts.breaks(Case(System.model_validate(data), runs=2))[0] == "holds"
    data["mesh"] = {"preset": "istio"}
    assert verdicts.breaks(Case(System.model_validate(data), runs=2))[0] == "holds only if"


def test_longer_work_is_longer_for_all_distributions():
    twice = ownership.longer(SHOP, {"payment"}, 2.0)
    for before, after in zip(SHOP.steps(), twice.steps(), strict=True):
        factor = 2.0 if before.step.service == "payment" else 1.0
        assert after.step.work.mean_ms == pytest.approx(factor * before.step.work.mean_ms)
        assert after.step.work.scv == pytest.approx(before.step.work.scv)


@pytest.mark.parametrize(
    ("system", "asked", "why"),
    [
        (ALONE, "sync-latency-fatal", "no service calls another"),
        (ALONE, "mesh-mtls", "nothing is to be encrypted"),
        (ALONE, "separate-critical", "ask needs every service"),
        (ALONE, "separate-hybrid", "no line joins two sides"),
        (ALONE, "soak-first", "no step is marked deferrable"),
        (ALONE, "owner-known", "fewer than two teams"),
        (made({"f": {"rate_per_s": 5, "root": CHAIN}}, team=None), "sos-governed", "expected the team"),
        (made({"f": {"rate_per_s": 5_000, "root": CHAIN}}), "async-tolerates-latency", "no end"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_says_why(system, asked, why):
    with pytest.raises((verdicts.Absent, verdicts.stages.StageError), match=why):
        verdicts.DECIDED[asked](case(system))


@pytest.mark.parametrize(
    "system",
    [
        ALONE,
        made({"f": {"rate_per_s": 0.001, "root": {"service": "a"}}}, team=None),
        made({"f": {"rate_per_s": 5, "root": CHAIN}}, team=None),
        made({"f": {"rate_per_s": 5_000, "root": CHAIN}, "rare": {"rate_per_s": 1e-4, "root": CHAIN}}),
        made({"f": {"arrivals": {"process": "timestamps", "times_ms": [1, 5, 30, 31, 90]},
                    "root": CHAIN}}),
        made({"f": {"rate_per_s": 20, "root": CHAIN}}, mesh={"preset": "linkerd"},
             outages=[{"services": ["b"], "from_ms": 10, "for_ms": 10}]),
    ],
)  # fmt: skip
def test_every_system_gets_a_verdict_or_a_reason(system):
    found = verdicts.verdicts(system, 2, 1_000)
    assert len(found) == len(publish.claims())
    for each in found:
        assert each.evidence and (
            each.holds is None or (each.holds in publish.VERDICTS and each.edge)
        )
        assert each.holds is not None or each.evidence.startswith("cannot be asked")


def test_the_command_prints_all_of_them_and_json(shop, monkeypatch):
    asked = []
    monkeypatch.setattr(
        verdicts, "verdicts", lambda system: asked.append(system) or list(shop.values())
    )
    plain, machine = (
        CliRunner().invoke(cli.main, ["claims", "shop", *options]) for options in ([], ["--json"])
    )
    assert plain.exit_code == machine.exit_code == 0 and asked == [SHOP, SHOP]
    rows = json.loads(machine.stdout)["claims"]
    assert len(rows) == len(publish.claims())
    for row in rows:
        assert f"{row['id']}: {row['verdict'] or 'no verdict'}" in plain.stdout
    wrong = CliRunner().invoke(cli.main, ["claims", "shpo"])
    assert wrong.exit_code == 2 and "shop" in wrong.stderr
