"""Two engines, one truth: on random plans both give the same times for every request."""

import itertools
import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import System, stages
from models.engine import compiled, draws
from models.engine.plan import (
    CALL,
    DECORRELATED,
    LOCAL,
    MESSAGE,
    NO_LIMIT,
    NO_PAUSE,
    NONE,
    NOTHING,
    PROFILE,
    RENEWAL,
    ROOT,
    TIMESTAMPS,
    Draw,
    FlowPlan,
    GroupPlan,
    LogPlan,
    OutagePlan,
    OutboxPlan,
    Plan,
    PolicyPlan,
    ServicePlan,
    StepPlan,
    TollPlan,
)
from models.engine.reference import Simulation
from models.experiment import compare, mser5, replicate, simulate
from models.system import bundled

times_ms = st.sampled_from([0.0, 0.5, 1.0, 1.7])
distributions = st.one_of(
    times_ms.map(lambda m: Draw(draws.DETERMINISTIC, m)),
    times_ms.map(lambda m: Draw(draws.EXPONENTIAL, m)),
    st.integers(1, 5).map(lambda k: Draw(draws.ERLANG, 1.0 / k, k)),
    st.just(Draw(draws.HYPEREXPONENTIAL, 0.2, 3.0, 0.4)),
    st.just(Draw(draws.LOGNORMAL, 0.0, 0.7)),
    st.just(Draw(draws.UNIFORM, 0.2, 1.0)),
    st.just(Draw(draws.PARETO, 0.5, 1 - (1 / 40) ** 1.5, -1 / 1.5)),
    st.just(Draw(draws.EMPIRICAL, 0.0, 3.0, 0.0, (0.25, 1.0, 2.5))),
)


NEVER = Draw(draws.DETERMINISTIC, math.inf)
policies = st.builds(
    PolicyPlan,
    limit=st.sampled_from([NEVER, NEVER, Draw(draws.DETERMINISTIC, 0.0),
                           Draw(draws.DETERMINISTIC, 1.0), Draw(draws.EXPONENTIAL, 1.5)]),
    passes=st.booleans(),
    attempts=st.integers(1, 3),
    retry_on=st.sampled_from([0b111100, 0b111110]),
    backoff=st.integers(NO_PAUSE, DECORRELATED),
    pause=distributions,
    base_ms=st.just(0.5),
    cap_ms=st.sampled_from([0.75, math.inf]),
    budget=st.sampled_from([0.0, 2.0, math.inf]),
    earns=st.sampled_from([0.0, 0.2]),
    earns_per_ms=st.sampled_from([0.0, 0.1]),
    retries=st.sampled_from([math.inf, math.inf, 0.0, 1.0, 3.0]),
    retry_share=st.sampled_from([0.0, 0.5]),
    throttle=st.sampled_from([0.0, 0.0, 1.1]),
    throttle_ms=st.just(20.0),
    window=st.sampled_from([0, 0, 4]),
    share=st.just(0.5),
    minimum=st.sampled_from([1, 4]),
    open_ms=st.sampled_from([0.0, 5.0]),
    trials=st.integers(1, 2),
    bulkhead=st.sampled_from([0, 0, 1, 3]),
)  # fmt: skip


boxes = st.builds(
    OutboxPlan,
    places=st.sampled_from([0, 1, 2, 5]),
    batch=st.integers(1, 4),
    linger_ms=times_ms,
    waits=st.booleans(),
)
tolls = st.builds(
    TollPlan,
    hop_ms=times_ms,
    fresh=st.sampled_from([0.0, 0.3, 1.0]),
    round_trips=st.sampled_from([1.0, 2.0]),
    handshake_ms=times_ms,
    work_ms=times_ms,
    span_ms=times_ms,
    sampled=st.sampled_from([0.0, 0.5]),
    trace=st.integers(0, 3),
)


fives = st.integers(0, 3).map(lambda n: Draw(draws.DETERMINISTIC, 5.0 * n))  # for ties


