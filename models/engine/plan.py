"""A system made flat and plain: what both engines run.

A plan is frozen, holds nothing but numbers, names and tuples, and needs nothing but the standard
library, so that it can be written as JSON and run wherever Python and SimPy run.
All times are in milliseconds, all rates per millisecond.
"""

import dataclasses
import json
import math
from dataclasses import dataclass

from models.engine.draws import DETERMINISTIC, EMPIRICAL, EXPONENTIAL, LOGNORMAL, stream

# How a step is reached.
ROOT, LOCAL, CALL, MESSAGE = 0, 1, 2, 3
# How the gaps between the arrivals of a flow are made.
RENEWAL, TIMESTAMPS, PROFILE = 0, 1, 2

# How long a caller pauses before it tries again.
NO_PAUSE, DRAWN, EXPONENTIAL_PAUSE, FULL_JITTER, EQUAL_JITTER, DECORRELATED = 0, 1, 2, 3, 4, 5

BACKOFFS = {
    "none": NO_PAUSE,
    "drawn": DRAWN,
    "exponential": EXPONENTIAL_PAUSE,
    "full_jitter": FULL_JITTER,
    "equal_jitter": EQUAL_JITTER,
    "decorrelated": DECORRELATED,
}
# What comes back from a step, and can be tried again.
RESULTS = {"failed": 1, "rejected": 2, "timed_out": 3, "unavailable": 4, "broken": 5}

# What a producer waits for: nothing, the broker's own copy, or all copies.
ACKS = {"none": 0, "leader": 1, "all": 2}

UNLIMITED = 0  # workers, a broker's patience with a message, a producer's buffer
NO_LIMIT = -1  # places to wait
NONE = -1  # no such step, no such lane


@dataclass(frozen=True)
class Draw:
    """A distribution as `draws.sample` takes it."""

    kind: int
    p0: float
    p1: float = 0.0
    p2: float = 0.0
    values: tuple[float, ...] = ()


NOTHING = Draw(DETERMINISTIC, 0.0)


@dataclass(frozen=True)
class ServicePlan:
    """`workers` 0: unlimited; `queue_limit` -1: no limit.

    `sheds_late`: work whose deadline has passed is turned away when its turn comes. So is what has
    waited longer than `patient_ms`, or `strict_ms` if the queue has not been empty for that long.
    """

    name: str
    workers: int
    queue_limit: int
    sheds_late: bool = False
    patient_ms: float = math.inf
    strict_ms: float = math.inf


@dataclass(frozen=True)
class PolicyPlan:
    """How a caller deals with one edge. The defaults do nothing.

    `limit` is the time that it waits for one try (infinite: none was set); `passes` hands that
    deadline on to the callee. `attempts` tries at most, while the bit of the result is set in `retry_on`.
    A retry takes one of `budget` tokens, of which each first try earns `earns` and each
    millisecond `earns_per_ms`. As many retries as `retries` or, if it is more, the `retry_share` of
    the tries under way may be under way at once (infinite: any number). With `throttle` K, a try is given up at once with probability
    max(0, (requests - K accepts) / (requests + 1)), counted over about `throttle_ms`. The breaker
    looks at the last `window` results (0: none). At most `bulkhead` tries at once (0: any number).
    """

    limit: Draw = Draw(DETERMINISTIC, math.inf)
    passes: bool = False
    attempts: int = 1
    retry_on: int = 0
    backoff: int = NO_PAUSE
    pause: Draw = NOTHING
    base_ms: float = 0.0
    cap_ms: float = math.inf
    factor: float = 2.0
    budget: float = math.inf
    earns: float = 0.0
    earns_per_ms: float = 0.0
    retries: float = math.inf
    retry_share: float = 0.0
    throttle: float = 0.0
    throttle_ms: float = 0.0
    window: int = 0
    share: float = 1.0
    minimum: int = 1
    open_ms: float = 0.0
    trials: int = 1
    bulkhead: int = 0


