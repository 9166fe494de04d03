"""Chapter 3: the fluid formulas, partitions, and the systems that the chapter builds."""

import math

import numpy as np
import pytest

from models import broker, simulate, theory
from models.system import InvalidSystem


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
    shares = broker.lane_shares(partitions, workers)
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


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="edge: 'email'"):
        broker.pipeline(edge="email")
    with pytest.raises(ValueError, match="burst_s: -1"):
        broker.peak_backlog(200, 400, 3, -1)
    with pytest.raises(ValueError, match="replications: 1"):
        broker.mean_and_half_width([1.0])
    with pytest.raises(InvalidSystem, match="workers"):
        broker.pipeline(consumers=0)