def windows(unit):
    return st.sets(st.integers(0, 60 // unit), min_size=2, max_size=6).map(
        lambda edges: tuple(itertools.pairwise(float(unit * edge) for edge in sorted(edges)))[::2]
    )


@st.composite
def outages(draw, services, groups, parts, times, unit):
    """Whole parts at given times or by turns, or one instance of some services or groups.

    `parts` is how many there are; the last ones are the groups.
    """
    partly = draw(st.booleans())
    by_turns = draw(st.booleans())
    instances = draw(st.integers(2, 3)) if partly else 0
    return OutagePlan(
        name="outage",
        stream=draws.stream("outage", str(draw(st.integers(0, 5)))),
        parts=tuple(
            draw(
                st.lists(
                    st.sampled_from([*range(services), *range(parts - groups, parts)])
                    if partly
                    else st.integers(0, parts - 1),
                    min_size=1,
                    max_size=3,
                    unique=True,
                )
            )
        ),
        windows=() if by_turns else draw(windows(unit)),
        up=draw(st.sampled_from([Draw(draws.EXPONENTIAL, 10.0), Draw(draws.DETERMINISTIC, 15.0)]))
        if by_turns
        else None,
        down=draw(times) if by_turns else None,
        hangs=draw(st.booleans()),
        instances=instances,
        instance=draw(st.integers(0, instances - 1)) if partly else 0,
        drains=partly and draw(st.booleans()),
    )


@st.composite
def plans(draw, may_fail=True, policed=False, fragile=False, brokered=False, tied=False):
    """Trees of calls and messages on shared services; `tied`: nearly all happens at the same times."""
    times, unit = (fives, 5) if tied else (distributions, 1)
    paths = st.just(NOTHING) | fives if tied else distributions
    services = draw(st.integers(1, 4))
    brokers = links = 2 if fragile else 0
    lanes = draw(st.integers(1, 3))
    groups = (GroupPlan(0, lanes), GroupPlan(lanes, 2, 2)) if brokered else (GroupPlan(0, lanes),)
    outboxes = draw(st.lists(boxes, min_size=1, max_size=2)) if brokered else []

    def log():
        mirrored = draw(st.booleans())
        return LogPlan(
            acks=draw(st.integers(0, 2)),
            replication=draw(times),
            mirror_network=draw(paths) if mirrored else None,
            lag=draw(times) if mirrored else NOTHING,
            mirror_link=part(services + brokers, links) if mirrored else NONE,
            mirror_loss=draw(st.sampled_from([0.0, 0.2])),
            retention_ms=draw(st.sampled_from([math.inf, 2.0, 10.0])),
            deliveries=draw(st.integers(1, 3)),
            redelivery_ms=draw(times_ms),
            idempotent=draw(st.booleans()),
            shares=draw(st.sampled_from([(), (0.1, 0.5, 0.5, 0.6, 0.9, 0.95, 1.0)])),
            outbox=draw(st.integers(NONE, len(outboxes) - 1)),
        )

    def part(first, count):
        return draw(st.integers(first, first + count - 1)) if count else NONE

    service_of: list = []
    built: dict = {}

    def add(flow, parent, depth, may_call):
        number = len(service_of)
        mode = ROOT
        service = draw(st.integers(0, services - 1))
        if parent != NONE:
            mode = draw(st.sampled_from([CALL, MESSAGE, LOCAL])) if may_call else MESSAGE
            if mode == CALL and service <= service_of[parent]:
                mode = MESSAGE  # calls go up, so that held workers cannot wait for each other
            if mode == LOCAL:
                service = service_of[parent]
        service_of.append(service)
        count = draw(st.integers(0, 3)) if depth < 3 else 0
        children = tuple(add(flow, number, depth + 1, True) for _ in range(count))
        group = draw(st.integers(NONE, len(groups) - 1)) if mode == MESSAGE else NONE
        built[number] = StepPlan(
            number=number,
            key=f"s{number}",
            flow=flow,
            parent=parent,
            service=service,
            stream=draws.stream(f"f{flow}", f"s{number}"),
            mode=mode,
            work=draw(times),
            fails=draw(st.sampled_from([0.0, 0.0, 0.2])) if may_fail else 0.0,
            undo=draw(st.none() | times) if may_fail else None,
            in_parallel=draw(st.booleans()),
            children=children,
            network=NOTHING if mode in (LOCAL, ROOT) else draw(paths),
            ack=draw(times) if mode == MESSAGE else NOTHING,
            delivery=draw(paths) if mode == MESSAGE else NOTHING,
            partitions=7 if group == 0 else 0,
            group=group,
            log=log() if mode == MESSAGE and brokered and draw(st.booleans()) else None,
            toll=draw(st.none() | tolls) if mode == CALL and brokered else None,
            errors=draw(st.sampled_from([0.0, 0.3])) if policed else 0.0,
            policy=draw(st.none() | policies) if policed and mode != LOCAL else None,
            broker=part(services, brokers) if mode == MESSAGE else NONE,
            link=part(services + brokers, links) if mode in (CALL, MESSAGE) else NONE,
            delivery_link=part(services + brokers, links) if mode == MESSAGE else NONE,
            loss=draw(st.sampled_from([0.0, 0.2])) if fragile and mode in (CALL, MESSAGE) else 0.0,
            delivery_loss=draw(st.sampled_from([0.0, 0.2])) if mode == MESSAGE and fragile else 0.0,
        )
        return number

    flows = []
    for flow in range(draw(st.integers(1, 2))):
        root = add(flow, NONE, 0, True)
        kind = draw(
            st.sampled_from([TIMESTAMPS if tied else RENEWAL, RENEWAL, TIMESTAMPS, PROFILE])
        )
        flows.append(
            FlowPlan(
                name=f"f{flow}",
                stream=draws.stream(f"f{flow}"),
                root=root,
                arrivals=kind,
                gap=Draw(draws.EXPONENTIAL, 2.0) if kind == PROFILE else draw(times),
                size=draw(st.sampled_from([1, 3] if tied else [1, 1, 3])),
                times_ms=tuple(
                    sorted(
                        draw(
                            st.lists(
                                st.integers(0, 40 // unit).map(lambda n: float(unit * n)),
                                min_size=1,
                            )
                        )
                    )
                )
                if kind == TIMESTAMPS
                else (),
                starts_ms=(0.0, 20.0, 30.0) if kind == PROFILE else (),
                factors=(1.0, 0.0, 4.0) if kind == PROFILE else (),
                period_ms=draw(st.sampled_from([0.0, 50.0])) if kind == PROFILE else 0.0,
            )
        )
    places = tuple(
        ServicePlan(
            f"v{i}",
            draw(st.integers(0, 4 if tied else 3)),
            draw(st.sampled_from([NO_LIMIT, NO_LIMIT, 0, 3 if tied else 2]))
            if may_fail
            else NO_LIMIT,
            sheds_late=policed and draw(st.booleans()),
            patient_ms=draw(st.sampled_from([math.inf, 3.0])) if policed else math.inf,
            strict_ms=draw(st.sampled_from([math.inf, 0.5])) if policed else math.inf,
        )
        for i in range(services)
    )
    steps = tuple(built[i] for i in range(len(built)))
    parts = services + brokers + links + len(groups)
    down = st.lists(outages(services, len(groups), parts, times, unit), max_size=3).map(tuple)
    fallen = draw(down) if fragile else ()
    return Plan(
        "random", places, tuple(flows), steps, groups, tuple(outboxes), brokers, links, fallen
    )


def times_of(measures):
    return np.array(
        [(r.arrived_ms, r.replied_ms, r.completed_ms) for r in measures.requests]
    ).reshape(-1, 3)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=plans()
    | plans(policed=True)
    | plans(fragile=True)
    | plans(brokered=True)
    | plans(policed=True, fragile=True, brokered=True)
    | plans(policed=True, fragile=True, brokered=True, tied=True),
    requests=st.sampled_from([60, 2 * compiled.AHEAD + 40]),  # fewer and more than drawn ahead
    pause_after=st.sampled_from([20, compiled.PAUSE_AFTER]),
    seed=st.integers(0, 2**63 - 1),
    warmup=st.integers(0, 5),
)
def test_both_engines_give_identical_requests(plan, requests, pause_after, seed, warmup):
    reference = Simulation(plan, requests, seed, warmup, series_ms=2.0).run()
    with mock.patch.object(compiled, "PAUSE_AFTER", pause_after):
        outcome = compiled.run(plan, requests, seed, warmup, 5, series_ms=2.0)
    n = outcome.arrived
    assert n == len(reference.requests) == outcome.done
    assert np.array_equal(times_of(reference), outcome.times[:n], equal_nan=True)
    whole = [
        (r.flow, r.index, r.answer, r.outcome, r.attempts, r.undone) for r in reference.requests
    ]
    assert np.array_equal(np.array(whole).reshape(-1, 6), outcome.whole[:n])
    for look, places, done in zip(
        reference.series, outcome.series_places, outcome.series_done, strict=True
    ):
        assert np.array_equal(np.transpose(look[1:3]), places)
        assert np.array_equal(look[3], done)
    for records, rows in ((reference.services, outcome.services), (reference.steps, outcome.steps)):
        for name in rows.dtype.names:
            expected = [getattr(record, name) for record in records]
            assert np.allclose(rows[name], expected, rtol=1e-12, atol=1e-9), name


@pytest.mark.parametrize("stage", ["synchronous", "separated"])
@pytest.mark.parametrize("name", bundled())
def test_bundled_systems_run_alike_over_many_blocks_of_draws(name, stage):
    plan = stages.at(System.load(name), stage).plan()
    n = 8 * compiled.AHEAD
    reference = Simulation(plan, n, 2).run()
    assert np.array_equal(times_of(reference), compiled.run(plan, n, 2).times)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans(), seed=st.integers(0, 1000))
