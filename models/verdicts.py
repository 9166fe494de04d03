"""What the models of this book make of the claims of the road, for one system file.

What the file says is taken from it: who needs whom, rates, work, workers, teams, messages, the
stages that can be reached. What no file says is what the chapters assume (`Terms` of chapter 8, and
the constants below). A claim about something that the system does not have, or that no file can
speak of, gets no verdict, and the reason.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, isfinite, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import (
    broker,
    calls,
    governance,
    mesh,
    outages,
    ownership,
    publish,
    roadmap,
    soak,
    stages,
    theory,
)
from models.broker import mean_and_half_width
from models.experiment import simulate
from models.presets import PRESETS
from models.system import System

TERMS = roadmap.Terms()
FAR_MS = 33.0  # round trip to a far region (chapter 2)
FARTHEST_MS = 329.0  # the longest one that was measured (chapter 4)
INSTANCES, START_S, PLACES = 4, 30.0, 32  # of a restarted service: instances, s, places to wait
NOTICED = 0.1  # a share by which something may be longer before anybody minds
OUTAGE_S, PATIENCE_MS, TOLERATED = 30.0, 1000.0, 0.01  # a service that is down (chapter 6)
PARTNER = {"window_hours": 12.0, "message_kb": 2.0}  # another division's longest window (chapter 4)
PARTNER_ROOM = 1.5  # its limit over our rate
BROKER_GB, RETENTION_HOURS = 10.0, 168.0
LATE_HOURS, LATE_SHARE = 8.0, 0.01  # so many messages over a line may take so long (chapter 4)
CALM_HOURS = 2.0  # hours a year without an answer that nobody minds
INCIDENTS = 3.0  # of each service, a week
MATURE: dict[str, Any] = {
    "defects": 0.3,
    "undo_apart_team_days": 8.0,
}  # a mature team's step (chapter 5)
FUTURES = 4_000
MONTHS = 36
RUNS = 400  # of the small models


@dataclass(frozen=True)
class Verdict:
    """`holds` is None where the file does not decide; `evidence` then says what would."""

    id: str
    holds: str | None
    evidence: str
    edge: str = ""


Found = tuple[str, str, str]  # verdict, evidence, edge


class Absent(Exception):
    """A claim about something that a system does not have; the message says what."""


def verdicts(
    system: System, replications: int = 5, requests: int = 20_000, seed: int = 1
) -> list[Verdict]:
    """One for each claim, in the order of the chapters."""
    case = Case(system, replications, requests, seed)
    found = []
    for id in sorted(publish.claims(), key=lambda id: publish.claims()[id]["chapter"]):
        try:
            found.append(Verdict(id, *DECIDED[id](case)))
        except (Absent, stages.StageError) as error:
            found.append(Verdict(id, None, f"cannot be asked: {error}"))
    return found


@dataclass(frozen=True)
class Case:
    """A system, and what is measured on it: every simulation once, on the same requests."""

    system: System
    runs: int = 5
    requests: int = 20_000
    seed: int = 1
    known: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def walk(self) -> roadmap.Walk:
        """The whole road (chapter 8)."""
        return roadmap.walk(self.system, TERMS, self.runs, self.requests, 100.0, self.seed)

    def at(self, stage: str) -> System:
        """The system at a stage; StageError where the road ends before."""
        if stage not in self.walk.stages:
            raise stages.StageError(self.walk.stopped)
        return self.walk.systems[stage]

    @property
    def flow(self) -> str:
        """The flow with the most steps that can wait."""
        return self.walk.flow

    @cached_property
    def flows(self) -> list[str]:
        """The flows of which a run sees enough requests: a hundredth of the busiest, at least."""
        rates = {name: flow.mean_rate_per_s for name, flow in self.system.flows.items()}
        return [name for name, rate in rates.items() if rate >= max(rates.values()) / 100]

    def seeds(self) -> list[int]:
        return [self.seed + (run << 32) for run in range(self.runs)]

    def values(self, system: System, metric: str) -> dict[str, NDArray[np.float64]]:
        """Flow -> a metric in each run; endless where the system cannot keep up."""
        key = system.model_dump_json()
        if key not in self.known:
            self.known[key] = {}
            if not system.warnings():
                plan = system.plan()
                for seed in self.seeds():
                    run = simulate(plan, self.requests, seed, keep="summary", intervals=False)
                    table = run.summary()[["metric", "flow", "value"]]
                    for name, flow, value in table.itertuples(index=False):
                        self.known[key].setdefault(name, {}).setdefault(flow, []).append(value)
        found = self.known[key].get(metric, {})
        return {flow: np.array(found.get(flow, [inf] * self.runs)) for flow in self.flows}

    def measured(self, system: System, metric: str) -> dict[str, tuple[float, float]]:
        """Flow -> its mean and the half width of the 95 % interval."""
        return {flow: interval(runs) for flow, runs in self.values(system, metric).items()}

    def changed(self, before: System, after: System, metric: str) -> dict[str, tuple[float, float]]:
        """Flow -> the same for the change from one system to the other, run by run."""
        first, then = self.values(before, metric), self.values(after, metric)
        if not all(np.isfinite([*first[flow], *then[flow]]).all() for flow in self.flows):
            raise Absent(
                f"{self.system.name} cannot keep up with its traffic, so times have no end"
            )
        change = {flow: then[flow] - first[flow] for flow in self.flows}
        return {flow: interval(np.where(abs(c) < 1e-9, 0.0, c)) for flow, c in change.items()}


# Chapter 2: calls


def latency(case: Case) -> Found:
    """Everything called over far round trips: is the load carried, and in time? With what help?"""
    near = case.at("synchronous")
    asked_of_a_network(near)
    far = at_distance(near, FAR_MS)
    helped = [unlimited(far)]
    if "asynchronous" in case.walk.stages:
        helped.append(at_distance(case.at("asynchronous"), FAR_MS))
    given, *better = (worst(case.measured(each, "response_p99_ms")) for each in (far, *helped))
    (_, before), (name, after) = fullest(near), fullest(far)
    target = TERMS.response_target_ms
    if given[0] <= target:
        verdict = "does not hold here"
    else:
        verdict = "holds only if" if min(better)[0] <= target else "holds"
    fewer = f" With messages where that is possible, {time(better[1])}." if len(better) > 1 else ""
    return (
        verdict,
        f"With calls only, the fullest service has {percent(before)} of its workers held; with round "
        f"trips of {FAR_MS:g} ms it is {name}, with {percent(after)} (mean times, nobody queues). "
        f"Then {time(given)}; the target is {target:g} ms (assumed).",
        f"With unlimited workers, {time(better[0])}.{fewer} Workers do not bring back the time.",
    )


TRIED_MS = (0.05, 400.0)  # round trips, the shortest and the longest


def closeness(case: Case) -> Found:
    """The longest round trip at which each flow meets the target, against measured placements."""
    here = case.at("synchronous")
    asked_of_a_network(here)
    called = {entry.flow for entry in here.steps() if entry.mode == "call"}
    busiest = sorted(
        (flow for flow in case.flows if flow in called),
        key=lambda flow: -here.flows[flow].mean_rate_per_s,
    )[:4]
    if not busiest:
        raise Absent("none of the flows that a run sees enough of calls another service")
    target, runs = TERMS.response_target_ms, min(case.runs, 4)
    limits = {
        flow: calls.longest_rtt_ms(
            lambda rtt_ms: at_distance(here, rtt_ms), flow, target, TRIED_MS, runs,
            min(case.requests, 5_000), case.seed,
        )
        for flow in busiest
    }  # fmt: skip
    apart = [
        [p.name for p in calls.PLACEMENTS if not p.close and p.within(mean) == "fine"]
        for mean, _ in limits.values()
    ]
    if all(apart):
        verdict = "does not hold here"
    else:
        verdict = "holds only if" if any(apart) else "holds"

    def up_to(limit):
        if isnan(limit[1]):  # of some run at least it lies outside
            return f"{'over' if limit[0] == TRIED_MS[1] else 'under'} {number(limit[0])} ms"
        return words(limit, "ms")

    said = "; ".join(f"{flow}: {up_to(limit)}" for flow, limit in limits.items())
    farther = sorted({name for names in apart for name in names})
    return (
        verdict,
        f"For 99 % of the answers within {target:g} ms (assumed), calls allow round trips of at most: "
        f"{said}.",
        f"Beyond one cluster or region, some flow can be in: {', '.join(farther) or 'no placement'}.",
    )


def deploys(case: Case) -> Found:
    """The fullest service that is called, restarted one instance after the other (formulas)."""
    here = case.at("synchronous")
    called = {entry.step.service for entry in here.steps() if entry.mode == "call"}
    loads = {
        name: load
        for name, load in here.loads().items()
        if name in called and load.workers and load.workers > 1 and load.handled_per_s
    }
    if not loads:
        raise Absent("no service is called that has a number of workers to be restarted in parts")
    name = max(loads, key=lambda name: loads[name].utilisation)
    load, limit = loads[name], here.services[name].queue_limit
    instances = min(INSTANCES, load.workers or 1)
    restart = calls.Restart(
        rate_per_s=load.handled_per_s,
        work_ms=max(1000 * load.held / load.handled_per_s, 1e-6),
        instances=instances,
        instance_workers=(load.workers or 1) // instances,
        queue_limit=PLACES if limit is None else limit,
        start_s=START_S,
    )
    fewer, all_of_them = (restart.turned_away(up) for up in (instances - 1, instances))
    killed = restart.in_hand + fewer * restart.calls_during(False)
    drained = fewer * restart.calls_during(True)
    spared = all_of_them * restart.calls_during(True)
    if killed <= 1:
        verdict = "holds"
    else:
        verdict = "holds only if" if min(drained, spared) <= 1 else "does not hold here"
    return (
        verdict,
        f"While {name}, at load {number(restart.load)}, is restarted in {instances} parts, "
        f"{number(killed)} calls fail (formula; the number of instances and a start of {START_S:g} s "
        "are assumed).",
        f"With draining {number(drained)} fail, with a spare instance besides {number(spared)}. For "
        "what a restarted instance does not do, the others must have room.",
    )


# Chapter 3: the broker


def tolerates(case: Case) -> Found:
    """The same requests with those who take messages near, and as far away as was measured."""
    near = case.at("asynchronous")
    case.at("separated")
    far = stages.separated(near, rtt_ms=FARTHEST_MS) if moves(near) else case.at("separated")
    answers = case.changed(near, far, "response_mean_ms")
    ends = case.changed(near, far, "completion_mean_ms")
    slowest, latest = (max(each, key=lambda flow: each[flow][0]) for each in (answers, ends))
    link = max((link.rtt_ms for link in far.network.between), default=0.0)
    spared = all(mean - half_width <= 0.01 * link for mean, half_width in answers.values())
    paid = any(mean - half_width > 0.01 * link for mean, half_width in ends.values())
    return (
        ("holds only if" if paid else "holds") if spared else "does not hold here",
        f"With those who take messages {link:g} ms away the mean answer changes by at most "
        f"{words(answers[slowest], 'ms')} ({slowest}).",
        f"Completion pays: it is later by up to {words(ends[latest], 'ms')} ({latest}). And the "
        "broker must be near the sender.",
    )


def done(case: Case) -> Found:
    """The same requests with those who take messages twice as slow."""
    here = case.at("asynchronous")
    takers = {entry.step.service for entry in here.steps() if entry.mode == "message"}
    called = {entry.step.service for entry in here.steps() if entry.mode != "message"}
    slow = ownership.longer(here, (takers - called) or takers, 2.0)
    if slow.warnings() and not here.warnings():  # the backlog grows, and answers do not see it
        slow = ownership.longer(here, (takers - called) or takers, 1.1)
    answers = case.changed(here, slow, "response_mean_ms")
    flow = max(answers, key=lambda flow: answers[flow][0])
    mean, half_width = answers[flow]
    price = price_ms(here, case.flow)
    response, _ = case.measured(here, "response_mean_ms")[case.flow]
    most = max(
        here.flows[entry.flow].mean_rate_per_s for entry in here.steps() if entry.mode == "message"
    )
    lasts = broker.retention_lasts_hours(most, most / 1.2, RETENTION_HOURS)
    if mean - half_width > 0.01 * case.measured(here, "response_mean_ms")[flow][0]:
        verdict = "does not hold here"
    else:
        verdict = "holds only if" if price > 0.01 * response or isfinite(lasts) else "holds"
    return (
        verdict,
        f"With slower work of whoever takes messages ({', '.join(sorted(takers))}) the mean answer "
        f"changes by at most {words(answers[flow], 'ms')} ({flow}).",
        f"It is done when the broker has answered: that takes {number(price)} ms of the "
        f"{number(response)} ms of {case.flow} (formula). And only until what the broker keeps for "
        f"{RETENTION_HOURS:g} h runs out: if {number(most)} messages/s are 1.2 times what is worked "
        f"off, after {number(lasts)} h (formula).",
    )


def pace(case: Case) -> Found:
    """Whether those who take messages have the capacity, and how fast they catch up."""
    apart = case.at("asynchronous")
    takers = {entry.step.service for entry in apart.steps() if entry.mode == "message"}
    name, load = fullest(apart, takers)
    edge = "The average capacity must exceed the average rate; at equality nothing is ever drained."
    if not load:
        return "holds", "Whoever takes messages has workers without limit.", edge
    if load >= 1:
        evidence = (
            f"{name} would need {percent(load)} of its workers: its backlog grows without end."
        )
        return "does not hold here", evidence, edge
    evidence = (
        f"Of the services that take messages {name} is the fullest, with {percent(load)}. An hour of "
        f"its outage is worked off in {number(60 * load / (1 - load))} minutes (formula)."
    )
    return "holds only if", evidence, edge


# Chapter 4: who stands where, and who owns what


def together(case: Case) -> Found:
    """Messages on one infrastructure against the same apart: times, noise and outages."""
    near, far = case.at("asynchronous"), case.at("separated")
    home = near.services[near.flows[case.flow].root.service].infrastructure
    answers = case.changed(far, near, "response_mean_ms")
    quick = all(
        mean - half_width <= NOTICED * case.measured(far, "response_mean_ms")[flow][0]
        for flow, (mean, half_width) in answers.items()
    )
    homes = [service.infrastructure for service in far.services.values()]
    other = max((place for place in homes if place != home), key=homes.count, default=home)
    factor = 1 + NOTICED
    loud, calm = (
        case.values(ownership.slowed(each, place, factor), "response_p99_ms")
        for each, place in ((near, home), (far, other))
    )
    ratio = worst({flow: interval(loud[flow] / calm[flow]) for flow in case.flows})
    faults = ownership.Faults()
    hours = [lost_hours(faults, each, case.flow) for each in (near, far)]
    harmless = hours[0] - hours[1] <= CALM_HOURS and ratio[0] <= 1 + NOTICED
    slowest = max(answers, key=lambda flow: answers[flow][0])
    return (
        ("holds" if harmless else "holds only if") if quick else "does not hold here",
        f"In quiet times the mean answer on one infrastructure is at most "
        f"{words(answers[slowest], 'ms')} longer than apart ({slowest}).",
        f"With a neighbour that makes work {factor:g} times as long, the p99 is up to {words(ratio)} "
        f"times that of being apart; and {case.flow} is without answer for {number(hours[0])} h a year "
        f"instead of {number(hours[1])} h (formula; outage rates assumed).",
    )


def permits(case: Case) -> Found:
    """What can move, and whether completion stays within its target at the longest distance."""
    before, after = case.at("asynchronous"), case.at("separated")
    far = stages.separated(before, rtt_ms=FARTHEST_MS) if moves(before) else after
    moved = [
        name
        for name, service in after.services.items()
        if service.infrastructure != before.services[name].infrastructure
    ]
    stay = len(after.services) - len(moved)
    ends = worst(case.measured(far, "completion_p99_ms"))
    target = TERMS.completion_target_ms
    verdict = "does not hold here"
    if in_time(ends, target):
        verdict = "holds only if" if any(entry.mode == "call" for entry in far.steps()) else "holds"
    return (
        verdict,
        f"{len(moved)} of {len(after.services)} services can move: {', '.join(moved) or 'none'}. At "
        f"{FARTHEST_MS:g} ms, until all is done, {time(ends)}; the target is {target:g} ms (assumed).",
        f"{stay} stay where users wait for them.",
    )


def division(case: Case) -> Found:
    """The busiest message, were it to another division that closes for a while (formulas)."""
    here = case.at("asynchronous")
    entry = max(
        (entry for entry in here.steps() if entry.mode == "message"),
        key=lambda entry: here.flows[entry.flow].mean_rate_per_s,
    )
    rate = here.flows[entry.flow].mean_rate_per_s
    partner = ownership.Partner(rate, PARTNER_ROOM * rate, **PARTNER)
    fits = partner.peak_gb <= BROKER_GB and partner.left_over == 0
    return (
        "holds only if" if fits else "does not hold here",
        f"If {entry.step.service} were another division's, closed for {partner.window_hours:g} h and "
        f"open for {PARTNER_ROOM:g} times the rate, {number(partner.peak)} messages would wait and be "
        f"gone {number(partner.drain_hours)} h later (formula; hours and limit assumed).",
        f"The broker must hold {number(partner.peak_gb)} GB ({BROKER_GB:g} GB assumed), and the limit "
        f"must exceed {number(partner.least_limit_per_s)} messages/s.",
    )


def hybrid(case: Case) -> Found:
    """The lines of the file: which flows cannot do without one, and what waits for one (formulas)."""
    here = case.system
    cross = {
        entry: [pair for pair in here.crossings(entry) if pair[0] != pair[1]]
        for entry in here.steps()
    }
    lines = {
        frozenset(pair): line_between(here, frozenset(pair))
        for way in cross.values()
        for pair in way
    }
    if not lines:
        raise Absent(
            "nothing in the file crosses from one infrastructure to another, so no line joins two sides"
        )
    loads = here.loads()
    needed: dict[str, set[frozenset[str]]] = {entry.flow: set() for entry in cross if cross[entry]}
    late, waits = 0.0, False
    for entry, way in cross.items():
        awaited = way  # a call, all of the way; a message, the way to its broker
        if entry.parent is not None and entry.step.via is not None:
            publisher = here.services[entry.parent.step.service].infrastructure
            broker = here.brokers[entry.step.via].infrastructure
            awaited = way[:1] if publisher != broker else []
            load = loads[entry.step.service]
            fullness = load.utilisation if load.workers else 0.0
            for pair in way[len(awaited) :]:
                line, waits = lines[frozenset(pair)][0], True
                late = max(late, line.late_share(LATE_HOURS, fullness) if fullness < 1 else 1.0)
        if awaited:
            needed[entry.flow] |= {frozenset(pair) for pair in awaited}

    def hours(flow: str, beside: int = 1) -> float:
        up = np.prod([lines[pair][0].availability(beside) for pair in needed[flow]])
        return ownership.YEAR_HOURS * float(1 - up)

    worst_flow = max(needed, key=hours)
    hit = [flow for flow in needed if hours(flow) > CALM_HOURS]
    if late > LATE_SHARE or len(hit) == len(needed):
        verdict = "does not hold here"
    else:
        verdict = "holds only if" if hit else "holds"
    assumed = any(assumed for _, assumed in lines.values())
    source = "some outage rates assumed" if assumed else "outages as in the file"
    messages = (
        f" Of its messages over a line at most {percent(late)} arrive more than {LATE_HOURS:g} h late."
        if waits
        else " No message goes over a line."
    )
    return (
        verdict,
        f"By lines alone {worst_flow} is stopped for {number(hours(worst_flow))} h a year. Flows over "
        f"a line: {len(needed)}; stopped for more than {CALM_HOURS:g} h a year: {len(hit)} (formula; "
        f"{source}).{messages}",
        "A line is a dependency that all flows over it share: what is called over it stops with it. "
        f"A second line beside each makes that {number(hours(worst_flow, 2))} h where "
        f"{percent(ownership.Line().common)} of the down time of a line is common to both (assumed).",
    )


def line_between(system: System, ends: frozenset[str]) -> tuple[ownership.Line, bool]:
    """A line with the recurring outages that the file has for it; without any, assumed ones (True)."""
    falls = [
        (
            outages.HOUR_MS * ownership.YEAR_HOURS / outage.up.mean_ms,
            outage.down.mean_ms / outages.HOUR_MS,
        )
        for outage in system.outages
        if outage.up and outage.down and ends in map(frozenset, outage.links)
    ]
    per_year = sum(rate for rate, _ in falls)
    if not per_year:
        return ownership.Line(per_year=TERMS.link_per_year, hours=TERMS.link_hours), True
    hours = sum(rate * hours for rate, hours in falls) / per_year
    return ownership.Line(per_year=per_year, hours=hours), False


def critical(case: Case) -> Found:
    """The flow's services on a cluster of their own, with and without what others call (formulas)."""
    here, flow, faults = case.at("synchronous"), case.flow, ownership.Faults()
    if "asynchronous" in case.walk.stages:
        here = case.at("asynchronous")
    awaited = ownership.awaited_services(here, flow)
    brokers = ownership.published_to(here, flow)
    others = {
        service
        for other in here.flows
        if other != flow
        for service in ownership.awaited_services(here, other)
    }
    alone = [service for service in awaited if service not in others]
    if len(awaited) == len(here.services):
        raise Absent(f"{flow} needs every service, so a cluster of its own would be the only one")

    def hours(services: Iterable[str], brokers: Iterable[str]) -> float:
        name = "critical" + "_" * len(here.infrastructures)
        return lost_hours(faults, ownership.own_cluster(here, [*services], [*brokers], name), flow)

    bare, best = lost_hours(faults, here, flow), hours(awaited, brokers)
    torn = [hours(alone, brokers)] * (len(alone) < len(awaited)) + [hours(awaited, ())] * bool(
        brokers
    )
    verdict = "does not hold here"
    if best < bare:
        verdict = "holds only if" if max(torn, default=best) > best else "holds"
    left = f" With something of it left behind it is up to {number(max(torn))} h." if torn else ""
    return (
        verdict,
        f"On a cluster of its own with {len(awaited)} services, {flow} is without answer for "
        f"{number(best)} h a year instead of {number(bare)} h (formula; outage rates assumed).",
        f"A call that still crosses the border carries the failure along.{left}",
    )


