"""Chapter 2: calls that hold a worker; how far they may reach; a rolling restart under load.

`Chain` is a front service with calls below it, `Restart` a service of several instances that are
restarted one by one. Both build their systems and know their closed forms; `PLACEMENTS` are
published round trips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations, pairwise
from math import exp, floor, inf, nan
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import integrate, optimize, special

from models import stages, theory
from models.broker import mean_and_half_width
from models.experiment import simulate
from models.loads import enough_workers
from models.system import Step, System

Workers = int | Literal["unlimited"]


@dataclass(frozen=True)
class Chain:
    """A front service that calls `fan_out` services, each with `depth - 1` further calls below it.

    Every service stands in a place of its own, `rtt_ms` from the next, has `workers` workers and
    does exponential work of mean `work_ms` (`front_ms` in the front, if it is given). The calls of
    the front are made one after the other, or all at once (`in_parallel`). `callee_workers` gives
    the services below another number of workers than the front has.

    The closed forms hold where nobody queues below the front. That is so whenever each service has
    as many workers as the front: no more than that many requests are ever below it.
    """

    rate_per_s: float = 100.0
    work_ms: float = 5.0
    rtt_ms: float = 1.0
    depth: int = 3
    workers: Workers = 8
    fan_out: int = 1
    in_parallel: bool = False
    callee_workers: Workers | None = None
    front_ms: float | None = None

    def __post_init__(self):
        above_zero("rate_per_s", self.rate_per_s)
        above_zero("work_ms", self.work_ms)
        from_zero("rtt_ms", self.rtt_ms)
        whole("depth", self.depth)
        whole("fan_out", self.fan_out)
        if self.workers != "unlimited":
            whole("workers", self.workers)

    def system(self) -> System:
        """The chain as a system whose only flow is `request`."""
        below = self.workers if self.callee_workers is None else self.callee_workers
        services = {"front": {"infrastructure": "place 1", "workers": self.workers}}
        links: list[dict] = []
        branches: list[dict] = []
        for branch in range(1, self.fan_out + 1):
            suffix = f"-{branch}" if self.fan_out > 1 else ""
            names = [f"callee {number}{suffix}" for number in range(1, self.depth + 1)]
            places = ["place 1"]
            for number, name in enumerate(names, 1):
                places.append(f"place {number + 1}{suffix}")
                services[name] = {"infrastructure": places[-1], "workers": below}
            links += [{"ends": list(ends), "rtt_ms": self.rtt_ms} for ends in pairwise(places)]
            step: dict = {}
            for name in reversed(names):
                then = {"then": [step]} if step else {}
                step = {"service": name, "work": {"mean_ms": self.work_ms}, **then}
            branches.append(step)
        return System.model_validate(
            {
                "name": "Chain of calls",
                "infrastructures": {part["infrastructure"]: {} for part in services.values()},
                "network": {"between": links},
                "services": services,
                "flows": {
                    "request": {
                        "rate_per_s": self.rate_per_s,
                        "root": {
                            "service": "front",
                            "work": {"mean_ms": self._front_ms},
                            "in_parallel": self.in_parallel,
                            "then": branches,
                        },
                    }
                },
            }
        )

    @property
    def _front_ms(self) -> float:
        return self.work_ms if self.front_ms is None else self.front_ms

    @cached_property
    def _branches_ms(self) -> tuple[float, float]:
        """Mean and variance of the time that the front's calls take, round trips left out."""
        if not self.in_parallel or self.fan_out == 1:
            works = self.fan_out * self.depth
            return works * self.work_ms, works * self.work_ms**2

        def longer(t):  # P(the longest of independent Erlang times > t), and from it the moments
            return 1 - special.gammainc(self.depth, t) ** self.fan_out

        mean = integrate.quad(longer, 0, inf)[0]
        second = integrate.quad(lambda t: 2 * t * longer(t), 0, inf)[0]
        return mean * self.work_ms, (second - mean**2) * self.work_ms**2

    @property
    def network_ms(self) -> float:
        """Round trips that a request waits for; of parallel calls, those of one."""
        trips = self.depth if self.in_parallel else self.depth * self.fan_out
        return trips * self.rtt_ms

    @property
    def held_ms(self) -> float:
        """Mean time that a request holds a worker of the front: work, round trips, work below."""
        return self._front_ms + self.network_ms + self._branches_ms[0]

    @property
    def held_scv(self) -> float:
        """Squared coefficient of variation of that time: distance adds to the mean alone."""
        return (self._front_ms**2 + self._branches_ms[1]) / self.held_ms**2

    @property
    def busy(self) -> float:
        """Mean number of the front's workers that are held: rate x time held (Little's law)."""
        return self.rate_per_s * self.held_ms / 1000

    @property
    def capacity_per_s(self) -> float:
        """Most requests per second: workers / (work + time downstream); `theory.held_capacity`."""
        if self.workers == "unlimited":
            return inf
        return float(1000 * theory.held_capacity(self.workers, self.held_ms, 0.0))

    @property
    def workers_needed(self) -> int:
        """The fewest workers of the front that carry the rate."""
        return floor(self.busy) + 1

    @property
    def wait_ms(self) -> float:
        """Mean wait for a worker of the front: M/G/c, approximate (`theory.mgc_wait`)."""
        if self.workers == "unlimited":
            return 0.0
        if self.busy >= self.workers:
            return inf
        return float(
            theory.mgc_wait(self.rate_per_s / 1000, self.held_ms, self.workers, self.held_scv)
        )

    @property
    def response_ms(self) -> float:
        """Mean response: wait and time held; infinite where the rate is not carried."""
        return self.wait_ms + self.held_ms

    def quantile_ms(self, share: float) -> float:
        """The response that a `share` of the requests stays below; one branch of equal works.

        Time held: round trips and an Erlang time, exact. Wait: Erlang C for whether, exponential
        for how long, which is exact for M/M/c and *approximate* here. The two are independent,
        because a request's own time does not move its place in the queue.
        """
        if self.fan_out > 1 or self.front_ms is not None:
            raise ValueError("quantile_ms: expected one branch, and a front that works as the rest")
        if self.wait_ms == inf:
            return inf
        works = self.depth + 1
        delayed, decay = 0.0, 0.0
        if self.wait_ms > 0 and self.workers != "unlimited":
            delayed = float(theory.erlang_c(self.busy, self.workers))
            decay = delayed / self.wait_ms * self.work_ms  # per mean work

        def late(t):  # P(wait and works together last longer than t mean works)
            if decay < 0.5:
                waited = (1 - decay) ** -works * special.gammainc(works, (1 - decay) * t)
                waited *= exp(-decay * t)
            else:  # the same, well behaved where decay is about 1 or more
                waited = exp(special.xlogy(works, t) - t - special.gammaln(works + 1))
                waited *= special.hyp1f1(1, works + 1, (1 - decay) * t)
            return special.gammaincc(works, t) + delayed * waited

        high = 1.0
        while late(high) > 1 - share:
            high *= 2
        longest = optimize.brentq(lambda t: late(t) - (1 - share), 0, high)
        return self.network_ms + self.work_ms * float(longest)

    def longest_rtt_ms(self, target_ms: float, share: float = 0.99) -> float:
        """The longest round trip at which `quantile_ms(share)` still meets the target, or -inf."""

        def late(rtt_ms):  # 1 where the rate is not carried
            return 1 - target_ms / replace(self, rtt_ms=rtt_ms).quantile_ms(share)

        if late(0.0) > 0:
            return -inf
        return float(optimize.brentq(late, 0.0, target_ms))