@dataclass(frozen=True)
class OutboxPlan:
    """A producer's buffer towards a broker: the messages that the broker has not acknowledged.

    It holds `places` messages at most (0: any number); who finds it full waits. They are sent
    together: when `batch` of them have come, or `linger_ms` after the first. No batch overtakes
    another on its way to the broker. The producer goes on
    as soon as its message is in the buffer, or, if it `waits`, when it has been acknowledged.
    """

    places: int = UNLIMITED
    batch: int = 1
    linger_ms: float = 0.0
    waits: bool = False


@dataclass(frozen=True)
class GroupPlan:
    """The consumers of one broker in one service, a lane each, from number `first_lane` on.

    Each has at most `prefetch` messages in hand, on their way included (0: any number). On the way
    to a lane no message overtakes another.
    """

    first_lane: int
    lanes: int
    prefetch: int = 0


@dataclass(frozen=True)
class LogPlan:
    """What a broker does with the messages of one step, beyond handing them over.

    `acks` is what the producer waits for (see ACKS); a message can be read when it has been
    copied, which takes `replication`. `mirror_network` and `lag`: the round trip to a second
    broker beside the consumer and what the copy needs besides, None without one. A message that
    is older than `retention_ms` when its turn comes is lost. One whose processing breaks off is
    delivered again after `redelivery_ms`, `deliveries` times in all. If the consumer is
    `idempotent` it does nothing a second time that it has done before. `shares` are the
    cumulative shares of the partitions, empty where all are equal.
    """

    acks: int = 2
    replication: Draw = NOTHING
    mirror_network: Draw | None = None
    lag: Draw = NOTHING
    mirror_link: int = NONE
    mirror_loss: float = 0.0
    retention_ms: float = math.inf
    deliveries: int = 20
    redelivery_ms: float = 0.0
    idempotent: bool = False
    shares: tuple[float, ...] = ()
    outbox: int = NONE


@dataclass(frozen=True)
class TollPlan:
    """What a mesh costs on one edge.

    A call takes `hop_ms` longer on its way there, in the proxies. With probability `fresh` there is
    no session to go on with, and a handshake comes first: `round_trips` and `handshake_ms` of
    computation. The callee works `work_ms` longer for its proxy, and `span_ms` if the request is
    `sampled`: one decision for all its steps, by the stream `trace`.
    """

    hop_ms: float = 0.0
    fresh: float = 0.0
    round_trips: float = 0.0
    handshake_ms: float = 0.0
    work_ms: float = 0.0
    span_ms: float = 0.0
    sampled: float = 0.0
    trace: int = 0


@dataclass(frozen=True)
class StepPlan:
    """One step of one flow.

    `stream` is who draws its random numbers; `network` the round trip between the caller and the
    service, or, for a message, between the producer and the broker; `ack` the broker's own time;
    `delivery` the round trip between the broker and the consumer. With a `group`, a message is
    processed in one of its lanes: by its partition, or, without partitions, by the next consumer
    that has room.
    """

    number: int
    key: str
    flow: int
    parent: int
    service: int
    stream: int
    mode: int
    work: Draw
    fails: float
    undo: Draw | None
    in_parallel: bool
    children: tuple[int, ...]
    network: Draw
    ack: Draw
    delivery: Draw
    partitions: int = 0
    group: int = NONE
    log: LogPlan | None = None
    toll: TollPlan | None = None
    errors: float = 0.0
    policy: PolicyPlan | None = None
    broker: int = NONE
    link: int = NONE
    delivery_link: int = NONE
    loss: float = 0.0
    delivery_loss: float = 0.0


