"""Loads by hand and by simulation where something breaks off, is tried again, or is down for a time.

All workers are so many that nothing waits, unless a test says so: then what is offered is what a
run shows, within the noise of the run.
"""

from itertools import pairwise

import numpy as np
import pytest

from models import System, presets, simulate, theory
from models.engine import draws

MANY = 10_000


def system(root, services, per_s=100.0, **more):
    here = {"infrastructure": "here", "workers": MANY}
    return System.model_validate(
        {
            "name": "loads",
            "infrastructures": {"here": {}},
            "network": {"within_ms": 2},
            "brokers": {"log": {"infrastructure": "here"}},
            "services": {name: here | one for name, one in services.items()},
            "flows": {"only": {"rate_per_s": per_s, "root": root}},
            **more,
        }
    )


def agrees(system, requests=20_000, replications=10):
    """Working and held workers of every service, against their means over independent runs.

    The arrivals are constant, so that the rate adds no noise. Four standard errors, since up to
    ten numbers are compared at a time and their errors are estimated from ten runs.
    """
    loads = system.loads()
    exact = np.array([(load.working, load.utilisation) for load in loads.values()])
    system = system.with_("flows.only.arrivals", "deterministic")
    found = []
    for number in range(replications):
        run = simulate(system, requests, 1 + (number << 32), keep="summary")
        rows = run.services.set_index("service").loc[list(loads)]
        found.append(rows[["working", "utilisation"]].to_numpy() / exact)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(replications)
    assert (error < 0.02).all(), error
    assert (abs(np.mean(found, axis=0) - 1) <= 4 * error).all(), np.mean(found, axis=0)


def step(service, work_ms, *then, **more):
    return {"service": service, "work": {"mean_ms": work_ms}, "then": list(then), **more}


BACKOFFS = {
    "none": {},
    "constant": {"backoff": "drawn", "pause": {"mean_ms": 30}},
    "exponential": {"backoff": "exponential", "base_ms": 20, "cap_ms": 30},
    "full": {"backoff": "full_jitter", "base_ms": 20, "factor": 3},
    "equal": {"backoff": "equal_jitter", "base_ms": 20},
    "decorrelated": {"backoff": "decorrelated", "base_ms": 10},
}


@pytest.mark.parametrize("backoff", BACKOFFS)
def test_retries_by_hand(backoff):
    """p = 0.3, three tries: 1.39 of them, and the pauses after the first and the second."""
    retry = {"attempts": 3, **BACKOFFS[backoff]}
    root = step("caller", 4, step("called", 10, errors=0.3, retry=retry))
    both = system(root, {"caller": {}, "called": {}})
    tries = theory.mean_attempts(0.3, 3)
    first, second = {
        "none": (0, 0), "constant": (30, 30), "exponential": (20, 30), "full": (10, 30),
        "equal": (15, 30), "decorrelated": (20, 35),
    }[backoff]  # fmt: skip
    loads = both.loads()
    assert loads["called"].handled_per_s == pytest.approx(100 * tries)
    assert loads["called"].own == pytest.approx(tries)
    held_ms = 4 + tries * (10 + 2) + 0.3 * first + 0.09 * second
    assert loads["caller"].held == pytest.approx(100 * held_ms / 1000)
    agrees(both)


def test_retries_multiply_through_the_layers_and_later_steps_are_reached_less():
    flaky = {"errors": 0.2, "retry": {"attempts": 2}}
    deep = step("b", 3, step("c", 5, **flaky), **flaky)
    root = step("a", 2, deep, step("d", 4))
    tower = system(root, {name: {} for name in "abcd"})
    lost = 0.2 + 0.8 * 0.2**2  # a try of b: its own, or c's second
    assert tower.loads()["b"].handled_per_s == pytest.approx(100 * (1 + lost))
    assert tower.loads()["c"].handled_per_s == pytest.approx(100 * (1 + lost) * 0.8 * 1.2)
    assert tower.loads()["d"].handled_per_s == pytest.approx(100 * (1 - lost**2))
    agrees(tower)


