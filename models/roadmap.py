"""Chapter 8: the whole road on one system, stage by stage, with the same requests at every stage.

`road` makes the stages of a system, `walk` measures each of them: requests in milliseconds by the
engine, outages in years by chapter 6, rules in months by chapter 7, a soak in days by chapter 5.
`Walk.steps` says what each step gained and lost, `gates` whether a step may be taken, `advice` how
far to go. `independence` and `kind` say what of a System of Systems is there.

Everything that is assumed is a field of `Terms`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from difflib import get_close_matches
from functools import cached_property
from math import exp, inf, isfinite
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models import governance, outages, ownership, soak, stages
from models.broker import mean_and_half_width
from models.distributions import Distribution
from models.experiment import simulate
from models.incidents import Incident, Log
from models.mesh import Search
from models.resilience import Outage
from models.system import System

STAGES = ("synchronous", "asynchronous", "separated", "meshed", "governed")
HOUR_MS = 3_600_000.0
YEAR_HOURS = 8760.0
NOTICEABLE = 0.01  # a change below this share of what was there before is none
PLANE = "policy plane"


@dataclass(frozen=True)
class Terms:
    """What the road is walked with. Rates are per year of being up, `_hours` are means."""

    # Where things stand, and what the mesh puts into every call
    rtt_ms: float = 20.0
    jitter_cv: float = 0.1
    preset: str = "istio"
    hop_ms: float = 0.44  # mean of Istio's sidecars, `mesh.PROXIES`; with the processor time
    cpu_ms: float = 0.4
    session_reuse: float = 0.99
    sampling: float = 0.01

    # What goes down: a share `spill` of a service's outages takes its infrastructure with it
    service_per_year: float = 2.0
    service_hours: float = 1.0
    spill: float = 0.1
    infrastructure_per_year: float = 1.0
    infrastructure_hours: float = 6.4
    link_per_year: float = 1.0
    link_hours: float = 2.0
    broker_per_year: float = 0.5
    broker_hours: float = 1.0
    shared_per_year: float = 0.2
    shared_hours: float = 6.4
    plane_per_year: float = 1.0
    plane_hours: float = 7.5

    # Policies that go out in waves
    waves: int = 4
    wave_hours: float = 4.0
    detect_hours: float = 1.0

    # Finding the owner: the share of services with common telemetry
    coverage_together: float = 0.8
    coverage_apart: float = 0.5
    coverage_meshed: float = 1.0
    failing: float = 0.05

    # Common rules and platform parts
    changes_per_year: float = 50.0
    breaks: float = 0.02
    rule_changes_per_year: float = 2.0
    corrected_days: float = 180.0
    enforced_days: float = 1.0
    parts: int = len(governance.PARTS)
    part_days: float = 20.0
    connect_days: float = 10.0
    mesh_days: float = 200.0
    infrastructure_price: float = 10.0

    # The soak: hidden defects of each step that becomes a message, and what has been seen
    defects_per_message: float = 0.6
    undo_shared_team_days: float = 2.0
    undo_apart_team_days: float = 30.0
    gain_team_days_per_day: float = 0.4
    soak_days: int = 60
    found: int = 0

    # What the gates ask for
    response_target_ms: float = 500.0
    completion_target_ms: float = 1000.0
    headroom: float = 1.1
    blast_limit: float = 0.6
    drift_limit: float = 0.1
    reach_limit: float = 0.5

    def __post_init__(self):
        shares = ("spill", "coverage_together", "coverage_apart", "coverage_meshed", "breaks",
                  "session_reuse", "blast_limit", "drift_limit", "reach_limit")  # fmt: skip
        above = ("service_hours", "infrastructure_hours", "link_hours", "broker_hours",
                 "shared_hours", "plane_hours", "detect_hours", "corrected_days", "enforced_days",
                 "rtt_ms", "failing", "sampling", "defects_per_message")  # fmt: skip
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name == "preset":
                outages.one_of(name, value, _presets())
            elif isinstance(field.default, int):
                governance.whole(name, value, 0 if name == "found" else 1)
            elif name in shares:
                governance.between(name, value, 0, 1)
            elif name in above:
                governance.above(name, value)
            else:
                governance.between(name, value, 0, inf)
        for name in ("failing", "sampling"):
            governance.between(name, getattr(self, name), 0, 1)
        longest = soak.Step.horizon_days
        if self.soak_days > longest:
            raise ValueError(
                f"soak_days: {self.soak_days!r} was given; expected at most {longest:,}"
            )

    @property
    def mesh(self) -> dict[str, Any]:
        """The mesh as a system file says it.

        The time that a call loses in proxies was measured as a whole, so what their processors take
        of it, which a worker pays for, is not charged again.
        """
        way_ms = max(self.hop_ms - self.cpu_ms, 0.0)
        return {
            "preset": self.preset,
            "proxy": {"hop_ms": way_ms, "cpu_ms": self.cpu_ms},
            "mtls": {"session_reuse": self.session_reuse},
            "telemetry": {"sampling": self.sampling},
        }

    @property
    def rollout_hours(self) -> float:
        """How long a policy takes to be everywhere, sent out in waves."""
        return (self.waves - 1) * self.wave_hours


def assume(words: Mapping[str, str]) -> Terms:
    """Terms from names and values as text; the first fault is said in one sentence (ValueError)."""
    known: dict[str, Any] = {field.name: type(field.default) for field in fields(Terms)}
    values: dict[str, Any] = {}
    for name, text in words.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(known)}"
            raise ValueError(f"{name}: nothing of this name is assumed; {meant}")
        try:
            values[name] = known[name](text)
        except ValueError:
            expected = "a whole number" if known[name] is int else "a number"
            raise ValueError(f"{name}: {text!r} was given; expected {expected}") from None
    return Terms(**values)


def _presets() -> tuple[str, ...]:
    from models.presets import PRESETS

    return tuple(PRESETS)


# The road


def road(system: System, terms: Terms | None = None) -> tuple[dict[str, System], str]:
    """Every stage that a system can reach, and why it can go no further (empty if it can).

    Outages and restarts that the file has are left out, since those of `Terms` take their place on
    a clock of their own; a mesh that it has is the one of the stages with a mesh.
    """
    terms = terms or Terms()
    data = system.to_dict()
    mesh = data.pop("mesh", None) or terms.mesh
    for name in ("outages", "restarts"):
        data.pop(name, None)
    here = stages.synchronous(System.model_validate(data))
    found = {"synchronous": here}
    try:
        found["asynchronous"] = here = stages.asynchronous(here)
        here = _apart(here, terms)
    except stages.StageError as error:
        return found, str(error)
    found["separated"] = here
    found["meshed"] = found["governed"] = System.model_validate(here.to_dict() | {"mesh": mesh})
    return found, ""


def _apart(system: System, terms: Terms) -> System:
    """What is reached by messages alone moves; if nothing is, whole teams that nobody calls."""
    try:
        return stages.separated(system, rtt_ms=terms.rtt_ms, jitter_cv=terms.jitter_cv)
    except stages.StageError:
        if stages.unowned(system):
            raise
        return outages.apart(system, terms.rtt_ms)


def main_flow(system: System) -> str:
    """The flow with the most steps that can wait; of those, the one with the most requests."""

    def weight(flow: str) -> tuple[int, float]:
        waits = sum(e.step.deferrable or e.step.via is not None for e in system.steps(flow))
        return waits, system.flows[flow].mean_rate_per_s

    return max(system.flows, key=weight)


def messages(system: System) -> int:
    """How many steps can wait: those that are messages, or can become one."""
    return sum(entry.step.deferrable or entry.step.via is not None for entry in system.steps())


def places(system: System) -> list[str]:
    """The infrastructures on which services run."""
    used = {service.infrastructure for service in system.services.values()}
    return [name for name in system.infrastructures if name in used]


# What goes down at a stage


def search(system: System, stage: str, terms: Terms) -> Search:
    """How the owner of a fault is found at a stage (chapter 7)."""
    coverage = {
        "synchronous": terms.coverage_together,
        "asynchronous": terms.coverage_together,
        "separated": terms.coverage_apart,
    }.get(stage, terms.coverage_meshed)
    rate_per_s = sum(flow.mean_rate_per_s for flow in system.flows.values())
    return Search(coverage, failed_per_s=terms.failing * rate_per_s, sampling=terms.sampling)


def exposed(system: System, stage: str, terms: Terms) -> System:
    """The system with all that goes down at a stage as its outages.

    A fault in a service has to find its owner first (`search`), so it lasts that much longer. What
    has the same name at two stages has the same random numbers there.
    """
    find_hours = search(system, stage, terms).minutes(system) / 60
    at = places(system)
    found: list[Outage] = []

    def add(name: str, per_year: float, hours: float, **parts: Any) -> None:
        if per_year > 0:  # not validated, since a time in a file is at most 1e12 ms, 32 years
            up = Distribution.model_construct(given_mean_ms=HOUR_MS * YEAR_HOURS / per_year)
            down = Distribution.model_construct(given_mean_ms=HOUR_MS * hours)
            found.append(Outage.model_construct(name=name, up=up, down=down, **parts))

    for name, service in system.services.items():
        alone = (1 - terms.spill) * terms.service_per_year
        add(f"service {name}", alone, find_hours + terms.service_hours, services=[name])
        add(
            f"infrastructure of {name}, by its fault",
            terms.spill * terms.service_per_year,
            find_hours + terms.infrastructure_hours,
            infrastructures=[service.infrastructure],
        )
    for place in at:
        hours = terms.infrastructure_hours
        add(f"infrastructure {place}", terms.infrastructure_per_year, hours,
            infrastructures=[place])  # fmt: skip
    used = {pair for answer, later in outages.needs(system).values() for pair in answer | later}
    for kind, *ends in sorted(used):
        if kind == "link":
            add(f"link {ends[0]} to {ends[1]}", terms.link_per_year, terms.link_hours, links=[ends])
        elif kind == "broker":
            add(f"broker {ends[0]}", terms.broker_per_year, terms.broker_hours, brokers=ends)
    add("shared cause", terms.shared_per_year, terms.shared_hours, infrastructures=at)
    if stage in ("meshed", "governed"):
        waves = terms.waves if stage == "governed" else 1
        spread = waves, terms.wave_hours, terms.detect_hours
        for reached, share in outages.wave_reach(at, outages.requests_at(system), *spread):
            add(
                f"{PLANE}, {len(reached)} of {len(at)}",
                share * terms.plane_per_year,
                terms.plane_hours,
                infrastructures=reached,
            )
    return system.model_copy(update={"outages": tuple(found)})


# Rules and platform parts at a stage


def regime(stage: str, terms: Terms) -> governance.Regime:
    """How a common rule is kept at a stage (chapter 7): from the mesh on, by a machine."""
    return governance.Regime(
        terms.changes_per_year,
        terms.breaks,
        terms.rule_changes_per_year,
        corrected_days=terms.corrected_days,
        enforced_days=terms.enforced_days if stage in ("meshed", "governed") else None,
    )


def drift(n: int, stage: str, terms: Terms) -> float:
    """Share of the time in which not all of n infrastructures keep a common rule, in the long run.

    A rule that goes out in waves is nowhere late in itself, but not everywhere before the last one:
    all keep it only if it has not changed for that time, which has probability exp(-r D), and is
    independent of what else has happened since the machine came last.
    """
    kept = regime(stage, terms).all_keeping(n)
    if stage == "governed":
        kept *= exp(-regime(stage, terms).rule_per_day * terms.rollout_hours / 24)
    return 1 - kept


def platform_days(n: int, stage: str, terms: Terms) -> float:
    """Person-days a year to run the platform parts of n infrastructures (chapter 7)."""
    given = terms.parts, terms.part_days, terms.connect_days, terms.mesh_days
    apart, common = governance.platform_days(n, *given)
    return common if stage in ("meshed", "governed") else apart


def capacity(system: System) -> float:
    """How many times today's traffic the fullest service can take, by its mean times; at most.

    A worker is held while it waits for the calls below, so this is chapter 2's capacity.
    """
    held = [load.utilisation for load in system.loads().values() if load.workers]
    return 1 / max(held) if held and max(held) > 0 else inf


# Measuring


@dataclass(frozen=True)
class Measure:
    """What is looked at at every stage; `per` is what a step of the road is for."""

    title: str
    unit: str
    simulated: bool
    more_is_better: bool = False


MEASURES = {
    "response_mean_ms": Measure("response, mean", "ms", True),
    "response_p99_ms": Measure("response, 99 % below", "ms", True),
    "completion_mean_ms": Measure("completion, mean", "ms", True),
    "completion_p99_ms": Measure("completion, 99 % below", "ms", True),
    "inconsistency_mean_ms": Measure("inconsistency window, mean", "ms", True),
    "capacity": Measure("capacity, times today's traffic", "", False, True),
    "lost_hours": Measure("without answer", "h/year", True),
    "late_hours": Measure("completion held up", "h/year", True),
    "blast": Measure("blast radius: requests stopped per incident", "%", True),
    "restore_hours": Measure("time to restore, mean", "h", True),
    "drift": Measure("drift: not all keep a common rule", "% of time", False),
    "price": Measure("price, in workers", "", False),
    "platform_days": Measure("platform work", "days/year", False),
}
REQUESTS = [name for name, m in MEASURES.items() if m.simulated][:5]
OUTAGES = [name for name, m in MEASURES.items() if m.simulated][5:]
AIMS = {  # what a step is taken for
    "asynchronous": ("response_mean_ms", "capacity", "lost_hours", "blast"),
    "separated": ("lost_hours", "blast"),
    "meshed": ("restore_hours", "drift", "platform_days"),
    "governed": ("lost_hours", "blast"),
}


@dataclass(frozen=True)
class Walk:
    """A system on the road: `systems` by stage, and `values` by stage and measure.

    What is simulated has a value a run, the same seeds at every stage; a formula has one. `stopped`
    says why the road ends before its end, if it does. `incidents`: for every run, the share of the
    requests that each incident stopped. `size`: runs, requests, years and seed.
    """

    terms: Terms
    systems: Mapping[str, System]
    stopped: str
    flow: str
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    incidents: Mapping[str, list[NDArray[np.float64]]]
    size: tuple[int, int, float, int]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that were reached."""
        return tuple(self.systems)

    def at(self, stage: str, measure: str) -> tuple[float, float]:
        """Mean and half width of the 95 % interval; that of a formula is 0."""
        return _mean(self.values[stage][measure])

    def change(self, stage: str, measure: str) -> tuple[float, float]:
        """By how much a measure changes with the step to this stage, run by run."""
        before = self.values[self.stages[self.stages.index(stage) - 1]][measure]
        after = self.values[stage][measure]
        if not np.isfinite(before).all() or not np.isfinite(after).all():
            return float(np.nan_to_num(_sign(before, after), nan=0.0)), 0.0
        change = after - before
        return _mean(np.where(abs(change) < 1e-9, 0.0, change))

    def effect(self, stage: str, measure: str) -> str:
        """`gained`, `lost` or `same`: beyond the interval, and by a noticeable share."""
        before, _ = self.at(self.stages[self.stages.index(stage) - 1], measure)
        change, half_width = self.change(stage, measure)
        least = NOTICEABLE * abs(before) if isfinite(before) else 0.0
        if abs(change) - half_width <= least:
            return "same"
        return "gained" if (change > 0) == MEASURES[measure].more_is_better else "lost"

    def blast_if_any(self, stage: str) -> tuple[float, float]:
        """Mean share of the requests that an incident stops which stops any, in per cent.

        With the half width of its 95 % interval; 0 where hardly any does.
        """
        return mean_and_half_width(outages.reach_if_any(self.incidents[stage]))

    def table(self) -> pd.DataFrame:
        """Tidy: stage, measure, unit, of (simulation or formula), value, half_width."""
        rows = [
            (stage, name, measure.unit, "simulation" if measure.simulated else "formula",
             *self.at(stage, name))
            for stage in self.stages
            for name, measure in MEASURES.items()
        ]  # fmt: skip
        columns = ["stage", "measure", "unit", "of", "value", "half_width"]
        return pd.DataFrame(rows, columns=columns)

    def steps(self) -> pd.DataFrame:
        """Tidy, a row a step and measure: stage, measure, change, half_width, effect."""
        rows = [
            (stage, name, *self.change(stage, name), self.effect(stage, name))
            for stage in self.stages[1:]
            for name in MEASURES
        ]
        return pd.DataFrame(rows, columns=["stage", "measure", "change", "half_width", "effect"])

    def moved(self, stage: str, effect: str) -> list[str]:
        """The measures that a step gained or lost."""
        return [name for name in MEASURES if self.effect(stage, name) == effect]

    def exposed(self, stage: str) -> System:
        """The system of a stage with all that goes down there."""
        return exposed(self.systems[stage], stage, self.terms)

    @cached_property
    def step(self) -> soak.Step:
        """What is believed about the hidden defects of this system's messages."""
        return soak_step(self.systems["synchronous"], self.terms)


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    if len(values) == 1 or not np.isfinite(values).all():
        return float(values[0] if len(values) == 1 else inf), 0.0
    return mean_and_half_width(values.tolist())


