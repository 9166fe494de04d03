"""Chapter 1: the eight saga patterns as three choices, built from the same participants.

Communication (synchronous or asynchronous), consistency (atomic or eventual) and coordination
(orchestrated or choreographed) make eight patterns: N. Ford, M. Richards, P. Sadalage and
Z. Dehghani, "Software Architecture: The Hard Parts", O'Reilly 2021, chapter 12.

`pattern` builds any of them as a System dictionary; `measure` runs one; `RATINGS` are the book's
ratings, as two public transcriptions give them. Assumed here, and not taken from the book:

* Every participant's step is one local transaction. Eventual: it is visible at once, and undone by
  compensation. Atomic: it is prepared, stays locked, and commits or is released in a second round.
* Synchronous sagas go one participant after the other, asynchronous orchestrated ones to all at
  once, asynchronous choreographed ones along a chain of events.
* An eventual saga answers its user when the first service is done; an atomic one when everything
  is committed, for it has promised that nobody sees less.
* An asynchronous orchestrator that waits for answers keeps its state in a store and holds no
  worker; a question and its answer are two messages through the broker.
* Locks are held but do not collide: two sagas never want the same record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, prod
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from models.engine.plan import MESSAGE
from models.engine.reference import OK, Simulation
from models.experiment import student
from models.system import Located, System

Workers = int | Literal["unlimited"]

# name: communication, consistency, coordination
PATTERNS = {
    "Epic": ("synchronous", "atomic", "orchestrated"),
    "Phone Tag": ("synchronous", "atomic", "choreographed"),
    "Fairy Tale": ("synchronous", "eventual", "orchestrated"),
    "Time Travel": ("synchronous", "eventual", "choreographed"),
    "Fantasy Fiction": ("asynchronous", "atomic", "orchestrated"),
    "Horror Story": ("asynchronous", "atomic", "choreographed"),
    "Parallel": ("asynchronous", "eventual", "orchestrated"),
    "Anthology": ("asynchronous", "eventual", "choreographed"),
}

LEVELS = ("Very low", "Low", "Medium", "High", "Very high")
AXES = ("coupling", "complexity", "responsiveness", "scale")
# Ford et al. 2021, ch. 12, from public transcriptions. Where these differ, all readings are given.
RATINGS = {
    "Epic": (("Very high", "High"), ("Low", "High"), ("Low",), ("Very low",)),
    "Phone Tag": (("High",), ("High",), ("Low",), ("Low", "High")),
    "Fairy Tale": (("High",), ("Very low",), ("Medium",), ("High",)),
    "Time Travel": (("Medium",), ("Low", "High"), ("Medium",), ("High", "Medium")),
    "Fantasy Fiction": (
        ("High",),
        ("High", "Medium"),
        ("Low", "Medium"),
        ("Low", "Medium"),
    ),
    "Horror Story": (
        ("Medium", "High", "Very high"),
        ("Very high",),
        ("Low",),
        ("Medium", "Low"),
    ),
    "Parallel": (("Low",), ("Low",), ("High",), ("High",)),
    "Anthology": (("Very low",), ("High",), ("High",), ("Very high",)),
}
# Axis, what is measured for it, and whether more of it means a higher rating.
MEASURES = (
    ("coupling", "needed", True),
    ("responsiveness", "answer_ms", False),
    ("scale", "capacity_per_s", True),
    ("scale", "one_record_per_s", True),
)


@dataclass(frozen=True)
class Participant:
    """One local transaction: mean `work_ms`, `undo_ms`, `commit_ms`; it fails with `fails`."""

    name: str
    work_ms: float = 20.0
    undo_ms: float = 10.0
    commit_ms: float = 5.0
    fails: float = 0.02
    workers: Workers = 8


NAMES = ("stock", "payment", "invoice", "loyalty", "shipping")


def participants(n: int = 5, **same) -> tuple[Participant, ...]:
    """`n` participants alike but for their names."""
    names = [NAMES[i] if i < len(NAMES) else f"service {i + 1}" for i in range(n)]
    return tuple(Participant(name, **same) for name in names)


MOST_FAILS = 0.99  # of a participant; where one always fails, no saga has an answer


class Own(NamedTuple):
    """The saga of a system: what is undone in `flow`, and who starts it all.

    `participants` are the steps that can be undone, each as a service of its own with the workers
    of its service. `coordinator` is the nearest step above all of them. `figures` are those of the
    chapter's parameters that are not of single participants.
    """

    flow: str
    coordinator: Located
    participants: tuple[Participant, ...]
    figures: dict[str, Any]


def from_system(system: System, assumed: Participant) -> Own | None:
    """The saga of the flow with the most steps that can be undone, the first step not counted.

    None if no flow has two. What a file does not say is `assumed`: the commit, and how often a
    participant fails where none of them ever does.
    """
    sagas = {
        flow: [entry for entry in system.steps(flow)[1:] if entry.step.undo is not None]
        for flow in system.flows
    }
    flow, entries = max(sagas.items(), key=lambda saga: len(saga[1]))
    if len(entries) < 2:
        return None
    above = [_above(entry) for entry in entries]
    coordinator = next(entry for entry in above[0] if all(entry in others for others in above))
    ever = any(entry.step.fails for entry in entries)
    people = tuple(
        Participant(
            name,
            entry.step.work.mean_ms,
            entry.step.undo.mean_ms if entry.step.undo else 0.0,
            assumed.commit_ms,
            min(entry.step.fails, MOST_FAILS) if ever else assumed.fails,
            system.services[entry.step.service].workers,
        )
        for name, entry in zip(_names(entries), entries, strict=True)
    )
    here = system.services[coordinator.step.service]
    places = [system.services[entry.step.service].infrastructure for entry in entries]
    figures: dict[str, Any] = {
        "participants": len(people),
        "coordinator_ms": coordinator.step.work.mean_ms,
        "coordinator_workers": here.workers,
        "rtt_ms": sum(_trip_ms(system, here.infrastructure, place) for place in places)
        / len(places),
    }
    if rate_per_s := system.flows[flow].mean_rate_per_s:
        figures["rate_per_s"] = rate_per_s
    if system.brokers:
        figures["ack_ms"] = next(iter(system.brokers.values())).ack.mean_ms
    return Own(flow, coordinator, people, figures)


def _names(entries: Sequence[Located]) -> list[str]:
    """A service's name for each step: its key, as far as that may be one and none has it yet."""
    names: list[str] = []
    for entry in entries:
        name = entry.key.replace("#", " ")[:80]
        while name in (*names, "coordinator", "relay"):
            name += " step"
        names.append(name)
    return names