@pytest.mark.parametrize("on", [["unavailable"], ["failed"], ["failed", "unavailable"]])
@pytest.mark.parametrize("in_parallel", [False, True])
def test_only_what_the_policy_names_is_tried_again(on, in_parallel):
    mixed = {"errors": 0.2, "fails": 0.3, "retry": {"attempts": 3, "on": on}}
    inner = step("b", 3, step("c", 5, **mixed), step("d", 5, fails=0.1), in_parallel=in_parallel)
    root = step("a", 2, inner | {"retry": {"attempts": 3, "on": on}}, step("e", 1))
    all_kinds = system(root, {name: {} for name in "abcde"})
    if in_parallel:  # of parallel calls the longest on average: a lower bound of what is held
        run = simulate(all_kinds, 100_000, 1, keep="summary").services.set_index("service")
        for name, load in all_kinds.loads().items():
            assert run.working[name] == pytest.approx(load.working, rel=0.03)
            assert run.utilisation[name] > 0.97 * load.utilisation
    else:
        agrees(all_kinds)


def test_a_first_step_is_tried_again_too_and_a_message_is_delivered_again():
    root = step("a", 2, step("b", 5, errors=0.5, via="log", retry={"attempts": 3}), errors=0.5,
                retry={"attempts": 2})  # fmt: skip
    both = system(root, {"a": {}, "b": {}})
    assert both.loads()["a"].handled_per_s == pytest.approx(150)
    assert both.loads()["b"].handled_per_s == pytest.approx(75 * 2)  # 1 / (1 - errors) deliveries
    agrees(both)


@pytest.mark.parametrize(("budget", "retries"), [
    ({"tokens": 5, "per_call": 0.1}, 0.1),
    ({"tokens": 5, "per_call": 0.05, "per_s": 10}, 0.15),
    ({"tokens": 5, "per_call": 9}, theory.mean_attempts(0.5, 4) - 1),
])  # fmt: skip
def test_a_budget_caps_the_retries(budget, retries):
    retry = {"attempts": 4, "backoff": "exponential", "base_ms": 20, "budget": budget}
    capped = system(step("a", 1, step("b", 5, errors=0.5, retry=retry)), {"a": {}, "b": {}})
    load = capped.loads()["b"]
    assert load.handled_per_s == pytest.approx(100 * (1 + retries))
    run = simulate(capped, 100_000, 1, keep="summary").services.set_index("service")
    assert run.working["b"] == pytest.approx(load.working, rel=0.02)
    assert run.working["b"] <= load.working * 1.01  # an upper bound, but for the noise


def test_a_budget_in_a_layer_that_is_called_more_often_is_worth_less_a_call():
    """10/s are a tenth of a retry for 100 calls/s, and a fifteenth for the 150 that a layer above
    makes of them."""
    budget = {"tokens": 5, "per_call": 0, "per_s": 10}
    below = step("c", 1, errors=0.5, retry={"attempts": 9, "budget": budget})
    layers = [step("b", 1, below), step("b", 1, below, errors=0.5, retry={"attempts": 2})]
    calm, busy = (system(step("a", 1, b), {name: {} for name in "abc"}) for b in layers)
    assert calm.loads()["c"].handled_per_s == pytest.approx(110)
    per_s = busy.loads()
    assert per_s["c"].handled_per_s == pytest.approx(0.5 * per_s["b"].handled_per_s + 10)
    run = simulate(busy, 100_000, 1, keep="summary").services.set_index("service")
    for name in "bc":
        assert run.working[name] == pytest.approx(per_s[name].working, rel=0.03)


