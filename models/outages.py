"""Chapter 6: years of outages, whom they hurt, what confines them and what does not.

The slow clock counts hours. `Faults` puts outages on a system, `years` plays them for as long as
asked, `reach` and `availability` are the closed forms. On the fast clock `hurt` says which requests
an outage has harmed, and `Storm` is a retry storm.

A fault *stops* a flow if the flow's answer needs what is down: a service on the way of its calls,
its infrastructure, a link that a call crosses, a broker that a message is handed to. It *delays* a
flow if only what comes after the answer needs it.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest

from models import ownership, stages, theory
from models.distributions import Distribution
from models.engine import draws
from models.experiment import simulate
from models.resilience import Outage
from models.system import Located, System

YEAR_HOURS = 8760.0
HOUR_MS = 3_600_000.0
CHANGES = "change channel"


# The system of this chapter, and its designs


def company(system: str = "shop") -> System:
    """The system of this chapter, by its name or file; outages and restarts in it are left out.

    The shop gets what its teams do for users of their own, so that every team has a flow or two.
    """
    if system != "shop":
        return ownership.calm(System.load(system))
    data = System.load("shop").to_dict()
    data["name"] = "Company"
    del data["description"]
    own = {
        "my_orders": (40, "order", 3),
        "track_parcel": (20, "shipping", 4),
        "review_fraud": (2, "fraud", 5),
        "statement": (10, "invoice", 4),
        "points": (20, "loyalty", 2),
        "newsletter": (5, "notification", 4),
    }
    for name, (rate_per_s, service, work_ms) in own.items():
        root: dict[str, Any] = {"service": service, "work": {"mean_ms": work_ms}}
        data["flows"][name] = {"rate_per_s": rate_per_s, "root": root}
    notice = {"service": "notification", "work": {"mean_ms": 10}, "deferrable": True}
    data["flows"]["statement"]["root"]["then"] = [notice]
    return System.model_validate(data)


def apart(system: System, rtt_ms: float = 20.0) -> System:
    """Services that call each other stay where they are; all others go to their own team.

    A group tied by calls that belongs to one team goes with it. What the user waits for is thus
    never torn apart; the broker stays where it is.
    """
    group = {name: {name} for name in system.services}
    for entry in system.steps():
        if entry.mode == "call" and entry.parent is not None:
            joined = group[entry.step.service] | group[entry.parent.step.service]
            group |= dict.fromkeys(joined, joined)
    teams = {name: {system.services[other].team for other in group[name]} for name in group}
    homes = {name: str(*teams[name]) for name in teams if len(teams[name]) == 1}
    found = stages.separated(system, by=homes, rtt_ms=rtt_ms)
    if len({service.infrastructure for service in found.services.values()}) == 1:
        raise stages.StageError(
            "apart: one team owns all services, so everything stays on one infrastructure; "
            "expected services of two teams"
        )
    return found


def own_brokers(system: System, rtt_ms: float = 20.0) -> System:
    """Every infrastructure publishes to a broker of its own, from which others fetch."""
    data = system.to_dict()
    changes: dict[str, Any] = {"brokers": {}}
    links = {frozenset(link["ends"]): link for link in data.get("network", {}).get("between", [])}
    used = set()
    for entry in system.steps():
        if entry.parent is None:
            continue
        here = system.services[entry.parent.step.service].infrastructure
        there = system.services[entry.step.service].infrastructure
        used |= {frozenset((here, there))} if here != there else set()
        if entry.step.via is not None:
            name = f"{entry.step.via} of {here}"
            changes["brokers"][name] = data["brokers"][entry.step.via] | {"infrastructure": here}
            changes[f"{entry.path}.via"] = name
    changes["network.between"] = [
        links.get(pair, {"ends": sorted(pair), "rtt_ms": rtt_ms})
        for pair in sorted(used, key=sorted)
    ]
    return system.with_(changes)


def designs(system: System) -> tuple[dict[str, System], str]:
    """The ways to place a system, as far as it has them, and why it has no more.

    `together`; `calls`: apart, all of it called; `one`: apart, brokers where they are; `own`: apart,
    a broker beside each publisher. A system on several infrastructures is apart as it is; of another
    one, every service goes to its team where all is called, and what calls allow (`apart`) elsewhere.
    """
    found, why = {"together": ownership.together(system)}, ""
    spread = len({service.infrastructure for service in system.services.values()}) > 1
    try:
        calls = ownership.as_calls(system)
        calls = calls if spread else stages.separated(calls, allow_calls=True)
        if len({service.infrastructure for service in calls.services.values()}) > 1:
            found["calls"] = calls
    except stages.StageError as error:
        why = str(error)
    try:
        placed = system if spread else apart(system)
        if any(entry.mode == "message" for entry in placed.steps()):
            found |= {"one": placed, "own": own_brokers(placed)}
    except stages.StageError as error:
        why = str(error)
    if why:
        why = f"{system.name} cannot be taken apart this way: {why.partition(': ')[2]}."
    return found, why


def regions(n: int) -> System:
    """`n` infrastructures with a flow each and nothing between them."""
    names = [f"region {number}" for number in range(1, n + 1)]
    return System.model_validate(
        {
            "name": "Regions",
            "infrastructures": {name: {} for name in names},
            "services": {f"service in {name}": {"infrastructure": name} for name in names},
            "flows": {
                f"flow in {name}": {"rate_per_s": 1, "root": {"service": f"service in {name}"}}
                for name in names
            },
        }
    )


def series(availabilities: Sequence[float], down_hours: float = 1.0) -> System:
    """A flow that calls one service after the other, each of which is up for such a share."""
    names = [f"service {number}" for number in range(1, len(availabilities) + 1)]
    calls = [{"service": name} for name in names[1:]]
    outages = [
        {
            "name": name,
            "services": [name],
            "up": {"mean_ms": HOUR_MS * down_hours * share / (1 - share)},
            "down": {"mean_ms": HOUR_MS * down_hours},
        }
        for name, share in zip(names, availabilities, strict=True)
    ]
    return System.model_validate(
        {
            "name": "Services in series",
            "infrastructures": {"here": {}},
            "services": {name: {"infrastructure": "here"} for name in names},
            "flows": {"flow": {"rate_per_s": 1, "root": {"service": names[0], "then": calls}}},
            "outages": outages,
        }
    )


def fragile(system: System) -> str:
    """The service whose trouble is looked at if none is named: the narrowest that takes messages.

    That is the one with the fewest workers, the busiest of those with equally few; one that is also
    called only if there is no other. Where nobody takes messages, it is the narrowest that is called,
    and in a system of one service that one.
    """
    loads = system.loads()
    taking, called = (
        {entry.step.service for entry in system.steps() if entry.mode == mode}
        for mode in ("message", "call")
    )
    among = taking - called or taking or called or set(system.services)

    def narrow(name: str) -> tuple[float, float]:
        load = loads[name]
        return load.workers or inf, -load.held / (load.workers or 1)

    return min((name for name in system.services if name in among), key=narrow)


def window_s(
    system: System, usual_s: float = 30.0, fewest: int = 2_000, most: int = 40_000
) -> float:
    """How long an outage lasts as requests see it: as usual, unless too few or too many arrive.

    Within it at least `fewest` and at most `most` requests arrive.
    """
    per_s = sum(flow.mean_rate_per_s for flow in system.flows.values())
    return min(max(usual_s, fewest / per_s), most / per_s) if per_s else usual_s


def in_words(time_s: float) -> str:
    """The length of a window as it is said: in seconds, or in days if it is long."""
    amount, unit = (time_s, "s") if time_s < 10_000 else (time_s / 86_400, "days")
    return f"{amount:,.4g}\u00a0{unit}"


# What goes down


@dataclass(frozen=True)
class Faults:
    """How often things go down, and for how long on average.

    Each infrastructure, used link and broker fails by itself; each of the `shared` causes (name ->
    outages a year, hours) takes every infrastructure down. Of an infrastructure's own failures a
    share `beta` comes by the change channel and hits all infrastructures at once (the beta-factor
    model: Fleming 1975). Rates are per year of being up; the time up is exponential, the time down
    lognormal with coefficient of variation `cv` (exponential where it is 1).

    With `waves` above 1, changes go to a part of the infrastructures at a time, those with the
    fewest requests first, `wave_hours` apart. A bad one is noticed after an exponential time of
    mean `detect_hours`, and goes no further.
    """

    infrastructure_per_year: float = 2.0
    infrastructure_hours: float = 6.0
    link_per_year: float = 0.0
    link_hours: float = 2.0
    broker_per_year: float = 0.0
    broker_hours: float = 1.0
    beta: float = 0.0
    shared: tuple[tuple[str, float, float], ...] = ()
    cv: float = 1.0
    waves: int = 1
    wave_hours: float = 24.0
    detect_hours: float = 1.0

    def __post_init__(self):
        for name in ("infrastructure_hours", "link_hours", "broker_hours", "detect_hours"):
            if not 0 < getattr(self, name) < inf:
                _refuse(name, getattr(self, name), "a number of hours above 0")
        for name in ("infrastructure_per_year", "link_per_year", "broker_per_year", "wave_hours"):
            if not 0 <= getattr(self, name) < inf:
                _refuse(name, getattr(self, name), "a number of at least 0")
        for name, per_year, hours in self.shared:
            if not (per_year >= 0 and hours > 0):
                _refuse(f"shared: {name}", (per_year, hours), "outages a year, and hours above 0")
        if not 0 <= self.beta <= 1:
            _refuse("beta", self.beta, "a share from 0 to 1")
        if not 0 < self.cv < inf:
            _refuse("cv", self.cv, "a number above 0")
        if not isinstance(self.waves, int) or self.waves < 1:
            _refuse("waves", self.waves, "a whole number of at least 1")

    def on(self, system: System) -> System:
        """The system with these faults as its outages; of parts that no flow uses, none."""
        used = set().union(*(set().union(*pair) for pair in needs(system).values()))
        places = [name for name in system.infrastructures if ("infrastructure", name) in used]
        outages = []

        def add(name, per_year, hours, **parts):
            if per_year > 0:  # not validated, since a time in a file is at most 1e12 ms, 32 years
                down: dict[str, Any] = {"mean_ms": HOUR_MS * hours}
                down |= {"distribution": "lognormal", "cv": self.cv} if self.cv != 1 else {}
                up = Distribution.model_construct(given_mean_ms=HOUR_MS * YEAR_HOURS / per_year)
                fields = {"name": name, "up": up, "down": Distribution.model_validate(down)}
                outages.append(Outage.model_construct(**fields, **parts))

        for place in places:
            alone = (1 - self.beta) * self.infrastructure_per_year
            add(
                f"infrastructure {place}", alone, self.infrastructure_hours, infrastructures=[place]
            )
        for ends in [link.ends for link in system.network.between]:
            if ("link", *sorted(ends)) in used:
                add(
                    f"link {ends[0]} to {ends[1]}",
                    self.link_per_year,
                    self.link_hours,
                    links=[list(ends)],
                )
        for broker in system.brokers:
            if ("broker", broker) in used:
                add(f"broker {broker}", self.broker_per_year, self.broker_hours, brokers=(broker,))
        common = self.beta * self.infrastructure_per_year
        spread = self.waves, self.wave_hours, self.detect_hours
        for reached, share in wave_reach(places, requests_at(system), *spread):
            more = f" stopped after {len(reached)} of {len(places)}"
            name = CHANGES + more * (len(reached) < len(places))
            add(name, share * common, self.infrastructure_hours, infrastructures=tuple(reached))
        for name, per_year, hours in self.shared:
            add(name, per_year, hours, infrastructures=tuple(places))
        return system.model_copy(update={"outages": tuple(outages)})


def wave_reach(
    places: Sequence[str],
    requests: Mapping[str, float],
    waves: int,
    wave_hours: float,
    detect_hours: float,
) -> Iterator[tuple[list[str], float]]:
    """The infrastructures that a bad change reaches, and how often it reaches just these.

    It goes to a part of `places` at a time, those with the fewest requests first. The time until it
    is noticed is exponential, so each further wave is begun with the same probability; a Poisson
    process is split by it into independent ones (Kingman 1993).
    """
    waves = min(waves, len(places))
    order = sorted(places, key=lambda place: requests.get(place, 0.0))
    groups = np.array_split(np.array(order, dtype=object), waves)
    begun = [exp(-number * wave_hours / detect_hours) for number in range(waves)]
    for number, (here, further) in enumerate(zip(begun, [*begun[1:], 0.0], strict=True), 1):
        yield list(np.concatenate(groups[:number])), here - further


def needs(system: System) -> dict[str, tuple[set, set]]:
    """flow -> (parts that its answer needs, parts that only its completion needs).

    A part is ("service" | "infrastructure" | "broker", name) or ("link", one end, other end).
    """
    found = {}
    for flow in system.flows:
        answer: set = set()
        later: set = set()
        for entry in system.steps(flow):
            mine = later if _deferred(entry) else answer
            service = entry.step.service
            mine |= {("service", service)}
            mine |= {("infrastructure", system.services[service].infrastructure)}
            ways = [{("link", *sorted(pair))} if pair[0] != pair[1] else set()
                    for pair in system.crossings(entry)]  # fmt: skip
            mine |= set().union(*ways)
            if entry.parent is not None and entry.step.via is not None:
                # The publisher needs the broker and the way there, the consumer also the way on.
                publisher = later if _deferred(entry.parent) else answer
                place = system.brokers[entry.step.via].infrastructure
                publisher |= {("broker", entry.step.via), ("infrastructure", place)} | ways[0]
        found[flow] = answer, later - answer
    return found


def _deferred(entry: Located) -> bool:
    """Whether a message lies between the flow's answer and this step."""
    above: Located | None = entry
    while above is not None:
        if above.mode == "message":
            return True
        above = above.parent
    return False