@dataclass(frozen=True)
class Restart:
    """Callers of a service of `instances` with `instance_workers` each, restarted one by one.

    While an instance restarts, which takes `start_s` from the moment that it is gone, the others do
    all the work from one shared queue with `queue_limit` places. Each phase lasts much longer than
    a request, so it is looked at as a system of its own in its steady state. Callers never run out
    of workers. Work is exponential, means in ms.
    """

    rate_per_s: float = 480.0
    work_ms: float = 20.0
    instances: int = 4
    instance_workers: int = 4
    queue_limit: int = 16
    start_s: float = 30.0
    caller_ms: float = 2.0
    rtt_ms: float = 0.5
    ack_ms: float = 1.0

    def __post_init__(self):
        above_zero("rate_per_s", self.rate_per_s)
        above_zero("work_ms", self.work_ms)
        above_zero("start_s", self.start_s)
        whole("instances", self.instances, 2)
        whole("instance_workers", self.instance_workers)
        whole("queue_limit", self.queue_limit, 0)

    def system(self, up: int, by_message: bool = False) -> System:
        """Callers and service while `up` of its instances work, reached by calls or by messages."""
        below: dict = {"service": "service", "work": {"mean_ms": self.work_ms}}
        data: dict = {
            "name": "Restart",
            "infrastructures": {"here": {}},
            "network": {"within_ms": self.rtt_ms},
            "services": {
                "caller": {"infrastructure": "here"},
                "service": {
                    "infrastructure": "here",
                    "workers": up * self.instance_workers,
                    "queue_limit": self.queue_limit,
                },
            },
        }
        if by_message:
            below["via"] = "events"
            ack = {"mean_ms": self.ack_ms, "distribution": "deterministic"}
            data["brokers"] = {"events": {"infrastructure": "here", "ack": ack}}
        root = {"service": "caller", "work": {"mean_ms": self.caller_ms}, "then": [below]}
        data["flows"] = {"request": {"rate_per_s": self.rate_per_s, "root": root}}
        return System.model_validate(data)

    def rolling(
        self, drains: bool, by_message: bool = False, lead_s: float = 20.0, pause_s: float = 0.0
    ) -> System:
        """The same, request by request: from `lead_s` on, one instance after the other is gone.

        Between the return of one and the stop of the next there are `pause_s`.
        """
        restart = {
            "service": "service",
            "instances": self.instances,
            "from_ms": 1000 * lead_s,
            "each_ms": 1000 * self.start_s,
            "pause_ms": 1000 * pause_s,
            "drains": drains,
        }
        whole = self.system(self.instances, by_message)
        return System.model_validate(whole.to_dict() | {"restarts": [restart]})

    @property
    def capacity_per_s(self) -> float:
        """Most calls per second while all instances work."""
        return 1000 * self.instances * self.instance_workers / self.work_ms

    @property
    def load(self) -> float:
        """Rate over capacity while all instances work."""
        return self.rate_per_s / self.capacity_per_s

    def turned_away(self, up: int) -> float:
        """Share of the calls that find every place taken: M/M/c/K, exact (`theory.mmck`)."""
        workers = up * self.instance_workers
        return theory.mmck(
            self.rate_per_s / 1000, 1 / self.work_ms, workers, workers + self.queue_limit
        ).blocking

    @property
    def in_hand(self) -> float:
        """Calls in hand over all instances: rate x share let in x work (Little's law)."""
        return self.rate_per_s * (1 - self.turned_away(self.instances)) * self.work_ms / 1000

    @property
    def drain_s(self) -> float:
        """Mean time until an instance, all of whose workers are busy, has finished its calls."""
        return float(theory.max_exponentials(self.instance_workers, self.work_ms)) / 1000

    def calls_during(self, draining: bool) -> float:
        """Calls that arrive while one instance or another is gone or draining."""
        gone_s = self.start_s + (self.drain_s if draining else 0.0)
        return self.instances * gone_s * self.rate_per_s

    def highest_load(self, share: float) -> float:
        """The load before the restart at which `share` of the calls are turned away during it."""

        def excess(load):
            at_load = replace(self, rate_per_s=load * self.capacity_per_s)
            return at_load.turned_away(self.instances - 1) - share

        return float(optimize.brentq(excess, 1e-6, 4.0))


