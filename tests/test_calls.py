"""Chapter 2: chains of calls, the longest round trip, a rolling restart, published round trips."""

import math
import re
from dataclasses import replace

import numpy as np
import odd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models import System, calls, replicate, simulate, stages, theory

RUNS = 20
T95 = stats.t.ppf(0.975, RUNS - 1)


def measured(system, requests=20_000, seed=11):
    """metric -> mean and standard error of independent runs."""
    table = replicate(system, RUNS, requests, seed)
    table = table[table.flow == "request"].set_index("metric")
    return {name: (row["mean"], row.half_width / T95) for name, row in table.iterrows()}


def agrees(found, exact, allowance=0.0):
    """Within three standard errors, which are at most 2 % of the value; and an approximation's own."""
    mean, error = found
    assert error <= 0.02 * exact
    assert abs(mean - exact) <= 3 * error + allowance


# The time held, and the capacity


def test_time_held_by_hand():
    chain = calls.Chain(work_ms=5, rtt_ms=10, depth=3)
    assert chain.held_ms == 4 * 5 + 3 * 10
    assert chain.held_scv == pytest.approx(4 * 25 / 50**2)
    assert replace(chain, depth=1, fan_out=3).held_ms == 5 + 3 * (10 + 5)
    at_once = replace(chain, depth=1, fan_out=3, in_parallel=True)
    assert at_once.held_ms == pytest.approx(5 + 10 + 5 * 11 / 6)  # H_3
    assert replace(chain, front_ms=0).held_ms == 3 * (5 + 10)


@pytest.mark.parametrize("services", [2, 5])
def test_calls_at_once_take_as_long_as_the_largest_of_exponentials(services):
    fan = calls.Chain(work_ms=2, rtt_ms=0, depth=1, fan_out=services, in_parallel=True, front_ms=0)
    assert fan.held_ms == pytest.approx(theory.max_exponentials(services, 2))
    assert fan.held_scv == pytest.approx(theory.max_exponentials_scv(services))


@pytest.mark.parametrize(("depth", "rtt_ms"), [(1, 0.1), (3, 12.0), (8, 50.0)])
def test_capacity_of_a_chain_is_workers_over_time_held(depth, rtt_ms):
    chain = calls.Chain(depth=depth, rtt_ms=rtt_ms)
    assert chain.capacity_per_s == pytest.approx(
        1000 * theory.chain_capacity(chain.workers, chain.work_ms, rtt_ms, depth)
    )
    flooded = replace(chain, rate_per_s=2 * chain.capacity_per_s)
    agrees(measured(flooded.system(), 10_000)["throughput_per_s"], chain.capacity_per_s)


@pytest.mark.parametrize("in_parallel", [False, True])
def test_capacity_of_a_fan_out(in_parallel):
    fan = calls.Chain(depth=2, fan_out=3, rtt_ms=10.0, in_parallel=in_parallel)
    flooded = replace(fan, rate_per_s=2 * fan.capacity_per_s)
    agrees(measured(flooded.system(), 10_000)["throughput_per_s"], fan.capacity_per_s)


def test_the_fewest_workers_carry_the_load_and_one_less_does_not():
    chain = calls.Chain(rtt_ms=33.0)
    assert replace(chain, workers=chain.workers_needed).capacity_per_s > chain.rate_per_s
    assert replace(chain, workers=chain.workers_needed - 1).capacity_per_s <= chain.rate_per_s
    assert replace(chain, workers="unlimited").capacity_per_s == math.inf


def test_nobody_queues_below_the_front():
    services = simulate(calls.Chain(rtt_ms=18.0).system(), 20_000, 1, keep="summary").services
    waits = services.set_index("service").mean_wait_ms
    assert waits["front"] > 10
    assert (waits.drop("front") == 0).all()


@pytest.mark.parametrize(("workers", "exact"), [(1, 0.5), (2, 0.8), (4, 0.9846153846)])
def test_published_capacity_of_held_workers(workers, exact):
    """Closed network of two stations: Gordon and Newell 1967."""
    chain = calls.Chain(
        work_ms=1, rtt_ms=0, depth=1, callee_workers=1, workers=workers, rate_per_s=2000
    )
    agrees(measured(chain.system(), 10_000)["throughput_per_s"], 1000 * exact)