def _sign(before, after) -> float:
    """The direction from or to something endless."""
    start, end = np.isfinite(before).all(), np.isfinite(after).all()
    return -inf if end and not start else inf if start else 0.0


def soak_step(system: System, terms: Terms) -> soak.Step:
    """Hidden defects in proportion to the steps that become messages (chapter 5)."""
    return soak.Step(
        defects=max(terms.defects_per_message * messages(system), 1e-6),
        undo_shared_team_days=terms.undo_shared_team_days,
        undo_apart_team_days=terms.undo_apart_team_days,
        gain_team_days_per_day=terms.gain_team_days_per_day,
    )


def walk(
    system: System,
    terms: Terms | None = None,
    runs: int = 6,
    requests: int = 20_000,
    years: float = 100.0,
    seed: int = 1,
    known: Walk | None = None,
) -> Walk:
    """Measure every stage with the same requests and the same outages: run i has seed + i x 2^32.

    Where a stage cannot keep up with today's traffic, its times are infinite. What a walk of the
    same size already `known` has measured in the same way is taken from there.
    """
    terms = terms or Terms()
    governance.whole("runs", runs, 2)
    systems, stopped = road(system, terms)
    flow = main_flow(systems["synchronous"])
    size = runs, requests, years, seed
    if known is not None and known.size != size:
        known = None
    seeds = [seed + (run << 32) for run in range(runs)]
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    incidents: dict[str, list[NDArray[np.float64]]] = {}
    for stage, here in systems.items():
        if stage == "governed":  # the same requests in the same system: only policies go otherwise
            timed = {name: values["meshed"][name] for name in REQUESTS}
        elif known and known.systems.get(stage) == here:
            timed = {name: known.values[stage][name] for name in REQUESTS}
        else:
            timed = _timed(here, flow, requests, seeds)
        failing = exposed(here, stage, terms)
        if known and stage in known.systems and failing == known.exposed(stage):
            played = {name: known.values[stage][name] for name in OUTAGES}
            incidents[stage] = known.incidents[stage]
        else:
            played, incidents[stage] = _played(failing, years, seeds)
        n = len(places(here))
        by_formula = {
            "capacity": capacity(here),
            "drift": 100 * drift(n, stage, terms),
            "price": ownership.Prices(terms.infrastructure_price).a_month(here),
            "platform_days": platform_days(n, stage, terms),
        }
        values[stage] = (
            timed | played | {name: np.array([value]) for name, value in by_formula.items()}
        )
    return Walk(terms, systems, stopped, flow, values, incidents, size)