@dataclass(frozen=True)
class OutagePlan:
    """Parts that go down together, and when.

    `parts` are numbers of services, then brokers, then links, then groups (which stand still and
    lose nothing). They are down in the `windows` (from, to), or by turns up for a time drawn from
    `up` and down for one drawn from `down`. While they are, a call is answered with an error, at
    once or, if it `hangs`, when that is over; of outages that overlap, one that hangs is enough.
    With `instances`, only one instance of each service is down, number `instance`: the service
    keeps the rest of its workers. If it `drains`, it ends what it has begun and loses nothing.
    Of a group, the instance's consumers stand still: those whose lane, modulo `instances`, is its
    number.
    """

    name: str
    stream: int
    parts: tuple[int, ...]
    windows: tuple[tuple[float, float], ...] = ()
    up: Draw | None = None
    down: Draw | None = None
    hangs: bool = False
    instances: int = 0
    instance: int = 0
    drains: bool = False


@dataclass(frozen=True)
class FlowPlan:
    """A flow's first step and its arrivals.

    RENEWAL: `gap` is drawn before every group of `size` requests. TIMESTAMPS: `times_ms`.
    PROFILE: `gap` passes at the rate `factors[i]` from `starts_ms[i]` on, every `period_ms`.
    """

    name: str
    stream: int
    root: int
    arrivals: int
    gap: Draw
    size: int
    times_ms: tuple[float, ...]
    starts_ms: tuple[float, ...]
    factors: tuple[float, ...]
    period_ms: float


@dataclass(frozen=True)
class Plan:
    """Everything an engine has to know. Steps are numbered depth first, flow by flow."""

    name: str
    services: tuple[ServicePlan, ...]
    flows: tuple[FlowPlan, ...]
    steps: tuple[StepPlan, ...]
    groups: tuple[GroupPlan, ...] = ()
    outboxes: tuple[OutboxPlan, ...] = ()
    brokers: int = 0
    links: int = 0
    outages: tuple[OutagePlan, ...] = ()

    @property
    def lanes(self) -> int:
        return sum(group.lanes for group in self.groups)

    @property
    def first_group(self) -> int:
        """The number of the first group among the parts that can go down."""
        return len(self.services) + self.brokers + self.links

    @property
    def fragile(self) -> frozenset[int]:
        """The numbers of the parts that can go down."""
        return frozenset(part for outage in self.outages for part in outage.parts)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        data = json.loads(text)

        kinds = {"policy": PolicyPlan, "log": LogPlan, "toll": TollPlan}

        def build(kind, raw):
            for key, value in raw.items():
                if isinstance(value, list):
                    raw[key] = tuple(tuple(v) if isinstance(v, list) else v for v in value)
                elif isinstance(value, dict):
                    raw[key] = build(kinds.get(key, Draw), value)
            return kind(**raw)

        return cls(
            data["name"],
            tuple(build(ServicePlan, raw) for raw in data["services"]),
            tuple(build(FlowPlan, raw) for raw in data["flows"]),
            tuple(build(StepPlan, raw) for raw in data["steps"]),
            tuple(GroupPlan(**raw) for raw in data["groups"]),
            tuple(OutboxPlan(**raw) for raw in data["outboxes"]),
            data["brokers"],
            data["links"],
            tuple(build(OutagePlan, raw) for raw in data["outages"]),
        )