def _above(entry: Located) -> list[Located]:
    above = []
    while entry.parent is not None:
        entry = entry.parent
        above.append(entry)
    return above


def _trip_ms(system: System, here: str, there: str) -> float:
    """The round trip between two infrastructures; without a link, as inside one."""
    try:
        return system.round_trip(here, there)[0]
    except KeyError:
        return system.network.within_ms


def pattern(
    communication: str,
    consistency: str,
    coordination: str,
    participants: Sequence[Participant],
    rate_per_s: float = 60.0,
    rtt_ms: float = 1.0,
    ack_ms: float = 2.0,
    coordinator_ms: float = 2.0,
    coordinator_workers: Workers = 16,
) -> dict:
    """A saga pattern as a dictionary for `System.model_validate`.

    All eight are made of the same participants; a step keeps its name in all of them, and with it
    its random numbers. ValueError for a choice that does not exist or no participants.
    """
    if (choices := (communication, consistency, coordination)) not in PATTERNS.values():
        raise ValueError(f"{choices}: no such pattern; expected one of {list(PATTERNS.values())}")
    if not participants:
        raise ValueError("participants: none; a saga needs at least one")
    name = name_of(*choices)
    root = _ROOTS[choices](participants, coordinator_ms, ack_ms)
    waits_in_store = choices == PATTERNS["Fantasy Fiction"]
    services = {p.name: {"infrastructure": "here", "workers": p.workers} for p in participants}
    if coordination == "orchestrated":
        workers = "unlimited" if waits_in_store else coordinator_workers
        services["coordinator"] = {"infrastructure": "here", "workers": workers}
    if waits_in_store:
        services["relay"] = {"infrastructure": "here"}
    asynchronous = communication == "asynchronous" and not waits_in_store
    broker = {"infrastructure": "here", "ack": _fixed(ack_ms)}
    return {
        "name": f"{name} saga",
        "infrastructures": {"here": {}},
        "network": {"within_ms": rtt_ms},
        "brokers": {"events": broker} if asynchronous else {},
        "services": services,
        "flows": {"saga": {"rate_per_s": rate_per_s, "root": root}},
        "assumed": ["all times, rates and numbers of workers"],
    }