def test_everything_that_arrived_ends_once_and_in_order_of_time(plan, seed):
    outcome = compiled.run(plan, 200, seed)
    n = outcome.arrived
    arrived, replied, completed = outcome.times[:n].T
    assert outcome.done == n
    assert np.all(arrived <= replied) and np.all(replied <= completed)
    assert np.all(np.diff(arrived) >= 0)
    assert set(np.unique(outcome.whole[:n, 3])) <= {0, 1, 2}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans(may_fail=False), seed=st.integers(0, 1000))
def test_what_cannot_fail_does_not_fail(plan, seed):
    outcome = compiled.run(plan, 200, seed)
    assert np.all(outcome.whole[: outcome.arrived, 2:4] == 0)
    assert np.all(outcome.whole[: outcome.arrived, 5] == 0)


def step(number, parent, service, mode, work_ms, children=(), **more):
    parts = {
        "fails": 0.0,
        "undo": None,
        "in_parallel": False,
        "network": NOTHING,
        "ack": NOTHING,
        "delivery": NOTHING,
        "work": Draw(draws.EXPONENTIAL, work_ms),
        "flow": 0,
    }
    return StepPlan(
        number=number,
        key=f"s{number}",
        parent=parent,
        service=service,
        stream=draws.stream("f", f"s{number}"),
        mode=mode,
        children=children,
        **(parts | more),
    )


