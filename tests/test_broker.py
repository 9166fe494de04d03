"""Chapter 3: the fluid formulas, partitions, and the systems that the chapter builds."""

import inspect
import math

import numpy as np
import odd
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from models import broker, simulate, theory
from models.system import InvalidSystem, System


def test_backlog_of_a_published_run():
    """RabbitMQ 3.13: a million messages in at 43,264/s, out at 21,822/s; drained at 45.9 s."""
    rate, capacity, messages = 43_264.0, 21_822.0, 1_000_000
    sending_s = messages / rate
    peak = broker.peak_backlog(rate, capacity, 1, sending_s)
    assert sending_s + peak / capacity == pytest.approx(45.9, rel=0.01)
    assert peak / capacity == pytest.approx(24.9, rel=0.1)  # measured longest wait, s


def test_drain_agrees_with_theory():
    fluid = theory.fluid_backlog(200, 400, 60, capacity_during=400, arrival_rate_during=600)
    assert broker.peak_backlog(200, 400, 3, 60) == fluid.peak == 12_000
    assert broker.drain_s(200, 400, 3, 60) == fluid.drain_time == 60


def test_backlog_over_time_starts_peaks_and_ends_where_it_should():
    time_s = np.array([-1.0, 0.0, 30.0, 60.0, 90.0, 120.0, 500.0])
    backlog = broker.fluid_backlog(time_s, 200, 400, 3, 60)
    assert backlog.tolist() == [0, 0, 6000, 12_000, 6000, 0, 0]


def test_without_spare_capacity_nothing_drains():
    assert broker.drain_s(400, 400, 2, 10) == math.inf
    assert broker.drain_s(200, 400, 2, 10) == 0  # the burst just fits
    assert broker.retention_lasts_hours(120, 100, 168) == pytest.approx(168 * 6)
    assert broker.retention_lasts_hours(100, 100, 168) == math.inf


@pytest.mark.parametrize(("partitions", "workers"), [(1, 8), (8, 8), (10, 8), (99, 8), (4, 3)])
def test_lanes_share_all_messages(partitions, workers):
    shares = broker.pipeline(partitions=partitions).brokers["events"].consumer_shares(workers)
    assert len(shares) == min(partitions, workers)
    assert sum(shares) == pytest.approx(1)


def test_waits_against_published_values():
    """M/M/8 at 0.8: wait 0.286 of a service time; M/M/1 at 0.8: 4 of them."""
    assert broker.pooled_wait_ms(320, 20, 8) == pytest.approx(0.2860 * 20, rel=1e-3)
    assert broker.partitioned_wait_ms(320, 20, 8, 8) == pytest.approx(4 * 20)
    assert broker.partitioned_wait_ms(320, 20, 8, 10) == math.inf
    assert broker.pooled_wait_ms(400, 20, 8) == math.inf


@pytest.mark.parametrize("partitions", [None, 8, 12])
def test_simulated_wait_matches_the_formula(partitions):
    system = broker.pipeline(rate_per_s=200, consume_ms=20, consumers=8, partitions=partitions)
    mean, half_width = broker.consumer_wait(system, replications=10, requests=40_000, seed=3)
    if partitions is None:
        expected = broker.pooled_wait_ms(200, 20, 8)
    else:
        expected = broker.partitioned_wait_ms(200, 20, 8, partitions)
    assert mean == pytest.approx(expected, abs=3 * half_width / 2.26)  # three standard errors


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_the_producer_does_not_notice_the_consumer(engine):
    answers = [
        simulate(broker.pipeline(**changes), 500, 1, engine).requests
        for changes in ({"consume_ms": 5.0}, {"consume_ms": 50.0}, {"distance_ms": 300.0})
    ]
    for other in answers[1:]:
        assert (other.replied_ms == answers[0].replied_ms).all()
        assert (other.completed_ms > answers[0].completed_ms).mean() > 0.9


def test_a_far_broker_costs_the_producer_the_round_trip():
    near, far = (
        simulate(broker.pipeline(distance_ms=100.0, edge=edge, producers=1000), 500, 1).requests
        for edge in ("broker here", "broker there")
    )
    difference = far.replied_ms - near.replied_ms
    assert difference.to_numpy() == pytest.approx(100.0 - 0.5)