def name_of(communication: str, consistency: str, coordination: str) -> str:
    """The name that Ford et al. gave to these three choices."""
    return {choices: name for name, choices in PATTERNS.items()}[
        communication, consistency, coordination
    ]


def _fixed(mean_ms):
    return {"distribution": "deterministic", "mean_ms": mean_ms}


def _do(p, *then, atomic=False, **how):
    """A participant's own transaction. An atomic one that is given up on is only released."""
    undo_ms = p.commit_ms if atomic else p.undo_ms
    return {
        "service": p.name,
        "work": {"mean_ms": p.work_ms},
        "undo": {"mean_ms": undo_ms},
        "fails": p.fails,
        "then": list(then),
        **how,
    }


def _commit(p, *then, **how):
    """The second round of an atomic saga at one participant."""
    work = {"mean_ms": p.commit_ms}
    return {
        "service": p.name,
        "name": f"commit {p.name}",
        "work": work,
        "then": list(then),
        **how,
    }


def _coordinator(name, *then, work_ms=0.0, **how):
    work = {"mean_ms": work_ms} if work_ms else _fixed(0.0)
    return {
        "service": "coordinator",
        "name": name,
        "work": work,
        "then": list(then),
        **how,
    }


def _fairy_tale(people, coordinator_ms, ack_ms):
    """Call one participant after the other; the coordinator's worker waits all that time."""
    return _coordinator("saga", *(_do(p) for p in people), work_ms=coordinator_ms)


def _parallel(people, coordinator_ms, ack_ms):
    """Send every participant its order at once and answer; they report back by message."""

    def note(p):
        return _coordinator(f"note {p.name}", work_ms=coordinator_ms, via="events")

    orders = (_do(p, note(p), via="events") for p in people)
    return _coordinator("saga", *orders, work_ms=coordinator_ms, in_parallel=True)


def _time_travel(people, coordinator_ms, ack_ms):
    """Every participant calls the next."""
    step = None
    for p in reversed(people):
        step = _do(p, *([step] if step else []))
    return step


def _anthology(people, coordinator_ms, ack_ms):
    """Every participant tells the next by an event."""
    step = _do(people[-1], via="events")
    for p in reversed(people[1:-1]):
        step = _do(p, step, via="events")
    return _do(people[0], step) if len(people) > 1 else _do(people[0])


def _epic(people, coordinator_ms, ack_ms):
    """Call all to prepare, then call all to commit."""
    prepare = [_do(p, atomic=True) for p in people]
    decide = _coordinator("decide", *(_commit(p) for p in people))
    return _coordinator("saga", *prepare, decide, work_ms=coordinator_ms)


def _phone_tag(people, coordinator_ms, ack_ms):
    """Prepare along a chain of calls, then commit along it."""
    prepare = commit = None
    for p in reversed(people[1:]):
        prepare = _do(p, *([prepare] if prepare else []), atomic=True)
        commit = _commit(p, *([commit] if commit else []))
    first = _commit(people[0], *([commit] if commit else []))
    return _do(people[0], *([prepare] if prepare else []), first, atomic=True)