def test_exact_response_of_held_workers():
    """Three workers, a callee with one: 7.5240410165 by its Markov chain, 6 with unlimited."""
    three = calls.Chain(rate_per_s=800, work_ms=1, rtt_ms=0, depth=1, workers=3, callee_workers=1)
    agrees(measured(three.system(), 100_000)["response_mean_ms"], 7.5240410165)
    free = replace(three, workers="unlimited")
    agrees(measured(free.system(), 100_000)["response_mean_ms"], 6.0)


# The response


@pytest.mark.parametrize("rtt_ms", [0.1, 5.0])
def test_response_without_a_limit_is_exact(rtt_ms):
    chain = calls.Chain(rtt_ms=rtt_ms, workers="unlimited")
    found = measured(chain.system())
    agrees(found["response_mean_ms"], theory.chain_response(5, rtt_ms, 3))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        exact = 3 * rtt_ms + stats.gamma.ppf(share, 4, scale=5)
        assert chain.quantile_ms(share) == pytest.approx(exact)
        agrees(found[f"response_{name}_ms"], exact)


def test_response_with_one_worker_is_exact():
    """Pollaczek and Khinchine: one server, whose service is the time held."""
    chain = calls.Chain(rate_per_s=20, rtt_ms=4.0, workers=1)
    exact = theory.mg1(0.02, chain.held_ms, chain.held_scv).mean_sojourn
    assert chain.response_ms == pytest.approx(exact)
    agrees(measured(chain.system(), 40_000)["response_mean_ms"], exact)


@pytest.mark.parametrize("rtt_ms", [12.0, 15.0, 17.0])  # loads 0.7, 0.81, 0.89
def test_response_with_several_workers_is_close(rtt_ms):
    """The wait within 5 %; the median within 3 %, the p99 within 8 %."""
    chain = calls.Chain(rtt_ms=rtt_ms)
    found = measured(chain.system(), 100_000)
    agrees(found["response_mean_ms"], chain.response_ms, 0.05 * chain.wait_ms)
    for name, share, close in (("p50", 0.5, 0.03), ("p99", 0.99, 0.08)):
        exact = chain.quantile_ms(share)
        agrees(found[f"response_{name}_ms"], exact, close * exact)


@pytest.mark.parametrize("in_parallel", [False, True])
def test_response_of_a_fan_out(in_parallel):
    fan = calls.Chain(depth=1, fan_out=3, rtt_ms=10.0, in_parallel=in_parallel)
    agrees(measured(fan.system())["response_mean_ms"], fan.response_ms, 0.05 * fan.wait_ms)


def test_of_calls_at_once_the_farthest_counts():
    near, far = (
        simulate(
            calls.Chain(
                depth=1, fan_out=8, rtt_ms=rtt_ms, in_parallel=True, workers="unlimited"
            ).system(),
            2000,
            1,
        ).requests
        for rtt_ms in (0.0, 20.0)
    )
    added = (far.replied_ms - near.replied_ms).to_numpy()
    assert added == pytest.approx(20.0)  # one round trip for every request, not eight


def test_the_quantile_is_smooth_where_its_two_formulas_meet():
    rtts = np.linspace(0.0, 19.9, 400)
    values = [calls.Chain(rtt_ms=float(r)).quantile_ms(0.99) for r in rtts]
    assert (np.diff(values) > 0).all()
    assert np.abs(np.diff(values, 2))[:300].max() < 0.2


chains = st.builds(
    calls.Chain,
    rate_per_s=st.floats(1, 200),
    work_ms=st.floats(0.5, 20),
    rtt_ms=st.floats(0, 50),
    depth=st.integers(1, 6),
    workers=st.integers(1, 64),
)


@given(chains)
def test_distance_and_depth_only_ever_cost_and_workers_only_ever_help(chain):
    for worse in (
        replace(chain, rtt_ms=chain.rtt_ms + 1),
        replace(chain, depth=chain.depth + 1),
    ):
        assert worse.capacity_per_s < chain.capacity_per_s
        assert worse.response_ms >= chain.response_ms
        assert worse.quantile_ms(0.99) >= chain.quantile_ms(0.99)
    more = replace(chain, workers=chain.workers + 1)
    assert more.capacity_per_s > chain.capacity_per_s
    assert more.response_ms <= chain.response_ms * (1 + 1e-12)
    assert more.held_ms == chain.held_ms  # the floor stays


