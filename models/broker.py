"""Chapter 3: a producer, a broker and a consumer; backlog and drain; pooled and partitioned consumers.

The closed forms are fluid limits (rates in messages a second, times in seconds) and the classical
waiting times of M/M/1 and M/M/c.
"""

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np
import pandas as pd
from scipy.stats import t as student

from models import theory
from models.experiment import simulate
from models.system import System


def pipeline(
    rate_per_s: float = 200.0,
    produce_ms: float = 4.0,
    consume_ms: float = 20.0,
    producers: int = 96,
    consumers: int = 8,
    within_ms: float = 0.5,
    distance_ms: float | None = None,
    ack_ms: float = 1.0,
    partitions: int | None = None,
    edge: str = "broker here",
    burst: tuple[float, float, float] | None = None,
) -> System:
    """A producer whose requests each start one piece of work at a consumer.

    `edge` is how the work is handed over: "call", "broker here" (the broker stands beside the
    producer) or "broker there" (beside the consumer). `distance_ms` is the round trip between the
    two sides; None puts everything on one infrastructure. `burst` is (from_s, length_s, factor):
    the rate is multiplied by the factor for that long. Work is exponential, `ack_ms` is fixed.
    """
    edges = ("call", "broker here", "broker there")
    if edge not in edges:
        raise ValueError(f"edge: {edge!r} was given; expected one of {edges}")
    there = "here" if distance_ms is None else "there"
    flow: dict = {
        "rate_per_s": rate_per_s,
        "root": {
            "service": "producer",
            "work": {"mean_ms": produce_ms},
            "then": [{"service": "consumer", "work": {"mean_ms": consume_ms}}],
        },
    }
    system: dict = {
        "name": "Producer and consumer",
        "infrastructures": {place: {} for place in dict.fromkeys(("here", there))},
        "network": {"within_ms": within_ms},
        "services": {
            "producer": {"infrastructure": "here", "workers": producers},
            "consumer": {"infrastructure": there, "workers": consumers},
        },
        "flows": {"order": flow},
    }
    if distance_ms is not None:
        system["network"]["between"] = [{"ends": ["here", there], "rtt_ms": distance_ms}]
    if edge != "call":
        flow["root"]["then"][0]["via"] = "events"
        system["brokers"] = {
            "events": {
                "infrastructure": "here" if edge == "broker here" else there,
                "ack": {"distribution": "deterministic", "mean_ms": ack_ms},
                "partitions": partitions,
            }
        }
    if burst is not None:
        from_s, length_s, factor = burst
        flow["arrivals"] = {
            "process": "profile",
            "steps": [
                {"from_ms": 0, "factor": 1},
                {"from_ms": 1000 * from_s, "factor": factor},
                {"from_ms": 1000 * (from_s + length_s), "factor": 1},
            ],
        }
    return System.model_validate(system)


# Backlog and drain: the fluid limit


def peak_backlog(rate_per_s: float, capacity_per_s: float, factor: float, burst_s: float) -> float:
    """Messages that wait at the end of a burst: (factor x rate - capacity) x length, if positive."""
    _positive(
        rate_per_s=rate_per_s,
        capacity_per_s=capacity_per_s,
        factor=factor,
        burst_s=burst_s,
    )
    return max(0.0, (factor * rate_per_s - capacity_per_s) * burst_s)


def drain_s(rate_per_s: float, capacity_per_s: float, factor: float, burst_s: float) -> float:
    """Seconds from the end of the burst until the backlog is gone; infinite without spare capacity.

    An outage of the consumer is a burst with `factor x rate - capacity` replaced by `rate`: the time
    is then rate x outage / (capacity - rate).
    """
    peak = peak_backlog(rate_per_s, capacity_per_s, factor, burst_s)
    if peak == 0.0:
        return 0.0
    return peak / (capacity_per_s - rate_per_s) if capacity_per_s > rate_per_s else inf


def fluid_backlog(
    time_s: np.ndarray,
    rate_per_s: float,
    capacity_per_s: float,
    factor: float,
    burst_s: float,
) -> np.ndarray:
    """Messages waiting at each time since the start of the burst, in the fluid limit."""
    peak = peak_backlog(rate_per_s, capacity_per_s, factor, burst_s)
    growing = max(0.0, factor * rate_per_s - capacity_per_s) * time_s
    shrinking = peak - (capacity_per_s - rate_per_s) * (time_s - burst_s)
    backlog = np.where(time_s <= burst_s, growing, shrinking)
    return np.where(time_s < 0, 0.0, np.maximum(backlog, 0.0))