def owners(case: Case) -> Found:
    """Incidents that go to their owners, or first to a wrong team."""
    counts = ownership.owned(case.system)
    if len(counts) < 2:
        raise Absent("the file names fewer than two teams, so no incident can go to a wrong one")
    per_week = tuple(INCIDENTS * number for number in counts.values())
    direct = ownership.Teams(per_week, 0.0, 3.0, 3.0)
    while max(replace(direct, p_reassigned=0.3).loads) > 0.9:
        direct = replace(direct, responders=direct.responders + 1)
    handed = replace(direct, p_reassigned=0.3)
    base, passed = (
        np.array(
            [
                ownership.simulate_incidents(teams, 4_000, case.seed + run).restore_hours.mean()
                for run in range(case.runs)
            ]
        )
        for teams in (direct, handed)
    )
    ratio = interval(passed / base)
    most, services = next(iter(counts.items()))
    fits = ownership.most_owned(replace(direct, responders=1), INCIDENTS, 12.0)
    verdict = "does not hold here"
    if ratio[0] - ratio[1] > 1 + NOTICED:
        verdict = "holds" if services <= fits else "holds only if"
    return (
        verdict,
        f"Where 30 % of the incidents go to a wrong team at each try, restoring takes {words(ratio)} "
        f"times as long ({len(counts)} teams, {INCIDENTS:g} incidents a week from each service, people "
        f"of each team on call: {direct.responders}; assumed).",
        f"An owner must have the time: a mean of 12 h is met by one person for up to {fits} services; "
        f"{most} owns the most, {services}.",
    )


