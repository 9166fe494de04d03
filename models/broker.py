"""Chapter 3: a producer, a broker and a consumer; backlog and drain; pooled and partitioned consumers.

The closed forms are fluid limits (rates in messages a second, times in seconds) and the classical
waiting times of M/M/1 and M/M/c.
"""

from collections.abc import Mapping, Sequence
from math import ceil, inf
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from models import stages, theory
from models.experiment import simulate, student
from models.loads import enough_workers, visits
from models.messaging import Broker
from models.system import Located, System

NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})


def pipeline(
    rate_per_s: float = 200.0,
    produce_ms: float = 4.0,
    consume_ms: float = 20.0,
    producers: int | str = 96,
    consumers: int = 8,
    within_ms: float = 0.5,
    distance_ms: float | None = None,
    ack_ms: float = 1.0,
    partitions: int | None = None,
    edge: str = "broker here",
    burst: tuple[float, float, float] | None = None,
    broker: Mapping[str, Any] = NOTHING_MORE,
    consumer: Mapping[str, Any] = NOTHING_MORE,
    ledger_errors: float | None = None,
    outages: Sequence[Mapping[str, Any]] = (),
    restarts: Sequence[Mapping[str, Any]] = (),
) -> System:
    """A producer whose requests each start one piece of work at a consumer.

    `edge` is how the work is handed over: "call", "broker here" (the broker stands beside the
    producer) or "broker there" (beside the consumer). `distance_ms` is the round trip between the
    two sides; None puts everything on one infrastructure. `burst` is (from_s, length_s, factor):
    the rate is multiplied by the factor for that long. Work is exponential, `ack_ms` is fixed.

    `broker`, `consumer`, `outages` and `restarts` say more about the broker "events", about the
    consumer's step and about what goes down, as in a system's file. With `ledger_errors` the
    consumer, when its own work is committed, calls a ledger beside it that breaks off with this
    chance.
    """
    edges = ("call", "broker here", "broker there")
    if edge not in edges:
        raise ValueError(f"edge: {edge!r} was given; expected one of {edges}")
    there = "here" if distance_ms is None else "there"
    step: dict = {"service": "consumer", "work": {"mean_ms": consume_ms}, **consumer}
    flow: dict = {
        "rate_per_s": rate_per_s,
        "root": {"service": "producer", "work": {"mean_ms": produce_ms}, "then": [step]},
    }
    system: dict = {
        "name": "Producer and consumer",
        "infrastructures": {place: {} for place in dict.fromkeys(("here", there))},
        "network": {"within_ms": within_ms},
        "services": {
            "producer": {"infrastructure": "here", "workers": producers},
            "consumer": {"infrastructure": there, "workers": consumers},
        },
        "flows": {"request": flow},
        "outages": list(outages),
        "restarts": list(restarts),
    }
    if ledger_errors is not None:
        system["services"]["ledger"] = {"infrastructure": there, "workers": "unlimited"}
        step["then"] = [{"service": "ledger", "errors": ledger_errors}]
    if distance_ms is not None:
        system["network"]["between"] = [{"ends": ["here", there], "rtt_ms": distance_ms}]
    if edge != "call":
        step["via"] = "events"
        system["brokers"] = {
            "events": {
                "infrastructure": "here" if edge == "broker here" else there,
                "ack": {"distribution": "deterministic", "mean_ms": ack_ms},
                "partitions": partitions,
                **broker,
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


# A system's own figures


class Edge(NamedTuple):
    """A message edge: its producer and consumer are the steps `entry.parent` and `entry`.

    Messages come `rate_per_s`; a consumer is held for `consume_ms` by one of them, calls below it
    included. The producer takes `produce_ms` for its own work and the calls that it waits for.
    """

    system: System
    entry: Located
    rate_per_s: float
    produce_ms: float
    consume_ms: float


def busiest_edge(system: System) -> Edge | None:
    """The edge with the most messages a second once all that may be done later is a message."""
    try:
        system = stages.asynchronous(system, next(iter(system.brokers), None))
    except stages.StageError:
        pass  # nothing more can become a message; there may be some already
    done = {(entry.flow, entry.key): (entry, per_s, ms) for entry, per_s, ms in visits(system)}
    found = [
        (entry, per_s, ms)
        for entry, per_s, ms in done.values()
        if entry.mode == "message" and per_s > 0
    ]
    if not found:
        return None
    entry, rate_per_s, consume_ms = max(found, key=lambda edge: edge[1])
    producer = entry.parent
    assert producer is not None  # since it is a message
    waits_ms = [
        ms + (system.round_trip(*system.crossings(child)[0])[0] if child.mode == "call" else 0.0)
        for child, _, ms in done.values()
        if child.parent is producer and child.mode != "message"
    ]
    together = max if producer.step.in_parallel else sum
    produce_ms = system.work_ms(producer) + together([*waits_ms, 0.0])
    return Edge(system, entry, rate_per_s, produce_ms, consume_ms)


def from_system(system: System, distance_ms: float, most: int = 12_000) -> dict[str, Any]:
    """This chapter's parameters by name, as far as the busiest message edge of a system has them.

    The producer gets workers enough for calls over `distance_ms`. Burst, fall and standstill last
    so long that 1,000 to `most` messages come in normal times of the burst. Empty without messages.
    """
    edge = busiest_edge(system)
    if edge is None:
        return {}
    system, entry, rate_per_s, produce_ms, consume_ms = edge
    consumer = entry.step.service
    held = rate_per_s * (produce_ms + distance_ms + consume_ms) / 1000
    burst_s = float(f"{min(max(60.0, 1000 / rate_per_s), most / rate_per_s):.2g}")
    broker = system.brokers[str(entry.step.via)]
    found: dict[str, Any] = {
        "rate_per_s": rate_per_s,
        "produce_ms": produce_ms,
        "consume_ms": consume_ms,
        "producers": ceil(1.5 * held) + 50,
        "consumers": enough_workers(system, consumer, rate_per_s * consume_ms / 1000),
        "within_ms": system.network.within_ms,
        "ack_ms": broker.ack.mean_ms,
        "burst_s": burst_s,
        "broker_down_s": burst_s / 2,
        "standstill_s": 0.75 * burst_s,
        "rebalance_s": 0.05 * burst_s,
    }
    if broker.replication.mean_ms:
        found["replication_ms"] = broker.replication.mean_ms
    if broker.retention_ms:
        found["retention_hours"] = broker.retention_ms / 3_600_000
    if broker.keys:
        found |= {"keys": broker.keys.count, "skew": broker.keys.skew}
    if broker.producers:
        found |= {"batch": broker.producers.batch, "linger_ms": broker.producers.linger_ms}
        found |= {"buffer": broker.producers.buffer} if broker.producers.buffer else {}
    if "max_deliveries" in broker.model_fields_set:
        found["max_deliveries"] = broker.max_deliveries
    return {
        name: value
        for name, value in found.items()
        if value or name in ("ack_ms", "linger_ms", "skew")
    }


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


def mixed_wait_ms(rate_per_s: float, work_ms: float, shares: Sequence[float]) -> float:
    """Mean wait where each worker gets its share of the messages: a mixture of M/M/1 queues.

    Poisson messages that are split at random stay Poisson (Kingman 1993). Infinite if the worker
    with the largest share is overloaded.
    """
    if max(shares) * rate_per_s * work_ms / 1000.0 >= 1.0:
        return inf
    rates = np.array(shares) * rate_per_s / 1000.0
    return float(np.dot(shares, theory.mm1(rates, 1.0 / work_ms).mean_wait))


def partitioned_wait_ms(rate_per_s: float, work_ms: float, workers: int, partitions: int) -> float:
    """Mean wait when each worker reads its own partitions and all partitions get the same share."""
    log = Broker(infrastructure="here", partitions=partitions)
    return mixed_wait_ms(rate_per_s, work_ms, log.consumer_shares(workers))


# Buffers that end: the producer's, the broker's, the consumer's


def full_after_s(rate_per_s: float, buffer: int) -> float:
    """Seconds without a broker until a producer's buffer of so many messages is full."""
    _positive(rate_per_s=rate_per_s, buffer=buffer)
    return buffer / rate_per_s


def blocked_s(since_fall_s: np.ndarray, full_s: float, down_s: float) -> np.ndarray:
    """Response of who comes so long after the broker fell: nothing while there is room, then it
    waits until the broker is back. Fluid limit; the producer's own work is left out.
    """
    waits = (since_fall_s >= full_s) & (since_fall_s < down_s)
    return np.where(waits, down_s - since_fall_s, 0.0)


def lost_in_a_fall(
    acks: str, rate_per_s: float, replication_ms: float, down_s: float
) -> tuple[float, float]:
    """Mean messages that are lost, and requests that are refused, each time the broker falls.

    Being copied are rate x replication time on average (Little's law): lost if they have been
    acknowledged before, else refused. Who waits for no acknowledgement also loses what is sent
    while the broker is down; who does is refused then.
    """
    waiting = rate_per_s * replication_ms / 1000.0
    meanwhile = rate_per_s * down_s
    return {
        "none": (waiting + meanwhile, 0.0),
        "leader": (waiting, meanwhile),
        "all": (0.0, waiting + meanwhile),
    }[acks]


def lost_share(rate_per_s: float, capacity_per_s: float) -> float:
    """Share of the messages that an overloaded consumer loses once retention has run out."""
    _positive(rate_per_s=rate_per_s, capacity_per_s=capacity_per_s)
    return max(0.0, 1.0 - capacity_per_s / rate_per_s)


def prefetch_busy(window: int, work_ms: float, rtt_ms: float, exponential: bool = False) -> float:
    """Share of its time that a consumer works which always has messages to fetch, `window` at once.

    Constant work: `theory.prefetch`. Exponential work: the window is a closed network of one
    server and a delay (machine repair), whose busy share depends on the mean of the delay alone
    (Baskett, Chandy, Muntz, Palacios 1975).
    """
    if exponential:
        return 1.0 - float(theory.machine_repair(window, rtt_ms, work_ms)[0])
    return float(theory.prefetch(window, work_ms, rtt_ms / 2).busy)


# Small experiments of this chapter


def consumer_wait(
    system: System, replications: int, requests: int, seed: int
) -> tuple[float, float]:
    """Mean wait of a message for its consumer in ms, and the half width of its 95 % interval."""
    waits = []
    for number in range(replications):
        run = simulate(system, requests, seed + (number << 32), keep="summary", intervals=False)
        waits.append(run.steps.set_index("step").mean_wait_ms["consumer"])
    return mean_and_half_width(waits)


def through_a_burst(
    system: System, until_s: float, requests: int, seed: int, step_s: float = 1.0
) -> pd.DataFrame:
    """One run, as `path_of` tells it."""
    return path_of(simulate(system, requests, seed, warmup=0).requests, until_s, step_s)


def path_of(rows: pd.DataFrame | None, until_s: float, step_s: float = 1.0) -> pd.DataFrame:
    """Of a run's requests: messages not yet processed, and the producer's mean response.

    Columns time_s, backlog, response_ms (of the requests that arrived in the step before time_s).
    """
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
    """Seconds from the end of the burst until the backlog is first at most `level`; infinite if it
    never is, or if there is no such level because there is no spare capacity.
    """
    if level == inf:
        return inf
    after = path[(path.time_s >= burst_ends_s) & (path.backlog <= level)]
    return float(after.time_s.iloc[0] - burst_ends_s) if len(after) else inf


def filled_after_s(
    rows: pd.DataFrame, from_ms: float, to_ms: float, buffer: int, stored_ms: float
) -> float:
    """Seconds from the fall of the broker until as many messages were buffered as there is room.

    `rows`: the requests of a run whose producer is done once its message is in its buffer. It takes
    `stored_ms` from there until the broker has it; what is on its way when the broker falls is sent
    again, and keeps its place.
    """
    buffered = np.sort(rows.replied_ms[rows.replied_ms.between(from_ms - stored_ms, to_ms)])
    return (buffered[buffer - 1] - from_ms) / 1000.0 if len(buffered) >= buffer else inf


def batches(rows: pd.DataFrame) -> tuple[float, float]:
    """Mean messages in a batch, and mean time in the producer's buffer in ms.

    `rows`: requests of a producer without work of its own that waits for a broker which answers at
    once; then all messages of a batch are answered in the same instant.
    """
    waited = rows.replied_ms - rows.arrived_ms
    return len(rows) / rows.replied_ms.nunique(), float(waited.mean())


def at_prefetch(
    window: int, work_ms: float, rtt_ms: float, distribution: str, requests: int, seed: int
) -> tuple[float, float]:
    """One consumer with more messages than it can do: share busy, mean wait in its memory in ms.

    The k-th message leaves the broker when the one `window` before it has been acknowledged, so
    that its wait is what the distance of their completions has beyond a round trip and the work.
    """
    system = pipeline(
        rate_per_s=2000.0 / work_ms,
        produce_ms=0.0,
        producers="unlimited",
        consumers=1,
        within_ms=0.0,
        ack_ms=0.0,
        distance_ms=rtt_ms,
        broker={"prefetch": window},
        consumer={"work": {"mean_ms": work_ms, "distribution": distribution}},
    )
    rows = simulate(system, requests, seed, warmup=0).requests
    assert rows is not None  # keep="requests" is the default
    completed = np.sort(rows.completed_ms)[requests // 10 :]
    busy = work_ms * (len(completed) - 1) / (completed[-1] - completed[0])
    cycle = (completed[-window:].sum() - completed[:window].sum()) / (len(completed) - window)
    return float(busy), float(cycle - rtt_ms - work_ms)


def deliveries(steps: pd.DataFrame) -> dict[str, float]:
    """Of a run's steps: times that a message was delivered, work done twice, and set aside, each
    per message.
    """
    step = steps.set_index("step").loc["consumer"].to_dict()
    messages = step["handled"] - step["redelivered"]
    return {
        "delivered": step["handled"] / messages,
        "duplicates": step["duplicates"] / messages,
        "dead": step["dead"] / messages,
    }


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent runs and the half width of its 95 % interval (Student's t)."""
    n = len(values)
    if n < 2:
        raise ValueError(f"replications: {n} was given; an interval needs at least 2")
    return float(np.mean(values)), float(student(n) * np.std(values, ddof=1))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < inf:
            raise ValueError(f"{name}: {value!r} was given; expected a positive number")