def _fantasy_fiction(people, coordinator_ms, ack_ms):
    """Ask all at once through the broker to prepare; when all have answered, to commit."""

    def ask(name, step):
        return {
            "service": "relay",
            "name": name,
            "work": _fixed(2 * ack_ms),
            "then": [step],
        }

    prepare = (ask(f"ask {p.name}", _do(p, atomic=True)) for p in people)
    commit = (ask(f"tell {p.name}", _commit(p)) for p in people)
    return _coordinator(
        "saga",
        _coordinator("prepare", *prepare, in_parallel=True),
        _coordinator("decide", *commit, in_parallel=True),
        work_ms=coordinator_ms,
    )


def _horror_story(people, coordinator_ms, ack_ms):
    """Prepare along a chain of events, commit along the same chain backwards."""
    step = None
    for p in people[:-1]:
        step = _commit(p, *([step] if step else []), via="events")
    step = _commit(people[-1], *([step] if step else []))
    for p in reversed(people[1:]):
        step = _do(p, step, atomic=True, via="events")
    return _do(people[0], step, atomic=True)


_ROOTS = dict(
    zip(
        PATTERNS.values(),
        (
            _epic,
            _phone_tag,
            _fairy_tale,
            _time_travel,
            _fantasy_fiction,
            _horror_story,
            _parallel,
            _anthology,
        ),
        strict=True,
    )
)


# Closed forms


def commit_probability(fails: Sequence[float]) -> float:
    """P(all local transactions commit), each failing with its own probability by itself."""
    return prod(1 - p for p in fails)


def undone_sequential(fails: Sequence[float]) -> float:
    """Mean compensations per saga, one step after the other, in this order.

    The sum over k of k times the chance that the first k commit and the next one fails.
    """
    return sum(k * commit_probability(fails[:k]) * p for k, p in enumerate(fails))


def undone_parallel(fails: Sequence[float]) -> float:
    """Mean compensations per saga, all steps at once.

    Every step that commits is undone unless all commit.
    """
    return sum(1 - p for p in fails) - len(fails) * commit_probability(fails)


def fairy_tale_capacity_per_s(
    people: Sequence[Participant],
    coordinator_ms: float,
    coordinator_workers: Workers,
    rtt_ms: float,
) -> float:
    """The most sagas per second without failures: workers / time that one saga holds one."""
    held_ms = coordinator_ms + sum(p.work_ms + rtt_ms for p in people)
    pairs = [(coordinator_workers, held_ms), *((p.workers, p.work_ms) for p in people)]
    return min(_per_s(workers, ms) for workers, ms in pairs)


def _per_s(workers: Workers, held_ms: float) -> float:
    return inf if workers == "unlimited" or held_ms == 0 else 1000 * workers / held_ms


# Measurements


class Recorder(Simulation):
    """The book's SimPy model that also notes when each local transaction was done."""

    def __init__(self, *args):
        super().__init__(*args)
        self.commits = {}

    def commit(self, step, job):
        if step.undo is not None:
            self.commits.setdefault(id(job.request), []).append(self.env.now)
        super().commit(step, job)


def records(system, requests: int = 4000, seed: int = 1, warmup: float = 0.1) -> pd.DataFrame:
    """A row a saga: `held_ms` is the sum over participants of (end of saga - own commit),
    `half_done_ms` the time from the first commit to the end of the saga; `ok` its outcome."""
    run = Recorder(system.plan(), requests, seed, int(warmup * requests))
    rows = []
    for request in run.run().requests:
        done_ms = run.commits.get(id(request), [])
        if request.counted:
            held_ms = [request.completed_ms - at for at in done_ms]
            rows.append((sum(held_ms), max(held_ms, default=0.0), request.outcome == OK))
    return pd.DataFrame(rows, columns=["held_ms", "half_done_ms", "ok"])