# Chapter 5: the soak


def soak_first(case: Case) -> Found:
    """Whether a soak of any fixed length costs less than separating at once."""
    step, futures, mature, _ = soaked(case)
    pays, pays_mature = step.best_days > 0, mature.best_days > 0
    best = step.best_whole_days
    saved = interval(futures.fixed(0) - futures.fixed(best))
    return (
        ("holds" if pays_mature else "holds only if") if pays else "does not hold here",
        f"With {number(step.defects)} hidden defects believed in, the best soak of a fixed length is "
        f"{best} days and saves {words(saved, 'team-days')}.",
        "It pays only if on the first day defects come to light more often than "
        f"{soak.per(step.break_even_per_day)}; here it is "
        f"{soak.per(step.defects * step.rate_per_day)}. `decouple gate` asks your own log.",
    )


def in_stages(case: Case) -> Found:
    """Whether walking, and deciding by what is seen, costs less than jumping."""
    step, futures, mature, mature_futures = soaked(case)
    saved, mature_saved = (
        interval(each.fixed(0) - each.follow(soak.plan(of).go_most)[1])
        for of, each in ((step, futures), (mature, mature_futures))
    )
    verdict = "does not hold here"
    if saved[0] > saved[1]:
        verdict = "holds" if mature_saved[0] > mature_saved[1] else "holds only if"
    return (
        verdict,
        f"Walking, and deciding by what is seen, costs {words(saved, 'team-days')} less than jumping.",
        f"For a mature team, with {MATURE['defects']:g} hidden defects and "
        f"{MATURE['undo_apart_team_days']:g} team-days to undo once separated, it saves "
        f"{words(mature_saved, 'team-days')}.",
    )