# A system's own figures, and its parts taken apart


def in_a_row(step: Step) -> tuple[int, float]:
    """Calls that a step waits for one after the other, and the mean work in ms, its own included.

    Of calls made together, the row with the most calls counts. Work inside one service is no call.
    """
    rows = [(0, 0.0)]
    for child in step.then:
        if child.via is None:
            calls, work_ms = in_a_row(child)
            rows.append((calls + (child.service != step.service), work_ms))
    if step.in_parallel:
        calls, work_ms = max(rows)
    else:
        calls, work_ms = sum(row[0] for row in rows), sum(row[1] for row in rows)
    return calls, step.work.mean_ms + work_ms


def from_system(system: System, near_ms: float, slower: float) -> tuple[dict[str, Any], str, str]:
    """This chapter's parameters by name, as far as a system has them; the flow and the service.

    The chain is the flow whose requests wait for the most calls a second, its front that flow's
    first service. A p99 `slower` times that of the chain with unlimited workers nearby is its
    target. The service that is restarted is the busiest of those that are called, have workers for
    two instances, and have not more to do than they can; its work is the time that a worker is
    held. Where there is no call, or no such service, its figures and its name are missing.
    """
    rows = {
        name: (*in_a_row(flow.root), flow.mean_rate_per_s) for name, flow in system.flows.items()
    }
    flow = max(rows, key=lambda name: rows[name][0] * rows[name][2])
    depth, work_ms, rate_per_s = rows[flow]
    figures: dict[str, Any] = {}
    if depth * rate_per_s * work_ms > 0:
        front, held_ms = system.flows[flow].root.service, work_ms + depth * near_ms
        chain = Chain(rate_per_s, work_ms / (depth + 1), near_ms, depth, "unlimited")
        figures = {
            "rate_per_s": rate_per_s,
            "work_ms": chain.work_ms,
            "depth": depth,
            "workers": enough_workers(system, front, rate_per_s * held_ms / 1000),
            "target_ms": float(f"{slower * chain.quantile_ms(0.99):.2g}"),
        }
    called = {entry.step.service for entry in system.steps() if entry.mode == "call"}
    loads = {
        name: load
        for name, load in system.loads().items()
        if name in called and load.workers and load.workers > 1 and 0 < load.utilisation < 1
    }
    if not loads:
        return figures, flow if figures else "", ""
    service = max(loads, key=lambda name: loads[name].utilisation)
    load = loads[service]
    workers = load.workers or 0
    said = [restart.instances for restart in system.restarts if restart.service == service]
    even = [n for n in (*said, 4, 3, 2) if workers % n == 0]
    instances = even[0] if even else workers
    figures |= {
        "service_per_s": load.handled_per_s,
        "service_ms": 1000 * load.held / load.handled_per_s,
        "instances": instances,
        "instance_workers": workers // instances,
        "start_s": min(30.0, float(f"{MOST_CALLS / load.handled_per_s / (instances + 2):.2g}")),
    }
    if (limit := system.services[service].queue_limit) is not None:
        figures["queue_limit"] = limit
    return figures, flow if "rate_per_s" in figures else "", service