def needed(name: str, system) -> int:
    """Services and brokers that all have to work before the user has an answer."""
    plan = system.plan()
    if name in ("Fantasy Fiction", "Horror Story"):  # the relay stands for the broker
        return len(plan.services) + len(system.brokers)
    waited_for, broker = set(), 0
    pending = [plan.flows[0].root]
    while pending:
        step = plan.steps[pending.pop()]
        if step.mode == MESSAGE:
            broker = 1
        else:
            waited_for.add(step.service)
            pending += step.children
    return len(waited_for) + broker


def answers_at(name: str) -> str:
    """Which time of a request is its user's answer. A chain of events has nobody who could wait
    for it and reply, so an atomic one answers when it has ended."""
    return "completed" if name == "Horror Story" else "replied"


def measure(
    name: str, system, replications: int = 5, requests: int = 20_000, seed: int = 1
) -> pd.DataFrame:
    """A pattern's means with 95 % half widths: a row a metric, columns mean and half_width.

    `answer_ms`, `answer_p99_ms`, `done_ms`, `done_p99_ms`; `window_ms`, from the answer to the end
    (an atomic saga shows nothing half done); `undone` steps and `failed_share` per saga;
    `held_ms`, record-milliseconds per saga, and `half_done_ms`, see `records`.
    """
    from models.experiment import replicate

    answer = "completion" if answers_at(name) == "completed" else "response"
    names = {
        "answer_ms": f"{answer}_mean_ms",
        "answer_p99_ms": f"{answer}_p99_ms",
        "done_ms": "completion_mean_ms",
        "done_p99_ms": "completion_p99_ms",
        "window_ms": "inconsistency_mean_ms",
        "undone": "undone_mean",
        "failed_share": "failed_share",
    }
    table = replicate(system, replications, requests=requests, seed=seed, jobs=1)
    table = table[table.flow == "saga"].set_index("metric")[["mean", "half_width"]]
    rows = {new: table.loc[old] for new, old in names.items()}
    if PATTERNS[name][1] == "atomic":
        rows["window_ms"] = rows["window_ms"] * 0
    held = records(system, sagas_recorded(requests), seed)
    for column in ("held_ms", "half_done_ms"):
        rows[column] = pd.Series(_mean(held[column]), table.columns)
    return pd.DataFrame(rows).T