def _timed(system, flow, requests, seeds) -> dict[str, NDArray[np.float64]]:
    """The request-level measures of one flow, a value a seed."""
    if system.warnings():
        return {name: np.full(len(seeds), inf) for name in REQUESTS}
    plan = system.plan()
    tables = (
        simulate(plan, requests, seed, keep="summary", intervals=False).summary() for seed in seeds
    )
    runs = [table.set_index(["flow", "metric"]).value for table in tables]
    return {name: np.array([run[flow, name] for run in runs]) for name in REQUESTS}


def _played(system, years, seeds):
    """The measures of years of outages, a value a seed, and the incidents of each seed.

    Of a year without any outage, nothing is lost.
    """
    found: dict[str, list[float]] = {name: [] for name in OUTAGES}
    stopped: list[NDArray[np.float64]] = []
    for seed in seeds:
        played = outages.years(system, years, seed)
        weight = played.rates_per_s / played.rates_per_s.sum()
        incidents = played.incidents()
        lasted = played.outages.to_hours - played.outages.from_hours
        found["lost_hours"].append(weight @ played.stopped @ played.lengths_hours / years)
        late = (played.stopped | played.delayed) @ played.lengths_hours
        found["late_hours"].append(weight @ late / years)
        found["blast"].append(100 * incidents.requests_stopped.mean() if len(incidents) else 0.0)
        found["restore_hours"].append(lasted.mean() if len(lasted) else 0.0)
        stopped.append(incidents.requests_stopped.to_numpy(float))
    return {name: np.array(values) for name, values in found.items()}, stopped