def compile_plan(system) -> Plan:
    """The plan of a valid `models.system.System`."""
    numbers = {name: number for number, name in enumerate(system.services)}
    steps: list[StepPlan] = []
    flows: list[FlowPlan] = []
    groups: dict[tuple[str, str], GroupPlan] = {}  # (broker, service)
    outboxes: dict[tuple[str, str], OutboxPlan] = {}  # (service, broker)

    parts = {("service", name): number for name, number in numbers.items()}
    for name in system.brokers:
        parts["broker", name] = len(parts)
    for link in system.network.between:
        parts["link", frozenset(link.ends)] = len(parts)

    def between(here, there):
        """The number of the link between two infrastructures; NONE inside one."""
        return NONE if here == there else parts["link", frozenset((here, there))]

    def round_trip(here, there):
        rtt_ms, jitter_cv = system.round_trip(here, there)
        if rtt_ms == 0.0 or jitter_cv == 0.0:
            return Draw(DETERMINISTIC, float(rtt_ms))
        variance = math.log1p(jitter_cv**2)
        return Draw(LOGNORMAL, math.log(rtt_ms) - variance / 2, math.sqrt(variance))

    def group_of(name, service):
        """The number of the consumers of a broker in a service; NONE where they share one queue."""
        broker = system.brokers[name]
        if not (broker.partitions or broker.prefetch):
            return NONE
        if (name, service) not in groups:
            workers = _workers(system.services[service])
            count = min(broker.partitions or workers, workers or broker.partitions)
            first = sum(group.lanes for group in groups.values())
            groups[name, service] = GroupPlan(first, count, broker.prefetch or 0)
        return list(groups).index((name, service))

    def outbox_of(service, name):
        """The number of a producer's buffer towards a broker; NONE where it has none."""
        said = system.brokers[name].producers
        if said is None:
            return NONE
        plan = OutboxPlan(said.buffer or UNLIMITED, said.batch, said.linger_ms, said.waits)
        outboxes.setdefault((service, name), plan)
        return list(outboxes).index((service, name))

    def log_of(step, producer):
        """What else the broker does; None where it only hands messages over."""
        broker = system.brokers[step.via]
        place = system.services[step.service].infrastructure
        mirror = broker.mirrors.get(place)
        said: dict = {}
        if mirror is not None:
            said = {
                "mirror_network": round_trip(broker.infrastructure, place),
                "lag": _lowered(mirror.lag),
                "mirror_link": between(broker.infrastructure, place),
                "mirror_loss": system.loss(broker.infrastructure, place),
            }
        log = LogPlan(
            ACKS[broker.acks],
            _lowered(broker.replication),
            retention_ms=math.inf if broker.retention_ms is None else broker.retention_ms,
            deliveries=broker.max_deliveries,
            redelivery_ms=broker.redelivery_ms,
            idempotent=bool(step.idempotent),
            shares=broker.partition_shares(),
            outbox=outbox_of(producer, step.via),
            **said,
        )
        return None if log == LogPlan() else log

    def add(entry, parent):
        number = len(steps)
        step = entry.step
        place = system.services[step.service].infrastructure
        network, ack, delivery = NOTHING, NOTHING, NOTHING
        partitions = 0
        group = NONE
        log = None
        mode = ROOT
        broker_part = link = delivery_link = NONE
        loss = delivery_loss = 0.0
        if parent != NONE:
            caller = system.services[system_names[steps[parent].service]]
            if step.via is not None:
                mode = MESSAGE
                broker = system.brokers[step.via]
                network = round_trip(caller.infrastructure, broker.infrastructure)
                ack = _lowered(broker.ack)
                here = place if place in broker.mirrors else broker.infrastructure
                delivery = round_trip(here, place)
                broker_part = parts["broker", step.via]
                link = between(caller.infrastructure, broker.infrastructure)
                delivery_link = between(here, place)
                loss = system.loss(caller.infrastructure, broker.infrastructure)
                delivery_loss = system.loss(here, place)
                partitions = broker.partitions or 0
                group = group_of(step.via, step.service)
                log = log_of(step, system_names[steps[parent].service])
            elif steps[parent].service == numbers[step.service]:
                mode = LOCAL
            else:
                mode = CALL
                network = round_trip(caller.infrastructure, place)
                link = between(caller.infrastructure, place)
                loss = system.loss(caller.infrastructure, place)
        key = entry.key
        steps.append(
            StepPlan(
                number,
                key,
                len(flows),
                parent,
                numbers[step.service],
                stream(flow_name, key),
                mode,
                _lowered(step.work),
                float(step.fails),
                None if step.undo is None else _lowered(step.undo),
                bool(step.in_parallel),
                (),
                network,
                ack,
                delivery,
                partitions,
                group,
                log,
                _toll_plan(system.mesh, flow_name) if mode == CALL else None,
                float(step.errors),
                _policy_plan(system.policy_of(entry)),
                broker_part,
                link,
                delivery_link,
                loss,
                delivery_loss,
            )
        )
        children = tuple(add(child, number) for child in below[entry.key])
        steps[number] = dataclasses.replace(steps[number], children=children)
        return number

    system_names = list(system.services)
    for flow_name, flow in system.flows.items():
        entries = system.steps(flow_name)
        below: dict = {entry.key: [] for entry in entries}
        for entry in entries[1:]:
            below[entry.parent.key].append(entry)
        root = add(entries[0], NONE)
        flows.append(_flow_plan(flow_name, flow, root))
    return Plan(
        system.name,
        tuple(
            ServicePlan(
                name,
                _workers(service),
                NO_LIMIT if service.queue_limit is None else service.queue_limit,
                service.sheds_late,
                *_waits(service),
            )
            for name, service in system.services.items()
        ),
        tuple(flows),
        tuple(steps),
        tuple(groups.values()),
        tuple(outboxes.values()),
        len(system.brokers),
        len(system.network.between),
        (*_outage_plans(system, parts, list(groups)), *_restart_plans(system, parts, list(groups))),
    )


