"""The road: one pure function from system to system a stage.

The shape of every flow stays the same, and with it the keys of its steps, so that the same request
draws the same random numbers at every stage. A stage that cannot be applied raises StageError.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

from models.system import InvalidSystem, System

BROKER = "events"
ACK_MS = 1.0  # of a broker that a stage adds; facts: 1.1 ms mean for Kafka 2.0 on one node


class StageError(ValueError):
    """A stage that cannot be applied to a system; the message says why."""


def synchronous(system: System) -> System:
    """Every message becomes a call; it stays marked deferrable, so that the way leads back."""
    data = _checked(system).to_dict()
    for step in _steps(data):
        if step.get("via") is not None:
            del step["via"]
            step.pop("idempotent", None)  # a call does not come twice
            step["deferrable"] = True
    return _valid("synchronous", data)


def asynchronous(system: System, broker: str | None = None) -> System:
    """Every step marked deferrable becomes a message; what the user waits for stays a call.

    `broker` names the broker; else it is the only one, or `events`, which is added where there is
    none, on the infrastructure of the first service that publishes to it.
    """
    publishers = [
        entry.parent.step.service
        for entry in _checked(system).steps()
        if entry.parent is not None and (entry.step.deferrable or entry.step.via is not None)
    ]
    if not publishers:
        raise StageError(
            "asynchronous: no step is marked deferrable, so the user waits for every answer; "
            "expected at least one; mark what may be done later with `deferrable: true`"
        )
    known = list(system.brokers)
    if broker is not None and known and broker not in known:
        near = difflib.get_close_matches(broker, known, 1)
        meant = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(known)}"
        raise StageError(f"asynchronous: '{broker}' is not a broker; {meant}")
    if broker is None:
        if len(known) > 1 and BROKER not in known:
            raise StageError(
                f"asynchronous: {', '.join(known)} were found; expected the name of one of them"
            )
        broker = known[0] if len(known) == 1 else BROKER
    data = system.to_dict()
    if not known:
        place = system.services[publishers[0]].infrastructure
        data["brokers"] = {broker: {"infrastructure": place, "ack": {"mean_ms": ACK_MS}}}
    for step in _steps(data):
        if step.get("deferrable") and step.get("via") is None:
            step["via"] = broker
    return _valid("asynchronous", data)


def separated(
    system: System,
    by: str | Mapping[str, str] = "team",
    rtt_ms: float = 20.0,
    jitter_cv: float = 0.1,
    allow_calls: bool = False,
) -> System:
    """What is reached by messages alone moves away to an infrastructure of its own.

    Services that call each other stay together: calls that stay synchronous should stay close.
    A group of them moves only if no flow begins in it, and to the infrastructure of the team of
    its service that takes the messages (`by="team"`). A mapping from service to infrastructure
    moves exactly what it names. Brokers stay where they are, next to what the user waits for.
    New pairs of infrastructures get a link with `rtt_ms` and `jitter_cv`.

    A call that would cross is refused, unless `allow_calls`; then, by team, every service moves
    to its team's infrastructure. A service without an owner is refused, also one that stays:
    from here on nobody is responsible for everything.
    """
    if without := unowned(system):
        raise StageError(f"separated: {without[0]}; name the owner before separating")
    homes = _by_team(system, allow_calls) if by == "team" else _by_mapping(system, by)
    moved = {
        name: home for name, home in homes.items() if home != system.services[name].infrastructure
    }
    if not moved:
        raise StageError(
            "separated: nothing can move, since a synchronous call ties every service to one where "
            "a flow begins; expected one reached by messages alone; make it asynchronous first"
        )
    data = system.to_dict()
    for name, home in moved.items():
        data["services"][name]["infrastructure"] = home
        data["infrastructures"].setdefault(home, {})
    network = data.setdefault("network", {})
    links = network.setdefault("between", [])
    known = {frozenset(link["ends"]) for link in links}
    new: list[dict[str, Any]] = [
        {"ends": list(pair), "rtt_ms": rtt_ms, "jitter_cv": jitter_cv}
        for pair in combinations(data["infrastructures"], 2)
        if frozenset(pair) not in known
    ]
    network["between"] = links + new
    result = _valid("separated", data)
    used = {frozenset(pair) for entry in result.steps() for pair in result.crossings(entry)}
    network["between"] = links + [link for link in new if frozenset(link["ends"]) in used]
    result = _valid("separated", data)
    if not allow_calls:
        _refuse_far_calls(system, result)
    return result


ROAD: dict[str, Callable[..., System]] = {
    "synchronous": synchronous,
    "asynchronous": asynchronous,
    "separated": separated,
}


def at(system: System, stage: str) -> System:
    """The system at a stage of the road: every stage up to it applied in turn."""
    if stage not in ROAD:
        near = difflib.get_close_matches(stage, ROAD, 1)
        meant = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(ROAD)}"
        raise StageError(f"stage: '{stage}' is not a stage; {meant}")
    for name, apply in ROAD.items():
        system = apply(system)
        if name == stage:
            break
    return system


def _checked(system: Any) -> System:
    if not isinstance(system, System):
        raise StageError(
            f"system: {type(system).__name__} was given; expected a System; load it with System.load"
        )
    return system


def unowned(system: System) -> tuple[str, ...]:
    """The services that no team owns, one sentence each."""
    return tuple(
        f"services.{name}.team: nothing was found; expected the team that owns it"
        for name, service in _checked(system).services.items()
        if service.team is None
    )


def _by_team(system: System, everything: bool) -> dict[str, str]:
    """Where each service goes, if every team gets an infrastructure of its own."""
    teams = {name: str(service.team) for name, service in system.services.items()}
    if everything:
        return teams
    tied = {name: {name} for name in system.services}
    fixed: set[str] = set()  # services where a flow begins
    takers: list[str] = []  # services that take messages
    for entry in system.steps():
        service = entry.step.service
        if entry.parent is None:
            fixed.add(service)
        elif entry.mode == "message":
            takers.append(service)
        elif service not in tied[entry.parent.step.service]:
            group = tied[service] | tied[entry.parent.step.service]
            for name in group:
                tied[name] = group
    homes: dict[str, str] = {}
    for taker in takers:
        if taker not in homes and not tied[taker] & fixed:
            homes.update(dict.fromkeys(tied[taker], teams[taker]))
    return homes


def _by_mapping(system: System, by: str | Mapping[str, str]) -> dict[str, str]:
    if not isinstance(by, Mapping):
        raise StageError(
            f"separated: by: {by!r} was found; expected 'team' or a mapping from service to "
            "infrastructure"
        )
    for name in by:
        if name not in system.services:
            near = difflib.get_close_matches(str(name), system.services, 1)
            meant = f"did you mean '{near[0]}'?" if near else "expected a service of the system"
            raise StageError(f"separated: by: {str(name)!r} is not a service; {meant}")
    return dict(by)


def _refuse_far_calls(before: System, after: System) -> None:
    for old, new in zip(before.steps(), after.steps(), strict=True):
        if new.mode == "call":
            (here, there), was = after.crossings(new)[0], before.crossings(old)[0]
            if here != there and was[0] == was[1]:
                raise StageError(
                    f"separated: {new.path} would be called from '{here}' in '{there}' while the "
                    "caller waits; expected calls inside one infrastructure; keep the two services "
                    "together or make it a message (allow_calls=True separates them all the same)"
                )


def _steps(data: dict) -> Iterator[dict[str, Any]]:
    """Every step of a system's data but the first of each flow, to be changed in place."""
    waiting = [flow["root"] for flow in data["flows"].values()]
    while waiting:
        below = waiting.pop().get("then", [])
        yield from below
        waiting.extend(below)


def _valid(stage: str, data: dict) -> System:
    try:
        return System.model_validate(data)
    except InvalidSystem as error:
        raise StageError(f"{stage}: {error.faults[0]}") from None