def lost_hours(system: System, stage: str, terms: Terms) -> float:
    """Hours a year without an answer, over all requests, by formula (`outages.availability`)."""
    up = outages.availability(exposed(system, stage, terms))
    rates = {name: flow.mean_rate_per_s for name, flow in system.flows.items()}
    down = sum(rates[name] * (1 - up[name]) for name in rates)
    return YEAR_HOURS * down / sum(rates.values())


def restore_hours(system: System, stage: str, terms: Terms) -> float:
    """Mean time to restore over all outages, by formula."""
    causes = outages.reach(exposed(system, stage, terms))
    return float(np.average(causes.hours, weights=causes.per_year)) if len(causes) else 0.0


# The gates, and how far to go


@dataclass(frozen=True)
class Gate:
    """One condition of the step to a stage: what was found, what is asked for, and the outcome."""

    stage: str
    condition: str
    found: str
    expected: str
    passed: bool


def gates(walk: Walk) -> tuple[Gate, ...]:
    """The conditions of every step that was taken, in the order of the road."""
    found = [gate for stage in walk.stages[1:] for gate in _GATES[stage](walk)]
    if walk.stopped:
        following = STAGES[len(walk.stages)]
        found += [_owners(walk)] * (following == "separated")
        found.append(Gate(following, "the step can be taken", "no", "yes", False))
    return tuple(found)


