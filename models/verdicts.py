"""What a system file by itself says about the claims of the road.

Four ways lead to an answer: who needs whom, the mean loads, the stages that can be reached, and a
short simulation of two stages on the same requests. A claim that depends on anything else (how a
service is restarted, how often something fails, what undoing costs) gets no verdict here, and says
on what it depends.
"""

from collections.abc import Callable
from dataclasses import dataclass

from models import outages, publish, stages
from models.experiment import compare
from models.system import System

FAR_MS = 33.0  # round trip to a far region, as in chapter 2

BEYOND = {
    "sync-forces-closeness": "the response that its users accept, which it does not state",
    "sync-deploys-independently": "how many instances a service has and how they are restarted",
    "async-producer-done": "what the producer's buffer and the broker's retention hold",
    "async-same-infra-ok": "how noisy its neighbours are and how often an infrastructure fails",
    "separate-other-division": "the limits and maintenance windows of the other division",
    "separate-hybrid": "the line to the premises and its outages",
    "separate-critical": "which flow is the most important, and how often infrastructures fail",
    "owner-known": "how incidents are routed between teams, and how many there are",
    "soak-first": "hidden defects and what undoing costs; see `decouple gate`",
    "road-in-stages": "hidden defects and what undoing costs; see `decouple gate`",
    "separation-makes-silos": "how often teams and rules change",
    "mesh-observes": "telemetry and alerts",
    "mesh-mtls": "certificates, and what a proxy costs",
    "mesh-canary": "releases and how many of them are bad",
    "mesh-breaker": "how a dependency fails, and for how long",
    "sos-governed": "rates of failure and costs besides; see `decouple road`",
}


@dataclass(frozen=True)
class Verdict:
    """`holds` is None where the file does not decide; `evidence` then says what would."""

    id: str
    holds: str | None
    evidence: str
    edge: str = ""


def verdicts(
    system: System, replications: int = 5, requests: int = 20_000, seed: int = 1
) -> list[Verdict]:
    """One for each claim, in the order of the chapters."""
    decided: dict[str, Callable[[System], Verdict]] = {
        "sync-latency-fatal": latency,
        "async-tolerates-latency": lambda it: tolerates(it, replications, requests, seed),
        "async-own-pace": pace,
        "async-permits-separation": permits,
        "async-isolates-faults": isolates,
        "shared-fate": fate,
        "separation-contains": contains,
    }
    found = []
    for id in sorted(publish.claims(), key=lambda id: publish.claims()[id]["chapter"]):
        if id in BEYOND:
            found.append(
                Verdict(id, None, f"does not depend on the file alone, but on {BEYOND[id]}")
            )
            continue
        try:
            found.append(decided[id](system))
        except stages.StageError as error:
            found.append(Verdict(id, None, f"cannot be asked: {error}"))
    return found


def latency(system: System) -> Verdict:
    """Mean loads with every message a call, here and with every round trip a far one."""
    near = stages.synchronous(system)
    network = near.to_dict().get("network", {})
    far = near.to_dict() | {
        "network": network
        | {
            "within_ms": FAR_MS,
            "between": [link | {"rtt_ms": FAR_MS} for link in network.get("between", [])],
        }
    }
    held = [fullest(each) for each in (near, System.model_validate(far))]
    (_, before), (name, after) = held
    evidence = (
        f"With calls only, the fullest service has {percent(before)} of its workers held; with round "
        f"trips of {FAR_MS:g} ms it is {name}, with {percent(after)} (mean times, nobody queues)."
    )
    edge = "At 100 % the queue grows without end; more workers help that, and not the time."
    return Verdict(
        "sync-latency-fatal", "holds" if after >= 1 > before else "holds only if", evidence, edge
    )