def soaked(case: Case) -> tuple[soak.Step, soak.Roads, soak.Step, soak.Roads]:
    """The step to messages and its futures, and the same for a mature team."""
    case.at("asynchronous")
    step = case.walk.step
    mature = replace(step, **MATURE)
    return (
        step, soak.roads(step, FUTURES, case.seed), mature, soak.roads(mature, FUTURES, case.seed)
    )  # fmt: skip


# Chapter 6: outages


def isolates(case: Case) -> Found:
    """A service that takes messages is down for a while: which other requests does that hurt?"""
    calls_, here = case.at("synchronous"), case.at("asynchronous")
    loads = here.loads()
    takers = {entry.step.service for entry in here.steps() if entry.mode == "message"}
    called = {entry.step.service for entry in here.steps() if entry.mode != "message"}
    takers = takers - called or takers
    name = min(
        takers, key=lambda name: (loads[name].workers or inf, -loads[name].utilisation, name)
    )
    per_s = sum(flow.mean_rate_per_s for flow in here.flows.values())
    down_s = min(max(OUTAGE_S, 2_000 / per_s), 40_000 / per_s)
    hit = {
        way: interval([hurt_share(each, name, down_s, seed) for seed in case.seeds()])
        for way, each in (("calls", calls_), ("messages", here))
    }
    mean, _ = hit["messages"]
    if mean <= TOLERATED:
        verdict = "holds"
    else:
        verdict = "holds only if" if mean < 0.5 * hit["calls"][0] else "does not hold here"
    awaited = sorted(service for service, share in lost(here, "service").items() if share)
    return (
        verdict,
        f"While {name} is down for {number(down_s)} s, {words(hit['calls'], '%', 100)} of the requests "
        f"that come then are hurt if it is called, and {words(hit['messages'], '%', 100)} if it gets "
        "messages (a bad answer, or one later than a second).",
        f"Whatever is waited for still stops answers: {', '.join(awaited) or 'nothing'}.",
    )