def poisson(rate_per_ms):
    gap = Draw(draws.EXPONENTIAL, 1 / rate_per_ms)
    return FlowPlan("f", draws.stream("f"), 0, RENEWAL, gap, 1, (), (), (), 0.0)


def single(workers, rate_per_ms, queue_limit=NO_LIMIT):
    return Plan(
        "single",
        (ServicePlan("a", workers, queue_limit),),
        (poisson(rate_per_ms),),
        (step(0, NONE, 0, ROOT, 1.0),),
    )


def test_who_leaves_a_queue_lets_the_next_one_look():
    """At 5 half of what waits is lost, and its leaving comes before the release of a worker.

    SimPy lets the head of the queue look for a place at both; who looks first has a place first,
    and so one of the calls that come at that moment finds a place in the queue.
    """
    at_once = {"work": Draw(draws.DETERMINISTIC, 0.0)}
    steps = (
        step(0, NONE, 0, ROOT, 0, work=Draw(draws.DETERMINISTIC, 5.0), fails=1.0),
        step(1, NONE, 0, ROOT, 0, (2,), flow=1, **at_once),
        step(2, 1, 1, CALL, 0, (3,), flow=1, **at_once),
        step(3, 2, 0, MESSAGE, 0, flow=1, **at_once),
    )
    times = {
        "arrivals": TIMESTAMPS,
        "gap": NOTHING,
        "starts_ms": (),
        "factors": (),
        "period_ms": 0.0,
    }
    flows = (
        FlowPlan("f0", 0, 0, size=2, times_ms=(0.0,), **times),
        FlowPlan("f1", 1, 1, size=1, times_ms=(0.0, 5.0, 5.0, 5.0), **times),
    )
    services = ServicePlan("a", 1, 3), ServicePlan("b", 0, NO_LIMIT)
    half = OutagePlan("half", 0, (0,), ((5.0, 15.0),), instances=2, instance=1)
    plan = Plan("ties", services, flows, steps, outages=(half,))
    reference = Simulation(plan, 6, 1).run()
    outcome = compiled.run(plan, 6, 1)
    assert np.array_equal(times_of(reference), outcome.times)
    assert [r.answer for r in reference.requests] == outcome.whole[:, 2].tolist()


def test_first_come_first_served():
    times = compiled.run(single(1, 0.9), 5000, 3).times
    assert np.all(np.diff(times[:, 2]) > 0)  # with one worker nobody overtakes


