"""What a system is: infrastructures, network, brokers, services and flows, as plain data.

A system is written in YAML or as a dict and checked once, here. Everything that is wrong with it
is said as `place: what was found; what was expected; suggestion`, one sentence a fault. A valid
system may well be overloaded: that is an answer, not a fault (`System.loads`, `System.warnings`).

Times are in milliseconds (`_ms`), rates per second (`_per_s`).
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, ValidationError, model_validator

from models.arrivals import POISSON, PROCESSES, Arrivals
from models.checks import (
    MOST_SUGGESTIONS,
    Cv,
    Flag,
    InvalidSystem,
    Kind,
    Ms,
    Name,
    Part,
    Rate,
    Share,
    Text,
    a_count,
    a_list,
    a_mapping,
    a_number,
    an_option,
    did_you_mean,
    fault,
    faults,
    listed,
    nearest,
    or_nothing,
    place_of,
    refuse,
    sentences,
    show,
    suggestions_left,
)
from models.distributions import NO_TIME, Distribution
from models.engine import draws
from models.messaging import Broker
from models.reading import (
    MAX_NESTING,
    MAX_STEPS,
    bundled,
    check_size,
    dump,
    parse,
    read,
    too_deep,
    too_many_steps,
)
from models.resilience import Mesh, Outage, Policy, Restart

__all__ = [
    "Arrivals", "Broker", "Distribution", "Flow", "Infrastructure", "InvalidSystem", "Link", "Load",
    "Located", "Network", "Service", "Step", "System", "bundled", "parse",
]  # fmt: skip


def _workers(value: Any):
    expected = "a whole number of at least 1, or 'unlimited'"
    if value == "unlimited":
        return value
    if isinstance(value, str) and (near := nearest(value, ["unlimited"])):
        refuse(value, expected, near)
    return a_count(expected, 1).func(value)  # type: ignore[call-arg]


Loss = Annotated[float, a_number("a share from 0 to 0.5", high=0.5)]
Wait = Annotated[float | None, or_nothing(a_number("a time in ms, above 0, or null", above=True))]


class Infrastructure(Part):
    """Where things run, and what fails together."""

    label: Text | None = None
    """What to call it in a picture; null: its name."""


class Link(Part):
    """The network between two infrastructures."""

    ends: Annotated[tuple[Name, ...], a_list("two infrastructures")]
    """The names of the two infrastructures that it joins."""
    rtt_ms: Ms
    """The round trip between them, in ms."""
    jitter_cv: Cv = 0.0
    """Standard deviation over mean of the round trip (lognormal)."""
    loss: Loss = 0.0
    """Probability that a segment is lost and has to be sent again, 200 ms later or more."""


class Network(Part):
    """Round trips inside one infrastructure, and between two."""

    within_ms: Ms = 0.5
    """The round trip inside one infrastructure, in ms."""
    jitter_cv: Cv = 0.0
    """Standard deviation over mean of the round trip inside one infrastructure."""
    loss: Loss = 0.0
    """Probability that a segment is lost inside one infrastructure."""
    between: Annotated[tuple[Link, ...], a_list("links")] = ()
    """A link for every two infrastructures that talk to each other."""


class Service(Part):
    """A service, its team and its workers."""

    infrastructure: Name
    """The name of the infrastructure that it runs on."""
    team: Text | None = None
    """The team that owns it; null: nobody."""
    workers: Annotated[int | Literal["unlimited"], Kind(_workers, keywords={"minimum": 1})] = (
        "unlimited"
    )
    """How many requests it can have in hand at once, or `unlimited`."""
    queue_limit: Annotated[
        int | None, or_nothing(a_count("a whole number of at least 0, or null", 0))
    ] = None
    """How many places to wait it has, workers not counted; null: no limit."""
    sheds_late: Flag = False
    """Whether a call whose deadline has passed is turned away when its turn comes."""
    max_wait_ms: Wait = None
    """A call that has waited longer, in ms, is turned away when its turn comes; null: never."""
    max_standing_wait_ms: Wait = None
    """The same limit, in ms, where the queue has not been empty for max_wait_ms: shorter, as in CoDel."""

    @model_validator(mode="after")
    def _sheds(self):
        if self.max_standing_wait_ms is not None:
            if self.max_wait_ms is None:
                fault("nothing was found; expected it with max_standing_wait_ms", "max_wait_ms")
            elif self.max_standing_wait_ms > self.max_wait_ms:
                fault(
                    f"{self.max_standing_wait_ms:g} was found; expected at most max_wait_ms, "
                    f"which is {self.max_wait_ms:g}",
                    "max_standing_wait_ms",
                )
        return self


class Step(Policy):
    """One piece of work in a flow, and what it starts."""

    example = "{service: NAME}"
    own_first = True
    not_here = {"policy": "write what is in it on the step itself"}
    service: Name
    """The name of the service that does it."""
    name: Name | None = None
    """What to call the step; the service's name if nothing is said."""
    work: Distribution = NO_TIME
    """The time of its own work."""
    in_parallel: Flag = False
    """Whether its children are called together or one after the other."""
    then: Annotated[tuple["Step", ...], a_list("steps")] = ()
    """The steps that it starts."""
    via: Name | None = None
    """The broker that carries it as a message; without one it is a call."""
    fails: Share = 0.0
    """Probability that its own work fails, as a matter of business: no stock, no cover."""
    errors: Share = 0.0
    """Probability that its own work breaks off with a technical error, before it commits."""
    undo: Distribution | None = None
    """The time of the work that undoes it when its saga fails; null: nothing to undo."""
    idempotent: Flag = False
    """Whether a message that the broker delivers again is recognised, and its work not done twice."""
    deferrable: Flag = False
    """Whether it may be done later, because nobody waits for its answer."""


