"""Chapter 4: stay together or separate, three kinds of separate system, and who owns what.

Requests are simulated by the engine, in milliseconds. Outages, maintenance windows and incidents
live on a slower clock, in hours, and have closed forms of their own; `simulate_incidents` is the
one simulation here. Everything that is assumed is a field with a default.
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import ceil, exp, inf
from typing import Any

import numpy as np
import pandas as pd

from models import stages, theory
from models.calls import above_zero, from_zero, whole
from models.system import Located, System

YEAR_HOURS = 8760.0
WEEK_HOURS = 168.0
HOUR_MS = 3_600_000.0

# One system together and apart


def home(system: System) -> str:
    """The infrastructure with the most services, the first of those with equally many."""
    placed = [service.infrastructure for service in system.services.values()]
    return max(system.infrastructures, key=placed.count)


def as_messages(system: System) -> System:
    """What may be done later as messages; a system in which nothing may be stays as it is.

    Where several brokers are there, new messages go to the one that carries the most steps.
    """
    carried = [entry.step.via for entry in system.steps()]
    broker = max(system.brokers, key=carried.count) if len(system.brokers) > 1 else None
    try:
        return stages.asynchronous(system, broker)
    except stages.StageError:
        return system


def as_calls(system: System) -> System:
    """Every message as a call. Raises StageError.

    Where nothing links a publisher's infrastructure with that of who takes its messages, a call goes
    the way of the message: the round trips to the broker and on.
    """
    data = system.to_dict()
    links = data.setdefault("network", {}).setdefault("between", [])
    known = {frozenset(link["ends"]) for link in links}
    for entry in system.steps():
        ways = system.crossings(entry)
        ends = {ways[0][0], ways[-1][-1]} if ways else set()
        if len(ends) == 2 and frozenset(ends) not in known:
            rtt_ms = sum(system.round_trip(*way)[0] for way in ways)
            links.append({"ends": sorted(ends), "rtt_ms": rtt_ms})
            known.add(frozenset(ends))
    longer = len(links) > len(system.network.between)
    return stages.synchronous(System.model_validate(data) if longer else system)


def calm(system: System) -> System:
    """The system without the outages and restarts of its file, where other ones take their place."""
    kept = system.to_dict()
    mishaps = [kept.pop(name, None) for name in ("outages", "restarts")]
    return System.model_validate(kept) if any(mishaps) else system


def together(system: System) -> System:
    """All services and brokers of a calm system on one infrastructure, and no other."""
    place = home(system)
    if len({service.infrastructure for service in system.services.values()}) == 1 and all(
        broker.infrastructure == place for broker in system.brokers.values()
    ):
        return system
    data = system.to_dict()
    for part in (*data["services"].values(), *data.get("brokers", {}).values()):
        part["infrastructure"] = place
    data["infrastructures"] = {place: data["infrastructures"][place]}
    data["network"] = {k: v for k, v in data.get("network", {}).items() if k != "between"}
    return System.model_validate(data)


def sides(system: System, rtt_ms: float) -> tuple[System, System | None, str]:
    """(together, apart, why there is no apart): what may be done later is messages in both.

    A system that runs on several infrastructures is apart as it is; of another one, whatever is
    reached by messages alone goes to its team's own infrastructure (`stages.separated`). Outages and
    restarts of the file are left out (`calm`).
    """
    here = as_messages(calm(system))
    if len({service.infrastructure for service in here.services.values()}) > 1:
        return together(here), here, ""
    near = together(here)
    try:
        return near, stages.separated(near, rtt_ms=rtt_ms), ""
    except stages.StageError as error:
        return near, None, str(error).partition(": ")[2]


def at_distance(system: System, rtt_ms: float) -> System:
    """The system with every round trip between two infrastructures so long."""
    data = system.to_dict()
    for link in data.get("network", {}).get("between", []):
        link["rtt_ms"] = rtt_ms
    return System.model_validate(data)


def distance(system: System) -> str:
    """The round trips between a system's infrastructures in words, ms."""
    trips = [link.rtt_ms for link in system.network.between] or [system.network.within_ms]
    low, high = min(trips), max(trips)
    return f"{low:g}\u00a0ms" if low == high else f"{low:g} to {high:g}\u00a0ms"