MOST_CALLS = 60_000  # in a rolling restart that is followed call by call


def calls_only(system: System) -> System:
    """The system with a call for every message, and without its outages and restarts."""
    said = system.to_dict()
    kept = {key: value for key, value in said.items() if key not in ("outages", "restarts")}
    return stages.synchronous(System.model_validate(kept))


def by_team(system: System) -> bool:
    """Whether a system is taken apart by team: every service has an owner, and not all the same."""
    teams = {service.team for service in system.services.values()}
    return len(teams) > 1 and None not in teams


def homes(system: System) -> dict[str, str]:
    """Who goes where if a system is taken apart: each service to its team, or by itself."""
    teams = by_team(system)
    return {name: str(made.team) if teams else name for name, made in system.services.items()}


def apart(system: System, rtt_ms: float, jitter_cv: float = 0.1) -> System:
    """A system with calls only whose teams, or services, are each in a place of their own."""
    labels = homes(system)
    places = {
        label: f"place {number}" for number, label in enumerate(dict.fromkeys(labels.values()), 1)
    }
    data = system.to_dict()
    data.pop("brokers", None)
    data["infrastructures"] = {place: {"label": label} for label, place in places.items()}
    for name, service in data["services"].items():
        service["infrastructure"] = places[labels[name]]
    used = {
        frozenset((labels[entry.parent.step.service], labels[entry.step.service]))
        for entry in system.steps()
        if entry.parent is not None
    }
    data["network"] = {
        key: value for key, value in data.get("network", {}).items() if key != "between"
    }
    data["network"]["between"] = [
        {"ends": [places[here], places[there]], "rtt_ms": rtt_ms, "jitter_cv": jitter_cv}
        for here, there in combinations(places, 2)
        if frozenset((here, there)) in used
    ]
    return System.model_validate(data)