def tolerates(system: System, replications: int, requests: int, seed: int) -> Verdict:
    """The same requests at the asynchronous and the separated stage."""
    near = stages.at(system, "asynchronous")
    far = stages.separated(near)
    rows = compare(
        near, far, replications, requests, seed, ["response_mean_ms", "completion_mean_ms"]
    )
    changes: dict[str, dict[str, tuple[float, float]]] = {}
    for row in rows[rows.flow != "all"].to_dict("records"):
        changes.setdefault(row["metric"], {})[row["flow"]] = (row["mean"], row["half_width"])
    answers, ends = changes["response_mean_ms"], changes["completion_mean_ms"]
    worst, latest = (max(each, key=lambda flow: each[flow][0]) for each in (answers, ends))

    def words(change):
        return publish.number(round(change[0], 3), "ms", round(change[1], 3))

    link = max(link.rtt_ms for link in far.network.between)
    spared = all(mean - half_width <= 0.1 * link for mean, half_width in answers.values())
    return Verdict(
        "async-tolerates-latency",
        "holds only if" if spared else "does not hold here",
        f"With consumers {link:g} ms away the mean answer changes by at most "
        f"{words(answers[worst])} ({worst}).",
        f"Completion pays: it is later by up to {words(ends[latest])} ({latest}).",
    )


def pace(system: System) -> Verdict:
    """Whether those who take messages have the capacity, and how fast they catch up."""
    apart = stages.at(system, "asynchronous")
    takers = {entry.step.service for entry in apart.steps() if entry.mode == "message"}
    name, load = fullest(apart, takers)
    edge = "The average capacity must exceed the average rate; at equality nothing is ever drained."
    if not load:
        return Verdict(
            "async-own-pace", "holds", "Whoever takes messages has workers without limit.", edge
        )
    if load >= 1:
        evidence = (
            f"{name} would need {percent(load)} of its workers: its backlog grows without end."
        )
        return Verdict("async-own-pace", "does not hold here", evidence, edge)
    evidence = (
        f"Of the services that take messages {name} is the fullest, with {percent(load)}. An hour of "
        f"its outage is worked off in {publish.number(60 * load / (1 - load), 'minutes')} (formula)."
    )
    return Verdict("async-own-pace", "holds only if", evidence, edge)


def permits(system: System) -> Verdict:
    before = stages.at(system, "asynchronous")
    after = stages.separated(before)
    moved = [
        name
        for name, service in after.services.items()
        if service.infrastructure != before.services[name].infrastructure
    ]
    stay = len(after.services) - len(moved)
    return Verdict(
        "async-permits-separation",
        "holds only if" if stay else "holds",
        f"{len(moved)} of {len(after.services)} services can move: {', '.join(moved)}.",
        f"{stay} stay where users wait for them.",
    )


def isolates(system: System) -> Verdict:
    """How many flows lose their answer when one service is down, as a call and as a message."""
    calls, messages = stages.synchronous(system), stages.at(system, "asynchronous")
    before, after = (lost(each, "service") for each in (calls, messages))
    freed = [name for name in before if before[name] > after[name]]
    still = [name for name in after if after[name] > 0]
    return Verdict(
        "async-isolates-faults",
        "holds only if" if freed else "does not hold here",
        f"One service down stops {percent(mean(before))} of the flows on average where all is called, "
        f"and {percent(mean(after))} with messages; {len(freed)} of {len(before)} stop fewer.",
        f"Still waited for: {', '.join(still) or 'none'}.",
    )


def fate(system: System) -> Verdict:
    """What falls with the infrastructure that most depends on."""
    found = lost(system, "infrastructure")
    name = max(found, key=lambda name: found[name])
    return Verdict(
        "shared-fate",
        "holds" if found[name] == 1 else "holds only if",
        f"{name} down stops {percent(found[name])} of the flows.",
        "Services may be on one infrastructure and have users that never need it.",
    )


def contains(system: System) -> Verdict:
    """The same before and after separation, one infrastructure at a time."""
    before = lost(stages.at(system, "asynchronous"), "infrastructure")
    after = lost(stages.at(system, "separated"), "infrastructure")
    worst = max(after, key=lambda name: after[name])
    contained = [name for name, share in after.items() if share == 0]
    return Verdict(
        "separation-contains",
        "holds only if" if mean(after) < mean(before) else "does not hold here",
        f"An infrastructure that is down stops {percent(mean(before))} of the flows on average "
        f"before, {percent(mean(after))} after; {len(contained)} of {len(after)} stop no answer.",
        f"{worst} still stops {percent(after[worst])}. And what is shared by all (changes, identity, "
        "the mesh's own plane) is not in the file.",
    )


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
    return {name: mean([(kind, name) in answer for answer in answers]) for name in names}


def mean(values) -> float:
    values = list(values.values()) if isinstance(values, dict) else values
    return sum(values) / len(values)


def percent(share: float) -> str:
    return publish.number(100 * share, "%", digits=2)