def hurt_share(system: System, service: str, down_s: float, seed: int) -> float:
    """Share of the requests that come while a service is down and are hurt by it."""
    lead_s = 0.2 * down_s
    per_s = sum(flow.mean_rate_per_s for flow in system.flows.values())
    number = int(1.5 * per_s * (lead_s + down_s)) + 100
    window = {"services": [service], "from_ms": 1000 * lead_s, "for_ms": 1000 * down_s}
    falling = System.model_validate(system.to_dict() | {"outages": [window]})
    during, otherwise = (
        simulate(each, number, seed, warmup=0.0).requests for each in (falling, system)
    )
    assert during is not None and otherwise is not None
    inside = during.arrived_ms.between(1000 * lead_s, 1000 * (lead_s + down_s))
    hurt = outages.hurt(during, otherwise, PATIENCE_MS)[inside]
    return float(hurt.mean()) if len(hurt) else 0.0


def fate(case: Case) -> Found:
    """What falls with the infrastructure that most depends on."""
    here = case.at("synchronous")
    found = lost(here, "infrastructure")
    name = max(found, key=lambda name: found[name])
    blast = case.walk.at("synchronous", "blast")
    return (
        "holds" if found[name] == 1 else "does not hold here",
        f"{name} down stops {percent(found[name])} of the flows. Over all outages (rates assumed) an "
        f"incident stops {words(blast, '%')} of the requests.",
        "Services may be on one infrastructure and have users that never need it.",
    )