def retention_lasts_hours(rate_per_s: float, capacity_per_s: float, keeps_hours: float) -> float:
    """Hours until an overloaded consumer begins to lose messages that are kept so long.

    After a time t it has reached the messages of t x capacity / rate; the oldest unread message is
    t x (1 - capacity / rate) old. Infinite if the consumer keeps up.
    """
    _positive(rate_per_s=rate_per_s, capacity_per_s=capacity_per_s, keeps_hours=keeps_hours)
    if capacity_per_s >= rate_per_s:
        return inf
    return keeps_hours / (1.0 - capacity_per_s / rate_per_s)


# Pooled and partitioned consumers


def pooled_wait_ms(rate_per_s: float, work_ms: float, workers: int) -> float:
    """Mean wait in one queue before all workers, M/M/c; infinite if they are overloaded."""
    if rate_per_s * work_ms / 1000.0 >= workers:
        return inf
    return float(theory.mmc(rate_per_s / 1000.0, 1.0 / work_ms, workers).mean_wait)


def lane_shares(partitions: int, workers: int) -> list[float]:
    """Each busy worker's share of the messages: partition modulo workers, uniform keys."""
    _positive(partitions=partitions, workers=workers)
    lanes = min(partitions, workers)
    return [len(range(lane, partitions, lanes)) / partitions for lane in range(lanes)]


def partitioned_wait_ms(rate_per_s: float, work_ms: float, workers: int, partitions: int) -> float:
    """Mean wait when each worker reads its own partitions: a mixture of M/M/1 queues.

    Poisson messages that are split at random stay Poisson (Kingman 1993). Infinite if the worker
    with the most partitions is overloaded.
    """
    shares = lane_shares(partitions, workers)
    if max(shares) * rate_per_s * work_ms / 1000.0 >= 1.0:
        return inf
    rates = np.array(shares) * rate_per_s / 1000.0
    return float(np.dot(shares, theory.mm1(rates, 1.0 / work_ms).mean_wait))


# Small experiments of this chapter


def consumer_wait(
    system: System, replications: int, requests: int, seed: int
) -> tuple[float, float]:
    """Mean wait of a message for its consumer in ms, and the half width of its 95 % interval."""
    waits = []
    for number in range(replications):
        steps = simulate(system, requests, seed + (number << 32), keep="summary").steps
        waits.append(steps.set_index("step").mean_wait_ms["consumer"])
    return mean_and_half_width(waits)


def through_a_burst(
    system: System, until_s: float, requests: int, seed: int, step_s: float = 1.0
) -> pd.DataFrame:
    """One run: messages not yet processed, and the producer's mean response, second by second.

    Columns time_s, backlog, response_ms (of the requests that arrived in the step before time_s).
    """
    rows = simulate(system, requests, seed, warmup=0).requests
    assert rows is not None  # keep="requests" is the default
    edges_ms = 1000.0 * np.arange(0.0, until_s + step_s, step_s)
    arrived = np.searchsorted(np.sort(rows.arrived_ms), edges_ms, "right")
    completed = np.searchsorted(np.sort(rows.completed_ms), edges_ms, "right")
    response = (rows.replied_ms - rows.arrived_ms).groupby(
        np.searchsorted(edges_ms, rows.arrived_ms)
    )
    return pd.DataFrame(
        {
            "time_s": edges_ms / 1000.0,
            "backlog": arrived - completed,
            "response_ms": response.mean().reindex(range(len(edges_ms))).to_numpy(),
        }
    )


def measured_drain_s(path: pd.DataFrame, burst_ends_s: float, level: float) -> float:
    """Seconds from the end of the burst until the backlog is first at most `level`."""
    after = path[(path.time_s >= burst_ends_s) & (path.backlog <= level)]
    return float(after.time_s.iloc[0] - burst_ends_s) if len(after) else inf


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent runs and the half width of its 95 % interval (Student's t)."""
    n = len(values)
    if n < 2:
        raise ValueError(f"replications: {n} was given; an interval needs at least 2")
    return float(np.mean(values)), float(
        student.ppf(0.975, n - 1) * np.std(values, ddof=1) / sqrt(n)
    )


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < inf:
            raise ValueError(f"{name}: {value!r} was given; expected a positive number")