def test_a_burst_piles_up_and_drains_as_the_fluid_says():
    system = broker.pipeline(burst=(20, 60, 3))
    path = broker.through_a_burst(system, until_s=150, requests=60_000, seed=1)
    at_end = path.set_index("time_s").backlog[80.0]
    assert at_end == pytest.approx(broker.peak_backlog(200, 400, 3, 60), rel=0.1)
    drained = broker.measured_drain_s(path, 80.0, level=8)
    assert drained == pytest.approx(broker.drain_s(200, 400, 3, 60), rel=0.15)


def test_a_drain_is_measured_to_a_level_that_exists():
    path = broker.path_of(simulate(broker.pipeline(), 2000, 1, warmup=0).requests, 8.0)
    assert broker.measured_drain_s(path, 2.0, level=1000) == 0
    assert broker.measured_drain_s(path, 2.0, level=-1) == math.inf
    assert broker.measured_drain_s(path, 2.0, level=math.inf) == math.inf


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="edge: 'email'"):
        broker.pipeline(edge="email")
    with pytest.raises(ValueError, match="burst_s: -1"):
        broker.peak_backlog(200, 400, 3, -1)
    with pytest.raises(ValueError, match="replications: 1"):
        broker.mean_and_half_width([1.0])
    with pytest.raises(InvalidSystem, match="workers"):
        broker.pipeline(consumers=0)


# The edges: buffers that end, and what is delivered again

REPLICATIONS = 8


def each_run(measure):
    """Means over independent runs, and how far chance takes them as rarely as three sigmas.

    With so few runs that is not three standard errors but what Student's t says.
    """
    found = np.array([measure(7 + (run << 32)) for run in range(REPLICATIONS)])
    spread = student.ppf(norm.cdf(3), REPLICATIONS - 1) / math.sqrt(REPLICATIONS)
    return found.mean(axis=0), spread * found.std(axis=0, ddof=1)


def broken(outage, seed, requests=12_000, **changes):
    return simulate(broker.pipeline(outages=[outage], **changes), requests, seed, warmup=0)


@pytest.mark.parametrize("buffer", [500, 2000])
def test_a_full_buffer_blocks_the_producer_until_the_broker_is_back(buffer):
    down = {"brokers": ["events"], "from_ms": 10_000, "for_ms": 20_000}

    def one(seed):
        rows = broken(down, seed, broker={"producers": {"buffer": buffer}}).requests
        worst = (rows.replied_ms - rows.arrived_ms).max() / 1000
        return broker.filled_after_s(rows, 10_000, 30_000, buffer, 1.25), worst

    full_s = broker.full_after_s(200, buffer)
    (filled, worst), error = each_run(one)
    assert filled == pytest.approx(full_s, abs=error[0])
    assert worst == pytest.approx(20 - full_s, abs=error[1] + 0.05)  # and its own work


def test_a_buffer_that_holds_the_outage_blocks_nobody():
    down = {"brokers": ["events"], "from_ms": 10_000, "for_ms": 20_000}
    rows = broken(down, 1, broker={"producers": {"buffer": 5000}}).requests
    assert broker.filled_after_s(rows, 10_000, 30_000, 5000, 1.25) == math.inf
    assert (rows.replied_ms - rows.arrived_ms).max() < 100
    assert rows.completed_ms.notna().all()


def test_blocked_is_who_comes_between_full_and_back():
    assert broker.blocked_s(np.array([-1.0, 5, 10, 25, 30]), 10, 30).tolist() == [0, 0, 20, 5, 0]


@pytest.mark.parametrize("acks", ["none", "leader", "all"])
def test_lost_and_refused_in_a_fall_as_by_formula(acks):
    down = {"brokers": ["events"], "from_ms": 10_000, "for_ms": 2_000}
    log = {"acks": acks, "replication": {"mean_ms": 100}}

    def one(seed):
        step = broken(down, seed, 4000, broker=log).steps.set_index("step").loc["consumer"]
        return step.vanished, step.lost

    expected = broker.lost_in_a_fall(acks, 200, 100, 2)
    found, error = each_run(one)
    assert (np.abs(found - expected) <= error).all()