def test_so_many_tries_that_they_never_end_are_counted():
    """Up to a million tries, as where a policy means to go on for ever: 1 / (1 - p) of them."""
    root = step("a", 1, step("b", 5, errors=0.5, retry={"attempts": 10**6}))
    assert system(root, {"a": {}, "b": {}}).loads()["b"].handled_per_s == pytest.approx(200)
    hopeless = step("a", 1, step("b", 5, errors=1, retry={"attempts": 3}))
    assert system(hopeless, {"a": {}, "b": {}}).loads()["b"].handled_per_s == pytest.approx(300)


def test_a_mesh_counts_as_if_each_call_said_it():
    root = step("a", 1, step("b", 5, errors=0.2))
    with_mesh = system(root, {"a": {}, "b": {}}, mesh={"preset": "istio"})
    assert presets.PRESETS["istio"].policy.retry.attempts == 3
    assert with_mesh.loads()["b"].handled_per_s == pytest.approx(100 * theory.mean_attempts(0.2, 3))


# Lost segments


LOST_MS = 200 * 0.2 / (1 - 2 * 0.2)  # of a segment, at most ten times in a row: 66.7 ms less 0.01 %


def test_mean_time_lost_is_that_of_what_is_drawn():
    for loss in (0.0, 0.001, 0.2, 0.5):
        one = system(step("a", 1), {"a": {}}, network={"loss": loss})
        ends = [0.0, *(loss**row for row in range(10, 0, -1))]  # between them the time is the same
        drawn = sum(
            (high - low) * draws.retransmission_ms(loss, (low + high) / 2)
            for low, high in pairwise(ends)
        )
        assert one.lost_ms("here", "here") == pytest.approx(drawn, rel=1e-12)
    assert system(step("a", 1), {"a": {}}, network={"loss": 0.2}).lost_ms(
        "here", "here"
    ) == pytest.approx(LOST_MS, rel=2e-4)


def test_callers_wait_for_segments_that_are_lost_there_and_back():
    root = step("a", 4, step("b", 10, step("c", 3)), step("d", 5))
    lossy = system(root, {name: {} for name in "abcd"}, network={"within_ms": 2, "loss": 0.2})
    held = {"a": 4 + (10 + 3 + 5) + 3 * (2 + 2 * LOST_MS), "b": 10 + 3 + 2 + 2 * LOST_MS}
    for name, held_ms in held.items():
        assert lossy.loads()[name].held == pytest.approx(100 * held_ms / 1000, rel=2e-4)
    assert lossy.loads()["c"].held == pytest.approx(0.3)
    agrees(lossy)


@pytest.mark.parametrize(("broker", "waits"), [
    ({}, True), ({"producers": {"waits": True}}, True),
    ({"producers": {}}, False), ({"acks": "none"}, False),
])  # fmt: skip
def test_producers_wait_for_segments_that_are_lost_if_they_wait_at_all(broker, waits):
    far = {"infrastructures": {"here": {}, "there": {}}, "network": {"within_ms": 0, "between": [
        {"ends": ["here", "there"], "rtt_ms": 6, "loss": 0.2}]}}  # fmt: skip
    root = step("a", 4, step("b", 10, via="log"))
    brokers = {"log": {"infrastructure": "there", "ack": {"mean_ms": 3}, **broker}}
    lossy = system(root, {"a": {}, "b": {}}, brokers=brokers, **far)
    held_ms = 4 + (6 + 2 * LOST_MS + 3 if waits else 0)
    assert lossy.loads()["a"].held == pytest.approx(100 * held_ms / 1000, rel=2e-4)
    assert lossy.loads()["b"].held == pytest.approx(1.0)  # a message on its way holds nobody
    if broker.get("producers") != {"waits": True}:  # whose buffer lets nobody overtake
        agrees(lossy)