def requests_at(system: System) -> dict[str, float]:
    """Requests a second that arrive at each infrastructure."""
    rates: dict[str, float] = {}
    for flow in system.flows.values():
        place = system.services[flow.root.service].infrastructure
        rates[place] = rates.get(place, 0.0) + flow.mean_rate_per_s
    return rates


def _parts(outage: Outage) -> set:
    return {
        *(("service", name) for name in outage.services),
        *(("infrastructure", name) for name in outage.infrastructures),
        *(("broker", name) for name in outage.brokers),
        *(("link", *sorted(pair)) for pair in outage.links),
    }


def hurts(system: System) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(stops, delays): arrays flow x outage, whether the outage does that to the flow."""
    wanted = needs(system).values()
    stops = [[bool(answer & _parts(outage)) for outage in system.outages] for answer, _ in wanted]
    delays = [[bool(later & _parts(outage)) for outage in system.outages] for _, later in wanted]
    shape = len(system.flows), len(system.outages)
    stopped = np.array(stops, bool).reshape(shape)
    return stopped, np.array(delays, bool).reshape(shape) & ~stopped


# Closed forms


def reach(system: System) -> pd.DataFrame:
    """A row an outage of the system: how often, how long, and whom it hurts.

    Columns: cause; kind; per_year; hours (mean); flows_stopped, requests_stopped, flows_delayed
    (shares); confined (whether all flows that it stops begin on one infrastructure).
    """
    stops, delays = hurts(system)
    rates = np.array([flow.mean_rate_per_s for flow in system.flows.values()])
    homes = [system.services[flow.root.service].infrastructure for flow in system.flows.values()]
    rows = []
    for outage, stopped, delayed in zip(system.outages, stops.T, delays.T, strict=True):
        up_hours, down_hours = _hours(outage)
        hit = {home for home, is_hit in zip(homes, stopped, strict=True) if is_hit}
        rows.append(
            {
                "cause": outage.name,
                "kind": _kind(outage),
                "per_year": YEAR_HOURS / (up_hours + down_hours),
                "hours": down_hours,
                "flows_stopped": stopped.mean(),
                "requests_stopped": rates @ stopped / rates.sum(),
                "flows_delayed": delayed.mean(),
                "confined": len(hit) <= 1,
            }
        )
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else None)


def availability(system: System) -> dict[str, float]:
    """flow -> long-run share of the time in which no outage stops it.

    Each cause is up for MTBF / (MTBF + MTTR) whatever the distributions (Barlow and Proschan 1965),
    and they are independent, so the product over those that stop the flow.
    """
    stops, _ = hurts(system)
    up = np.array([a / (a + b) for a, b in map(_hours, system.outages)])
    return {
        flow: theory.series_availability(up[row])
        for flow, row in zip(system.flows, stops, strict=True)
    }


def redundant_availability(
    k: int, n: int, up_hours: float, down_hours: float, beta: float = 0.0
) -> float:
    """Long-run share of the time in which at least k of n equal parts are up.

    A part fails every `up_hours`; of its failures a share `beta` has a cause that takes all n down.
    Exact for exponential times up: k of n with what fails alone, times the common cause. Source:
    Fleming 1975 (beta factor), Barlow and Proschan 1965 (alternating renewal, k of n).
    """
    alone = 1 / (1 + (1 - beta) * down_hours / up_hours)
    common = 1 / (1 + beta * down_hours / up_hours)
    return float(common * theory.k_of_n_availability(k, n, alone))


def redundant_services(
    shared: Sequence[float], regional: Sequence[float], regions: int, beta: float
) -> float:
    """Availability of services that are needed once, and others that stand in every region.

    A share `beta` of a region's unavailability is common to all: beta-factor model.
    """
    down = 1 - theory.series_availability(regional)
    alone, common = (1 - beta) * down, beta * down
    return theory.series_availability(shared) * (1 - common) * (1 - alone**regions)


def largest_beta(k: int, n: int, up_hours: float, down_hours: float, unavailable: float) -> float:
    """The largest common share with which fewer than k of n are up at most so much of the time.

    1 where any will do, 0 where none does.
    """

    def too_much(beta):
        return 1 - redundant_availability(k, n, up_hours, down_hours, beta) - unavailable

    return _root(too_much)


def largest_common_share(
    shared: Sequence[float], regional: Sequence[float], regions: int, target: float
) -> float:
    """The largest common share with which `redundant_services` meets a target, or 0."""
    return _root(lambda beta: target - redundant_services(shared, regional, regions, beta))


def _root(too_much) -> float:
    """Where a rising function of a share crosses 0; the nearer end where it does not."""
    if too_much(0.0) >= 0:
        return 0.0
    return float(brentq(too_much, 0.0, 1.0)) if too_much(1.0) > 0 else 1.0


def hits_everything(n: int, beta: float) -> float:
    """Share of the outages of n infrastructures that take down all of them, one channel shared."""
    return beta / (n * (1 - beta) + beta)


def rollout_reach(waves: int, wave_hours: float, detect_hours: float) -> float:
    """Mean share of the infrastructures that a bad change reaches, in equal waves.

    A further wave is begun if nobody has noticed yet: the mean of exp(-j x wave / detect).
    """
    return float(np.mean(np.exp(-np.arange(waves) * wave_hours / detect_hours)))


def _hours(outage: Outage) -> tuple[float, float]:
    """Mean times up and down of an outage that comes again and again."""
    if outage.up is None or outage.down is None:
        raise ValueError(
            f"outages: '{outage.name}' has from_ms and for_ms; expected up and down, "
            "since years are played; give the mean times between failures and to restore"
        )
    return outage.up.mean_ms / HOUR_MS, outage.down.mean_ms / HOUR_MS


def _kind(outage: Outage) -> str:
    if len(_parts(outage)) > 1:
        return "shared cause"
    return next(iter(_parts(outage)))[0]


# Years of it


def reach_if_any(shares: Iterable[NDArray[np.float64]]) -> list[float]:
    """How far an incident reaches that stops anything, on average, in per cent: a number a run.

    `shares`: what each incident of a run stops. Runs without such an incident are left out; two zeros
    where fewer than two runs are left.
    """
    means = [float(100 * run[run > 0].mean()) for run in shares if (run > 0).any()]
    return means if len(means) > 1 else [0.0, 0.0]


@dataclass(frozen=True)
class Years:
    """What was down when. E intervals between two events, F flows, all times in hours.

    `outages`: a row an outage: cause, from_hours, to_hours. `lengths_hours` (E); `down` (E): how
    many causes are down; `stopped` and `delayed` (F x E); `begins`: the intervals with which an
    incident begins. An incident lasts from the first thing that goes down until nothing is down.
    """

    flows: tuple[str, ...]
    rates_per_s: NDArray[np.float64]
    span_hours: float
    outages: pd.DataFrame
    lengths_hours: NDArray[np.float64]
    down: NDArray[np.int64]
    stopped: NDArray[np.bool_]
    delayed: NDArray[np.bool_]
    begins: NDArray[np.int64]

    def lost_hours(self) -> dict[str, float]:
        """flow -> hours a year in which it was stopped."""
        lost = self.stopped @ self.lengths_hours * (YEAR_HOURS / self.span_hours)
        return dict(zip(self.flows, lost.tolist(), strict=True))

    def at_most(self, stopped: int) -> float:
        """Share of the time in which at most so many flows were stopped."""
        lost = self.lengths_hours[self.stopped.sum(axis=0) > stopped].sum()
        return 1 - float(lost) / self.span_hours

    def incidents(self) -> pd.DataFrame:
        """A row an incident: hours, and the shares of flows and requests that it stopped, of flows
        that it delayed and did not stop."""
        stopped = np.logical_or.reduceat(self.stopped, self.begins, axis=1)
        delayed = np.logical_or.reduceat(self.delayed, self.begins, axis=1) & ~stopped
        hours = np.add.reduceat(np.where(self.down > 0, self.lengths_hours, 0.0), self.begins)
        return pd.DataFrame(
            {
                "hours": hours,
                "flows_stopped": stopped.mean(axis=0),
                "requests_stopped": self.rates_per_s @ stopped / self.rates_per_s.sum(),
                "flows_delayed": delayed.mean(axis=0),
            }
        )


def years(system: System, span: float, seed: int, crews: int | None = None) -> Years:
    """Play `span` years of a system's outages; each has random numbers of its own, by its name.

    With `crews`, so many teams restore what is down, first come, first served, and what is down
    waits for one; without, everything is restored at once by somebody.
    """
    if not 0 < span < inf:
        _refuse("span", span, "a number of years above 0")
    if crews is not None and crews < 1:
        _refuse("crews", crews, "a whole number of at least 1")
    span_hours = span * YEAR_HOURS
    rows = (
        _alternating(system.outages, span_hours, seed)
        if crews is None
        else _repaired(system.outages, span_hours, seed, crews)
    )
    nothing = np.empty(0, np.int64), np.empty(0), np.empty(0)
    cause, starts, ends = (np.concatenate(part) for part in zip(nothing, *rows, strict=True))
    ends = np.minimum(ends, span_hours)
    names = np.array([outage.name for outage in system.outages], dtype=object)
    outages = pd.DataFrame({"cause": names[cause], "from_hours": starts, "to_hours": ends})

    times = np.concatenate([starts, ends])
    order = np.argsort(times, kind="stable")
    change = np.repeat([1, -1], len(starts))[order]
    whose = np.tile(cause, 2)[order]
    stops, delays = hurts(system)
    down = np.cumsum(change)
    stopped = np.cumsum(stops[:, whose] * change, axis=1) > 0
    delayed = (np.cumsum(delays[:, whose] * change, axis=1) > 0) & ~stopped
    begins = np.flatnonzero((down == 1) & (change == 1))
    return Years(
        tuple(system.flows),
        np.array([flow.mean_rate_per_s for flow in system.flows.values()]),
        span_hours,
        outages.sort_values("from_hours", ignore_index=True),
        np.diff(times[order], append=span_hours),
        down,
        stopped,
        delayed,
        begins,
    )


def _alternating(outages, span_hours, seed):
    """(causes, starts, ends) of each outage by itself: up, down, up, down."""
    for number, outage in enumerate(outages):
        ups, downs = _ups_and_downs(outage, span_hours, seed)
        ends = np.cumsum(ups + downs)
        starts = ends - downs
        count = int(np.searchsorted(starts, span_hours))
        yield np.full(count, number), starts[:count], ends[:count]


def _repaired(outages, span_hours, seed, crews):
    """The same where whatever goes down waits for one of the crews, in the order of failure."""
    times = [_ups_and_downs(outage, span_hours, seed) for outage in outages]
    failures = [(ups[0], number, 0) for number, (ups, _) in enumerate(times)]
    heapq.heapify(failures)
    free = [0.0] * crews
    found = []
    while failures and failures[0][0] < span_hours:
        starts, number, turn = failures[0]
        ups, downs = times[number]
        ends = max(starts, free[0]) + downs[turn]
        heapq.heapreplace(free, ends)
        heapq.heapreplace(failures, (ends + ups[turn + 1], number, turn + 1))
        found.append((number, starts, ends))
    causes, starts, ends = zip(*found, strict=True) if found else ((), (), ())
    return [(np.array(causes, np.int64), np.array(starts), np.array(ends))]


def _ups_and_downs(outage, span_hours, seed):
    """Enough times up and down in hours to fill the span, from the outage's own two streams."""
    mean_hours = sum(_hours(outage))
    who = draws.stream("outage", outage.name)
    up, down = (
        np.random.Generator(np.random.Philox(key=[seed, 2 * who + purpose])) for purpose in (0, 1)
    )
    ups, downs = np.empty(0), np.empty(0)
    while len(ups) < 2 or ups[:-1].sum() + downs[:-1].sum() < span_hours:
        more = 16 + int(1.1 * max(span_hours - ups.sum() - downs.sum(), 0) / mean_hours)
        ups = np.append(ups, _times(outage.up, up, more))
        downs = np.append(downs, _times(outage.down, down, more))
    return ups, downs