def test_littles_law_holds_in_the_simulation():
    run = simulate(single(3, 2.4), 200_000, 4, warmup=0.0)
    frame = run.requests
    end = frame.completed_ms.max()
    events = np.concatenate([frame.arrived_ms, frame.completed_ms])
    change = np.repeat([1, -1], len(frame))
    order = np.argsort(events, kind="stable")
    present = np.cumsum(change[order])[:-1]
    mean_number = np.sum(present * np.diff(events[order])) / end
    sojourn = (frame.completed_ms - frame.arrived_ms).mean()
    assert mean_number == pytest.approx(len(frame) / end * sojourn, rel=1e-9)


def test_streamed_summary_agrees_with_the_rows():
    plan = single(2, 1.5)
    rows = simulate(plan, 100_000, 5).summary()
    streamed = simulate(plan, 100_000, 5, keep="summary").summary()
    # quantiles come from bins of 1/128 octave: never more than 0.8 % apart
    assert np.allclose(rows.value, streamed.value, rtol=0.008, atol=1e-12)
    exact = ~rows.metric.str.contains("_p")
    assert np.allclose(rows.value[exact], streamed.value[exact], rtol=1e-9, atol=1e-12)


def test_common_random_numbers_narrow_a_comparison():
    slow, fast = single(2, 1.5), single(3, 1.5)
    table = compare(slow, fast, 20, 5_000, seed=1, metrics=["response_mean_ms"])
    assert (table.variance_ratio > 1.2).all()
    assert (table["mean"] + table.half_width < 0).all()


def test_replications_differ_and_repeat():
    plan = single(2, 1.5)
    first, second = (replicate(plan, 5, 2_000, seed=s, jobs=1) for s in (1, 1))
    assert first.equals(second)
    assert not first.equals(replicate(plan, 5, 2_000, seed=2, jobs=1))


def test_a_target_half_width_is_reached():
    table = replicate(single(1, 0.5), 5, 2_000, metrics=["response_mean_ms"], target=0.02, jobs=1)
    assert (table.half_width <= 0.02 * table["mean"]).all()
    assert table.n.min() > 5


def test_mser5_cuts_a_visible_start_and_nothing_else():
    noise = np.sin(np.arange(2000) * 1.7)
    assert mser5(noise) <= 50
    assert 180 <= mser5(noise + np.where(np.arange(2000) < 200, 30.0, 0.0)) <= 260


def test_an_overload_ends_with_an_answer():
    run = simulate(single(1, 2.0), 20_000, 1, keep="summary")
    all_of = run.summary().query("flow == 'all'").set_index("metric").value
    assert all_of.throughput_per_s == pytest.approx(1000, rel=0.05)  # one worker, 1 ms each
    assert run.services.utilisation[0] == pytest.approx(1, abs=0.01)


def test_the_plan_survives_json():
    plan = single(2, 1.0)
    assert Plan.from_json(plan.to_json()) == plan


def test_progress_reports_and_growth_do_not_change_the_result():
    plan = single(1, 2.0)  # the queue grows, so the tables grow several times
    seen: list = []
    times = compiled.run(plan, 20_000, 1, progress=seen.append).times
    assert np.array_equal(times[:500], compiled.run(plan, 500, 1).times[:500])
    assert all(a <= b for a, b in itertools.pairwise(seen))


def test_time_limits_that_nobody_waits_for_any_more_do_not_pile_up(monkeypatch):
    patient = PolicyPlan(limit=Draw(draws.DETERMINISTIC, 1e9))
    steps = (step(0, NONE, 0, ROOT, 1.0, (1,)), step(1, 0, 1, CALL, 1.0, policy=patient))
    services = (ServicePlan("a", 0, NO_LIMIT), ServicePlan("b", 2, NO_LIMIT))
    plan = Plan("patient", services, (poisson(1.5),), steps)
    n = 5_000
    reference = Simulation(plan, n, 1, series_ms=100.0).run()
    outcome = compiled.run(plan, n, 1, series_ms=100.0)
    assert np.array_equal(times_of(reference), outcome.times)
    assert len(reference.series) == len(outcome.series_done)
    capacities = [0]  # where the tables never grow
    grow = compiled._grown
    monkeypatch.setattr(
        compiled, "_grown", lambda *pools: capacities.append(2 * pools[2]) or grow(*pools)
    )
    compiled.run(plan, n, 1)
    short = max(capacities)
    compiled.run(plan, 20 * n, 1)
    assert max(capacities) == short  # rows for all that is under way, however long the run
