"""A system from what runs it: a Compose file or Kubernetes manifests, as far as they say what it is.

They say which services there are, how many replicas of each, where they run and who owns them, and
by depends_on and environment variables who may call whom. They do not say how often requests come,
how long work takes and what is called when: that is marked `FILL_IN`, which no kind of value takes,
so that `decouple check` names every place that is left. `models.compose` and `models.kube` read the
files; here is what both mean.

* A workload is a service, or a broker if its image is one of `PARTITIONED` or `QUEUES` (the last part
  of the image's name, without tag). Redis is a service: an image does not say whether its streams
  carry messages.
* Workers: as many as replicas. That each replica has one request in hand at a time is assumed, and
  said so in the file.
* Teams: the first label of `OWNERS`, in this order, also with a prefix before `/` or `.`
  (`com.example.team`), and last `PART_OF`, which names an application rather than a team.
* Calls: `depends_on`, and environment variables that name another workload's host, as `http://HOST`,
  `HOST:PORT`, also in lists, or alone where the variable's name ends with one of `ADDRESSES`. Values of
  variables are never shown, since there may be passwords among them.
* What a variable of OpenTelemetry names takes telemetry and no requests: it is left out.
* Requests arrive at workloads that nobody names.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.checks import FILL_IN, NAME, InvalidSystem, listed
from models.reading import MAX_BYTES, MAX_NESTING, MAX_STEPS, dump

PARTITIONED = {"kafka", "kafka-native", "cp-kafka", "cp-server", "redpanda"}
QUEUES = {
    "rabbitmq",
    "nats",
    "nats-streaming",
    "pulsar",
    "pulsar-all",
    "activemq",
    "activemq-classic",
    "activemq-artemis",
    "artemis",
    "eclipse-mosquitto",
    "emqx",
    "nsq",
}
REPEATED = (
    1000  # steps guessed, before what a service calls is no longer written in each flow again
)
MOST_GUESSED = 5000  # steps guessed, before no more are
STORES_OF_STREAMS = {"redis", "redis-stack-server", "valkey"}
OWNERS = ("team", "owner")
PART_OF = "app.kubernetes.io/part-of"
ADDRESSES = (
    "HOST", "HOSTS", "HOSTNAME", "ADDR", "ADDRESS", "URL", "URI", "SERVER", "SERVERS", "ENDPOINT",
    "SERVICE", "BROKER", "BROKERS", "NODES",
)  # fmt: skip
TELEMETRY = "OTEL_"  # begins the variables of OpenTelemetry, such as OTEL_EXPORTER_OTLP_ENDPOINT
_HOST = re.compile(  # not the user in user:password@host
    r"(?:^|[\s,;=|\"'\[({@]|//)([A-Za-z0-9][\w.-]*+)(?!:[^/\s@]{0,200}@)(?=(:\d|[/\s,;|\"'\])}?]|$))"
)


@dataclass
class Allowance:
    """Work that the files of one import may cause, in characters: small files can ask for a lot."""

    left: int = 2 * MAX_BYTES

    def take(self, number: int) -> None:
        self.left -= number
        if self.left < 0:
            raise InvalidSystem(
                f"files: more than {2 * MAX_BYTES:,} characters have to be looked at, with what is "
                "used again and again; expected fewer"
            )


@dataclass
class Workload:
    """What runs a service or a broker.

    `replicas` is None where that is not said; `counted` says where the number comes from. `named`:
    other workloads, by their keys, with where they are named.
    """

    name: str
    place: str
    team: str = ""
    owned: str = ""
    replicas: int | None = 1
    counted: str = "1 replica, since nothing else is said"
    images: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    named: dict[Any, list[str]] = field(default_factory=dict)

    @property
    def is_broker(self) -> bool:
        return any(image_name(image) in PARTITIONED | QUEUES for image in self.images)


@dataclass
class Draft:
    """A system with gaps: its data, what is said beside them, and what was left out of it."""

    data: dict
    comments: dict[tuple, str]
    left_out: tuple[str, ...] = ()

    def to_yaml(self) -> str:
        """A file for `decouple check`, which refuses it until it is filled in."""
        return dump(self.data, self.comments)

    def gaps(self) -> tuple[tuple, ...]:
        """The paths of what is still to be filled in."""
        return tuple(_gaps(self.data, ()))


def _gaps(data: Any, path: tuple) -> Iterator[tuple]:
    if data == FILL_IN:
        yield path
    elif isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        for key, value in items:
            yield from _gaps(value, (*path, key))


# What both kinds of manifests mean


def image_name(image: str) -> str:
    """`kafka` of `registry:5000/bitnami/kafka:3.7@sha256:...`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()