def watched(system: System) -> tuple[str, str | None]:
    """The flow with the most steps that can wait, and the busiest of the others, if there is one.

    Flows with less than a hundredth of the busiest one's rate are passed over, since a run would
    see too few of their requests, and so are flows of recorded times, which end.
    """
    rates = {
        name: flow.mean_rate_per_s
        for name, flow in system.flows.items()
        if flow.arrivals.times_ms is None
    } or {name: flow.mean_rate_per_s for name, flow in system.flows.items()}
    seen = [flow for flow, rate in rates.items() if rate >= max(rates.values()) / 100]

    def weight(flow: str) -> tuple[int, float]:
        waits = sum(e.step.deferrable or e.step.via is not None for e in system.steps(flow))
        return waits, rates[flow]

    main = max(seen, key=weight)
    others = [flow for flow in seen if flow != main]
    return main, max(others, key=lambda flow: rates[flow]) if others else None


def handed_over(system: System) -> pd.DataFrame:
    """Every step that is handed over as a message: flow, service, per_s; the most frequent first."""
    rows = [
        (entry.flow, entry.step.service, system.flows[entry.flow].mean_rate_per_s)
        for entry in system.steps()
        if entry.mode == "message"
    ]
    found = pd.DataFrame(rows, columns=["flow", "service", "per_s"])
    return found.sort_values("per_s", ascending=False, kind="stable", ignore_index=True)


# Who owns what


def owners(system: System) -> pd.DataFrame:
    """Every service: service, infrastructure, team, how it is reached, and by which flows."""
    words = {"root": "from outside", "call": "by calls", "message": "by messages"}
    reached: dict[str, dict[str, None]] = {name: {} for name in system.services}
    flows: dict[str, dict[str, None]] = {name: {} for name in system.services}
    for entry in system.steps():
        flows[entry.step.service][entry.flow] = None
        if entry.mode != "local":
            reached[entry.step.service][words[entry.mode]] = None
    rows = [
        (name, service.infrastructure, service.team or "nobody", ", ".join(reached[name]),
         ", ".join(flows[name]))
        for name, service in system.services.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["service", "infrastructure", "team", "reached", "flows"])