def _waits(service):
    """How long a call may wait at most, and how long in a standing queue."""
    longest = math.inf if service.max_wait_ms is None else service.max_wait_ms
    return longest, service.max_standing_wait_ms or longest


def _policy_plan(policy):
    """The plan of what is said of an edge's policy; None where nothing is said."""
    if not policy:
        return None
    said: dict = {"passes": policy.get("passes_deadline", False)}
    if "timeout_ms" in policy:
        said["limit"] = Draw(DETERMINISTIC, policy["timeout_ms"])
    elif "patience" in policy:
        said["limit"] = _lowered(policy["patience"])
    if retry := policy.get("retry"):
        said |= {
            "attempts": retry.attempts,
            "retry_on": sum(1 << RESULTS[name] for name in set(retry.on)),
            "backoff": BACKOFFS[retry.backoff],
            "pause": NOTHING if retry.pause is None else _lowered(retry.pause),
            "base_ms": retry.base_ms,
            "cap_ms": retry.cap_ms,
            "factor": retry.factor,
        }
        if budget := retry.budget:
            said |= {
                "budget": budget.tokens,
                "earns": budget.per_call,
                "earns_per_ms": budget.per_s / 1000,
            }
        if concurrent := retry.concurrent:
            said |= {"retries": float(concurrent.at_least), "retry_share": concurrent.share}
    if throttle := policy.get("throttle"):
        said |= {"throttle": throttle.multiplier, "throttle_ms": throttle.window_ms}
    if breaker := policy.get("breaker"):
        said |= {name: getattr(breaker, name) for name in type(breaker).model_fields}
    return PolicyPlan(**said, bulkhead=policy.get("bulkhead", 0))


def _toll_plan(mesh, flow_name):
    """What the mesh costs on a call; None where it costs nothing."""
    if mesh is None or mesh.proxy is mesh.mtls is mesh.telemetry is None:
        return None
    said: dict = {}
    if proxy := mesh.proxy:
        said |= {"hop_ms": proxy.hop_ms, "work_ms": proxy.cpu_ms}
    if mtls := mesh.mtls:
        said |= {
            "fresh": 1 - mtls.session_reuse,
            "round_trips": mtls.round_trips,
            "handshake_ms": mtls.cpu_ms,
        }
    if telemetry := mesh.telemetry:
        said |= {"span_ms": telemetry.span_ms, "sampled": telemetry.sampling}
    toll = TollPlan(**said, trace=stream(flow_name))
    shakes_hands = toll.fresh and (toll.round_trips or toll.handshake_ms)
    traces = toll.sampled and toll.span_ms
    return toll if toll.hop_ms or toll.work_ms or shakes_hands or traces else None