# The longest round trip


def test_the_longest_round_trip_just_meets_the_target():
    for workers in (8, "unlimited"):
        chain = calls.Chain(workers=workers)
        longest = chain.longest_rtt_ms(100)
        assert replace(chain, rtt_ms=longest).quantile_ms(0.99) == pytest.approx(100)
    assert calls.Chain(depth=20).longest_rtt_ms(100) == -math.inf


def test_simulated_limit_against_the_formula():
    chain = calls.Chain(workers="unlimited")
    mean, half_width = calls.longest_rtt_ms(
        lambda rtt_ms: replace(chain, rtt_ms=rtt_ms).system(),
        "request", 100.0, (0.0, 50.0), RUNS, 20_000, 5,
    )  # fmt: skip
    agrees((mean, half_width / T95), chain.longest_rtt_ms(100))


def test_a_limit_beyond_the_ends_is_the_end():
    def limit(target_ms, between_ms):
        chain = calls.Chain(workers="unlimited", depth=1)
        return calls.longest_rtt_ms(
            lambda rtt_ms: replace(chain, rtt_ms=rtt_ms).system(),
            "request", target_ms, between_ms, 2, 2000, 1,
        )  # fmt: skip

    for target_ms, end in {1.0: 0.0, 1000.0: 10.0}.items():
        mean, half_width = limit(target_ms, (0.0, 10.0))
        assert mean == end and math.isnan(half_width)  # an end is no estimate


def test_crossing():
    assert calls.crossing([1, 2, 4], [10, 20, 60], 40) == 3
    assert calls.crossing([1, 2, 4], [10, 20, 60], 5) == 1
    assert calls.crossing([1, 2, 4], [10, 20, 60], 100) == 4


# The rolling restart


def test_without_room_to_wait_it_is_erlangs_loss_formula():
    """R package queueing, B_erlang.Rd: two servers at 0.5 / 0.7 erlang lose 0.1295336788."""
    restart = calls.Restart(
        rate_per_s=500, work_ms=1 / 0.7, instances=2, instance_workers=2, queue_limit=0
    )
    assert restart.turned_away(1) == pytest.approx(0.1295336788, abs=1e-9)


@pytest.mark.parametrize("up", [2, 3])  # overloaded, and nearly full
def test_calls_turned_away(up):
    restart = calls.Restart(rate_per_s=600, queue_limit=8)
    found = measured(restart.system(up), 60_000)["failed_share"]
    assert found[1] <= 0.05 * found[0]
    assert abs(found[0] - restart.turned_away(up)) <= 3 * found[1]


def test_calls_in_hand_are_rate_times_work():
    restart = calls.Restart()
    busy = [
        simulate(restart.system(4), 20_000, seed, keep="summary").services.mean_busy[1]
        for seed in range(RUNS)
    ]
    agrees((np.mean(busy), stats.sem(busy)), restart.in_hand)
    assert restart.in_hand == pytest.approx(restart.load * 16, rel=1e-3)


def test_messages_are_never_turned_away_and_producers_notice_nothing():
    restart = calls.Restart(rate_per_s=700)  # more than two instances can do
    whole, half = (simulate(restart.system(up, by_message=True), 5000, 1).requests for up in (4, 2))
    assert (half.outcome == "ok").all()
    assert (half.replied_ms == whole.replied_ms).all()
    assert (half.completed_ms - whole.completed_ms).max() > 1000