class Flow(Part):
    """What a kind of request sets going."""

    root: Step
    """The first step, whose end is the answer."""
    rate_per_s: Annotated[Rate | None, or_nothing(a_number("a number above 0", 0, 1e9, True))] = (
        None
    )
    """How many arrive per second on average; not with timestamps."""
    arrivals: Annotated[
        Arrivals,
        BeforeValidator(
            lambda value: {"process": value} if isinstance(value, str) else value,
            json_schema_input_type=Arrivals | Annotated[str, an_option(*PROCESSES)],
        ),
    ] = POISSON
    """How they arrive: Poisson if nothing is said."""

    @model_validator(mode="after")
    def _complete(self):
        stamps = self.arrivals.process == "timestamps"
        if stamps and self.rate_per_s is not None:
            fault(
                f"{self.rate_per_s:g} was found beside timestamps; expected one of them; "
                "leave it out",
                "rate_per_s",
            )
        if not stamps and self.rate_per_s is None:
            fault("nothing was found; expected a number above 0, per second", "rate_per_s")
        period_ms, mean = self.arrivals.period_ms, self.arrivals.mean_factor()
        if self.rate_per_s and period_ms and self.rate_per_s * mean * period_ms < 0.1:
            fault(
                f"{period_ms:g} was found; expected a period in which something arrives at least "
                "once in 10,000 times",
                "arrivals",
                "period_ms",
            )
        return self

    @property
    def mean_rate_per_s(self) -> float:
        """Arrivals per second in the long run; of timestamps, between the first and the last."""
        times_ms = self.arrivals.times_ms
        if times_ms is None:
            return (self.rate_per_s or 0.0) * self.arrivals.mean_factor()
        span_ms = times_ms[-1] - times_ms[0]
        return 1000 * (len(times_ms) - 1) / span_ms if span_ms else 0.0


@dataclass(frozen=True)
class Located:
    """A step and where it is. `key` is unique in its flow and labels the step's random numbers."""

    flow: str
    step: Step
    key: str
    parent: "Located | None"
    path: str
    depth: int

    @property
    def mode(self) -> Literal["root", "local", "call", "message"]:
        """How it is reached; a call inside one service is local: no network, no new worker."""
        if self.parent is None:
            return "root"
        if self.step.via is not None:
            return "message"
        return "local" if self.step.service == self.parent.step.service else "call"

    def held_above(self) -> Iterator["Located"]:
        """The steps whose workers are held while this one is done, the nearest first."""
        entry = self
        while entry.parent is not None and entry.mode in ("call", "local"):
            entry = entry.parent
            yield entry


class Load(NamedTuple):
    """What a service is offered while it is up, in mean numbers of workers.

    `own` is its own work; `held` also the time that its workers wait for the steps that they call.
    `up` is the share of the time that it is up.
    """

    workers: int | None
    handled_per_s: float
    own: float
    held: float
    up: float = 1.0

    @property
    def working(self) -> float:
        """Share of its workers that do own work; NaN where they are unlimited."""
        return self.own / self.workers if self.workers else math.nan

    @property
    def utilisation(self) -> float:
        """Share of its workers that are held; NaN where they are unlimited."""
        return self.held / self.workers if self.workers else math.nan