def contains(case: Case) -> Found:
    """How far incidents reach before and after separation, and what still reaches everywhere."""
    case.at("separated")
    before, after = (case.walk.at(stage, "blast") for stage in ("asynchronous", "separated"))
    change, half_width = case.walk.change("separated", "blast")
    causes = outages.reach(case.walk.exposed("separated"))
    if causes.confined.all() and (causes.requests_stopped < 1).all():
        verdict = "holds"
    else:
        verdict = "holds only if" if change + half_width < 0 else "does not hold here"
    worst_cause = causes.iloc[causes.requests_stopped.argmax()]
    return (
        verdict,
        f"An incident stops {words(before, '%')} of the requests before, {words(after, '%')} after; if "
        f"it stops any, {words(case.walk.blast_if_any('asynchronous'), '%')} before and "
        f"{words(case.walk.blast_if_any('separated'), '%')} after (rates assumed).",
        f"{worst_cause.cause} still stops {percent(worst_cause.requests_stopped)} of the requests. And "
        "what else is shared (changes, identity, the mesh's own plane) confines nothing.",
    )


# Chapter 7: the mesh


def silos(case: Case) -> Found:
    """How many of the teams' systems keep a common rule that nobody looks after."""
    systems = teams(case)
    regime = roadmap.regime("separated", TERMS)
    days = np.array([MONTHS * governance.MONTH_DAYS])
    kept = interval(governance.drift(regime, systems, days, RUNS, case.seed).mean(axis=(1, 2)))
    machine = roadmap.regime("meshed", TERMS).keeping()
    return (
        governance.siloed(kept[0], regime.all_keeping(systems), NINE_IN_TEN),
        f"{MONTHS} months after {systems} systems (one a team) were separated, "
        f"{words(kept, '%', 100)} of them keep a common rule if nobody sees to it (rates of change "
        "assumed).",
        f"A machine that compares every {24 * TERMS.enforced_days:g} h leaves "
        f"{publish.number(100 * machine, '%', digits=4)} (formula).",
    )


NINE_IN_TEN = 0.9  # systems that must keep a rule for it to be called common (chapter 7)