def _times(distribution: Distribution, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """`n` times in hours from a distribution of a system, by inversion, one uniform or two each."""
    kind, p0, p1, p2, values = distribution.lowered()
    mean, scv = distribution.mean_ms, distribution.scv
    if kind == draws.DETERMINISTIC:
        times = np.full(n, mean)
    elif kind in (draws.EXPONENTIAL, draws.ERLANG):
        times = rng.gamma(1 / scv, mean * scv, n)
    elif kind == draws.LOGNORMAL:
        times = rng.lognormal(p0, p1, n)
    elif kind == draws.HYPEREXPONENTIAL:
        times = rng.exponential(size=n) * np.where(rng.random(n) < p0, p1, p2)
    elif kind == draws.UNIFORM:
        times = rng.uniform(p0, p0 + p1, n)
    elif kind == draws.PARETO:
        times = p0 * (1 - rng.random(n) * p1) ** p2
    else:
        times = rng.choice(values, n)
    return times / HOUR_MS


def all_lost(
    n: int, failures_per_year: float, beta: float, span: float, runs: int, seed: int
) -> int:
    """In how many of `runs` all n parts have failed within `span` years, if nothing is restored.

    Closed form: `theory.beta_factor_loss`.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, draws.stream("all lost")]))
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = rng.exponential(size=(runs, n)) / ((1 - beta) * failures_per_year)
        common = rng.exponential(size=runs) / (beta * failures_per_year)
    return int((np.minimum(alone.max(axis=1), common) <= span).sum())


# Shuffle sharding


def shared_workers(workers: int, shard: int, customers: int, seed: int) -> NDArray[np.int64]:
    """How many workers each customer shares with a first one; all have a random shard.

    Closed form: `theory.shard_overlap`.
    """
    if not 1 <= shard <= workers:
        _refuse("shard", shard, f"a whole number from 1 to {workers}")
    rng = np.random.Generator(np.random.Philox(key=[seed, draws.stream("shards")]))
    shards = np.argsort(rng.random((customers + 1, workers)), axis=1)[:, :shard]
    first = np.zeros(workers, bool)
    first[shards[0]] = True
    return first[shards[1:]].sum(axis=1)


# The fast clock: requests in an outage


def hurt(during: pd.DataFrame, otherwise: pd.DataFrame, patience_ms: float) -> pd.Series:
    """Which requests an outage has hurt: answered well in time without it, and not with it.

    `during` and `otherwise` are the requests of two runs of the same seed, so that every request
    finds the same work; what differs is the outage.
    """
    if not np.array_equal(during.arrived_ms, otherwise.arrived_ms):
        raise ValueError("otherwise: other requests were found; expected a run of the same seed")

    def well(rows):
        return (rows.answer == "ok") & (rows.replied_ms - rows.arrived_ms <= patience_ms)

    return well(otherwise) & ~well(during)


@dataclass(frozen=True)
class Storm:
    """A service with one worker whose callers try again: base load, a spike, base load again.

    Work is constant. Callers wait `patience_ms` for each of `tries`, and the service does the work
    of those who have gone, too. `backoff` and `base_ms` as in a system's retry; `budget` is the
    number of retries that each call brings in (null: no limit). Spike and base load are those of
    SREGym, pull request 946.
    """

    base_per_s: float = 6.0
    spike_per_s: float = 40.0
    spike_s: float = 10.0
    lead_s: float = 20.0
    work_ms: float = 50.0
    queue_limit: int = 256
    patience_ms: float = 750.0
    tries: int = 3
    backoff: str = "none"
    base_ms: float = 1000.0
    budget: float | None = None

    @property
    def capacity_per_s(self) -> float:
        """Most calls per second."""
        return 1000 / self.work_ms

    @property
    def vulnerable_per_s(self) -> float:
        """Above this base load a storm feeds itself: every request makes all of its tries."""
        return self.capacity_per_s / self.tries

    def system(self) -> System:
        """The service and its callers as a system."""
        retry: dict[str, Any] = {"attempts": self.tries, "backoff": self.backoff}
        if self.backoff != "none":
            retry |= {"base_ms": self.base_ms, "cap_ms": 100 * self.base_ms}
        if self.budget is not None:
            retry["budget"] = {"tokens": 10, "per_call": self.budget}
        spike = [
            {"from_ms": 0, "factor": 1},
            {"from_ms": 1000 * self.lead_s, "factor": self.spike_per_s / self.base_per_s},
            {"from_ms": 1000 * (self.lead_s + self.spike_s), "factor": 1},
        ]
        root = {
            "service": "service",
            "work": {"mean_ms": self.work_ms, "distribution": "deterministic"},
            "timeout_ms": self.patience_ms,
            "retry": retry,
        }
        service = {"infrastructure": "here", "workers": 1, "queue_limit": self.queue_limit}
        return System.model_validate(
            {
                "name": "Retry storm",
                "infrastructures": {"here": {}},
                "network": {"within_ms": 0},
                "services": {"service": service},
                "flows": {
                    "request": {
                        "rate_per_s": self.base_per_s,
                        "arrivals": {"process": "profile", "steps": spike},
                        "root": root,
                    }
                },
            }
        )

    def requests(self, until_s: float) -> int:
        """Enough requests to last until then, with five standard deviations to spare."""
        mean = self.base_per_s * until_s + (self.spike_per_s - self.base_per_s) * self.spike_s
        return int(mean + 5 * mean**0.5) + 1

    def recovers(self, runs: int, seed: int, after_s: float, look_s: float = 20.0) -> int:
        """In how many of `runs` seeds most requests are answered well again `after_s` after the
        spike; looked at for `look_s`."""
        from_ms = 1000 * (self.lead_s + self.spike_s + after_s)
        to_ms = from_ms + 1000 * look_s
        plan = self.system().plan()
        recovered = 0
        for run in range(runs):
            rows = simulate(plan, self.requests(to_ms / 1000), seed + (run << 32), warmup=0.0)
            assert rows.requests is not None  # keep="requests" is the default
            looked = rows.requests[rows.requests.arrived_ms.between(from_ms, to_ms)]
            recovered += bool((looked.answer == "ok").mean() > 0.5)
        return recovered


def share_and_interval(successes: int, runs: int) -> tuple[float, float, float]:
    """A share of runs and its 95 % interval after Clopper and Pearson 1934."""
    found = binomtest(successes, runs).proportion_ci(0.95, method="exact")
    return successes / runs, float(found.low), float(found.high)


# Published incidents


@dataclass(frozen=True)
class Incident:
    """What had been shared, and how far and how long it reached."""

    name: str
    year: int
    hours: float
    shared: str
    reached: str


# Durations: computed from the times in public post-mortems (collections icco/postmortems and
# danluu/post-mortems, and the providers' own reports).
INCIDENTS = (
    Incident("Datadog", 2023, 48.4, "change channel: one automatic update of the operating system",
             "five regions on several clouds"),
    Incident("Google Cloud", 2025, 7.5, "policy plane: policy data copied to all regions",
             "all regions"),
    Incident("Cloudflare", 2025, 5.8, "change channel: one generated file", "the whole network"),
    Incident("Fastly", 2021, 2.8, "change channel: one configuration", "the whole network"),
    Incident("AWS, DynamoDB", 2025, 14.5, "names: DNS", "one region"),
    Incident("AWS, Lambda", 2023, 3.8, "one cell, and identity (STS) behind it",
             "other services of the region"),
    Incident("AWS, Kinesis", 2020, 17.1, "a service under other services, identity (Cognito) too",
             "one region"),
    Incident("AWS, network", 2021, 11.2, "network of the control plane, monitoring and deployment",
             "one region"),
    Incident("AWS, Direct Connect", 2021, 6.2, "link to the premises of many customers",
             "one region"),
    Incident("Roblox", 2021, 73.0, "names and configuration: one Consul cluster",
             "the whole platform"),
    Incident("Reddit", 2023, 5.23, "one Kubernetes cluster", "the whole site"),
)  # fmt: skip


def one_of(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known."""
    if value not in known:
        _refuse(name, value, f"one of {', '.join(known)}")


def _refuse(name: str, value: Any, expected: str) -> None:
    raise ValueError(f"{name}: {value!r} was given; expected {expected}")