def test_retention_loses_what_the_fluid_says():
    """Load 1.25 and 20 s of retention: from 100 s on a fifth is lost."""

    def one(seed):
        short = broker.pipeline(consume_ms=50.0, broker={"retention_ms": 20_000})
        rows = simulate(short, 60_000, seed, warmup=0).requests
        lost = rows.completed_ms.isna()
        first = rows.replied_ms[lost].min() / 1000 + 20
        return first, lost[rows.replied_ms > 100_000].mean()

    (first, share), error = each_run(one)
    assert first == pytest.approx(broker.retention_lasts_hours(200, 160, 20), abs=error[0] + 2)
    assert share == pytest.approx(broker.lost_share(200, 160), abs=error[1])
    assert broker.lost_share(100, 160) == 0


@pytest.mark.parametrize(
    ("rate", "size", "batch", "delay_ms"),
    [(100.0, 16, 10.8965213203, 53.4459421), (20.0, 10, 2.999943588, None)],
)
def test_batches_against_published_values(rate, size, batch, delay_ms):
    """Structure of Paolieri et al., MASCOTS 2025: linger of 100 ms, Poisson messages."""
    alone = broker.pipeline(
        rate_per_s=rate,
        produce_ms=0.0,
        producers="unlimited",
        within_ms=0.0,
        ack_ms=0.0,
        consume_ms=0.0,
        broker={"producers": {"batch": size, "linger_ms": 100.0, "waits": True}},
    )
    found, error = each_run(
        lambda seed: broker.batches(simulate(alone, 20_000, seed, warmup=0).requests)
    )
    assert found[0] == pytest.approx(batch, abs=error[0])
    if delay_ms is not None:
        assert found[1] == pytest.approx(delay_ms, abs=error[1])


@pytest.mark.parametrize(
    ("window", "work_ms", "busy", "wait_ms"),
    [(1, 4.0, 0.038, 0.0), (26, 4.0, 1.0, 0.0), (51, 4.0, 1.0, 100.0), (26, 40.0, 1.0, 900.0)],
)
def test_prefetch_against_published_values(window, work_ms, busy, wait_ms):
    """RabbitMQ, "Some queuing theory", 2012; one way 50 ms."""
    found = broker.at_prefetch(window, work_ms, 100.0, "deterministic", 2000, 1)
    assert found[0] == pytest.approx(busy, abs=5e-4)
    assert found[1] == pytest.approx(wait_ms, abs=1e-6)
    assert found[0] == pytest.approx(broker.prefetch_busy(window, work_ms, 100.0), rel=1e-3)


@pytest.mark.parametrize("window", [5, 26, 40])
def test_prefetch_with_varying_work_is_a_closed_network(window):
    found, error = each_run(
        lambda seed: broker.at_prefetch(window, 4.0, 100.0, "exponential", 5000, seed)
    )
    by_formula = broker.prefetch_busy(window, 4.0, 100.0, exponential=True)
    assert found[0] == pytest.approx(by_formula, abs=error[0])
    assert by_formula < broker.prefetch_busy(window, 4.0, 100.0)


@pytest.mark.parametrize("skew", [0.0, 0.75])
def test_skewed_keys_wait_as_the_mixture_says(skew):
    keys = {"keys": {"count": 1000, "skew": skew}}
    system = broker.pipeline(consume_ms=24.0, partitions=8, broker=keys)
    log = system.brokers["events"]
    shares = log.consumer_shares(8)
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx(np.diff(log.partition_shares(), prepend=0.0))
    assert sorted(log.consumer_shares(4)) == pytest.approx(
        sorted(shares[lane] + shares[lane + 4] for lane in range(4))
    )
    mean, half_width = broker.consumer_wait(system, replications=10, requests=40_000, seed=3)
    expected = broker.mixed_wait_ms(200, 24.0, shares)
    assert mean == pytest.approx(expected, abs=3 * half_width / 2.26)
    assert broker.mixed_wait_ms(200, 24.0, [0.25, 0.75]) == math.inf


@pytest.mark.parametrize("what", [{"consumers": [["events", "consumer"]]}, {"services": ["consumer"]}])  # fmt: skip
def test_who_stands_still_works_off_what_came_meanwhile(what):
    still = {**what, "from_ms": 10_000, "for_ms": 20_000}

    def one(seed):
        run = broken(still, seed, 16_000, partitions=8)
        path = broker.path_of(run.requests, 75.0, 0.25)
        return (
            path.set_index("time_s").backlog[30.0],
            broker.measured_drain_s(path, 30.0, 200),
            run.steps.redelivered.sum(),
        )

    (backlog, drain_s, again), error = each_run(one)
    assert backlog == pytest.approx(200 * 20, abs=error[0] + 16)  # and what was there before
    assert drain_s == pytest.approx(20 - 1, abs=error[1] + 1)  # down to 200 of them
    assert (again > 0) == ("services" in what)


