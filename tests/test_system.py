"""Systems: distributions, arrivals, traversal, loads, and that saying them again changes nothing."""

import math

import pytest

from models import System, simulate
from models.engine import draws
from models.system import Arrivals, Distribution, InvalidSystem, bundled, parse

SHAPES = [
    {"distribution": "deterministic", "mean_ms": 3},
    {"mean_ms": 3},
    {"distribution": "erlang", "mean_ms": 3, "phases": 4},
    {"distribution": "erlang", "mean_ms": 3, "cv": 0.5},
    {"distribution": "hyperexponential", "mean_ms": 3, "cv": 2},
    {"distribution": "lognormal", "mean_ms": 3, "cv": 1.5},
    {"distribution": "uniform", "low_ms": 1, "high_ms": 4},
    {"distribution": "pareto", "low_ms": 1, "high_ms": 100, "shape": 1.5},
    {"distribution": "pareto", "low_ms": 1, "high_ms": 100, "shape": 1},
    {"distribution": "pareto", "low_ms": 1, "high_ms": 100, "shape": 2},
    {"distribution": "empirical", "values_ms": [1, 2, 2, 9]},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lowered_draws_have_the_mean_and_variance_that_are_said(shape):
    distribution = Distribution.model_validate(shape)
    kind, p0, p1, p2, values = distribution.lowered()
    p1 = len(values) if values else p1
    n = 20_000
    sample = [draws.sample(kind, p0, p1, p2, values, 7, 1, i, 0, draws.WORK) for i in range(n)]
    mean = sum(sample) / n
    squares = [(x - mean) ** 2 for x in sample]
    variance = sum(squares) / n
    error = math.sqrt(distribution.variance_ms2 / n)
    spread = math.sqrt(sum((s - variance) ** 2 for s in squares)) / n
    assert mean == pytest.approx(distribution.mean_ms, abs=4 * error + 1e-12)
    assert variance == pytest.approx(distribution.variance_ms2, abs=4 * spread + 1e-12)
    assert distribution.scv == pytest.approx(distribution.variance_ms2 / distribution.mean_ms**2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scaling_keeps_the_shape(shape):
    one = Distribution.model_validate(shape)
    two = one.scaled(2)
    assert two.mean_ms == pytest.approx(2 * one.mean_ms)
    assert two.scv == pytest.approx(one.scv)


def test_lowered_as_agreed():
    def lowered(**shape):
        return Distribution.model_validate(shape).lowered()

    assert lowered(mean_ms=3) == (1, 3.0, 0.0, 0.0, ())
    assert lowered(distribution="erlang", mean_ms=6, phases=3)[:3] == (2, 2.0, 3.0)
    kind, first, mean_1, mean_2, _ = lowered(distribution="hyperexponential", mean_ms=3, cv=2)
    assert kind == 3
    assert first * mean_1 == pytest.approx((1 - first) * mean_2)
    assert lowered(distribution="uniform", low_ms=1, high_ms=4)[:3] == (5, 1.0, 3.0)
    pareto = lowered(distribution="pareto", low_ms=1, high_ms=4, shape=2)
    assert pareto[:4] == (6, 1.0, 1 - 1 / 16, -0.5)
    assert lowered(distribution="empirical", values_ms=[2, 1]) == (7, 0, 0, 0, (2.0, 1.0))
    assert lowered(distribution="lognormal", mean_ms=0, cv=2)[:2] == (0, 0.0)


def test_renewal_gaps_have_the_mean_that_the_rate_asks_for():
    for shape in SHAPES:
        fields = {key: value for key, value in shape.items() if key != "mean_ms"}
        gap = Arrivals.model_validate({"process": "renewal", **fields}).gap(20.0)
        assert gap.mean_ms == pytest.approx(20.0)
        assert gap.scv == pytest.approx(Distribution.model_validate(shape).scv)


def test_mean_rate_of_profiles_and_timestamps():
    flow = System.load("shop").with_(
        "flows.browse.arrivals",
        {"process": "profile", "period_ms": 100,
         "steps": [{"from_ms": 0, "factor": 1}, {"from_ms": 75, "factor": 5}]},
    ).flows["browse"]  # fmt: skip
    assert flow.mean_rate_per_s == pytest.approx(600)
    stamps = System.load("shop").with_(
        {"flows.browse.arrivals": {"process": "timestamps", "times_ms": [5, 15, 25]},
         "flows.browse.rate_per_s": None}
    )  # fmt: skip
    assert stamps.flows["browse"].mean_rate_per_s == pytest.approx(100)


@pytest.mark.parametrize("name", bundled())
def test_bundled_systems_are_valid_and_say_where_they_come_from(name):
    system = System.load(name)
    assert system.description
    assert system.source
    assert system.assumed
    assert not system.warnings()
    assert system.plan().steps
    assert System.model_validate(system.to_dict()) == system
    assert System.model_validate(parse(system.to_yaml())) == system


def test_the_shop_is_a_saga_of_several_teams_loaded_as_real_systems_are():
    shop = System.load("shop")
    steps = shop.steps("place_order")
    assert len({shop.services[entry.step.service].team for entry in steps}) >= 4
    assert len(steps) >= 6
    assert {entry.key for entry in steps[1:] if not entry.step.deferrable} == {"stock", "payment"}
    assert not any(entry.step.deferrable for entry in shop.steps("browse"))
    assert all(0.35 < load.utilisation < 0.75 for load in shop.loads().values())


def test_steps_are_found_depth_first_with_keys_that_are_unique():
    social = System.load("social-network")
    steps = social.steps("compose_post")
    keys = [entry.key for entry in steps]
    assert keys[:5] == ["nginx", "compose-post", "gather", "text", "url-shorten"]
    assert len(set(keys)) == len(keys)
    modes = {entry.key: entry.mode for entry in steps}
    assert modes["nginx"] == "root"
    assert modes["gather"] == "local"
    assert modes["home-timeline-writer"] == "message"
    twice = System.load("shop").with_("flows.browse.root.then[1].service", "stock")
    assert [entry.key for entry in twice.steps("browse")] == ["catalogue", "stock", "stock#2"]
    assert twice.steps("browse")[2].path == "flows.browse.root.then[1]"
    assert [entry.key for entry in steps[4].held_above()] == [
        "text", "gather", "compose-post", "nginx"
    ]  # fmt: skip


def test_round_trips():
    shop = System.load("shop").with_({"infrastructures.shop.label": None, "network.jitter_cv": 0.2})
    assert shop.round_trip("shop", "shop") == (0.5, 0.2)
    with pytest.raises(KeyError):
        shop.round_trip("shop", "moon")


def test_with_changes_one_thing_and_leaves_the_argument_alone():
    shop = System.load("shop")
    changed = shop.with_("flows.place_order.root.then[1].work.mean_ms", 99)
    assert changed.flows["place_order"].root.then[1].work.mean_ms == 99
    assert shop.flows["place_order"].root.then[1].work.mean_ms == 20
    assert changed.with_("flows.place_order.root.then[1].work.mean_ms", 20) == shop
    with pytest.raises(InvalidSystem, match=r"did you mean 'within_ms'\?"):
        shop.with_("network.witin_ms", 1)
    with pytest.raises(InvalidSystem, match=r"flows.place_order.root.then: \[9\] is not there"):
        shop.with_("flows.place_order.root.then[9].fails", 1)


def test_loads_by_hand():
    shop = System.load("shop")
    loads = shop.loads()
    assert loads["stock"].own == pytest.approx((100 * 6 + 300 * 2) / 1000)
    catalogue_ms = 3 + 0.5 + 2  # both calls take the same
    assert loads["catalogue"].held == pytest.approx(300 * catalogue_ms / 1000)
    assert loads["payment"].handled_per_s == pytest.approx(100 * 0.99)
    free = shop.with_("services.stock.workers", "unlimited").loads()["stock"]
    assert math.isnan(free.utilisation)


def test_working_share_is_what_a_run_shows_and_held_a_lower_bound():
    shop = System.load("shop")
    for name in list(shop.flows):
        for entry in shop.steps(name):  # undo work is not part of the loads
            if entry.step.undo is not None:
                shop = shop.with_(f"{entry.path}.undo", None)
    services = simulate(shop, 60_000, seed=3, keep="summary").services.set_index("service")
    for name, load in shop.loads().items():
        assert services.working[name] == pytest.approx(load.working, rel=0.05)
        assert services.utilisation[name] > 0.95 * load.utilisation


def test_overload_is_valid_and_is_said():
    slow = System.load("shop").with_("services.payment.workers", 1)
    assert slow.warnings() == (
        "services.payment.workers: 1 worker would be held 198 % of the time; expected less than "
        "100 %; give it at least 2 or lower the rate",
    )
    narrow = System.load("shop").with_(
        {"brokers.events.partitions": 1, "flows.place_order.root.then[2].via": "events"}
    )
    assert narrow.warnings()[0].startswith(
        "brokers.events.partitions: with 1 of them the busiest consumer in 'fraud' would be busy 14"
    )


def test_services_that_wait_for_each_other_are_warned_about():
    shop = System.load("shop").with_("flows.browse.root.then[0].then", [{"service": "order"}])
    assert shop.warnings() == (
        "services: order and stock call each other with limited workers, so that all of them can "
        "be held for ever; expected calls in one direction; give one of them unlimited workers or "
        "make one of the calls a message",
    )
    assert not shop.with_("services.order.workers", "unlimited").warnings()


def test_coming_back_to_a_held_service_is_allowed_where_it_cannot_lock_up():
    shop = System.load("shop").with_("services.order.workers", "unlimited")
    shop.with_("flows.place_order.root.then[0].then", [{"service": "order"}])
    limited = System.load("shop")
    limited.with_("flows.place_order.root.then[0].then", [{"service": "order", "via": "events"}])
    limited.with_("flows.place_order.root.then[0].then", [{"service": "stock"}])  # local
    with pytest.raises(InvalidSystem, match="can lock up for ever"):
        limited.with_("flows.place_order.root.then[0].then", [{"service": "order"}])
