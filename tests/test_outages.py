"""Chapter 6: what needs what, years of outages, requests in an outage, retry storms."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import System, outages, simulate, stages
from models.outages import Faults

WHOLE = Faults(
    link_per_year=2,
    broker_per_year=1,
    beta=0.1,
    cv=1.5,
    shared=(("identity and names", 0.25, 4.0),),
)


@pytest.fixture(scope="module")
def designs():
    company = stages.asynchronous(outages.company())
    apart = outages.apart(company)
    calls = stages.separated(stages.synchronous(company), allow_calls=True, rtt_ms=0.5)
    return {
        "together": company,
        "calls": calls,
        "one broker": apart,
        "own brokers": outages.own_brokers(apart),
    }


# Designs


def test_the_company_carries_its_load(designs):
    for name in ("together", "one broker", "own brokers"):
        assert designs[name].overloads() == ()
    company = designs["together"]
    assert {company.services[flow.root.service].team for flow in company.flows.values()} == {
        service.team for service in company.services.values()
    }


def test_what_the_user_waits_for_is_not_torn_apart(designs):
    for name in ("one broker", "own brokers"):
        system = designs[name]
        for entry in system.steps():
            if entry.mode == "call":
                ((here, there),) = system.crossings(entry)
                assert here == there, entry.path
        assert len(system.infrastructures) > 2


def test_own_brokers_stand_beside_who_publishes(designs):
    system = designs["own brokers"]
    publishers = set()
    for entry in system.steps():
        if entry.mode == "message":
            (here, broker), _ = system.crossings(entry)
            assert here == broker
            publishers.add(here)
    assert {broker.infrastructure for broker in system.brokers.values()} == publishers


def test_a_system_has_the_designs_that_it_allows(designs):
    found, why = outages.designs(designs["together"])
    assert list(found) == ["together", "calls", "one", "own"] and why == ""
    assert found["together"] == designs["together"] and found["one"] == designs["one broker"]
    assert found["own"] == designs["own brokers"]
    calls_only = stages.synchronous(System.load("shop"))
    without = calls_only.to_dict()
    for step in without["flows"]["place_order"]["root"]["then"]:
        step.pop("deferrable", None)
    found, why = outages.designs(System.model_validate(without))
    assert list(found) == ["together", "calls"] and "nothing can move" in why
    unowned = System.load("shop").with_("services.price.team", None)
    found, why = outages.designs(unowned)
    assert list(found) == ["together"] and "services.price.team: nothing was found" in why


def test_a_system_that_is_apart_already_stays_as_its_file_has_it(designs):
    apart = designs["one broker"]
    found, why = outages.designs(apart)
    assert why == "" and found["one"] is apart
    assert found["calls"].services == apart.services
    assert len(found["together"].infrastructures) == 1
    ((here, there),) = found["calls"].crossings(found["calls"].steps("statement")[1])
    # nothing links them but the way through the broker
    assert found["calls"].round_trip(here, there)[0] == 40.0


def test_one_team_cannot_part_from_itself():
    shop = stages.asynchronous(System.load("shop"))
    own = shop.with_({f"services.{name}.team": "we" for name in shop.services})
    with pytest.raises(stages.StageError, match="one team owns all services"):
        outages.apart(own)
    assert list(outages.designs(own)[0]) == ["together"]


def test_the_fragile_service_takes_messages_and_is_narrow(designs):
    assert outages.fragile(designs["together"]) == "loyalty"
    assert outages.fragile(stages.asynchronous(System.load("online-boutique"))) == "email"
    assert outages.fragile(stages.synchronous(System.load("shop"))) == "price"
    (tiny,) = outages.regions(1).services
    assert outages.fragile(outages.regions(1)) == tiny


@pytest.mark.parametrize(("per_s", "seconds"), [(400, 30.0), (1, 2000.0), (100_000, 0.4)])
def test_a_window_sees_enough_requests_and_not_too_many(per_s, seconds):
    system = outages.regions(1)
    (flow,) = system.flows
    assert outages.window_s(system.with_(f"flows.{flow}.rate_per_s", per_s)) == seconds


# Who needs what, against the engine


def parts(system):
    yield from ({"services": [name]} for name in system.services)
    yield from ({"infrastructures": [name]} for name in system.infrastructures)
    yield from ({"brokers": [name]} for name in system.brokers)
    yield from ({"links": [list(link.ends)]} for link in system.network.between)


@pytest.mark.parametrize("name", ["together", "calls", "one broker", "own brokers"])
def test_what_is_down_stops_and_delays_what_it_should(designs, name):
    """Request by request: all answers fail with it, or all completions come after it, or neither."""
    system, for_ms = designs[name], 5000
    for part in parts(system):
        outage = {"name": "one", **part, "up": {"mean_ms": 1}, "down": {"mean_ms": 1}}
        stops, delays = outages.hurts(system.with_("outages", [outage]))
        window = {"name": "one", **part, "from_ms": 0, "for_ms": for_ms}
        rows = simulate(system.with_("outages", [window]), 1200, 1, warmup=0.0).requests
        rows = rows[rows.arrived_ms < 0.8 * for_ms]
        for flow, stopped, delayed in zip(system.flows, stops[:, 0], delays[:, 0], strict=True):
            mine = rows[rows.flow == flow]
            assert ((mine.answer == "ok").mean() == 0) == stopped, (part, flow)
            if not stopped:  # a business failure ends a flow before it needs what is down
                late = mine.completed_ms[mine.outcome == "ok"] >= for_ms
                assert late.mean() == (1 if delayed else 0), (part, flow)


# Faults


def test_nothing_that_no_flow_uses_goes_down(designs):
    causes = outages.reach(WHOLE.on(designs["calls"])).cause
    assert "infrastructure shop" not in set(causes) and not causes.str.startswith("broker").any()


def test_beta_moves_failures_and_adds_none(designs):
    system = designs["own brokers"]
    places = len(system.infrastructures)
    for beta in (0.0, 0.3, 1.0):
        found = Faults(beta=beta).on(system)
        per_place = dict.fromkeys(system.infrastructures, 0.0)
        for outage in found.outages:
            for place in outage.infrastructures:
                per_place[place] += outages.YEAR_HOURS / outages._hours(outage)[0]
        assert all(rate == pytest.approx(2.0) for rate in per_place.values())
        assert len(found.outages) == places * (beta < 1) + (beta > 0)


@given(
    waves=st.integers(1, 6),
    wave_hours=st.floats(0, 100),
    detect_hours=st.floats(0.1, 100),
)
def test_waves_stop_changes_and_lose_none(waves, wave_hours, detect_hours):
    places = [f"place {number}" for number in range(6)]
    reached = list(outages.wave_reach(places, {}, waves, wave_hours, detect_hours))
    assert sum(share for _, share in reached) == pytest.approx(1)
    if 6 % waves == 0:
        mean = sum(share * len(where) / 6 for where, share in reached)
        expected = outages.rollout_reach(waves, wave_hours, detect_hours)
        assert mean == pytest.approx(expected)


def test_the_first_wave_goes_where_the_fewest_requests_are(designs):
    system = designs["own brokers"]
    at = outages.requests_at(system)
    first, _ = next(outages.wave_reach(list(system.infrastructures), at, 4, 24.0, 1.0))
    assert first == [min(at, key=at.get)]


# Years


def test_lengths_fill_the_span_and_outages_are_counted_once(designs):
    played = outages.years(WHOLE.on(designs["one broker"]), 50, 3)
    assert played.lengths_hours.sum() + played.outages.from_hours[0] == pytest.approx(
        50 * outages.YEAR_HOURS
    )
    assert (played.outages.to_hours <= 50 * outages.YEAR_HOURS).all()
    incidents = played.incidents()
    assert len(incidents) == len(played.begins) <= len(played.outages)
    union, end = 0.0, 0.0
    for row in played.outages.itertuples():
        union += max(0.0, row.to_hours - max(row.from_hours, end))
        end = max(end, row.to_hours)
    assert incidents.hours.sum() == pytest.approx(union)


def test_a_cause_keeps_its_times_whatever_else_goes_down(designs):
    """Common random numbers by construction: by name, in another system and with other causes."""

    def times(faults, system):
        rows = outages.years(faults.on(system), 30, 7).outages
        return rows[rows.cause == "infrastructure shop"].from_hours.to_numpy()

    alone = times(Faults(), designs["together"])
    assert np.array_equal(alone, times(Faults(link_per_year=3), designs["one broker"]))
    other = outages.years(Faults().on(designs["together"]), 30, 8).outages.from_hours
    assert not np.array_equal(alone, other)


def test_a_longer_span_begins_like_a_shorter_one(designs):
    system = WHOLE.on(designs["together"])
    short, long = (outages.years(system, span, 5).outages for span in (20, 40))
    same = short[short.to_hours < 20 * outages.YEAR_HOURS]
    pd.testing.assert_frame_equal(same, long.head(len(same)), check_exact=True)


def test_enough_crews_are_as_good_as_no_limit(designs):
    system = Faults(infrastructure_per_year=50).on(designs["one broker"])
    free = outages.years(system, 30, 2)
    many = outages.years(system, 30, 2, crews=len(system.outages))
    pd.testing.assert_frame_equal(free.outages, many.outages)
    one = outages.years(system, 30, 2, crews=1)
    ends = one.outages.to_hours.to_numpy()
    assert (np.diff(ends) >= 0).all()  # first come, first served
    assert sum(one.lost_hours().values()) > sum(free.lost_hours().values())


def test_no_outages_lose_nothing(designs):
    system = designs["together"].with_("outages", Faults(infrastructure_per_year=0).on(
        designs["together"]).to_dict()["outages"])  # fmt: skip
    assert system.outages == ()
    assert set(outages.availability(system).values()) == {1.0}
    played = outages.years(system, 10, 1)
    assert set(played.lost_hours().values()) == {0.0} and len(played.incidents()) == 0
    assert len(outages.reach(system)) == 0


@pytest.mark.parametrize(
    "down",
    [
        {"mean_ms": 1, "distribution": "deterministic"},
        {"mean_ms": 1},
        {"mean_ms": 1, "distribution": "erlang", "phases": 3},
        {"mean_ms": 1, "distribution": "hyperexponential", "cv": 2},
        {"mean_ms": 1, "distribution": "lognormal", "cv": 1.5},
        {"distribution": "uniform", "low_ms": 1, "high_ms": 3},
        {"distribution": "pareto", "low_ms": 1, "high_ms": 50, "shape": 1.5},
        {"distribution": "empirical", "values_ms": [1, 2, 6]},
    ],
    ids=lambda down: down.get("distribution", "exponential"),
)
def test_every_distribution_has_its_moments(down):
    from models.system import Distribution

    distribution = Distribution.model_validate(down)
    times = outages.HOUR_MS * outages._times(distribution, np.random.default_rng(1), 200_000)
    spread = distribution.variance_ms2**0.5
    assert abs(times.mean() - distribution.mean_ms) <= 3 * spread / 200_000**0.5 + 1e-12
    assert times.std() == pytest.approx(spread, rel=0.05, abs=1e-12)


# The order of things


def test_more_shared_reaches_farther(designs):
    system = designs["own brokers"]
    weights = []
    for beta in (0.0, 0.1, 0.5, 1.0):
        rows = outages.reach(Faults(beta=beta).on(system))
        weights.append((rows.flows_stopped * rows.per_year).sum() / rows.per_year.sum())
    assert weights == sorted(weights) and weights[-1] == 1


def test_only_what_is_shared_escapes_where_everybody_has_a_broker(designs):
    lonely = Faults(link_per_year=2, broker_per_year=1)
    assert outages.reach(lonely.on(designs["own brokers"])).confined.all()
    assert not outages.reach(lonely.on(designs["one broker"])).confined.all()
    assert not outages.reach(lonely.on(designs["calls"])).confined.all()


def test_separation_with_calls_costs_availability(designs):
    together = outages.availability(Faults().on(designs["together"]))
    calls = outages.availability(Faults().on(designs["calls"]))
    own = outages.availability(Faults().on(designs["own brokers"]))
    assert calls["place_order"] < together["place_order"] == pytest.approx(own["place_order"])


# Requests


def test_only_what_the_outage_changed_counts_as_hurt():
    base = stages.synchronous(outages.company())
    down = {"services": ["loyalty"], "from_ms": 2000, "for_ms": 2000}
    runs = [
        simulate(system, 4000, 1, warmup=0.0).requests
        for system in (base, base.with_("outages", [down]))
    ]
    hit = outages.hurt(runs[1], runs[0], 1e6)
    rows = runs[1].assign(hurt=hit)
    assert not outages.hurt(runs[0], runs[0], 1000).any()
    assert not rows.hurt[rows.flow.isin(["browse", "my_orders"])].any()
    inside = rows[(rows.flow == "place_order") & rows.arrived_ms.between(2000, 3000)]
    well = runs[0].answer[inside.index] == "ok"
    assert (inside.hurt == well).all()
    with pytest.raises(ValueError, match="expected a run of the same seed"):
        outages.hurt(simulate(base, 4000, 2, warmup=0.0).requests, runs[0], 1000)


def test_a_storm_needs_load_tries_and_a_trigger():
    storm = outages.Storm(base_per_s=8.0)
    assert storm.vulnerable_per_s == pytest.approx(20 / 3)

    def recovered(**changes):
        return outages.Storm(**{"base_per_s": 8.0, **changes}).recovers(4, 1, 60.0)

    assert recovered() == 0
    assert recovered(spike_s=0.1) == 4  # too short to fill the queue
    assert recovered(tries=1) == 4
    assert recovered(budget=0.1) == 4
    assert recovered(queue_limit=10) == 4  # nobody waits longer than the callers do


def test_share_of_runs_with_its_interval():
    assert outages.share_and_interval(0, 20) == (0, 0, pytest.approx(1 - 0.025 ** (1 / 20)))
    share, low, high = outages.share_and_interval(10, 20)
    assert share == 0.5 and low == pytest.approx(1 - high)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Faults(beta=1.2), "beta: 1.2 was given; expected a share from 0 to 1"),
        (lambda: Faults(link_hours=0), "link_hours: 0 was given; expected a number of hours"),
        (lambda: Faults(broker_per_year=-1), "broker_per_year: -1 was given"),
        (lambda: Faults(waves=0), "waves: 0 was given; expected a whole number of at least 1"),
        (lambda: Faults(cv=0), "cv: 0 was given"),
        (lambda: Faults(shared=(("dns", -1, 2),)), "shared: dns: "),
        (lambda: outages.years(outages.regions(2), 0, 1), "span: 0 was given"),
        (lambda: outages.years(outages.regions(2), 1, 1, crews=0), "crews: 0 was given"),
        (lambda: outages.shared_workers(3, 4, 10, 1), "shard: 4 was given; expected"),
        (
            lambda: outages.reach(
                System.load("shop").with_(
                    "outages", [{"services": ["stock"], "from_ms": 0, "for_ms": 1}]
                )
            ),
            "'outage' has from_ms and for_ms; expected up and down",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