def test_a_rollout_request_by_request():
    """Rested before each stop and without room to wait, it cuts off what is in hand at rest.

    One after the other every instance stops, so in all it is rate x share let in x work (Little).
    """
    restart = calls.Restart(600.0, 20.0, 4, 4, queue_limit=0, start_s=1.0)
    cut = []
    for run in range(200):
        rollout = restart.rolling(False, lead_s=2.0, pause_s=1.0)
        steps = simulate(rollout, 7000, run << 32, warmup=0.0, keep="summary").steps
        cut.append(steps.lost.sum())
    error = np.std(cut, ddof=1) / np.sqrt(len(cut))
    assert error < 0.03 * restart.in_hand
    assert abs(np.mean(cut) - restart.in_hand) < 3 * error

    drained = simulate(restart.rolling(True, lead_s=2.0), 5000, 1, warmup=0.0)
    assert drained.steps.lost.sum() == 0
    messages = simulate(restart.rolling(False, by_message=True, lead_s=2.0), 5000, 1, warmup=0.0)
    assert (messages.requests.outcome == "ok").all()
    assert messages.steps.redelivered.sum() == messages.steps.lost.sum() > 0


def test_a_restart_in_numbers():
    restart = calls.Restart(rate_per_s=480, work_ms=20, instances=4, instance_workers=4)
    assert restart.load == pytest.approx(0.6)
    assert restart.drain_s == pytest.approx(0.020 * (1 + 1 / 2 + 1 / 3 + 1 / 4))
    assert restart.calls_during(draining=False) == 4 * 30 * 480
    assert restart.calls_during(draining=True) == pytest.approx(4 * 480 * (30 + restart.drain_s))
    highest = restart.highest_load(0.001)
    at = replace(restart, rate_per_s=480 * highest / 0.6)
    assert at.turned_away(3) == pytest.approx(0.001)


@given(st.integers(2, 10), st.integers(1, 8), st.integers(0, 40), st.floats(0.1, 1.5))
def test_more_instances_left_turn_away_less(instances, workers, limit, load):
    rate_per_s = load * instances * workers * 50
    restart = calls.Restart(rate_per_s, 20.0, instances, workers, limit)
    shares = [restart.turned_away(up) for up in range(1, instances + 1)]
    assert all(more <= less for less, more in zip(shares, shares[1:], strict=False))


# Published round trips, and bad input