def owned(system: System) -> dict[str, int]:
    """How many services each team owns, the most first."""
    counts: dict[str, int] = {}
    for service in system.services.values():
        if service.team is not None:
            counts[service.team] = counts.get(service.team, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


# What a flow needs, and how often it is there

Part = str | frozenset[str]
"""An infrastructure by its name, or a link by its two ends."""


def needs(system: System, flow: str, until: str = "answer") -> frozenset[Part]:
    """The infrastructures and links that must be up for a flow's answer, or for its completion.

    The answer needs whatever is called before it, and each broker that a message is handed to; who
    takes the message is needed for the `completion` only.
    """
    if until not in ("answer", "completion"):
        raise ValueError(f"until: {until!r} was given; expected 'answer' or 'completion'")
    parts: set[Part] = set()
    for entry in system.steps(flow):
        above = [entry, *_above_it(entry)]
        if until == "answer" and any(step.mode == "message" for step in above[1:]):
            continue
        if entry.parent is None:
            parts.add(system.services[entry.step.service].infrastructure)
        awaited = entry.mode == "message" and until == "answer"
        for here, there in system.crossings(entry)[: 1 if awaited else None]:
            parts |= {here, there} | ({frozenset((here, there))} if here != there else set())
    return frozenset(parts)


def crossing_calls(system: System, flow: str) -> tuple[Located, ...]:
    """What leaves an infrastructure while the user of a flow waits: calls, and messages handed over."""
    found = []
    for entry in system.steps(flow):
        crossed = system.crossings(entry)
        awaited = all(step.mode != "message" for step in _above_it(entry))
        if awaited and crossed and crossed[0][0] != crossed[0][1]:
            found.append(entry)
    return tuple(found)


def _above_it(entry: Located) -> list[Located]:
    above = []
    while entry.parent is not None:
        entry = entry.parent
        above.append(entry)
    return above


def tenants(system: System) -> dict[str, int]:
    """How many teams have services on each infrastructure; a service without an owner is one."""
    teams: dict[str, set] = {name: set() for name in system.infrastructures}
    for name, service in system.services.items():
        teams[service.infrastructure].add(service.team or ("nobody", name))
    return {place: len(there) for place, there in teams.items()}


@dataclass(frozen=True)
class Faults:
    """How often something takes an infrastructure or a link down, and for how long on average.

    An infrastructure falls of itself, and because of what its tenants do to it: a change, a batch
    job, a leak. Outages are independent of each other and come at random, in a Poisson stream while
    everything is up, so the availability is up / (up + down).
    """

    own_per_year: float = 1.0
    team_per_year: float = 1.0
    hours: float = 6.4
    link_per_year: float = 1.0
    link_hours: float = 6.2

    def __post_init__(self):
        for name in ("own_per_year", "team_per_year", "hours", "link_per_year", "link_hours"):
            from_zero(name, getattr(self, name))

    def per_year(self, part: Part, teams: Mapping[str, int]) -> float:
        """Outages of an infrastructure with so many teams on it, or of a link, a year of being up."""
        if isinstance(part, str):
            return self.own_per_year + teams[part] * self.team_per_year
        return self.link_per_year

    def availability(self, system: System, flow: str, until: str = "answer") -> float:
        """Share of the time in which all that a flow needs is up (`theory.series_availability`)."""
        teams = tenants(system)
        return theory.series_availability(
            [
                up_share(self.per_year(part, teams), self.part_hours(part))
                for part in needs(system, flow, until)
            ]
        )

    def part_hours(self, part: Part) -> float:
        """Mean length of an outage of an infrastructure or a link."""
        return self.hours if isinstance(part, str) else self.link_hours

    def hurt(self, system: System) -> float:
        """Share of the requests whose answer an outage takes away, on average over the outages.

        Infrastructures and links that are in use, each as often as it falls.
        """
        wanted = {flow: needs(system, flow) for flow in system.flows}
        rates = {flow: system.flows[flow].mean_rate_per_s for flow in system.flows}
        weight = self.of(system)
        hit = {
            part: sum(rates[flow] for flow in rates if part in wanted[flow]) / sum(rates.values())
            for part in weight
        }
        total = sum(weight.values())
        return sum(weight[part] * hit[part] for part in weight) / total if total else 0.0

    def of(self, system: System) -> dict[Part, float]:
        """Outages a year of being up of each infrastructure and link that is in use."""
        teams = tenants(system)
        used = frozenset().union(*(needs(system, flow, "completion") for flow in system.flows))
        return {part: self.per_year(part, teams) for part in used}

    def outages(self, system: System, hour_ms: float) -> list[dict[str, Any]]:
        """The same for the engine, with hours that last `hour_ms`: one drawn outage a part in use."""
        falls = self.of(system)
        found: list[dict[str, Any]] = []
        for part in sorted(falls, key=str):
            per_year, hours = falls[part], self.part_hours(part)
            if per_year and hours:
                what: dict[str, Any] = (
                    {"name": f"{part} falls", "infrastructures": [part]}
                    if isinstance(part, str)
                    else {"name": f"{'-'.join(sorted(part))} falls", "links": [sorted(part)]}
                )
                up = {"mean_ms": hour_ms * YEAR_HOURS / per_year}
                found.append({**what, "up": up, "down": {"mean_ms": hour_ms * hours}})
        return found


def up_share(per_year: float, hours: float) -> float:
    """Availability of what falls `per_year` times in a year of being up, for `hours` on average.

    Alternating renewal process: up / (up + down), whatever the distributions of the two.
    """
    return 1 / (1 + per_year * hours / YEAR_HOURS)


@dataclass(frozen=True)
class Prices:
    """A simple price list; the unit is what one worker costs. All of it is assumed.

    `infrastructure` is what one more costs to run at all (control plane, monitoring, people on
    call), `million_crossings` the traffic over a border.
    """

    infrastructure: float = 10.0
    worker: float = 1.0
    million_crossings: float = 0.01

    def __post_init__(self):
        for name in ("infrastructure", "worker", "million_crossings"):
            from_zero(name, getattr(self, name))

    def a_month(self, system: System) -> float:
        """Price of a system for 30 days; unlimited workers count as those that are busy."""
        loads = system.loads()
        workers = sum(load.workers or ceil(load.held) for load in loads.values())
        used = {service.infrastructure for service in system.services.values()}
        used |= {broker.infrastructure for broker in system.brokers.values()}
        million = crossings_per_s(system) * 30 * 24 * 3600 / 1e6
        return (
            self.infrastructure * len(used)
            + self.worker * workers
            + self.million_crossings * million
        )


def crossings_per_s(system: System) -> float:
    """Calls and messages that cross a border a second, if nothing fails; answers not counted."""
    return sum(
        system.flows[entry.flow].mean_rate_per_s
        for entry in system.steps()
        for here, there in system.crossings(entry)
        if here != there
    )


# Neighbours


def slowed(system: System, infrastructure: str, factor: float) -> System:
    """The system while a neighbour takes so much of an infrastructure that all work there is longer.

    With processors shared fairly, a neighbour that takes a share s of them makes the factor
    1 / (1 - s). Each work keeps its distribution and its random numbers.
    """
    above_zero("factor", factor)
    if infrastructure not in system.infrastructures:
        raise ValueError(f"infrastructure: {infrastructure!r} was given; expected one of "
                         f"{', '.join(system.infrastructures)}")  # fmt: skip
    there = [name for name, it in system.services.items() if it.infrastructure == infrastructure]
    return longer(system, there, factor)


def longer(system: System, services: Collection[str], factor: float) -> System:
    """The system with work and undo work in these services so many times as long."""
    data = system.to_dict()
    waiting = [flow["root"] for flow in data["flows"].values()]
    while waiting:
        step = waiting.pop()
        waiting += step.get("then", [])
        if step["service"] in services:
            for kind in ("work", "undo"):
                if step.get(kind):
                    step[kind] = {
                        name: _times(value, factor) if name.endswith("_ms") else value
                        for name, value in step[kind].items()
                    }
    return System.model_validate(data)


def _times(value: Any, factor: float) -> Any:
    return [factor * one for one in value] if isinstance(value, list) else factor * value


# Another division's system


@dataclass(frozen=True)
class Partner:
    """A system of another division, which takes our messages at its own pace and in its own hours.

    It takes at most `limit_per_s`, is closed for a window of `window_hours` every
    `between_hours` (from start to start), and releases every `release_days` on average, with the
    squared coefficient of variation `release_scv`. The closed forms are fluid: rates, no chance.
    """

    rate_per_s: float = 10.0
    limit_per_s: float = 15.0
    window_hours: float = 4.0
    between_hours: float = WEEK_HOURS
    release_days: float = 28.0
    release_scv: float = 0.0
    message_kb: float = 2.0

    def __post_init__(self):
        for name in ("rate_per_s", "limit_per_s", "between_hours", "release_days", "message_kb"):
            above_zero(name, getattr(self, name))
        for name in ("window_hours", "release_scv"):
            from_zero(name, getattr(self, name))
        if self.window_hours >= self.between_hours:
            raise ValueError(
                f"window_hours: {self.window_hours!r} was given; expected less than between_hours, "
                f"{self.between_hours!r}"
            )

    @property
    def load(self) -> float:
        """Our rate over its limit, while it is open."""
        return self.rate_per_s / self.limit_per_s

    @property
    def closed_share(self) -> float:
        """Share of the time that it is closed: what a call to it would lose."""
        return self.window_hours / self.between_hours

    @property
    def least_limit_per_s(self) -> float:
        """The limit must exceed this, or what one window leaves is still there in the next."""
        return self.rate_per_s / (1 - self.closed_share)

    @property
    def peak(self) -> float:
        """Messages that the broker holds at the end of a window that began with none."""
        return self.rate_per_s * self.window_hours * 3600

    @property
    def peak_gb(self) -> float:
        """The same in gigabytes."""
        return self.peak * self.message_kb / 1e6

    @property
    def drain_hours(self) -> float:
        """From the end of a window until they are gone: rate x window / (limit - rate)."""
        if self.window_hours == 0:
            return 0.0
        if self.rate_per_s >= self.limit_per_s:
            return inf
        found = theory.fluid_backlog(self.rate_per_s, self.limit_per_s, self.window_hours)
        return found.drain_time

    @property
    def left_over(self) -> float:
        """Messages by which the backlog grows from one window to the next: 0 if it drains in time."""
        open_hours = self.between_hours - self.window_hours
        return max(0.0, self.peak - 3600 * open_hours * (self.limit_per_s - self.rate_per_s))

    def backlog(self, hours: np.ndarray) -> np.ndarray:
        """Messages that the broker holds, `hours` after the start of the first window."""
        cycle, within = np.divmod(hours, self.between_hours)
        start = cycle * self.left_over
        closed = start + 3600 * self.rate_per_s * within
        after = within - self.window_hours
        opened = start + self.peak - 3600 * (self.limit_per_s - self.rate_per_s) * after
        found = np.where(within <= self.window_hours, closed, np.maximum(opened, 0.0))
        return np.where(np.asarray(hours) < 0, 0.0, found)

    def late_share(self, after_hours: float) -> float:
        """Share of the messages that are taken more than `after_hours` after they were sent."""
        return _late_share(self.window_hours, after_hours, self.load) / self.between_hours

    @property
    def release_wait_days(self) -> float:
        """Mean wait of a change of ours for their next release: days/2 x (1 + scv).

        The mean residual life of a renewal process (Cox, Renewal Theory, 1962, section 5.2).
        """
        return self.release_days / 2 * (1 + self.release_scv)

    def system(self, edge: str = "message", from_hours: float | None = None) -> System:
        """Our orders, each of which tells the partner; its window begins at `from_hours`."""
        if edge not in ("message", "call"):
            raise ValueError(f"edge: {edge!r} was given; expected 'message' or 'call'")
        via = {"via": "events"} if edge == "message" else {}
        work = {"mean_ms": 1000 / self.limit_per_s, "distribution": "deterministic"}
        data: dict[str, Any] = {
            "name": "Another division",
            "infrastructures": {"ours": {}, "theirs": {}},
            "network": {"between": [{"ends": ["ours", "theirs"], "rtt_ms": 20.0}]},
            "brokers": {"events": {"infrastructure": "ours", "ack": {"mean_ms": 1.0}}},
            "services": {
                "order": {"infrastructure": "ours", "team": "ours"},
                "partner": {"infrastructure": "theirs", "team": "theirs", "workers": 1},
            },
            "flows": {
                "order": {
                    "rate_per_s": self.rate_per_s,
                    "root": {
                        "service": "order",
                        "work": {"mean_ms": 4.0},
                        "then": [{"service": "partner", "work": work, **via}],
                    },
                }
            },
        }
        if from_hours is not None and self.window_hours:
            window = {"from_ms": HOUR_MS * from_hours, "for_ms": HOUR_MS * self.window_hours}
            data["outages"] = [{"name": "window", "services": ["partner"], **window}]
        return System.model_validate(data)


def _late_share(window: float, after: float, load: float) -> float:
    """Length of the time in which messages are sent that wait longer than `after`, for one window.

    Who comes s after the start of a window of length T waits T - s(1 - load), in the window and
    while the backlog drains alike; so these come before s = (T - after) / (1 - load).
    """
    late = max(0.0, window - after)
    if late == 0:
        return 0.0
    return late / (1 - load) if load < 1 else inf


# Hybrid: a line between the premises and a cloud


@dataclass(frozen=True)
class Line:
    """The line between premises and cloud: round trip, jitter, and its own outages.

    A share `common` of what takes one line down takes all lines down at once: the same duct, the
    same exchange, the same software. Outages last exponentially long, `hours` on average.
    """

    rtt_ms: float = 5.0
    jitter_cv: float = 0.1
    per_year: float = 2.0
    hours: float = 4.0
    common: float = 0.1

    def __post_init__(self):
        above_zero("rtt_ms", self.rtt_ms)
        for name in ("jitter_cv", "per_year", "hours"):
            from_zero(name, getattr(self, name))
        if not 0 <= self.common <= 1:
            raise ValueError(f"common: {self.common!r} was given; expected a share from 0 to 1")

    def availability(self, lines: int = 1) -> float:
        """Share of the time that at least one of so many lines is up (`theory.common_cause`)."""
        down = 1 - up_share(self.per_year, self.hours)
        return 1 - float(theory.common_cause(down, self.common, lines))

    def late_share(self, after_hours: float, load: float) -> float:
        """Share of the messages over one line that arrive more than `after_hours` late.

        `load` is the rate over the capacity of who takes them. The time in which late messages are
        sent (`_late_share`) is averaged over exponential outages, E[(T - t)+] = mean x exp(-t/mean).
        Holds where a backlog has drained long before the next outage.
        """
        if self.per_year == 0 or self.hours == 0:
            return 0.0
        late_hours = self.hours * exp(-after_hours / self.hours) / (1 - load)
        return self.per_year * late_hours / (YEAR_HOURS + self.per_year * self.hours)


@dataclass(frozen=True)
class Hybrid:
    """A core on premises and a front in a cloud. Reads call over the line, writes are messages."""

    line: Line = Line()
    read_per_s: float = 5.0
    write_per_s: float = 5.0
    front_ms: float = 4.0
    core_ms: float = 100.0
    core_workers: int = 1

    def __post_init__(self):
        for name in ("read_per_s", "write_per_s", "front_ms", "core_ms"):
            above_zero(name, getattr(self, name))
        whole("core_workers", self.core_workers)

    @property
    def core_per_s(self) -> float:
        """Most writes per second that the core takes."""
        return 1000 * self.core_workers / self.core_ms

    @property
    def load(self) -> float:
        """Rate of the writes over the core's capacity for them."""
        return self.write_per_s / self.core_per_s

    def system(self, outage_hours: tuple[float, float] | None = None) -> System:
        """The two sides and the line; `outage_hours` is (when the line falls, for how long).

        Reads and writes have workers of their own in the core, so that neither queues for the other.
        Each worker for writes reads a partition of the log, whose order no jitter of the line shuffles.
        """
        work = {"mean_ms": self.core_ms}
        data: dict[str, Any] = {
            "name": "Hybrid cloud",
            "infrastructures": {"cloud": {}, "premises": {}},
            "network": {
                "between": [
                    {
                        "ends": ["cloud", "premises"],
                        "rtt_ms": self.line.rtt_ms,
                        "jitter_cv": self.line.jitter_cv,
                    }
                ]
            },
            "brokers": {
                "events": {
                    "infrastructure": "cloud",
                    "ack": {"mean_ms": 1.0},
                    "partitions": self.core_workers,
                }
            },
            "services": {
                "front": {"infrastructure": "cloud", "team": "web"},
                "core writes": {
                    "infrastructure": "premises",
                    "team": "core",
                    "workers": self.core_workers,
                },
                "core reads": {"infrastructure": "premises", "team": "core"},
            },
            "flows": {
                "read": {
                    "rate_per_s": self.read_per_s,
                    "root": {
                        "service": "front",
                        "work": {"mean_ms": self.front_ms},
                        "then": [{"service": "core reads", "work": {"mean_ms": self.front_ms}}],
                    },
                },
                "write": {
                    "rate_per_s": self.write_per_s,
                    "root": {
                        "service": "front",
                        "work": {"mean_ms": self.front_ms},
                        "then": [{"service": "core writes", "work": work, "via": "events"}],
                    },
                },
            },
        }
        if outage_hours is not None:
            from_hours, for_hours = outage_hours
            window = {"from_ms": HOUR_MS * from_hours, "for_ms": HOUR_MS * for_hours}
            data["outages"] = [{"name": "line", "links": [["cloud", "premises"]], **window}]
        return System.model_validate(data)


# A cluster for the most important services


def own_cluster(
    system: System,
    services: Sequence[str],
    brokers: Sequence[str] = (),
    name: str = "",
    rtt_ms: float = 1.0,
) -> System:
    """Services and brokers moved to a cluster of their own, whatever calls then cross the border.

    Without a name it is called `critical`, or so much more that no other is called like this.
    """
    if not name:
        name = "critical"
        while name in system.infrastructures:
            name += " too"
    for kind, moved, known in (
        ("services", services, system.services),
        ("brokers", brokers, system.brokers),
    ):
        if unknown := [one for one in moved if one not in known]:
            raise ValueError(f"{kind}: {unknown[0]!r} was given; expected some of "
                             f"{', '.join(known)}")  # fmt: skip
    data = system.to_dict()
    data["infrastructures"].setdefault(name, {})
    for service in services:
        data["services"][service]["infrastructure"] = name
    for broker in brokers:
        data["brokers"][broker]["infrastructure"] = name
    network = data.setdefault("network", {})
    links = network.setdefault("between", [])
    known_pairs = {frozenset(link["ends"]) for link in links}
    for pair in combinations(data["infrastructures"], 2):
        if name in pair and frozenset(pair) not in known_pairs:
            links.append({"ends": list(pair), "rtt_ms": rtt_ms})
    return System.model_validate(data)


def awaited_services(system: System, flow: str) -> tuple[str, ...]:
    """The services that a flow's user waits for: those reached without any message."""
    found = {
        entry.step.service: None
        for entry in system.steps(flow)
        if all(step.mode != "message" for step in (entry, *_above_it(entry)))
    }
    return tuple(found)


def published_to(system: System, flow: str) -> tuple[str, ...]:
    """The brokers that a flow hands messages to while its user waits."""
    found = {
        entry.step.via: None
        for entry in system.steps(flow)
        if entry.step.via and all(step.mode != "message" for step in _above_it(entry))
    }
    return tuple(found)


# Incidents: a network of teams


def enough_responders(per_week: Sequence[float], restore_hours: float) -> int:
    """The fewest people of each team with whom no team is more than half busy, directly routed."""
    return max(1, ceil(2 * max(per_week, default=0.0) * restore_hours / WEEK_HOURS))


@dataclass(frozen=True)
class Teams:
    """Teams that restore what they own, and now and then get an incident that is not theirs.

    `per_week` has the incidents of each team's own systems. With probability `p_reassigned` an
    incident goes to a wrong team first, any of the others; it takes a place in the queue there, is
    looked at for `look_hours`, and is passed on, which can go wrong again. The team that owns the
    system restores it in `restore_hours`. Times are exponential, means; each team has `responders`
    who take one incident at a time, first come, first served. Teams that work in `office_hours`
    work from nine to five on five days a week; incidents come at any time.
    """

    per_week: tuple[float, ...]
    p_reassigned: float = 0.0
    restore_hours: float = 6.0
    look_hours: float = 6.0
    responders: int = 1
    office_hours: bool = False

    def __post_init__(self):
        if not self.per_week:
            raise ValueError("per_week: () was given; expected a number for each team")
        for number, rate in enumerate(self.per_week):
            above_zero(f"per_week[{number}]", rate)
        above_zero("restore_hours", self.restore_hours)
        above_zero("look_hours", self.look_hours)
        whole("responders", self.responders)
        most = 1.0 if len(self.per_week) > 1 else 0.0
        if not (0 <= self.p_reassigned < 1 and self.p_reassigned <= most):
            among = "a share from 0 to below 1" if most else "0, since there is no other team"
            raise ValueError(f"p_reassigned: {self.p_reassigned!r} was given; expected {among}")

    @property
    def wrong_visits(self) -> float:
        """Mean number of wrong teams that an incident visits: q / (1 - q)."""
        return self.p_reassigned / (1 - self.p_reassigned)

    @property
    def factor(self) -> float:
        """How much longer a reassigned incident takes than a direct one, where nobody queues."""
        return 1 + self.look_hours / self.restore_hours / (1 - self.p_reassigned)

    @cached_property
    def _visits(self) -> tuple[np.ndarray, np.ndarray]:
        """Visits an hour at each team: to restore, and to look."""
        right = np.array(self.per_week) / WEEK_HOURS
        others = max(len(right) - 1, 1)
        return right, self.wrong_visits * (right.sum() - right) / others

    @property
    def loads(self) -> np.ndarray:
        """Share of each team's responders that are busy."""
        right, wrong = self._visits
        hours = right * self.restore_hours + wrong * self.look_hours
        open_share = OFFICE_HOURS / WEEK_HOURS if self.office_hours else 1.0
        return hours / (self.responders * open_share)

    @property
    def wait_hours(self) -> np.ndarray:
        """Mean wait at each team, round the clock: GI/G/c by Allen and Cunneen; infinite if overloaded.

        Where looking takes as long as restoring, the teams are an open network of M/M/c queues and
        this is exact (Jackson 1957; `theory.jackson`). Else it is *approximate*.
        """
        if self.office_hours:
            raise ValueError("wait_hours: expected teams that work round the clock")
        right, wrong = self._visits
        rate = right + wrong
        work = (right * self.restore_hours + wrong * self.look_hours) / rate
        second = 2 * (right * self.restore_hours**2 + wrong * self.look_hours**2) / rate
        fine = self.loads < 1
        found = np.full(len(rate), inf)
        for team in np.flatnonzero(fine):
            scv = second[team] / work[team] ** 2 - 1
            found[team] = theory.allen_cunneen_wait(
                rate[team], work[team], self.responders, 1.0, scv
            )
        return found

    @property
    def mean_hours(self) -> np.ndarray:
        """Mean time from incident to restoration, for the incidents of each team's own systems."""
        wait = self.wait_hours
        direct = wait + self.restore_hours
        if not self.wrong_visits:
            return direct
        elsewhere = np.array([np.delete(wait, team).mean() for team in range(len(wait))])
        return direct + self.wrong_visits * (elsewhere + self.look_hours)

    @property
    def overall_hours(self) -> float:
        """The same over all incidents."""
        return float(np.average(self.mean_hours, weights=self.per_week))


OFFICE_HOURS = 40.0


def office_time(hours: float) -> float:
    """Office hours from a Monday at nine until `hours` later: 8 a day on five days a week."""
    weeks, rest = divmod(hours, WEEK_HOURS)
    days, hour = divmod(rest, 24.0)
    return OFFICE_HOURS * weeks + (8 * days + min(hour, 8.0) if days < 5 else OFFICE_HOURS)


def office_end(start: float, work: float) -> float:
    """When work that is begun at `start` has had `work` office hours."""
    weeks, rest = divmod(office_time(start) + work, OFFICE_HOURS)
    days, hour = divmod(rest, 8.0)
    if hour == 0.0 and work > 0:  # done when the office closes, not when it opens again
        weeks, days, hour = (weeks, days - 1, 8.0) if days else (weeks - 1, 4.0, 8.0)
    return WEEK_HOURS * weeks + 24 * days + hour


def simulate_incidents(teams: Teams, incidents: int = 10_000, seed: int = 1) -> pd.DataFrame:
    """Incident by incident: team (number), arrived_hours, handoffs, restore_hours.

    The first tenth is left out. The same incident has the same arrival, owner and length of repair
    whatever the routing, so that two ways of working differ by nothing else.
    """
    whole("incidents", incidents, 10)
    arrivals, repairs, routes, looks = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(4)
    )
    rates = np.array(teams.per_week) / WEEK_HOURS
    arrived = np.cumsum(arrivals.exponential(1 / rates.sum(), incidents))
    home = np.searchsorted(np.cumsum(rates)[:-1] / rates.sum(), repairs.random(incidents), "right")
    repair = repairs.exponential(teams.restore_hours, incidents)
    handoffs = np.zeros(incidents, int)
    if teams.p_reassigned:
        uniform = 1 - routes.random(incidents)
        handoffs = np.floor(np.log(uniform) / np.log(teams.p_reassigned)).astype(int)
    total = handoffs.sum()
    away = routes.integers(1, max(len(rates), 2), total)  # any other team, counted from the owner
    wrong = (np.repeat(home, handoffs) + away) % len(rates)
    wrongly = [
        *zip(wrong.tolist(), looks.exponential(teams.look_hours, total).tolist(), strict=True)
    ]
    rightly = [*zip(home.tolist(), repair.tolist(), strict=True)]
    ends = np.cumsum(handoffs).tolist()
    paths = [
        [*wrongly[end - number : end], right]
        for right, end, number in zip(rightly, ends, handoffs.tolist(), strict=True)
    ]

    restored = np.array(work_off(teams, arrived.tolist(), paths))
    frame = pd.DataFrame(
        {
            "team": home,
            "arrived_hours": arrived,
            "handoffs": handoffs,
            "restore_hours": restored - arrived,
        }
    )
    return frame.iloc[incidents // 10 :].reset_index(drop=True)


def work_off(
    teams: Teams, arrived_hours: list[float], paths: list[list[tuple[int, float]]]
) -> list[float]:
    """When each incident is restored; its path is (team, hours of work there), stop by stop."""
    free_at = [[0.0] * teams.responders for _ in teams.per_week]
    restored = [0.0] * len(paths)
    events = [(time, incident, 0) for incident, time in enumerate(arrived_hours)]
    while events:  # the next arrival at a team, wherever it comes from
        now, incident, stop = heapq.heappop(events)
        if stop == len(paths[incident]):
            restored[incident] = now
            continue
        team, work = paths[incident][stop]
        start = max(now, free_at[team][0])  # the first of the team who is free
        done = office_end(start, work) if teams.office_hours else start + work
        heapq.heapreplace(free_at[team], done)
        heapq.heappush(events, (done, incident, stop + 1))
    return restored


def restore_distribution(restore_hours: Sequence[float], points: int = 200) -> dict[str, Any]:
    """Times to restore as an empirical distribution that a system file takes, in ms.

    The middles of `points` equally likely parts of what was observed; its mean is kept.
    """
    observed = np.sort(np.asarray(restore_hours, float))
    parts = np.array([part.mean() for part in np.array_split(observed, points) if len(part)])
    values = HOUR_MS * parts * observed.mean() / parts.mean()
    return {"distribution": "empirical", "values_ms": values.tolist()}


def most_owned(teams: Teams, per_service: float, target_hours: float) -> int:
    """The most services one team can own and still restore within `target_hours` on average.

    `per_service` incidents a week each; nothing is routed wrongly, so the team is an M/M/c alone.
    """
    above_zero("per_service", per_service)
    above_zero("target_hours", target_hours)
    alone = replace(teams, p_reassigned=0.0, office_hours=False)
    services = 0
    while replace(alone, per_week=((services + 1) * per_service,)).overall_hours <= target_hours:
        services += 1
    return services