def _owners(walk: Walk) -> Gate:
    nobody = len(stages.unowned(walk.systems["synchronous"]))
    return Gate("separated", "services without an owner", f"{nobody}", "0", not nobody)


def _target(walk, stage, measure, limit_ms) -> Gate:
    mean, half_width = walk.at(stage, measure)
    title = MEASURES[measure].title
    return Gate(stage, title, _number(mean, "ms", half_width), f"at most {limit_ms:g} ms",
                mean + half_width <= limit_ms)  # fmt: skip


def _to_asynchronous(walk: Walk) -> Iterator[Gate]:
    terms, stage = walk.terms, "asynchronous"
    yield _target(walk, stage, "response_p99_ms", terms.response_target_ms)
    yield _target(walk, stage, "completion_p99_ms", terms.completion_target_ms)


def _to_separated(walk: Walk) -> Iterator[Gate]:
    terms, stage = walk.terms, "separated"
    yield _owners(walk)
    torn = sum(
        entry.mode == "call"
        for flow in walk.systems[stage].flows
        for entry in ownership.crossing_calls(walk.systems[stage], flow)
    )
    yield Gate(stage, "calls that cross a border", f"{torn}", "0", not torn)
    yield _target(walk, stage, "completion_p99_ms", terms.completion_target_ms)
    said = soak_gate(walk)
    days = f"{said.days:,} day{'s' * (said.days != 1)}"
    seen = f"{said.answer} after {days} with {terms.found:,} defect{'s' * (terms.found != 1)}"
    yield Gate(stage, "what the soak has shown (chapter 5)", seen, "go", said.answer == "go")