class System(Part):
    """A whole system. Use `load` for a file or a bundled name, `model_validate` for a dict."""

    name: Text
    """What to call the system."""
    description: Text = ""
    """What it is, in a sentence or two."""
    source: Text = ""
    """Where its structure and figures come from."""
    assumed: Annotated[tuple[Text, ...], a_list("texts")] = ()
    """What is assumed, not measured or published."""
    infrastructures: Annotated[dict[str, Infrastructure], a_mapping("infrastructure")]
    """A mapping from the name of each infrastructure to what it is."""
    network: Network = Network()
    """The round trips: inside one infrastructure, and between two."""
    brokers: Annotated[dict[str, Broker], a_mapping("broker", empty=True)] = {}
    """A mapping from the name of each broker to what it is."""
    services: Annotated[dict[str, Service], a_mapping("service")]
    """A mapping from the name of each service to what it is."""
    flows: Annotated[dict[str, Flow], a_mapping("flow")]
    """A mapping from the name of each flow to what it is."""
    mesh: Mesh | None = None
    """The policy of every call that has none of its own, and what the mesh itself costs."""
    outages: Annotated[tuple[Outage, ...], a_list("outages")] = ()
    """What goes down, and when."""
    restarts: Annotated[tuple[Restart, ...], a_list("restarts")] = ()
    """The rolling restarts: whose instances go down one after the other, and when."""

    # From outside, and back

    def __init__(self, /, **data: Any):
        with _in_sentences(data):
            self.__pydantic_validator__.validate_python(data, self_instance=self)

    # Without this `model_validate` would come by here too, and wrap what is said.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def load(cls, name_or_path: str | Path) -> "System":
        """A bundled system by its name, or one from a YAML file. Raises InvalidSystem."""
        return cls.model_validate(read(name_or_path))

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> "System":
        """A system from a mapping. Raises InvalidSystem, one line a fault."""
        with _in_sentences(None if isinstance(obj, cls) else obj):
            return super().model_validate(obj, **options)

    def to_dict(self) -> dict:
        """What was said, without what goes without saying; `model_validate` takes it back."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def to_yaml(self) -> str:
        """The system as a file that `load` reads."""
        return dump(self.to_dict())

    def with_(self, path: str | Mapping[str, Any], value: Any = None) -> "System":
        """The system with one parameter changed, by its path (`flows.buy.root.then[1].fails`).

        Several at once as a mapping from path to value. Raises InvalidSystem.
        """
        changes = list(path.items()) if isinstance(path, Mapping) else [(path, value)]
        data, whole = self.to_dict(), self.model_dump(mode="json", by_alias=True)
        lost: list[str] = []
        for where, new in changes:
            try:
                _set(data, whole, where, new)
            except InvalidSystem as error:
                lost += error.faults
        if lost:
            raise InvalidSystem(*lost)
        return type(self).model_validate(data)

    # Looking around

    def steps(self, flow: str | None = None) -> tuple[Located, ...]:
        """Every step of a flow, or of all, depth first."""
        if flow is not None:
            return self._located[flow]
        return tuple(entry for entries in self._located.values() for entry in entries)

    @cached_property
    def _located(self) -> dict[str, tuple[Located, ...]]:
        return {name: tuple(_walk_steps(name, flow.root)) for name, flow in self.flows.items()}

    def round_trip(self, here: str, there: str) -> tuple[float, float]:
        """(rtt_ms, jitter_cv) between two infrastructures. Raises KeyError if nothing links them."""
        if here == there:
            return self.network.within_ms, self.network.jitter_cv
        link = self._links[frozenset((here, there))]
        return link.rtt_ms, link.jitter_cv

    @cached_property
    def _links(self) -> dict[frozenset[str], Link]:
        return {frozenset(link.ends): link for link in self.network.between}

    def loss(self, here: str, there: str) -> float:
        """Probability that a segment between two infrastructures is lost."""
        if here == there:
            return self.network.loss
        return self._links[frozenset((here, there))].loss

    def lost_ms(self, here: str, there: str) -> float:
        """Mean time, in ms, that a segment loses one way as it has to be sent again."""
        return draws.mean_retransmission_ms(self.loss(here, there))

    def policy_of(self, entry: Located) -> dict:
        """The parts of an edge's policy: its own, and the mesh's where it says nothing."""
        if entry.mode == "call" and self.mesh is not None:
            own, common = entry.step.policy, self.mesh.policy
            if "timeout_ms" in own or "patience" in own:
                common = {k: v for k, v in common.items() if k not in ("timeout_ms", "patience")}
            return common | own
        return entry.step.policy

    def crossings(self, entry: Located) -> tuple[tuple[str, str], ...]:
        """The pairs of infrastructures that a call or message goes between."""
        if entry.parent is None or entry.mode == "local":
            return ()
        here = self.services[entry.parent.step.service].infrastructure
        there = self.services[entry.step.service].infrastructure
        if entry.step.via is None:
            return ((here, there),)
        broker = self.brokers[entry.step.via].infrastructure
        return (here, broker), (broker, there)

    def plan(self):
        """The system made flat and plain, as the engines run it (`models.engine.plan.Plan`)."""
        from models.engine.plan import compile_plan

        return compile_plan(self)

    # Load

    def loads(self) -> dict[str, Load]:
        """What each service is offered while it is up, if nothing had to wait or be undone.

        A worker is held for its own work and the round trips, lost segments and times of the steps
        that it calls; of parallel calls, for the one that takes longest on average. Failures end a
        sequence.

        What breaks off (`errors`) or fails is tried again as the policy of its edge says, with a
        budget at most as often as that brings in (an upper bound); messages are delivered again. Drawn outages take a share of
        the time: messages that come meanwhile are done in the rest of it, calls are lost. All else
        that happens to calls is left out: repetitions after time limits, outages and full queues,
        which add to the load, and what time limits, breakers, throttles, limits on the retries under
        way and outages of other services keep away. Where none of these act, and but for budgets,
        this is a lower bound.
        """
        own = dict.fromkeys(self.services, 0.0)
        held = dict.fromkeys(self.services, 0.0)
        handled = dict.fromkeys(self.services, 0.0)
        for entry, per_s, held_ms in self._visits():
            own[entry.step.service] += per_s * self.work_ms(entry) / 1000
            if entry.mode != "local":
                handled[entry.step.service] += per_s
                held[entry.step.service] += per_s * held_ms / 1000
        return {
            name: Load(
                None if service.workers == "unlimited" else service.workers,
                handled[name],
                own[name],
                held[name],
                self.up(name),
            )
            for name, service in self.services.items()
        }

    def _visits(self) -> Iterator[tuple[Located, float, float]]:
        """Every step with how often it is done per second while its service is up, and how long a
        try takes in ms. What comes as a message while the service is down waits for it."""
        from models.loads import visits

        for entry, per_s, took_ms in visits(self):
            top = [entry, *entry.held_above()]
            of_message = top[-1].mode == "message" and top[-1].step.service == entry.step.service
            yield entry, per_s / (self.up(entry.step.service) if of_message else 1.0), took_ms

    def up(self, service: str) -> float:
        """Share of the time that a service is up, of the outages that are drawn for it."""
        place = self.services[service].infrastructure
        share = 1.0
        for outage in self.outages:
            if service in outage.services or place in outage.infrastructures:
                if outage.up is not None and outage.down is not None:
                    share *= outage.up.mean_ms / (outage.up.mean_ms + outage.down.mean_ms)
        return share

    def work_ms(self, entry: Located) -> float:
        """How long a worker works for a step on average, what its proxy takes included."""
        mesh = self.mesh if entry.mode == "call" else None
        return entry.step.work.mean_ms + (mesh.work_ms if mesh else 0.0)

    def _asked_ms(self, entry: Located, took_ms: float) -> float:
        """How long a caller waits for a step that takes `took_ms`."""
        if entry.mode == "local":
            return took_ms
        ends = self.crossings(entry)[0]
        rtt_ms = self.round_trip(*ends)[0]
        trip_ms = rtt_ms + 2 * self.lost_ms(*ends)
        if entry.step.via is None:
            return trip_ms + took_ms + (self.mesh.call_ms(rtt_ms) if self.mesh else 0.0)
        broker = self.brokers[entry.step.via]
        if broker.acks == "none" or (broker.producers and not broker.producers.waits):
            return 0.0
        copies_ms = broker.replication.mean_ms if broker.acks == "all" else 0.0
        return trip_ms + broker.ack.mean_ms + copies_ms

    def warnings(self) -> tuple[str, ...]:
        """What is allowed but will not go well, one sentence each."""
        return (*self.overloads(), *self._deadlocks())

    def overloads(self) -> tuple[str, ...]:
        """The services that are offered more than they can do, one sentence each."""
        found = []
        for name, load in self.loads().items():
            if load.workers and load.utilisation >= 1:
                workers = f"{load.workers} worker" + "s" * (load.workers > 1)
                time = "the time" if load.up == 1 else "the time that the service is up"
                found.append(
                    f"services.{name}.workers: {workers} would be held "
                    f"{100 * load.utilisation:.0f} % of {time}; expected less than 100 %; "
                    f"give it at least {math.floor(load.held) + 1} or lower the rate"
                )
        return (*found, *self._overloaded_consumers())

    def _overloaded_consumers(self) -> Iterator[str]:
        """Partitions, or consumers with a prefetch, that get more messages than they can do."""
        offered: dict[tuple[str, str], tuple[float, float]] = {}  # messages/s, workers held
        for entry, per_s, held_ms in self._visits():
            if entry.step.via is not None:
                pair = entry.step.via, entry.step.service
                rate, held = offered.get(pair, (0.0, 0.0))
                offered[pair] = rate + per_s, held + per_s * held_ms / 1000
        for (name, service), (rate, held) in offered.items():
            broker, limit = self.brokers[name], self.services[service].workers
            workers = math.inf if limit == "unlimited" else limit
            if broker.partitions and held < workers:
                busiest = held * max(broker.consumer_shares(workers))
                if busiest >= 1:
                    yield (
                        f"brokers.{name}.partitions: with {broker.partitions} of them the busiest "
                        f"consumer in '{service}' would be busy {100 * busiest:.0f} % of the time; "
                        "expected less than 100 %; give it more, or keys that are used more evenly"
                    )
            elif broker.prefetch and rate and held < workers:
                place = self.services[service].infrastructure
                here = place if place in broker.mirrors else broker.infrastructure
                trip_ms = self.round_trip(here, place)[0] + self.lost_ms(here, place)
                trip_ms += 1000 * held / rate
                busy = rate * trip_ms / 1000 / (broker.prefetch * workers)
                if busy >= 1:
                    yield (
                        f"brokers.{name}.prefetch: {broker.prefetch} was found; expected at least "
                        f"{math.floor(rate * trip_ms / 1000 / workers) + 1}, since '{service}' has "
                        f"no more than that in hand while {trip_ms:g} ms pass from one to the next"
                    )

    def _deadlocks(self) -> Iterator[str]:
        """Services that wait for each other's workers, by way of different flows or branches."""
        waits: dict[str, set[str]] = {name: set() for name in self.services}
        for entry in self.steps():
            if entry.mode == "call" and self._finite(entry):
                for above in entry.held_above():
                    if self._finite(above):
                        waits[above.step.service].add(entry.step.service)
        while True:  # leave out who waits for nobody, or is waited for by nobody
            awaited = set().union(*waits.values())
            free = [name for name in waits if name not in awaited or not waits[name] & set(waits)]
            if not free:
                break
            for name in free:
                del waits[name]
        if waits:
            yield (
                f"services: {listed(sorted(waits))} call each other with limited workers, so that "
                "all of them can be held for ever; expected calls in one direction; "
                "give one of them unlimited workers or make one of the calls a message"
            )

    def _unlimited(self, service: str) -> bool:
        return self.services[service].workers == "unlimited"

    def _finite(self, entry: Located) -> bool:
        return not self._unlimited(entry.step.service)

    # What pydantic cannot see: names, links, loops

    @model_validator(mode="after")
    def _consistent(self):
        lines = [*self._unknown_places(), *self._faults_of_steps()]
        if not lines:
            lines = [*self._reentries(), *self._missing_links()]
        if lines:
            faults(((place,), sentence) for place, sentence in lines)
        return self

    def _unknown_places(self) -> Iterator[tuple[str, str]]:
        def unknown(place, name):
            if name not in self.infrastructures:
                near = did_you_mean(name, self.infrastructures)
                yield place, f"{show(name)} is not an infrastructure; {near}"

        for number, link in enumerate(self.network.between):
            place = f"network.between[{number}].ends"
            if len(link.ends) != 2 or len(set(link.ends)) != 2:
                yield place, f"{show(list(link.ends))} was found; expected two different names"
            else:
                for end, name in enumerate(link.ends):
                    yield from unknown(f"{place}[{end}]", name)
            if self._links[frozenset(link.ends)] is not link:
                ends = listed(link.ends)
                yield place, f"a second link between {ends} was found; expected one; remove one"
        for kind, parts in (("brokers", self.brokers), ("services", self.services)):
            for name, part in parts.items():
                yield from unknown(f"{kind}.{name}.infrastructure", part.infrastructure)
        for name, broker in self.brokers.items():
            for mirror in broker.mirrors:
                yield from unknown(f"brokers.{name}.mirrors.{mirror}", mirror)
        for number, outage in enumerate(self.outages):
            place = f"outages[{number}]"
            for end, name in enumerate(outage.infrastructures):
                yield from unknown(f"{place}.infrastructures[{end}]", name)
            known: Any
            for kind, known in (("services", self.services), ("brokers", self.brokers)):
                for end, name in enumerate(getattr(outage, kind)):
                    if name not in known:
                        hint = nearest(name, known)
                        what = f"{show(name)} is not a {kind[:-1]}; {hint}"
                        yield f"{place}.{kind}[{end}]", what
            for end, pair in enumerate(outage.links):
                if frozenset(pair) not in self._links:
                    what = f"{show(list(pair))} is not a link; expected the two ends of one"
                    yield f"{place}.links[{end}]", what
            for end, pair in enumerate(outage.consumers):
                where = f"{place}.consumers[{end}]"
                if len(pair) != 2 or pair[0] not in self.brokers or pair[1] not in self.services:
                    yield where, f"{show(list(pair))} was found; expected a broker and a service"
                elif not (self.brokers[pair[0]].partitions or self.brokers[pair[0]].prefetch):
                    yield (
                        where,
                        (
                            f"'{pair[0]}' has one queue for all; expected a broker with partitions or a "
                            "prefetch; add partitions"
                        ),
                    )
        for number, restart in enumerate(self.restarts):
            place = f"restarts[{number}]"
            if restart.service not in self.services:
                hint = nearest(restart.service, self.services)
                yield f"{place}.service", f"{show(restart.service)} is not a service; {hint}"
            else:
                workers = self.services[restart.service].workers
                if workers == "unlimited" or workers < restart.instances:
                    yield (
                        f"{place}.instances",
                        f"{restart.instances} was found with {workers} workers; expected at least "
                        "one worker for each; give the service a number of workers",
                    )
        if "all" in self.flows:
            yield "flows.all", "'all' was found; expected another name, since it means all flows"

    def _faults_of_steps(self) -> Iterator[tuple[str, str]]:
        entries = []
        for name, flow in self.flows.items():
            for entry in _walk_steps(name, flow.root):
                entries.append(entry)
                if len(entries) > MAX_STEPS:
                    yield f"flows.{name}", too_many_steps()
                    return
                if entry.depth > MAX_NESTING:
                    yield entry.path, too_deep()
                    return
        for entry in entries:
            step = entry.step
            if step.service not in self.services:
                near = did_you_mean(step.service, self.services)
                yield f"{entry.path}.service", f"'{step.service}' is not a service; {near}"
            if step.via is not None and entry.parent is None:
                yield (
                    f"{entry.path}.via",
                    (
                        f"'{step.via}' was found; expected nothing, since requests arrive there "
                        "by themselves; leave it out"
                    ),
                )
            elif step.via is not None and step.via not in self.brokers:
                near = did_you_mean(step.via, self.brokers)
                yield f"{entry.path}.via", f"'{step.via}' is not a broker; {near}"
            if (step.policy or step.preset) and entry.mode == "local":
                yield (
                    f"{entry.path}.{'preset' if step.preset else next(iter(step.policy))}",
                    f"this was found on a step of '{step.service}' in '{step.service}'; expected it "
                    "on a call or message to another service; leave it out",
                )
            if step.via in self.brokers and self.brokers[step.via].prefetch:
                if step.service in self.services and self._unlimited(step.service):
                    yield (
                        f"services.{step.service}.workers",
                        f"unlimited workers were found, which read from '{step.via}' with a "
                        "prefetch; expected a number, since each of them is a consumer",
                    )
            if step.idempotent and step.via is None:
                yield (
                    f"{entry.path}.idempotent",
                    "true was found on a call; expected it on a message, which can come twice; "
                    "leave it out",
                )
            if step.deferrable and entry.parent is None:
                yield (
                    f"{entry.path}.deferrable",
                    "true was found; expected false, since the first step gives the answer",
                )

    def _reentries(self) -> Iterator[tuple[str, str]]:
        for entry in self.steps():
            if entry.mode == "call" and self._finite(entry):
                for above in entry.held_above():
                    if above.step.service == entry.step.service:
                        yield (
                            f"{entry.path}.service",
                            (
                                f"'{entry.step.service}' is called while {above.path} holds one of "
                                "its workers, which can lock up for ever; expected another service; "
                                "make it a message or give the service unlimited workers"
                            ),
                        )
                        break

    def _missing_links(self) -> Iterator[tuple[str, str]]:
        missing: dict[frozenset[str], str] = {}
        for entry in self.steps():
            for here, there in self.crossings(entry):
                pair = frozenset((here, there))
                if len(pair) == 2 and pair not in self._links:
                    missing.setdefault(pair, entry.path)
        for pair, path in missing.items():
            here, there = sorted(pair)
            yield (
                "network.between",
                (
                    f"no link between '{here}' and '{there}' was found, which {path} needs; "
                    f"expected one; add {{ends: [{here}, {there}], rtt_ms: ...}}"
                ),
            )