def observes(case: Case) -> Found:
    """From a fault to its owner, with and without telemetry in common."""
    said = mesh.from_system(case.system, case.flow)
    objective, fault, within = 0.999, 0.05, 30.0
    alert_hours = mesh.first_alert_hours(fault, objective, 0.2 * (1 - objective))
    search = mesh.Search(1.0, 60 * alert_hours, 60.0, 30.0, 10, 0.01, said["rate_per_s"] * fault)
    fully, partly, faintly = (
        interval(each.simulate(case.system, 10 * RUNS, case.seed))
        for each in (search, replace(search, coverage=0.5), replace(search, sampling=1 / 1024))
    )
    return (
        mesh.observed(fully[0], partly[0], faintly[0], within),
        f"Where {100 * fault:g} % of the requests fail, the owner is found after "
        f"{words(fully, 'min')} if all services report in the common way, and after "
        f"{words(partly, 'min')} if half of them do.",
        f"With 1 in 1,024 traces kept it takes {words(faintly, 'min')}; the target is {within:g} min "
        "(assumed).",
    )


def encrypts(case: Case) -> Found:
    """Edges in plain text by teams and by policy, and what proxies cost where calls are deep."""
    pairs = mesh.owners(case.system)
    if not pairs:
        raise Absent("no service calls another, or sends it messages: nothing is to be encrypted")
    days = np.array([MONTHS * governance.MONTH_DAYS])
    by_teams = governance.Regime(TERMS.changes_per_year, 0.01, 0.0, corrected_days=300.0)
    by_policy = replace(by_teams, enforced_days=TERMS.enforced_days)
    plain, alone = (
        interval(mesh.simulate_plain(case.system, regime, days, RUNS, case.seed, join)[:, 0])
        for regime, join in ((by_policy, 40.0), (by_teams, None))
    )
    chain = calls.Chain(rate_per_s=50.0, work_ms=2.0, rtt_ms=0.5, depth=10, workers="unlimited")
    dearer = replace(chain, rtt_ms=chain.rtt_ms + mesh.PROXIES["sidecar"].mean_ms)
    price = dearer.response_ms / chain.response_ms - 1
    return (
        mesh.encrypted(plain[0], 0.02, price, NOTICED),
        f"After {MONTHS} months, {words(plain, '%', 100)} of the edges are in plain text under a "
        f"central policy, and {words(alone, '%', 100)} where each owner sees to it (rates assumed).",
        f"In {chain.depth} calls in a row, of {chain.work_ms:g} ms of work each, sidecars make the mean "
        f"answer {percent(price)} longer (formula). And the certificate authority is a shared fate.",
    )


def releases(case: Case) -> Found:
    """A canary of the service where the main flow begins, and of a small one."""
    rate = mesh.from_system(case.system, case.flow)["canary_per_s"]
    canary, small_per_s, within = mesh.Canary(rate), min(0.2, rate / 2), 24.0
    needed = float(canary.sequential.mean_size_good)
    sizes, rejected, failures = canary.simulate(canary.p_bad, 20 * RUNS, case.seed)
    silent = mesh.silent(canary.p_good, 0.999)
    unseen = mesh.first_alert_hours(canary.p_bad, 0.999, canary.p_good, silent)
    bare = canary.hurt_everywhere(min(unseen, within))
    hurt = interval(failures - canary.p_good * sizes + ~rejected * bare)
    small = replace(canary, rate_per_s=small_per_s)
    return (
        mesh.released(canary, small_per_s, within, hurt[0], bare),
        f"At {number(rate)}/s a bad version costs {number(bare)} failures too many without a canary and "
        f"{words(hurt)} with a sequential one, and a healthy one is known after "
        f"{number(canary.hours(needed))} h on average (shares of failures assumed).",
        f"At {number(small_per_s)}/s that takes {number(small.hours(needed))} h, where the next release "
        f"comes after {within:g} h.",
    )


def breaks(case: Case) -> Found:
    """The chapter's cascade under the file's own policy, good ones, and those that come by default."""
    least, cascade = 0.95, mesh.Cascade()
    policies: dict[str, Mapping[str, Any]] = {
        "limit": {"timeout_ms": 200.0},
        "good": {"timeout_ms": 200.0} | mesh.GOOD,
        "own": mesh.policy_of(case.system),
        **{name: PRESETS[name].values for name in ("envoy", "istio", "linkerd")},
    }
    served = {
        name: interval(
            [cascade.served(cascade.run(policy, seed))["bystanders"] for seed in case.seeds()]
        )
        for name, policy in policies.items()
    }
    comes = [name for name in policies if name not in ("limit", "good", "own")]
    best = max(comes, key=lambda name: served[name][0])
    # what the file itself sets for every call is what its mesh gives
    given = [served["own"][0]] if policies["own"] else [served[name][0] for name in comes]
    return (
        mesh.protected(served["good"][0], given, least),
        f"In the cascade of chapter 7, with the policy of this file ({'its mesh' if policies['own'] else 'none'}), "
        f"{words(served['own'], '%', 100)} of the bystanders are served; with a time limit "
        f"{words(served['limit'], '%', 100)}, and with a breaker and a budget for retries behind it "
        f"{words(served['good'], '%', 100)}.",
        f"The best that comes by default ({best}) serves {words(served[best], '%', 100)}.",
    )


# Chapter 8