@dataclass(frozen=True)
class Apart:
    """How a system with calls only takes being taken apart.

    `system` stands side by side. `p99_ms` of its flows and `held`, the share of each service's
    workers, are measured there: mean and half width. `ratios`: a flow's p99 at each of the
    `distances_ms` (columns) in each run (rows), over what is good, `slower` times `p99_ms`.
    """

    system: System
    slower: float
    p99_ms: dict[str, tuple[float, float]]
    distances_ms: list[float]
    ratios: dict[str, np.ndarray]
    held: dict[str, tuple[float, float]]

    def curves(self) -> pd.DataFrame:
        """flow, rtt_ms, mean and half_width of the ratio."""
        rows = [
            (flow, rtt_ms, *mean_and_half_width(list(column)))
            for flow, runs in self.ratios.items()
            for rtt_ms, column in zip(self.distances_ms, runs.T, strict=True)
        ]
        return pd.DataFrame(rows, columns=["flow", "rtt_ms", "mean", "half_width"])

    def table(self) -> pd.DataFrame:
        """A row a flow, the first to give way first.

        flow, calls (in a row), front (its first service), held (share of that one's workers),
        p99_ms, longest_ms and half_width: the longest round trip at which the p99 is good. It is the
        farthest that was tried, without a half width, where a run does not give way at all.
        """
        rows, farthest = [], self.distances_ms[-1]
        for flow, runs in self.ratios.items():
            # 1 / p99 falls nearly in a straight line to the wall
            limits = [crossing(self.distances_ms, list(-1 / run), -1.0) for run in runs]
            limit = (farthest, nan) if farthest in limits else mean_and_half_width(limits)
            root = self.system.flows[flow].root
            rows.append((flow, in_a_row(root)[0], root.service, self.held[root.service],
                         self.p99_ms[flow], *limit))  # fmt: skip
        columns = ["flow", "calls", "front", "held", "p99_ms", "longest_ms", "half_width"]
        found = pd.DataFrame(rows, columns=columns)
        return found.sort_values("longest_ms", kind="stable", ignore_index=True)


FEWEST = 200  # requests of a flow in a run, for its p99
FARTHEST_MS = 2000.0