@pytest.mark.parametrize(("protocol", "share"), [("eager", 1.0), ("cooperative", 1 / 8)])
def test_a_rebalance_piles_up_what_comes_to_whoever_stands_still(protocol, share):
    still = {"rebalance": protocol, "rebalance_ms": 10_000}
    restart = {"service": "consumer", "instances": 8, "from_ms": 20_000, "each_ms": 10_000}
    restarted = broker.pipeline(partitions=8, broker=still, restarts=[restart])

    def one(seed):
        run = simulate(restarted, 6_600, seed, warmup=0)
        backlog = broker.path_of(run.requests, 30.0, 10.0).backlog
        return (backlog[3] - backlog[2],)

    (grown,), (error,) = each_run(one)
    # What was being worked on is done meanwhile.
    assert grown == pytest.approx(200 * 10 * share, abs=error + 5)


@pytest.mark.parametrize("idempotent", [False, True])
def test_deliveries_duplicates_and_dead_letters(idempotent):
    repeating = broker.pipeline(
        ledger_errors=0.2,
        consumer={"idempotent": idempotent},
        broker={"max_deliveries": 3},
    )

    def one(seed):
        return tuple(broker.deliveries(simulate(repeating, 10_000, seed).steps).values())

    (delivered, duplicates, dead), error = each_run(one)
    assert delivered == pytest.approx(1 + 0.2 + 0.04, abs=error[0])
    assert duplicates == pytest.approx(0.0 if idempotent else 0.24, abs=error[1])
    assert dead == pytest.approx(0.008, abs=error[2])


def test_a_mirror_costs_its_lag_and_the_producer_nothing():
    near, mirrored = (
        simulate(broker.pipeline(distance_ms=300.0, broker=more), 2000, 1).requests
        for more in (
            {},
            {"mirrors": {"there": {"lag": {"mean_ms": 50, "distribution": "deterministic"}}}},
        )
    )
    assert (near.replied_ms == mirrored.replied_ms).all()
    later = mirrored.completed_ms - near.completed_ms
    assert later.to_numpy() == pytest.approx(50 + 0.25)  # all by the same, so the queue is the same


@pytest.mark.parametrize("name", odd.NAMES)
def test_the_busiest_edge_of_any_system_makes_a_pipeline(name):
    system = odd.system(name)
    edge, figures = broker.busiest_edge(system), broker.from_system(system, 100.0)
    if edge is None:
        assert figures == {}
        assert name in ("one service", "no work at all", "calls only", "overloaded front", "saga")
        return
    known = set(inspect.signature(broker.pipeline).parameters)
    built = broker.pipeline(
        distance_ms=100.0, **{k: value for k, value in figures.items() if k in known}
    )
    load = built.loads()["consumer"].utilisation
    whole = edge.system.loads()[edge.entry.step.service]
    assert load <= whole.utilisation * (1 + 1e-9) if whole.workers else load <= 0.5
    assert not any("producer" in warning for warning in built.warnings())
    assert 999 < figures["burst_s"] * edge.rate_per_s < 12_500 or figures["burst_s"] == 60


def test_the_busiest_edge_by_hand():
    edge = broker.busiest_edge(odd.system("may be later"))
    assert (edge.rate_per_s, edge.produce_ms, edge.consume_ms) == (30, 5, 20)
    shop = broker.busiest_edge(System.load("shop"))
    assert shop.rate_per_s == pytest.approx(100 * 0.99 * 0.98)  # neither stock nor payment failed
    assert shop.produce_ms == 4 + 0.5 + 6 + 0.5 + 20
    said = broker.from_system(odd.system("everything said"), 300.0)
    assert (said["keys"], said["skew"], said["buffer"], said["batch"]) == (50, 1, 100, 5)
    assert (said["retention_hours"], said["replication_ms"], said["max_deliveries"]) == (1, 5, 4)
    social = broker.busiest_edge(System.load("social-network"))
    assert social.entry.step.service == "home-timeline-writer"
    assert social.consume_ms == 8 + 0.5 + 3  # its own work, and the call that it makes
    assert social.produce_ms == 0.5 + 5  # the slower of the calls made together