def governed(case: Case) -> Found:
    """Whether the road ends in autonomous parts under one policy (`roadmap.verdict`)."""
    verdict, last = roadmap.verdict(case.walk), case.walk.stages[-1]
    if verdict == "not decided":
        raise Absent(case.walk.stopped)
    advice = roadmap.advice(case.walk)
    return (
        verdict,
        f"The road reaches the stage {last}; an incident stops {words(case.walk.at(last, 'blast'), '%')} "
        f"of the requests there and {words(case.walk.at('synchronous', 'blast'), '%')} at its start; if it "
        f"stops any, {words(case.walk.blast_if_any(last), '%')} and "
        f"{words(case.walk.blast_if_any('synchronous'), '%')}.",
        f"`decouple road` says: go as far as {advice.stage}. {advice.reason}.",
    )


DECIDED: dict[str, Callable[[Case], Found]] = {
    "sync-latency-fatal": latency,
    "sync-forces-closeness": closeness,
    "sync-deploys-independently": deploys,
    "async-tolerates-latency": tolerates,
    "async-producer-done": done,
    "async-own-pace": pace,
    "async-same-infra-ok": together,
    "async-permits-separation": permits,
    "separate-other-division": division,
    "separate-hybrid": hybrid,
    "separate-critical": critical,
    "owner-known": owners,
    "soak-first": soak_first,
    "road-in-stages": in_stages,
    "async-isolates-faults": isolates,
    "shared-fate": fate,
    "separation-contains": contains,
    "separation-makes-silos": silos,
    "mesh-observes": observes,
    "mesh-mtls": encrypts,
    "mesh-canary": releases,
    "mesh-breaker": breaks,
    "sos-governed": governed,
}


# Systems


def asked_of_a_network(system: System) -> None:
    """Refuse a system in which nobody calls anybody."""
    if not any(entry.mode == "call" for entry in system.steps()):
        raise Absent("no service calls another, so no network lies between them")


def at_distance(system: System, rtt_ms: float) -> System:
    """The system with every round trip, inside and between infrastructures, so long."""
    data = system.to_dict()
    network = data.get("network", {})
    links = [link | {"rtt_ms": rtt_ms} for link in network.get("between", [])]
    data["network"] = network | {"within_ms": rtt_ms, "between": links}
    return System.model_validate(data)


def unlimited(system: System) -> System:
    """The system with as many workers as anybody may need."""
    data = system.to_dict()
    for service in data["services"].values():
        service["workers"] = "unlimited"
        service.pop("queue_limit", None)
    return System.model_validate(data)


def moves(system: System) -> bool:
    """Whether something can be separated because messages alone reach it."""
    try:
        stages.separated(system)
    except stages.StageError:
        return False
    return True


def price_ms(system: System, flow: str) -> float:
    """What a flow's first service pays for handing over its messages, mean: the way and the broker."""
    paid = 0.0
    for entry in system.steps(flow):
        if entry.mode == "message" and entry.parent is not None and entry.parent.parent is None:
            rtt_ms, _ = system.round_trip(*system.crossings(entry)[0])
            paid += rtt_ms + system.brokers[str(entry.step.via)].ack.mean_ms
    return paid


def teams(case: Case) -> int:
    """How many teams the file names, at least two."""
    found = len({service.team for service in case.system.services.values()} - {None})
    if found < 2:
        raise Absent("the file names fewer than two teams, so no systems stand apart")
    return found


def lost_hours(faults: ownership.Faults, system: System, flow: str) -> float:
    """Hours a year in which something is down that the answer needs, by formula."""
    return float(theory.downtime(faults.availability(system, flow), ownership.YEAR_HOURS))


def fullest(system: System, among: set[str] | None = None) -> tuple[str, float]:
    """The service with the largest share of its workers held, of those that have a limit."""
    loads = {
        name: load.utilisation
        for name, load in system.loads().items()
        if load.workers and (among is None or name in among)
    }
    if not loads:
        return "no service", 0.0
    name = max(loads, key=lambda name: loads[name])
    return name, loads[name]


def lost(system: System, kind: str) -> dict[str, float]:
    """Name -> share of the flows whose answer needs it."""
    answers = [answer for answer, _ in outages.needs(system).values()]
    names = system.services if kind == "service" else system.infrastructures
    return {
        name: sum((kind, name) in answer for answer in answers) / len(answers) for name in names
    }


# Numbers and words


def interval(values: Any) -> tuple[float, float]:
    """Mean and half width of the 95 % interval; endless if one of the runs is."""
    values = np.asarray(values, float)
    return mean_and_half_width(values.tolist()) if np.isfinite(values).all() else (inf, 0.0)


def worst(found: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    return max(found.values(), key=lambda pair: pair[0])


def in_time(found: tuple[float, float], target: float) -> bool:
    """Whether the upper end of an interval meets a target."""
    return sum(found) <= target


def words(found: tuple[float, float], unit: str = "", scale: float = 1.0) -> str:
    mean, half_width = found
    return publish.number(scale * mean, unit, scale * half_width or None)


def time(found: tuple[float, float]) -> str:
    if not isfinite(found[0]):
        return "a queue grows without end"
    return f"99 % are through within {words(found, 'ms')}"


def number(value: float) -> str:
    return publish.number(float(value))


def percent(share: float) -> str:
    return publish.number(100 * share, "%", digits=2)