def test_an_overload_by_lost_segments_is_announced():
    """10 workers at 100/s: 16 ms each are 16 % of their time, and 149 ms are too many."""
    root = step("a", 4, step("b", 10))
    dry = system(root, {"a": {"workers": 10}, "b": {}})
    wet = dry.with_("network.loss", 0.2)
    assert not dry.warnings()
    (sentence,) = wet.warnings()
    assert "services.a.workers: 10 workers would be held 149 % of the time" in sentence
    waited = [
        simulate(one, 20_000, 1).services.set_index("service").mean_wait_ms["a"]
        for one in (dry, wet, wet.with_("services.a.workers", 30))
    ]
    assert waited[0] < 1 and waited[1] > 10_000 and waited[2] < 10


def test_a_prefetch_that_lost_segments_keep_in_hand_is_warned_about():
    """One in hand, 20/s: 10 ms each, or 77 ms with what is lost on the way to the consumer."""
    handed = {"log": {"infrastructure": "here", "prefetch": 1}}
    root = step("a", 1, step("b", 8, via="log"))
    dry = system(root, {"a": {}, "b": {"workers": 1}}, 20.0, brokers=handed)
    wet = dry.with_("network.loss", 0.2)
    assert not dry.warnings()
    (sentence,) = wet.warnings()
    assert "brokers.log.prefetch: 1 was found; expected at least 2" in sentence
    queues = [
        simulate(one, 5_000, 1, series_ms=1000).service_series.query("service == 'b'").backlog
        for one in (dry, wet)
    ]
    assert queues[0].max() < 20 and queues[1].max() > 1000


# Outages


def down(up_ms, down_ms, **what):
    return {**what, "up": {"mean_ms": up_ms}, "down": {"mean_ms": down_ms}}


def test_share_of_time_up():
    both = system(
        step("a", 1), {"a": {}, "b": {}},
        outages=[
            down(9000, 1000, services=["a"]), down(900, 100, infrastructures=["here"]),
            {"services": ["b"], "from_ms": 0, "for_ms": 1e6},
        ],
    )  # fmt: skip
    assert both.up("a") == pytest.approx(0.9 * 0.9)
    assert both.up("b") == pytest.approx(0.9)  # one that comes once has no share in the long run


def test_messages_wait_for_the_time_that_the_consumer_is_up_and_calls_are_lost():
    """Down a quarter of the time: a consumer has a third more to do while it is up; a callee has
    as much as ever, and in all a quarter less."""
    outages = [down(3000, 1000, services=["worker"])]
    shares = {}
    for kind, more in (("message", {"via": "log"}), ("call", {})):
        root = step("api", 1, step("worker", 10, **more))
        one = system(root, {"api": {}, "worker": {"workers": 4}}, outages=outages)
        load = one.loads()["worker"]
        assert load.up == pytest.approx(0.75)
        offered = [
            simulate(one, 60_000, 1 + (run << 32), keep="summary")
            .services.set_index("service").working["worker"]
            for run in range(8)
        ]  # fmt: skip
        error = np.std(offered, ddof=1) / np.sqrt(len(offered))
        assert error < 0.03 * load.working
        assert abs(np.mean(offered) - load.working * load.up) < 3 * error
        shares[kind] = load.working
    assert shares["message"] == pytest.approx(1.0 * 100 * 10 / 1000 / 4 / 0.75)
    assert shares["call"] == pytest.approx(100 * 10 / 1000 / 4)


def test_a_consumer_that_keeps_up_only_without_outages_is_warned_about():
    """80 % busy, and up three quarters of the time: 107 % of it. A run shows the growing queue."""
    root = step("api", 1, step("worker", 10, via="log"))
    one = system(root, {"api": {}, "worker": {"workers": 1}}, per_s=80.0)
    assert not one.warnings()
    broken = System.model_validate(
        one.to_dict() | {"outages": [down(3000, 1000, services=["worker"])]}
    )
    (sentence,) = broken.warnings()
    assert "would be held 107 % of the time that the service is up" in sentence
    short, long = (
        simulate(broken, requests, 1, keep="summary").services.set_index("service")
        .max_queue["worker"]
        for requests in (20_000, 200_000)
    )  # fmt: skip
    assert long > 4 * short