def _outage_plans(system, parts, groups):
    for number, outage in enumerate(system.outages):
        down = [parts["service", name] for name in outage.services]
        down += [parts["broker", name] for name in outage.brokers]
        down += [parts["link", frozenset(ends)] for ends in outage.links]
        for kind, places in (("service", system.services), ("broker", system.brokers)):
            down += [
                parts[kind, name]
                for name, place in places.items()
                if place.infrastructure in outage.infrastructures
            ]
        first = len(parts)
        down += [first + groups.index(pair) for pair in outage.consumers if pair in groups]
        windows: tuple = ()
        up = fall = None
        if outage.from_ms is not None:
            windows = ((outage.from_ms, outage.from_ms + outage.for_ms),)
        else:
            up, fall = _lowered(outage.up), _lowered(outage.down)
        who = stream("outage", outage.name, str(number))
        everything = tuple(sorted(set(down)))
        yield OutagePlan(outage.name, who, everything, windows, up, fall, outage.calls == "hang")


def _restart_plans(system, parts, groups):
    for restart in system.restarts:
        for instance in range(restart.instances):
            begins = restart.from_ms + instance * (restart.each_ms + restart.pause_ms)
            for number, (broker, service) in enumerate(groups):
                pause_ms, one = system.brokers[broker].rebalance_ms, {}
                if system.brokers[broker].rebalance == "cooperative":
                    one = {"instances": restart.instances, "instance": instance}
                if service == restart.service and pause_ms > 0:
                    for moment in (begins, begins + restart.each_ms):  # it leaves, it joins
                        yield OutagePlan(
                            f"rebalance of {service}",
                            0,
                            (len(parts) + number,),
                            ((moment, moment + pause_ms),),
                            **one,
                        )
            yield OutagePlan(
                f"restart of {restart.service}",
                0,
                (parts["service", restart.service],),
                ((begins, begins + restart.each_ms),),
                instances=restart.instances,
                instance=instance,
                drains=restart.drains,
            )


def _flow_plan(name, flow, root):
    arrivals = flow.arrivals
    mean_gap_ms = 1000.0 / flow.rate_per_s if flow.rate_per_s else 0.0
    kind, size = RENEWAL, 1
    gap = Draw(EXPONENTIAL, mean_gap_ms)
    times_ms: tuple[float, ...] = ()
    starts_ms: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()
    period_ms = 0.0
    if arrivals.process == "deterministic":
        gap = Draw(DETERMINISTIC, mean_gap_ms)
    elif arrivals.process == "batch":
        size = arrivals.size
        gap = Draw(EXPONENTIAL, mean_gap_ms * size)
    elif arrivals.process == "renewal":
        gap = _lowered(arrivals.gap(mean_gap_ms))
    elif arrivals.process == "timestamps":
        kind, times_ms = TIMESTAMPS, tuple(map(float, arrivals.times_ms))
    elif arrivals.process == "profile":
        kind = PROFILE
        starts_ms = tuple(float(part.from_ms) for part in arrivals.steps)
        factors = tuple(float(part.factor) for part in arrivals.steps)
        period_ms = float(arrivals.period_ms or 0.0)
    return FlowPlan(
        name,
        stream(name),
        root,
        kind,
        gap,
        size,
        times_ms,
        starts_ms,
        factors,
        period_ms,
    )


def _workers(service):
    return UNLIMITED if service.workers == "unlimited" else service.workers


def _lowered(distribution):
    kind, p0, p1, p2, values = distribution.lowered()
    if kind == EMPIRICAL:
        p0, p1 = 0.0, float(len(values))
    return Draw(kind, p0, p1, p2, tuple(map(float, values)))