def take_apart(
    system: System, slower: float, replications: int, requests: int, seed: int, points: int = 14
) -> Apart:
    """Every team (or service) in a place of its own, at growing distances, with the same requests.

    Raises StageError, with the reason, where the system cannot have calls only, nobody calls
    anybody, it is overloaded side by side, or no flow that calls comes often enough.
    """
    alone = calls_only(system)
    home = homes(alone)
    calls = {
        entry.flow
        for entry in alone.steps()
        if entry.parent and home[entry.parent.step.service] != home[entry.step.service]
    }
    if not calls:
        raise stages.StageError("nobody calls anybody else, so nothing can be taken apart")
    side_ms = max(system.network.within_ms, 0.1)
    if too_much := apart(alone, side_ms).overloads():
        raise stages.StageError(f"overloaded with calls only, however near: {too_much[0]}")

    @cache
    def p99s(rtt_ms, run):
        plan = apart(alone, rtt_ms).plan()
        found = simulate(plan, requests, seed + (run << 32), keep="summary", intervals=False)
        rows = found.summary().set_index(["metric", "flow"]).loc["response_p99_ms"]
        return rows.value[rows.n >= FEWEST], found.services.set_index("service").utilisation

    runs = [p99s(side_ms, run) for run in range(replications)]
    beside = pd.concat([p99_ms for p99_ms, _ in runs], axis=1).dropna()
    held = pd.concat([busy for _, busy in runs], axis=1)
    good = slower * beside.mean(axis=1)[[flow for flow in beside.index if flow in calls]]
    if good.empty:
        raise stages.StageError(
            f"among {requests:,} requests no flow with calls has {FEWEST}, which its p99 needs"
        )

    def ratios(distances_ms):  # runs, distances, flows
        every_run = range(replications)
        return np.array(
            [[p99s(ms, run)[0][good.index] / good for ms in distances_ms] for run in every_run]
        )

    low, high = side_ms, side_ms
    while (met := ratios([high]) < 1).any() and high < FARTHEST_MS:
        low = high if met.all() else low
        high *= 2
    between = np.geomspace(low, high, points)[1:-1]
    distances = [low, *(float(f"{rtt_ms:.3g}") for rtt_ms in between), high]
    found = ratios(distances)
    return Apart(
        alone,
        slower,
        {flow: mean_and_half_width(list(beside.loc[flow])) for flow in good.index},
        distances,
        {flow: found[:, :, number] for number, flow in enumerate(good.index)},
        {service: mean_and_half_width(list(held.loc[service])) for service in held.index},
    )


# The longest round trip, by simulation


def longest_rtt_ms(
    system_at: Callable[[float], System],
    flow: str,
    target_ms: float,
    between_ms: tuple[float, float],
    replications: int,
    requests: int,
    seed: int,
) -> tuple[float, float]:
    """The longest round trip at which the simulated p99 of a flow meets its target.

    `system_at` gives the system for a round trip in ms. Every run finds its own limit, to 1 %,
    with the same random numbers at every distance; returned are the mean of the runs and the half
    width of its 95 % interval. Where a run's limit lies outside of `between_ms`, it is that end, and
    the half width is nan.
    """

    def limit(run_seed):
        @cache
        def late(rtt_ms):
            run = simulate(system_at(rtt_ms), requests, run_seed, keep="summary", intervals=False)
            rows = run.summary().set_index(["flow", "metric"]).value
            return 1 - target_ms / float(rows[flow, "response_p99_ms"])

        low, high = between_ms
        if late(low) >= 0:
            return low
        return float(optimize.brentq(late, low, high, rtol=0.01)) if late(high) > 0 else high

    limits = [limit(seed + (run << 32)) for run in range(replications)]
    outside = [end for end in between_ms if end in limits]
    return (outside[0], nan) if outside else mean_and_half_width(limits)


def crossing(distances_ms: Sequence[float], values: Sequence[float], target: float) -> float:
    """Where rising values first reach the target, on straight lines between the distances.

    The first distance where they start above it, the last where they never reach it.
    """
    for (near_ms, low), (far_ms, high) in pairwise(zip(distances_ms, values, strict=True)):
        if low >= target:
            return near_ms
        if high >= target:
            return near_ms + (far_ms - near_ms) * (target - low) / (high - low)
    return distances_ms[-1]