def _to_meshed(walk: Walk) -> Iterator[Gate]:
    terms, stage = walk.terms, "meshed"
    blast, half_width = walk.at("separated", "blast")
    yield Gate(stage, "blast radius while separated", _number(blast, "%", half_width),
               f"at most {100 * terms.blast_limit:g} %",
               blast + half_width <= 100 * terms.blast_limit)  # fmt: skip
    n = len(places(walk.systems[stage]))
    least = governance.worth_it_from(
        terms.parts, terms.part_days, terms.connect_days, terms.mesh_days
    )
    yield Gate(stage, "systems that share a mesh", f"{n}", f"at least {least:.3g}", n >= least)
    spare = capacity(walk.systems[stage])
    yield Gate(stage, "capacity with the mesh, times today's traffic", _number(spare),
               f"at least {terms.headroom:g}", spare >= terms.headroom)  # fmt: skip
    yield _target(walk, stage, "response_p99_ms", terms.response_target_ms)


def _to_governed(walk: Walk) -> Iterator[Gate]:
    terms, stage = walk.terms, "governed"
    share, _ = walk.at(stage, "drift")
    yield Gate(stage, "drift under a machine", _number(share, "% of time"),
               f"at most {100 * terms.drift_limit:g} %", share <= 100 * terms.drift_limit)  # fmt: skip
    at = places(walk.systems[stage])
    spread = terms.waves, terms.wave_hours, terms.detect_hours
    waves = outages.wave_reach(at, outages.requests_at(walk.systems[stage]), *spread)
    reach = sum(share * len(reached) for reached, share in waves) / len(at)
    yield Gate(stage, "infrastructures that a bad policy reaches, mean", _number(100 * reach, "%"),
               f"at most {100 * terms.reach_limit:g} %", reach <= terms.reach_limit)  # fmt: skip