def owner(*labels: Mapping) -> tuple[str, str]:
    """(team, the label that says so), or two empty texts."""
    for word in OWNERS:
        for given in labels:
            keys = [key for key in given if re.split("[/.]", str(key))[-1] == word]
            for key in sorted(keys, key=lambda key: (key != word, str(key))):
                if text := plain(given[key]):
                    return text, f"label {plain(key)}"
    for given in labels:
        if text := plain(given.get(PART_OF)):
            return text, f"label {PART_OF}"
    return "", ""


def plain(value: Any) -> str:
    """A label's value as a short text on one line."""
    text = value if isinstance(value, str) else "" if value is None else str(value)[:200]
    return " ".join("".join(c if c.isprintable() else " " for c in text[:200]).split())


def hosts(variable: str, value: str) -> Iterator[str]:
    """The hosts that the value of an environment variable may name."""
    alone = variable.upper().rpartition("_")[2] in ADDRESSES and re.fullmatch(r"[\w.,; -]+", value)
    for found in _HOST.finditer(value):
        before = value.endswith(("//", "@", "host="), 0, found.start(1))
        if alone or before or found[2].startswith(":"):
            yield found[1]


def mapping(value: Any, place: str) -> Mapping:
    return _kind(value, Mapping, {}, "a mapping", place)


def sequence(value: Any, place: str) -> list:
    return _kind(value, list, [], "a list", place)


def text(value: Any, place: str) -> str:
    return _kind(value, str, "", "text", place)


def _kind(value: Any, kind: type, empty: Any, expected: str, place: str):
    """The value if it is of this kind; what is not said is empty. No value is shown."""
    if value is None:
        return empty
    if not isinstance(value, kind):
        kinds = ((str, "text"), (Mapping, "a mapping"), (list, "a list"), (bool, "true or false"))
        found = next((word for one, word in kinds if isinstance(value, one)), "a number")
        raise InvalidSystem(f"{place}: {found} was found; expected {expected}")
    return value