def test_placements():
    middles = [place.middle_ms for place in calls.PLACEMENTS]
    assert middles == sorted(middles)
    assert [place.name for place in calls.PLACEMENTS if place.assumed] == [
        "on premises by line",
        "on premises by VPN",
    ]
    near = next(place for place in calls.PLACEMENTS if place.name == "near region")
    assert [near.within(longest) for longest in (1.0, 12.0, 29.0)] == ["too far", "in part", "fine"]
    assert [place.close for place in calls.PLACEMENTS[:3]] == [True, True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: calls.Chain(rtt_ms=-1), "rtt_ms: -1 was given; expected a number of at least 0"),
        (lambda: calls.Chain(rtt_ms=math.nan), "rtt_ms: nan"),
        (lambda: calls.Chain(work_ms=0), "work_ms: 0 was given; expected a number above 0"),
        (lambda: calls.Chain(rate_per_s=math.inf), "rate_per_s: inf"),
        (lambda: calls.Chain(depth=0), "depth: 0 was given; expected a whole number from 1 on"),
        (lambda: calls.Chain(depth=2.5), "depth: 2.5"),
        (lambda: calls.Chain(workers=0), "workers: 0"),
        (lambda: calls.Chain(workers="many"), "workers: 'many'"),
        (lambda: calls.Chain(fan_out=True), "fan_out: True"),
        (lambda: calls.Chain(fan_out=2).quantile_ms(0.99), "quantile_ms: .* one branch"),
        (lambda: calls.Restart(instances=1), "instances: 1 .* from 2 on"),
        (lambda: calls.Restart(queue_limit=-1), "queue_limit: -1 .* from 0 on"),
        (lambda: calls.Restart(start_s=0), "start_s: 0"),
        (lambda: calls.rising(near_ms=5, far_ms=1), "near_ms: 5 .* less than far_ms, 1"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


NO_CALLS = ("one service", "no work at all", "idempotent message", "everything said")


@pytest.mark.parametrize("name", odd.NAMES)
def test_any_system_has_a_chain_and_a_restart_or_says_so(name):
    figures, flow, service = calls.from_system(odd.system(name), 0.1, 2.0)
    known = ("rate_per_s", "work_ms", "depth", "workers")
    chain = {k: v for k, v in figures.items() if k in known}
    rest = {"service_per_s": "rate_per_s", "service_ms": "work_ms"}
    restart = {rest.get(k, k): v for k, v in figures.items() if k not in chain and k != "target_ms"}
    assert bool(chain) == bool(flow) == (name not in NO_CALLS)
    if chain:
        free = calls.Chain(rtt_ms=0.1, **chain | {"workers": "unlimited"})
        assert figures["target_ms"] == pytest.approx(2 * free.quantile_ms(0.99), rel=0.05)
    assert bool(restart) == bool(service)
    if restart:
        assert calls.Restart(**restart).load < 1


def test_the_chain_and_the_restart_of_a_system_by_hand():
    figures, flow, service = calls.from_system(System.load("online-boutique"), 0.1, 2.0)
    assert (flow, figures["depth"], figures["rate_per_s"], figures["workers"]) == (
        "product",
        7,
        65,
        8,
    )
    assert 8 * figures["work_ms"] == pytest.approx(5 + 1 + 1 + 2 + 1 + 5 + 2 + 3)
    assert service == "recommendation"
    assert figures["service_per_s"] == 65 + 15
    assert figures["service_ms"] == pytest.approx(5 + 0.5 + 2)
    assert (figures["instances"], figures["instance_workers"]) == (2, 1)
    social = System.load("social-network").flows["compose_post"].root
    assert calls.in_a_row(social) == (4, 1 + 1 + 1 + 3 + 5)  # the message at the end is no call


@pytest.mark.parametrize("name", odd.NAMES)
def test_any_system_can_be_taken_apart_or_the_reason_is_said(name):
    system = odd.system(name)
    try:
        found = calls.take_apart(system, 2.0, 2, 1500, 1, points=4)
    except stages.StageError as error:
        assert name in {"one service", "no work at all", "overloaded", "overloaded front"}
        assert re.fullmatch(r"(nobody calls|overloaded with calls only).*", str(error))
        return
    table = found.table()
    assert list(table.longest_ms) == sorted(table.longest_ms)
    assert table.longest_ms.between(found.distances_ms[0], found.distances_ms[-1]).all()
    moved = calls.apart(found.system, 5.0)
    places = {service.infrastructure for service in moved.services.values()}
    labels = {part.label for part in moved.infrastructures.values()}
    assert len(places) == len(labels) == len(set(calls.homes(system).values()))
    assert all(entry.mode != "message" for entry in moved.steps())


def test_a_flow_that_does_not_give_way_in_every_run_has_no_interval():
    """An average over runs of which some found no limit would be one of the grid."""
    system = System.load("shop")
    held = dict.fromkeys(system.services, (0.5, 0.1))
    runs = {"browse": np.array([[0.5, 2.0], [0.5, 0.9]]), "place_order": np.array([[0.5, 2.0]] * 2)}
    found = calls.Apart(
        system, 2.0, dict.fromkeys(runs, (1.0, 0.1)), [1.0, 8.0], runs, held
    ).table()
    assert list(found.flow) == ["place_order", "browse"]
    assert found.longest_ms[0] < 8 and found.half_width[0] == 0
    assert found.longest_ms[1] == 8 and math.isnan(found.half_width[1])


def test_every_flow_of_the_shop_gives_way_in_every_run():
    """At 8 ms the first run of this seed has given way, and another has not: that ends no search."""
    found = calls.take_apart(System.load("shop"), 2.0, 4, 4000, 7, points=3)
    assert all((runs[:, -1] >= 1).all() for runs in found.ratios.values())
    assert found.table().half_width.notna().all()


def test_a_flow_gives_way_where_its_p99_reaches_its_target():
    found = calls.take_apart(System.load("shop"), 2.0, 3, 8000, 1, points=10)
    row = found.table().set_index("flow").loc["place_order"]
    at_limit = calls.apart(found.system, float(row.longest_ms))
    p99 = replicate(at_limit, 3, 8000, 1, ["response_p99_ms"]).set_index("flow")["mean"]
    assert p99["place_order"] == pytest.approx(2 * row.p99_ms[0], rel=0.1)
    far = calls.apart(found.system, found.distances_ms[-1]).loads()
    near = calls.apart(found.system, found.distances_ms[0]).loads()
    assert far["catalogue"].utilisation > 1 > near["catalogue"].utilisation