_GATES = {
    "asynchronous": _to_asynchronous,
    "separated": _to_separated,
    "meshed": _to_meshed,
    "governed": _to_governed,
}


def soak_gate(walk: Walk) -> soak.Gate:
    """Go or wait after `Terms.soak_days` in which `Terms.found` defects came to light.

    They are taken to have come on the last day; when they came does not matter to the posterior.
    """
    first = date(2000, 1, 1)  # of no meaning: only the number of days counts
    last = first + timedelta(days=walk.terms.soak_days - 1)
    seen = tuple(Incident(0, last, "major") for _ in range(walk.terms.found))
    return soak.gate(walk.step, Log(first, last, seen))


@dataclass(frozen=True)
class Advice:
    """How far to go: the last stage whose gates are passed and whose step gains what it is for."""

    stage: str
    reason: str
    soak_first: bool


def advice(walk: Walk) -> Advice:
    """Go on while a step can be taken, passes its gates, and gains something that it is for."""
    reached = "synchronous"
    soaks = soak.plan(walk.step).go_most[0] < 0
    for stage in STAGES[1:]:
        if stage not in walk.stages:
            return Advice(reached, walk.stopped, bool(soaks))
        missed = [gate for gate in gates(walk) if gate.stage == stage and not gate.passed]
        if missed:
            gate = missed[0]
            reason = (f"{stage}: {gate.condition}: {gate.found} was found; "
                      f"expected {gate.expected}")  # fmt: skip
            return Advice(reached, reason, bool(soaks))
        if not any(walk.effect(stage, name) == "gained" for name in AIMS[stage]):
            aims = ", ".join(MEASURES[name].title for name in AIMS[stage])
            return Advice(reached, f"{stage}: nothing is gained of what it is for: {aims}",
                          bool(soaks))  # fmt: skip
        reached = stage
    return Advice(
        reached, "every gate is passed, and every step gains some of what it is for", bool(soaks)
    )


def verdict(walk: Walk) -> str:
    """Whether the road ends in autonomous parts under one policy, for this system.

    It does if, at the last stage, a common rule is kept, users are answered in time, and the parts
    are more autonomous than at the start; only if, where that takes policies that go out in waves,
    or where the advice is to stop earlier. Where a file names no owners, that cannot be said.
    """
    terms, start, end = walk.terms, walk.stages[0], walk.stages[-1]
    if walk.stopped:
        owners = end == "asynchronous" and stages.unowned(walk.systems[start])
        return "not decided" if owners else "does not hold here"

    def beyond(a: str, b: str, measure: str) -> bool:
        mean, half_width = _mean(walk.values[a][measure] - walk.values[b][measure])
        return mean - half_width > NOTICEABLE * walk.at(b, measure)[0]

    mean, half_width = walk.at(end, "response_p99_ms")
    quick = mean + half_width <= terms.response_target_ms
    free = [independence(walk.systems[stage])["evolutionary"] for stage in (start, end)]
    if not (
        walk.at(end, "drift")[0] <= 100 * terms.drift_limit
        and quick
        and walk.at(end, "capacity")[0] >= terms.headroom
        and beyond(start, end, "blast")
        and free[1] > free[0]
    ):
        return "does not hold here"
    waves = beyond("meshed", "governed", "lost_hours")
    return "holds only if" if waves or advice(walk).stage != end else "holds"