def count(value: Any, place: str) -> int:
    """A number of replicas. Raises InvalidSystem."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**9:
        found = _kind_word(value)
        raise InvalidSystem(f"{place}: {found} was found; expected a whole number of at least 0")
    return value


def _kind_word(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number of more than 40 digits" if abs(value) >= 10**40 else f"{value}"
    return plain(repr(value))[:60] if isinstance(value, str | bool) else "something else"


# The draft


def draft(
    name: str, source: str, workloads: dict[Any, Workload], left_out: Iterable[str], places: str
) -> Draft:
    """The system of these workloads. `places` says what its infrastructures are."""
    if len(workloads) > MAX_STEPS - MOST_GUESSED:
        raise InvalidSystem(f"{source}: {len(workloads):,} workloads were found; "
                            f"expected at most {MAX_STEPS - MOST_GUESSED:,}")  # fmt: skip
    workloads, dropped = _without_attendants(workloads)
    left_out = tuple(map(plain, (*left_out, *dropped)))
    names = _names(workloads)
    sites = _sites(workload.place for workload in workloads.values())
    brokers = {key for key, one in workloads.items() if one.is_broker}
    services = [key for key in workloads if key not in brokers]
    if not services:
        raise InvalidSystem(f"{source}: no services were found; expected at least one")
    calls = {
        key: [other for other in workloads[key].named if other in names and other not in brokers]
        for key in services
    }
    comments: dict[tuple, str] = {}
    flows, crossed = _flows(workloads, names, services, calls, comments)
    crossed |= {
        frozenset((workloads[key].place, workloads[other].place))
        for key in services
        for other in workloads[key].named
        if other in brokers
    }
    links = sorted(sorted(sites[end] for end in pair) for pair in crossed if len(pair) == 2)
    assumed = ["each replica has one request in hand at a time, so that workers are replicas"]
    if any(calls.values()):
        said = {
            word for key in services for where in workloads[key].named.values() for word in where
        }
        depends = "depends_on and " if "depends_on" in said else ""
        assumed += [f"who calls whom: guessed from {depends}environment variables"]
    network: dict[str, Any] = {"within_ms": FILL_IN}
    comments["network", "within_ms"] = "Round trip inside one infrastructure, in ms."
    if links:
        network["between"] = [{"ends": ends, "rtt_ms": FILL_IN} for ends in links]
        comments["network", "between"] = "Round trips between infrastructures, in ms."
    data = {
        "name": plain(name) or "system",
        "source": source,
        "assumed": assumed,
        "infrastructures": {site: {} for site in sites.values()},
        "network": network,
        "brokers": {names[key]: _broker(workloads[key], sites) for key in workloads if key in brokers},
        "services": {names[key]: _service(workloads[key], sites) for key in services},
        "flows": flows,
    }  # fmt: skip
    comments["infrastructures",] = places
    comments["assumed",] = "Correct what is not so, and take out what you have measured."
    users: dict[Any, list[str]] = {}
    for key in services:
        for other, where in workloads[key].named.items():
            users.setdefault(other, []).append(f"{names[key]} ({_where(where)})")
    for key, one in workloads.items():
        if key in brokers:
            comments["brokers", names[key]] = _about_broker(one, names[key], users.get(key, []))
        else:
            comments["services", names[key]] = _about_service(one)
    if not brokers:
        del data["brokers"]
    made = Draft(data, comments, left_out)
    comments[()] = _head(source, left_out, len(made.gaps()))
    return made


def _head(source: str, left_out: tuple[str, ...], gaps: int) -> str:
    lines = [
        f"Made from {source}. Not said there: how often requests come, how long work takes and what "
        f"is called when. That is marked {FILL_IN}, {gaps} times: `decouple check` names each place "
        "until nothing is left, and nothing runs before.",
        *(f"Left out: {sentence}." for sentence in left_out),
    ]
    return "\n".join(lines)


def _service(one: Workload, sites: Mapping[str, str]) -> dict:
    team = {"team": one.team} if one.team else {}
    return {"infrastructure": sites[one.place], **team, "workers": one.replicas or FILL_IN}


def _broker(one: Workload, sites: Mapping[str, str]) -> dict:
    partitioned = any(image_name(image) in PARTITIONED for image in one.images)
    partitions = {"partitions": FILL_IN} if partitioned else {}
    return {"infrastructure": sites[one.place], "ack": {"mean_ms": FILL_IN}, **partitions}


def _about_broker(one: Workload, name: str, users: list[str]) -> str:
    """What the manifests say of a broker, and what is to be found out."""
    words = [f"Image {', '.join(map(plain, one.images))}."]
    words += [f"Named by {listed(users)}."] if users else []
    words += [
        f"Which steps are messages is not said: write `via: {name}` on them. ack: its own time until "
        "it acknowledges a message, in ms."
    ]
    return " ".join([*words, *one.notes])


def _about_service(one: Workload) -> str:
    """The same of a service."""
    words = [f"Image {', '.join(map(plain, one.images))}."] if one.images else []
    counted = one.counted[0].upper() + one.counted[1:]
    words += [f"{counted}." if one.replicas else f"{counted}: how many workers?"]
    words += [f"Team from {one.owned}." if one.team else "No label names a team."]
    if any(image_name(image) in STORES_OF_STREAMS for image in one.images):
        words += ["If its streams carry messages, write it as a broker."]
    return " ".join([*words, *one.notes])


def _where(found: Iterable[str]) -> str:
    words = sorted(set(map(plain, found)))
    return ", ".join(words[:3]) + (", ..." if len(words) > 3 else "")


def _without_attendants(workloads: dict[Any, Workload]) -> tuple[dict[Any, Workload], list[str]]:
    """Without what only brokers name and names nothing else (ZooKeeper) and without what a variable
    of OpenTelemetry names (a collector, which no request waits for); nodes as one broker."""
    first: dict[tuple, Any] = {}
    of: dict[Any, Any] = {}
    for key, one in workloads.items():
        if one.is_broker:
            base = re.sub(r"[-_.]?\d+$", "", one.name)
            of[key] = first.setdefault((base, one.place, tuple(map(image_name, one.images))), key)
    named_by: dict[Any, set] = {}
    for key, one in workloads.items():
        for other in one.named:
            named_by.setdefault(other, set()).add(key)
    collectors = {
        other
        for one in workloads.values()
        for other, where in one.named.items()
        if any(word.startswith(TELEMETRY) for word in where) and not workloads[other].is_broker
    }
    dropped, kept = [], {}
    for key, one in workloads.items():
        users = named_by.get(key, set()) - {key}
        if of.get(key, key) != key:
            dropped.append(f"{one.name}, another node of the broker {workloads[of[key]].name}")
        elif key in collectors:
            dropped.append(f"{one.name}, which takes telemetry")
        elif key not in of and users and users <= set(of) and set(one.named) <= set(of):
            dropped.append(f"{one.name}, which only brokers name")
        else:
            kept[key] = one
    for one in kept.values():
        named: dict[Any, list[str]] = {}
        for other, where in one.named.items():
            named.setdefault(of.get(other, other), []).extend(where)
        one.named = {other: where for other, where in named.items() if other in kept}
    return kept, dropped


def _flows(workloads, names, services, calls, comments) -> tuple[dict, set[frozenset]]:
    """A flow for each entry, its steps guessed; and between which places they go."""
    named = {other for key in services for other in calls[key] if other != key}
    entries = [key for key in services if key not in named]
    reached: set = set()
    written: set = set()
    flows: dict[str, dict] = {}
    crossed: set[frozenset] = set()
    steps = 0
    for key in [*entries, *services]:  # what is left over calls each other in a circle
        if key in reached:
            continue
        flow = _unlike(flows, "all requests" if names[key] == "all" else names[key])
        root: dict[str, Any] = {"service": names[key], "work": {"mean_ms": FILL_IN}}
        flows[flow] = {"rate_per_s": FILL_IN, "root": root}
        how = "which no other flow reaches" if key in named else "which nobody names"
        if any(workloads[other].is_broker for other in workloads[key].named):
            how += "; if messages of a broker start it, make it a step of the flow that sends them"
        comments["flows", flow] = (
            f"Requests arrive at {names[key]}, {how}. rate_per_s: how many a second; work: its own "
            "time for one, without what it waits for."
        )
        expanded: set = set()
        waiting: list[tuple[Any, dict, tuple, frozenset]] = [
            (key, root, ("flows", flow, "root"), frozenset((key,)))
        ]
        while waiting:
            here, step, path, above = waiting.pop(0)
            steps += 1
            reached.add(here)
            below = [other for other in calls[here] if other not in above]
            if not below:
                continue
            again = here in expanded or (steps > REPEATED and here in written)
            guessed = steps + len(waiting) + len(below)
            if again or len(above) == MAX_NESTING or guessed > MOST_GUESSED:
                said = comments.get(path, "")
                where = "stands elsewhere" if here in written else "is left out, for the length"
                comments[path] = f"{said} What it calls {where}.".strip()
                continue
            expanded.add(here)
            written.add(here)
            step["then"] = []
            for number, other in enumerate(below):
                child: dict[str, Any] = {"service": names[other], "work": {"mean_ms": FILL_IN}}
                step["then"].append(child)
                place = (*path, "then", number)
                comments[place] = f"Guessed from {_where(workloads[here].named[other])}."
                crossed.add(frozenset((workloads[here].place, workloads[other].place)))
                waiting.append((other, child, place, above | {other}))
    return flows, crossed


# Names


def _names(workloads: Mapping[Any, Workload]) -> dict[Any, str]:
    """A name for each: its own, with its place before it where two have the same."""
    alike: dict[str, int] = {}
    for one in workloads.values():
        alike[_valid(one.name)] = alike.get(_valid(one.name), 0) + 1
    taken: dict[str, Any] = {}
    for key, one in workloads.items():
        own = _valid(one.name)
        taken[_unlike(taken, own if alike[own] == 1 else _valid(f"{one.place}-{own}"))] = key
    return {key: name for name, key in taken.items()}


def _sites(places: Iterable[str]) -> dict[str, str]:
    taken: dict[str, str] = {}
    for place in dict.fromkeys(places):
        taken[_unlike(taken, _valid(place))] = place
    return {place: name for name, place in taken.items()}


def _valid(name: str) -> str:
    """A name that a system can use."""
    found = re.sub(r"[^\w -]", "-", name)[:90].strip(" -")
    return found if NAME.fullmatch(found) and found != FILL_IN else "unnamed"


def _unlike(taken: Mapping[str, Any], name: str) -> str:
    number = 2
    fresh = name
    while fresh in taken:
        fresh = f"{name}-{number}"
        number += 1
    return fresh