@contextmanager
def _in_sentences(data: Any) -> Iterator[None]:
    """What is wrong with `data` is said as InvalidSystem."""
    check_size(data)
    before = suggestions_left.set(MOST_SUGGESTIONS)
    try:
        yield
    except ValidationError as error:
        raise InvalidSystem(*sentences(error)) from None
    finally:
        suggestions_left.reset(before)


def _walk_steps(flow: str, root: Step) -> Iterator[Located]:
    seen: dict[str, int] = {}
    waiting: list[tuple[Step, Located | None, str, int]] = [(root, None, f"flows.{flow}.root", 1)]
    while waiting:
        step, parent, path, depth = waiting.pop()
        label = step.name or step.service
        seen[label] = seen.get(label, 0) + 1
        key = label if seen[label] == 1 else f"{label}#{seen[label]}"
        entry = Located(flow, step, key, parent, path, depth)
        yield entry
        for number in reversed(range(len(step.then))):
            waiting.append((step.then[number], entry, f"{path}.then[{number}]", depth + 1))


def _set(data: dict, whole: dict, where: Any, new: Any) -> None:
    """Set one value in `data` by its path, which has to exist in `whole` (defaults included)."""
    parts = _parts(where)
    target: Any = data
    for number, part in enumerate(parts):
        place = place_of(parts[:number])
        if whole is None and isinstance(part, str):
            whole = {part: None}
        known: Any = whole if isinstance(whole, dict) else ()
        if isinstance(part, int) and isinstance(whole, list):
            known = range(len(whole))
        if part not in known:
            found = f"[{part}]" if isinstance(part, int) else show(part)
            raise InvalidSystem(f"{place}: {found} is not there; {_expected(part, whole)}")
        whole = whole[part]  # type: ignore[index]
        if number == len(parts) - 1:
            target[part] = new
        elif isinstance(target, dict):
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        else:
            target = target[part]


def _expected(part: Any, whole: Any) -> str:
    """What there is where a path goes wrong."""
    if not isinstance(whole, dict | list) or not whole:
        return "expected a path that ends here, since nothing is below"
    if isinstance(whole, list):
        return f"expected a position from [0] to [{len(whole) - 1}]"
    names = f"{', '.join(list(whole)[:20])}{', ...' if len(whole) > 20 else ''}"
    near = nearest(part, whole)
    return f"expected one of {names}" + (near and f"; {near}")


def _parts(where: Any) -> list[str | int]:
    if not isinstance(where, str) or not re.fullmatch(
        r"[^.\[\]]+(\.[^.\[\]]+|\[\d{1,9}\])*", where
    ):
        raise InvalidSystem(
            f"path: {show(where)} was found; expected names joined by dots, with positions in "
            "brackets, such as flows.place_order.root.then[1].fails"
        )
    found = re.findall(r"([^.\[\]]+)|\[(\d+)\]", where)
    return [name or int(position) for name, position in found]