# Published round trips


@dataclass(frozen=True)
class Placement:
    """Where the other service stands: measured round trips in ms by what was measured."""

    name: str
    rtts_ms: dict[str, float]
    source: str
    close: bool = False  # inside one cluster or one private network of one region
    assumed: bool = False

    @property
    def middle_ms(self) -> float:
        """The middle of the range, on a logarithmic axis."""
        return (min(self.rtts_ms.values()) * max(self.rtts_ms.values())) ** 0.5

    def within(self, longest_ms: float) -> str:
        """Whether all, some or none of the round trips are at most `longest_ms`."""
        fine = sum(rtt_ms <= longest_ms for rtt_ms in self.rtts_ms.values())
        return "fine" if fine == len(self.rtts_ms) else "in part" if fine else "too far"


IBM = "IBM Cloud, averages of a month"
# IBM Cloud VPC, "Network latency" (averages 3 February to 3 March 2024; same zone: later in 2024).
# Azure: Painter, "Azure latency", 2025 (TCP echo between small machines, mean of 40,000).
# Assumed: no published measurement was found.
PLACEMENTS = (
    Placement(
        "same zone",
        {"IBM, quietest": 0.08, "IBM, busiest": 0.10, "Azure, UK South": 0.908},
        f"{IBM}; Azure, TCP echo",
        close=True,
    ),
    Placement(
        "another zone",
        {
            "IBM, Madrid": 0.63,
            "IBM, Frankfurt": 0.80,
            "IBM, Washington": 0.85,
            "Azure, UK South": 1.553,
            "IBM, Osaka": 1.68,
            "IBM, Tokyo": 1.97,
            "IBM, Dallas": 2.02,
            "IBM, London": 2.38,
            "IBM, Sao Paulo": 2.83,
        },
        f"{IBM}; Azure, TCP echo",
        close=True,
    ),
    Placement("on premises by line", {"shortest": 1.0, "longest": 5.0}, "assumed", assumed=True),
    Placement(
        "near region",
        {
            "Azure, UK South to UK West": 5.387,
            "IBM, Tokyo to Osaka": 9.0,
            "IBM, London to Frankfurt": 12.0,
            "IBM, Toronto to Washington": 19.0,
            "IBM, London to Madrid": 26.0,
            "IBM, Frankfurt to Madrid": 29.0,
        },
        f"{IBM}; Azure, TCP echo",
    ),
    Placement("on premises by VPN", {"shortest": 10.0, "longest": 50.0}, "assumed", assumed=True),
    Placement(
        "far region of the same continent",
        {"IBM, Washington to Dallas": 32.0, "IBM, Toronto to Dallas": 34.0},
        IBM,
    ),
    Placement(
        "other continent",
        {
            "IBM, Washington to London": 75.0,
            "IBM, Washington to Frankfurt": 98.0,
            "IBM, Dallas to London": 113.0,
            "IBM, Tokyo to Sydney": 117.0,
            "IBM, Tokyo to Dallas": 142.0,
            "IBM, Tokyo to Washington": 167.0,
            "IBM, Frankfurt to Tokyo": 237.0,
            "IBM, Sao Paulo to Sydney": 329.0,
        },
        IBM,
    ),
)


def rising(**values: float) -> None:
    """Refuse values that do not rise from one to the next, by their names."""
    for (name, value), (above, limit) in pairwise(values.items()):
        if not value < limit:
            raise ValueError(f"{name}: {value!r} was given; expected less than {above}, {limit!r}")


def above_zero(name: str, value: float) -> None:
    if not 0 < value < inf:
        raise ValueError(f"{name}: {value!r} was given; expected a number above 0")


def from_zero(name: str, value: float) -> None:
    if not 0 <= value < inf:
        raise ValueError(f"{name}: {value!r} was given; expected a number of at least 0")


def whole(name: str, value: int, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {value!r} was given; expected a whole number from {least} on")