def _number(value: float, unit: str = "", half_width: float = 0.0) -> str:
    """A number with its interval, in text."""
    if not isfinite(value):
        return "without end"
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    spread = f"{half_width:,.0f}" if half_width >= 10 else f"{half_width:.2g}"
    about = f" +- {spread}" if half_width else ""
    return f"{value:,.{decimals}f}{about} {unit}".strip()


# Jumping against walking


def regrets(step: soak.Step, number: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Regret in team-days of each of `number` futures: cost less that of the best day in hindsight.

    *Jump*: separate at once. *Walk*: separate when `soak.plan` says so, by what has been seen.
    """
    futures = soak.roads(step, number, seed)
    _, walked = futures.follow(soak.plan(step).go_most)
    return {
        "jump": futures.fixed(0) - futures.hindsight,
        "walk": walked - futures.hindsight,
    }


# A System of Systems


def independence(system: System) -> dict[str, float]:
    """Maier's five properties, each as a share from 0 to 1 that can be measured on a system.

    *operational*: of the pairs of a flow and an infrastructure on which it does not begin, those
    where the flow is answered although the infrastructure is down (0 where there is only one).
    *managerial*: services on an infrastructure that no other team is on. *geographic*: of the calls
    and messages a second, those that cross a border. *emergent*: requests that only several
    infrastructures together complete. *evolutionary*: services that can be taken out of
    service, to change them, while every request is answered.

    Source of the properties: M. W. Maier, "Architecting principles for systems-of-systems",
    Systems Engineering 1 (1998) 267-284. How each is measured is ours.
    """
    wanted = outages.needs(system)
    rates = {name: flow.mean_rate_per_s for name, flow in system.flows.items()}
    at = places(system)
    pairs = [
        ("infrastructure", place) not in wanted[name][0]
        for name, flow in system.flows.items()
        for place in at
        if place != system.services[flow.root.service].infrastructure
    ]
    teams = ownership.tenants(system)
    alone = [
        service.team is not None and teams[service.infrastructure] == 1
        for service in system.services.values()
    ]
    exchanged = sum(rates[entry.flow] * bool(system.crossings(entry)) for entry in system.steps())
    crossed = sum(
        rates[entry.flow] * any(a != b for a, b in system.crossings(entry))
        for entry in system.steps()
    )
    needed = {part for answer, _ in wanted.values() for part in answer}
    free = [("service", name) not in needed for name in system.services]

    def together(flow: str) -> bool:
        return sum(kind == "infrastructure" for kind, *_ in set.union(*wanted[flow])) > 1

    return {
        "operational": float(np.mean(pairs)) if pairs else 0.0,
        "managerial": float(np.mean(alone)),
        "geographic": crossed / exchanged if exchanged else 0.0,
        "emergent": sum(rates[name] for name in rates if together(name)) / sum(rates.values()),
        "evolutionary": float(np.mean(free)),
    }


KINDS = {
    "directed": "built for one purpose and run by one owner, to whom all parts are subordinate",
    "acknowledged": "common aims and somebody who looks after them; every part keeps its owner, "
    "its means and its own development",
    "collaborative": "parts that take part of their own will, and agree on aims and standards",
    "virtual": "no common authority and no agreed purpose",
}
"""Kinds of Systems of Systems (ISO/IEC/IEEE 21841:2019), in our words."""


def kind(system: System, enforced: bool, agreed: bool = True) -> str:
    """Which kind of System of Systems this is, or `one system`.

    One infrastructure is one system. One team for several: directed. Several teams, under rules that
    are enforced for all: acknowledged; that are agreed and nobody enforces: collaborative; else
    virtual.
    """
    if len(places(system)) == 1:
        return "one system"
    if len({service.team for service in system.services.values()}) == 1:
        return "directed"
    return "acknowledged" if enforced else "collaborative" if agreed else "virtual"


def with_waves(walk: Walk, waves: int) -> float:
    """Hours a year without an answer by formula, if policies went out in so many waves."""
    terms = replace(walk.terms, waves=waves)
    return lost_hours(walk.systems["governed"], "governed", terms)