def sagas_recorded(requests: int) -> int:
    """Sagas of the one run that is followed record by record, which is slower."""
    return max(1000, requests // 10)


def _mean(values, batches=20):
    """Mean and 95 % half width from the means of consecutive batches."""
    means = [part.mean() for part in np.array_split(np.asarray(values), batches)]
    return np.mean(means), student(batches) * np.std(means, ddof=1)


def one_record_per_s(name: str, people: Sequence[Participant], held_ms: float) -> float:
    """The most sagas per second if all want the same records: 1 / time that a record is locked.

    Eventual: for the longest local transaction. Atomic: for the local transaction, and then
    `held_ms` / n on average, until the saga's end.
    """
    if PATTERNS[name][1] == "eventual":
        return _per_s(1, max(p.work_ms for p in people))
    return _per_s(1, (sum(p.work_ms for p in people) + held_ms) / len(people))


def capacity_per_s(
    system, replications: int = 5, requests: int = 20_000, seed: int = 1
) -> tuple[float, float, str | None]:
    """The most sagas per second, its 95 % half width, and the service that sets it, if one does.

    Every service with a limit: workers / time that one saga holds one of them (Little's law), from
    runs at almost no load. An upper bound where a worker is held for calls that may have to wait.
    """
    from models.experiment import simulate

    total_ms = sum(entry.step.work.mean_ms for entry in system.steps())
    idle = system.with_("flows.saga.rate_per_s", 10 / max(total_ms, 1.0)).plan()
    limits = []
    for number in range(replications):
        run = simulate(idle, requests=requests, seed=seed + (number << 32), keep="summary")
        sagas_per_ms = run.counted / (run.window_ms[1] - run.window_ms[0])
        busy = run.services.set_index("service").utilisation.dropna()  # none where unlimited
        limits.append(1000 * sagas_per_ms / busy[busy > 0])
    by_service = pd.DataFrame(limits)
    if by_service.empty:
        return inf, 0.0, None
    tightest = by_service.mean().idxmin()
    mean, half_width = _mean(by_service[tightest], replications)
    return float(mean), float(half_width), str(tightest)


def ratings() -> pd.DataFrame:
    """The published ratings: a row a pattern, a column an axis; differing readings with a slash."""
    return pd.DataFrame(
        [
            {
                "pattern": name,
                "choices": ", ".join(choices),
                **{a: " / ".join(r) for a, r in zip(AXES, RATINGS[name], strict=True)},
            }
            for name, choices in PATTERNS.items()
        ]
    )


def order(measured: pd.DataFrame, tie: float = 0.05) -> pd.DataFrame:
    """Every pair of patterns on every measured axis: does its order agree with the ratings?

    `measured` has a row a pattern (its index) and the columns of `MEASURES`. The `result` is
    `agree`; `contrary`; `not separated` where the values differ by less than `tie` of the larger;
    `no order published` where the ratings are alike; `readings differ` where the transcriptions
    disagree about which is the higher. Columns: axis, measure, higher, lower (by rating), value_higher,
    value_lower, differ (the choices in which the two differ), result.
    """
    values: dict[str, dict[str, float]] = measured.to_dict()  # type: ignore[assignment]
    rows = []
    for axis, column, rising in MEASURES:
        for a, b in combinations(PATTERNS, 2):
            one, two = ([LEVELS.index(r) for r in RATINGS[x][AXES.index(axis)]] for x in (a, b))
            signs = {int(np.sign(i - j)) for i in one for j in two}
            higher, lower = (a, b) if one[0] >= two[0] else (b, a)
            high, low = values[column][higher], values[column][lower]
            if signs == {0}:
                result = "no order published"
            elif len(signs) > 1:
                result = "readings differ"
            elif high == low or abs(high - low) <= tie * max(high, low) < inf:
                result = "not separated"
            else:
                result = "agree" if (high > low) == rising else "contrary"
            choices = ("communication", "consistency", "coordination")
            differ = ", ".join(
                c for c, x, y in zip(choices, PATTERNS[a], PATTERNS[b], strict=True) if x != y
            )
            rows.append((axis, column, higher, lower, high, low, differ, result))
    names = [
        "axis",
        "measure",
        "higher",
        "lower",
        "value_higher",
        "value_lower",
        "differ",
        "result",
    ]
    return pd.DataFrame(rows, columns=names)


def reason(measure: str, higher: str, lower: str) -> str:
    """Why the model does not separate two patterns, or orders them against their ratings."""
    atomic = {name for name, choices in PATTERNS.items() if choices[1] == "atomic"}
    one, two = PATTERNS[higher], PATTERNS[lower]
    if measure == "needed":
        return (
            "The count knows only who must be up for an answer. The rating also counts what the "
            "services must know of each other and of the transaction."
        )
    if measure == "answer_ms":
        return "The rating counts how long an answer may fail to come; the model counts its time."
    if measure == "one_record_per_s":
        if not {higher, lower} & atomic:
            return (
                "An eventual saga locks a record for one local transaction, whoever talks to whom."
            )
        return (
            "Both lock their records until the end, and the end is no sooner: a chain passes all "
            "participants one after the other, by calls or by events."
        )
    if one[0] == two[0] == "synchronous":
        return (
            "The worker at the start of the saga is held to its end, and sets the capacity: the "
            "coordinator's, or the first participant's. Whichever of the two has more workers wins."
        )
    if two[0] == "asynchronous" and lower in atomic and one[0] == "synchronous":
        return (
            "Who sends messages holds no worker while it waits, and the model's locks do not "
            "collide. The rating expects them to: see the measure of one record."
        )
    return (
        "Each participant works as long per saga in both, so workers carry as many sagas; commits "
        "and notes are short beside the work."
    )
