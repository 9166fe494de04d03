"""The system that traces show.

What is taken from where:

* A flow for each kind of first visit (service and operation). Its rate is the number of its
  requests over the time in which requests began, over the probability with which they were
  sampled. Requests of different shapes (a cache that is hit or missed, a list of two or of three)
  are flows of their own, as far as each is at least `SHARE` of them and `LEAST` in number; the
  others count with the most similar one.
* A step for each visit. Children whose intervals overlap in their caller are called in parallel.
  Its work is its own time (what it does not wait for others), as a fitted distribution; it fails
  as often as it ends with an error that none of its calls had.
* A call or a message by the kinds of the spans.
* A round trip: how much longer a CLIENT span is than its SERVER span. Waiting for a worker may be
  in that, so it is the time that the fastest 5 % stay below, the median over all kinds of calls.
  The broker's acknowledgement is what a PRODUCER span takes beyond that.
* Workers: at least as many as visits were seen at once.

What traces do not tell is marked in the file, and listed in `assumed`.
"""

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np

from models import fitting
from models.reading import dump
from models.system import InvalidSystem, System
from models.traces import reading
from models.traces.reading import InvalidTraces, Spans
from models.traces.trees import CALL, LOCAL, MESSAGE, Forest, assemble, unpacked

SHARE = 0.01  # of the requests of an entry: least share of a shape that becomes a flow
LEAST = 10  # requests of a shape that becomes a flow beside a more frequent one
SHAPES = 8  # most shapes of an entry that become flows
COMPARED = 20_000  # most shapes of an entry that are compared with these
FASTEST = 0.05  # share of the gaps between spans that is taken to have waited for nobody
PARALLEL = 0.1  # share of the visits in which two children overlap, from which on they are parallel
HOME = "everywhere"  # the infrastructure of what does not say where it runs


@dataclass
class Import:
    """A system, and what was read, dropped, bounded or guessed on the way to it."""

    system: System
    comments: dict[tuple, str]
    head: list[str]
    spans: int
    requests: int
    format: str
    dropped: dict[str, int]
    notes: dict[str, int]
    bounds: list[str]
    guesses: list[str]
    fits: list[dict]

    def to_yaml(self) -> str:
        """The system as a file, with comments where something is to be filled in."""
        lines = "".join(f"# {line}".rstrip() + "\n" for line in self.head)
        return lines + dump(self.system.to_dict(), self.comments)

    def report(self) -> dict:
        """What was read and what is uncertain, as plain data."""
        return {
            "format": self.format,
            "spans_read": self.spans,
            "requests": self.requests,
            "dropped": self.dropped,
            "notes": self.notes,
            "bounds": self.bounds,
            "guesses": self.guesses,
            "fits": self.fits,
        }

    def lines(self) -> list[str]:
        """The report as sentences."""
        said = [f"{self.spans:,} spans read ({self.format}), {self.requests:,} requests used"]
        said += [f"dropped: {count:,} spans {why}" for why, count in self.dropped.items()]
        said += [f"found: {count:,} {what}" for what, count in self.notes.items()]
        kinds = Counter(fit["distribution"] for fit in self.fits)
        worst = max((fit["ks_distance"] or 0.0 for fit in self.fits), default=0.0)
        fitted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        said.append(f"own times: {fitted}; Kolmogorov-Smirnov distance at most {worst:.3f}")
        said += [f"a bound: {what}" for what in self.bounds]
        return said + [f"a guess: {what}" for what in self.guesses]


def read(
    path, sampled: float | None = None, name: str | None = None, progress: bool = False
) -> Import:
    """The system that a file of traces shows. Raises InvalidTraces.

    `sampled`: the share of the requests that was traced; else as the spans say, or all.
    """
    spans = reading.read(path, progress)
    place = str(path)
    forest = assemble(spans)
    if not (forest.path >= 0).any():
        why = ", ".join(f"{count:,} {what}" for what, count in forest.dropped.items() if count)
        raise InvalidTraces(
            f"{place}: {spans.read:,} spans, but no whole request was found"
            f"{f' ({why})' if why else ''}; expected spans with service.name and their parents"
        )
    try:
        return _Importing(spans, forest, sampled, place).result(name or _title(Path(path).name))
    except InvalidSystem as error:
        raise InvalidTraces(
            f"{place}: these traces show no system that can be used: {error.faults[0]}"
        ) from None


def _title(name):
    stem = re.sub(r"(\.(gz|jsonl?|ndjson))+$", "", name)
    return " ".join(re.sub(r"[^\w -]+", " ", stem).split())[:80] or "Imported"


@dataclass
class _Variant:
    """The requests of one shape: rows of their first visits, and the places of their steps."""

    name: str
    root: int
    entries: np.ndarray
    paths: set[int]
    weight: float = 0.0
    rows: dict[int, np.ndarray] = field(default_factory=dict)  # of visits, by place


class _Names:
    """Names that a system takes, one for each that was found."""

    def __init__(self, taken=()):
        self.known: dict = {}
        self.taken = set(taken)

    def __call__(self, found, key=None):
        key = found if key is None else key
        if key not in self.known:
            base = " ".join(re.sub(r"[^\w -]+", " ", found).split()).strip("- ")[:60].strip("- ")
            base = base or "unnamed"
            name, number = base, 2
            while name in self.taken:
                name, number = f"{base} {number}", number + 1
            self.taken.add(name)
            self.known[key] = name
        return self.known[key]


class _Importing:
    def __init__(self, spans: Spans, forest: Forest, sampled, place):
        self.spans, self.f, self.place = spans, forest, place
        self.names = list(spans.names)
        self.bounds: list[str] = []
        self.guesses: list[str] = []
        self.fits: list[dict] = []
        self.comments: dict[tuple, str] = {}
        self.service_names, self.broker_names = _Names(), _Names()
        self.flow_names = _Names(["all"])
        self.weights = self.weighed(sampled)
        self.variants = self.shapes()
        self.homes = self.places()
        self.trips = self.round_trips()

    # Requests and their shapes

    def weighed(self, sampled):
        """How many requests each traced one stands for."""
        f = self.f
        share = f.share
        if sampled is not None:
            self.guesses.append(f"rates: {sampled:g} of the requests were traced, as you said")
            return np.full(len(share), 1 / sampled)
        entries = np.flatnonzero(f.visit & f.counted & (f.near < 0))
        said = ~np.isnan(share[entries])
        if not said.any():
            self.guesses.append(
                "rates: all requests were traced, since nothing says otherwise; if not, import "
                "again with --sampled"
            )
        elif not said.all():
            self.guesses.append(
                f"rates: {(~said).sum():,} of {len(said):,} requests do not say with which "
                "probability they were traced; they count once"
            )
        return np.where(np.isnan(share), 1.0, 1 / np.where(np.isnan(share), 1.0, share))

    def shapes(self):
        f = self.f
        used = np.flatnonzero(f.path >= 0)
        order = used[np.argsort(f.entry[used], kind="stable")]
        entries, begins = np.unique(f.entry[order], return_index=True)
        rng = np.random.default_rng(0)
        marks = rng.integers(1 << 63, size=len(f.paths), dtype=np.uint64)
        shape = np.add.reduceat(marks[f.path[order]], begins)
        fine = np.add.reduceat(f.error[order].astype(np.int64), begins) == 0
        ends = np.append(begins[1:], len(order))
        self.window(entries)
        roots = f.path[entries]
        variants = []
        for root in np.unique(roots):
            mine = np.flatnonzero(roots == root)
            variants += self.split(root, mine, entries, shape, fine, order, begins, ends)
        home = {int(entry): number for number, one in enumerate(variants) for entry in one.entries}
        of = np.full(len(f.path), -1)
        of[list(home)] = list(home.values())
        number = of[f.entry[order]]
        by = np.lexsort((f.path[order], number))
        rows, number, path = order[by], number[by], f.path[order][by]
        cut = np.flatnonzero((np.diff(number) != 0) | (np.diff(path) != 0)) + 1
        extra = 0
        for part in np.split(np.arange(len(rows)), cut):
            one, at = variants[number[part[0]]], int(path[part[0]])
            if at in one.paths:
                one.rows[at] = rows[part]
            else:
                extra += len(part)
        if extra:
            self.f.notes["visits beyond those of the most similar requests (retries, undoing)"] += (
                extra
            )
        return variants

    def window(self, entries):
        """The rate of each kind of request, and of one that counts once."""
        f = self.f
        counted = np.flatnonzero(f.visit & f.counted & (f.near < 0))
        begun = f.start[counted]
        span_s = float(begun.max() - begun.min()) / 1e9
        self.span_s = span_s
        self.weight = defaultdict(float)
        self.seen: Counter = Counter()
        for key in np.unique(f.key[counted]):
            mine = counted[f.key[counted] == key]
            self.weight[int(key)] = float(self.weights[mine].sum())
            self.seen[int(key)] = len(mine)
        self.per_s = (len(counted) - 1) / len(counted) / span_s if span_s > 0 else math.nan
        self.requests = len(counted)

    def split(self, root, mine, entries, shape, fine, order, begins, ends):
        """The shapes of the requests of one entry that become flows, each with its requests."""
        f = self.f
        usual = mine[fine[mine]] if fine[mine].any() else mine

        def paths(at):
            return set(f.path[order[begins[at] : ends[at]]].tolist())

        found, example, counts = np.unique(shape[usual], return_index=True, return_counts=True)
        ranking = np.argsort(-counts, kind="stable")
        least = max(SHARE * len(usual), LEAST)
        kept = [at for at in ranking[:SHAPES] if counts[at] >= least or at == ranking[0]]
        kept_paths = [paths(usual[example[at]]) for at in kept]
        number = {int(found[at]): place for place, at in enumerate(kept)}
        others, other_example, other_counts = np.unique(
            shape[mine], return_index=True, return_counts=True
        )
        similar = 0
        for at in np.argsort(-other_counts, kind="stable"):
            if int(others[at]) in number:
                continue
            if similar < COMPARED:
                some = paths(mine[other_example[at]])
                best = max(
                    range(len(kept)), key=lambda place: (len(some & kept_paths[place]), -place)
                )
            else:
                best = 0
            similar += 1
            number[int(others[at])] = best
        place = np.array([number[int(one)] for one in shape[mine]])
        key = int(f.paths[root][1])
        service, operation = unpacked(key)[:2]
        label = self.names[operation] or self.names[service]
        same = sum(unpacked(int(f.paths[one][1]))[1] == operation
                   for one in np.flatnonzero(f.paths[:, 0] < 0))  # fmt: skip
        if same > 1:
            label = f"{self.names[service]} {label}"
        if odd := int((~np.isin(shape[usual], found[kept])).sum()):
            self.guesses.append(
                f"flows: {odd:,} requests of '{label}' have rare shapes and count with the most "
                "similar of the others"
            )
        total = self.weight[key]
        everything = float(self.weights[entries[mine]].sum())
        variants = []
        for at in range(len(kept)):
            chosen = entries[mine[place == at]]
            name = self.flow_names(label if at == 0 else f"{label} variant {at + 1}", (root, at))
            weight = total * float(self.weights[chosen].sum()) / everything
            variants.append(_Variant(name, int(root), chosen, kept_paths[at], weight))
        return variants

    # Where things run, and how far apart

    def places(self):
        """The infrastructure of each service, by its number."""
        f, homes = self.f, {}
        names = _Names()
        for number, place in self.spans.places.items():
            homes[number] = names(place)
        for row in np.flatnonzero(f.unseen & (f.near >= 0)):  # beside whoever called it first
            homes.setdefault(int(f.service[row]), homes.get(int(f.service[f.near[row]]), HOME))
        return homes

    def home(self, service):
        return self.homes.get(int(service), HOME)

    def round_trips(self):
        """Round trip in ms by pair of infrastructures: calls, or else messages."""
        f = self.f
        found = defaultdict(list)
        backwards = 0
        for one in self.variants:
            for path, rows in one.rows.items():
                service, _, _, mode = unpacked(int(f.paths[path][1]))
                rows = rows[(f.edge[rows] >= 0) & ~f.unseen[rows]]
                if mode != CALL or not len(rows):
                    continue
                gaps = f.length[f.edge[rows]] - f.length[rows]
                backwards += int((gaps < 0).sum())
                if len(gaps := gaps[gaps >= 0]):
                    caller = f.service[f.near[rows[0]]]
                    pair = frozenset((self.home(caller), self.home(service)))
                    found[pair].append(float(np.quantile(gaps, FASTEST)) / 1e6)
        if backwards:
            self.f.notes["calls shorter than what they called (a time limit)"] += backwards
        trips = {pair: float(np.median(gaps)) for pair, gaps in found.items()}
        for pair, ms in trips.items():
            where = " and ".join(sorted(pair))
            self.guesses.append(
                f"network: a round trip of {ms:.4g} ms in {where}, what the fastest "
                f"{100 * FASTEST:g} % of its calls stay below; it may have waiting in it"
            )
        return trips

    def within_ms(self):
        inside = [ms for pair, ms in self.trips.items() if len(pair) == 1]
        if inside:
            return float(np.median(inside))
        self.guesses.append("network.within_ms: 0.5 ms, since no call shows a round trip")
        return 0.5

    # The system

    def result(self, name) -> Import:
        within_ms = self.within_ms()
        rows_of: dict[int, list] = defaultdict(list)  # of brokers: rows of visits
        flows = {}
        for one in self.variants:
            root = self.step(one, one.root, within_ms, rows_of, ["flows", one.name, "root"])
            rate = one.weight * self.per_s
            error = ""
            if not rate > 0:
                rate = 1.0
                error = "to be filled in: one moment shows no rate"
            else:
                share = 1.96 / math.sqrt(max(len(one.entries), 1))
                error = f"+- {_percent(share)} %, from {len(one.entries):,} requests"
            flows[one.name] = {"rate_per_s": _rounded(rate), "root": root}
            self.comments["flows", one.name, "rate_per_s"] = error
        services = self.services()
        infrastructures: dict[str, dict] = {}
        brokers = self.brokers(rows_of, within_ms)
        for part in (*services.values(), *brokers.values()):
            infrastructures.setdefault(part["infrastructure"], {})
        data = {
            "name": name,
            "description": f"{self.requests:,} requests in {self.span_s:,.4g} seconds.",
            "source": f"Imported from traces ({Path(self.place).name}, {self.spans.format}).",
            "infrastructures": infrastructures,
            "network": {"within_ms": _rounded(within_ms)},
            **({"brokers": brokers} if brokers else {}),
            "services": services,
            "flows": flows,
        }
        if links := self.links(brokers, flows, services, within_ms):
            data["network"]["between"] = links
        if HOME in infrastructures:
            self.comments["infrastructures", HOME] = (
                "to be filled in: the spans do not say where their services run"
            )
        self.unlock(data)
        self.keep_up(data)
        self.bounds.append(
            "workers: the most visits of a service that were seen at once; it may have more"
        )
        data["assumed"] = [*self.guesses, *self.bounds]
        order = ["name", "description", "source", "assumed"]
        data = {key: data[key] for key in [*order, *(key for key in data if key not in order)]}
        f = self.f
        return Import(
            System.model_validate(data),
            self.comments,
            _head(bool(brokers)),
            self.spans.read,
            sum(len(one.entries) for one in self.variants),
            self.spans.format,
            {why: count for why, count in f.dropped.items() if count},
            {what: count for what, count in f.notes.items() if count},
            self.bounds,
            self.guesses,
            self.fits,
        )

    def step(self, one, path, within_ms, rows_of, where):
        f = self.f
        rows = one.rows[path]
        service, operation, broker, mode = unpacked(int(f.paths[path][1]))
        name = self.service_names(self.names[service], service)
        own_ms = f.own[rows] / 1e6
        unseen = f.unseen[rows]
        own_ms = np.maximum(own_ms - np.where(unseen, within_ms, 0), 0)
        fitted = fitting.fit(own_ms)
        step = {"service": name}
        label = _Names()(self.names[operation]) if self.names[operation] else name
        if label != name and mode:
            step["name"] = label
        step["work"] = fitted.data
        said = None if math.isnan(fitted.distance) else fitted.distance
        self.fits.append(
            {
                "flow": one.name,
                "step": ".".join(map(str, where[2:])),
                "service": name,
                "distribution": fitted.kind,
                "mean_ms": float(own_ms.mean()),
                "n": fitted.count,
                "ks_distance": said,
                "p_value": None if said is None else fitted.p_value,
            }
        )
        note = f"{fitted.kind} from {fitted.count:,} visits"
        note += f", KS distance {said:.3f}" if said is not None else ""
        if unseen.any():
            some = "" if unseen.all() else f"{unseen.sum():,} of them "
            note += f"; {some}seen from the caller alone: its span less a round trip"
        self.comments[(*where, "work")] = note
        if mode == MESSAGE:
            step["via"] = self.broker_names(self.names[broker] or "broker", broker)
            step["deferrable"] = True
            rows_of[broker].append((step["via"], rows))
        elif mode == CALL and self.unawaited(rows):
            step["deferrable"] = True
            self.comments[(*where, "deferrable")] = "its caller did not wait for it"
            self.guesses.append(
                f"flows: a caller of '{label}' does not wait for it in '{one.name}'; here it does, "
                "until the stage asynchronous makes it a message"
            )
        failed = int(f.caused[rows].sum())
        if failed:
            step["fails"] = _rounded(failed / len(rows))
            self.comments[(*where, "fails")] = (
                "errors of its own; whether as a matter of business (fails) or technical (errors) "
                "is to be filled in"
            )
        groups = self.groups(one, path)
        if len(groups) == 1 and len(groups[0]) > 1:
            step["in_parallel"] = True
            groups = [[child] for child in groups[0]]
        then = []
        for group in groups:
            at = [*where, "then", len(then)]
            if len(group) == 1:
                then.append(self.step(one, group[0], within_ms, rows_of, at))
            else:
                inner = [
                    self.step(one, child, within_ms, rows_of, [*at, "then", number])
                    for number, child in enumerate(group)
                ]
                then.append({"service": name, "in_parallel": True, "then": inner})
        if then:
            step["then"] = then
        return step

    def unawaited(self, rows):
        """Whether most calls end after whoever made them: in one service, by one clock."""
        f = self.f
        rows = rows[f.edge[rows] >= 0]
        return len(rows) and (f.end[f.edge[rows]] > f.end[f.near[rows]]).mean() > 0.5

    def groups(self, one, path):
        """The children of a step, in order, those together that are called in parallel."""
        f = self.f
        seen = []
        for child in one.rows:
            if f.paths[child][0] != path:
                continue
            rows = one.rows[child]
            rows = rows[np.argsort(f.near[rows])]
            spans = np.where(f.edge[rows] >= 0, f.edge[rows], rows)
            caller = f.near[rows]
            after = float((f.start[spans] - f.start[caller]).mean())
            seen.append((after, child, caller, f.start[spans], f.end[spans]))
        groups: list[list] = []
        for child in sorted(seen, key=lambda item: item[:2]):
            if groups and any(_overlap(child, other) for other in groups[-1]):
                groups[-1].append(child)
            else:
                groups.append([child])
        return [[child[1] for child in group] for group in groups]

    def services(self):
        f = self.f
        rows = np.flatnonzero(f.visit & (f.mode != LOCAL))
        services = {}
        for number, name in self.service_names.known.items():
            mine = rows[f.service[rows] == number]
            busy = _most_at_once(f.start[mine], f.end[mine])
            services[name] = {"infrastructure": self.home(number), "workers": max(busy, 1)}
            comment = "team: to be filled in"
            if f.unseen[mine].any() and f.unseen[mine].all():
                services[name]["workers"] = "unlimited"
                comment += "; workers: to be filled in, it is seen from its callers alone"
            else:
                comment += "; workers: at least"
            self.comments["services", name] = comment
        return services

    def brokers(self, rows_of, within_ms):
        f, brokers = self.f, {}
        for parts in rows_of.values():
            name = parts[0][0]
            rows = np.concatenate([rows for _, rows in parts])
            senders = Counter(self.home(f.service[f.near[row]]) for row in rows)
            edges = np.unique(f.edge[rows][f.edge[rows] >= 0])
            brokers[name] = {"infrastructure": senders.most_common(1)[0][0]}
            if len(edges):
                ack = fitting.fit(np.maximum(f.length[edges] / 1e6 - within_ms, 0))
                brokers[name]["ack"] = ack.data
                self.comments["brokers", name, "ack"] = (
                    "PRODUCER spans less a round trip; fitted without regard to batches"
                )
            self.comments["brokers", name] = (
                "to be filled in: partitions or prefetch, keys, retention, copies"
            )
        return brokers

    def links(self, brokers, flows, services, within_ms):
        """A link for every two infrastructures that a call or message goes between."""
        f, needed = self.f, {}
        for one in self.variants:
            for path, rows in one.rows.items():
                service, _, broker, mode = unpacked(int(f.paths[path][1]))
                if not mode or mode == LOCAL:
                    continue
                here, there = self.home(f.service[f.near[rows[0]]]), self.home(service)
                if mode == CALL:
                    needed.setdefault(frozenset((here, there)), [])
                    continue
                middle = brokers[self.broker_names(self.names[broker] or "broker", broker)][
                    "infrastructure"
                ]
                needed.setdefault(frozenset((here, middle)), [])
                edges = f.edge[rows]
                lag = (f.start[rows] - f.end[np.where(edges >= 0, edges, rows)])[edges >= 0] / 1e6
                needed.setdefault(frozenset((middle, there)), []).extend(lag)
        links = []
        for pair, lags in needed.items():
            if len(pair) < 2:
                continue
            trip = self.trips.get(pair)
            if trip is None and len(lags):
                trip = max(2 * float(np.quantile(lags, FASTEST)) + within_ms, within_ms)
                self.guesses.append(
                    f"network: a round trip of {trip:.4g} ms between {' and '.join(sorted(pair))}, "
                    "from when messages were sent and taken, if their clocks agree"
                )
            if trip is None:
                trip = within_ms
                self.guesses.append(
                    f"network: {trip:.4g} ms between {' and '.join(sorted(pair))}, since nothing "
                    "shows it"
                )
            links.append({"ends": sorted(pair), "rtt_ms": _rounded(trip)})
        return links

    def unlock(self, data):
        """No limit where a limit could lock up for ever: services that call each other."""
        calls: dict[str, set[str]] = defaultdict(set)  # by service, whose workers wait for whom

        def walk(step, held):
            if step["service"] in held and held[-1] != step["service"]:
                calls[step["service"]].add(step["service"])
            for child in step.get("then", ()):
                if child.get("via"):
                    walk(child, [child["service"]])
                    continue
                if child["service"] != step["service"]:
                    for above in held:
                        calls[above].add(child["service"])
                walk(child, [*held, child["service"]] if child["service"] != held[-1] else held)

        for flow in data["flows"].values():
            walk(flow["root"], [flow["root"]["service"]])
        loops: set[str] = set()
        while True:
            graph = {
                name: {other for other in others if other not in loops}
                for name, others in calls.items()
                if name not in loops
            }
            loops |= {name for name, others in graph.items() if name in others}
            graph = {name: others - loops for name, others in graph.items() if name not in loops}
            try:
                TopologicalSorter(graph).prepare()
                break
            except CycleError as error:
                loops |= set(error.args[1])
        for name in sorted(loops):
            data["services"][name]["workers"] = "unlimited"
            self.comments["services", name] = (
                "team: to be filled in; workers: to be filled in, without a limit since it is "
                "called while it waits"
            )
            self.guesses.append(
                f"services.{name}.workers: unlimited, since calls lead back to it while it waits"
            )

    def keep_up(self, data):
        """At least as many workers as the load needs: sampled traces show too few at once."""
        for _ in range(3):
            loads = System.model_validate(data).loads()
            short = {
                name: math.floor(load.held) + 1
                for name, load in loads.items()
                if load.workers and load.utilisation >= 1
            }
            for name, workers in short.items():
                data["services"][name]["workers"] = workers
                self.comments["services", name] = (
                    "team: to be filled in; workers: at least, so that it can keep up"
                )
                self.guesses.append(
                    f"services.{name}.workers: {workers}, so that it can keep up; fewer were seen "
                    "at once"
                )
            if not short:
                return


def _overlap(one, other):
    """Whether two children are under way at once in enough of the visits that have both."""
    _, at, other_at = np.intersect1d(one[2], other[2], assume_unique=True, return_indices=True)
    if not len(at):
        return False
    begin = np.maximum(one[3][at], other[3][other_at])
    end = np.minimum(one[4][at], other[4][other_at])
    return bool((begin < end).mean() >= PARALLEL)


def _most_at_once(start, end):
    """How many intervals overlap at most; one that ends when another begins does not."""
    times = np.concatenate([start, end])
    change = np.repeat([1, -1], len(start))
    order = np.lexsort((change, times))
    return int(np.cumsum(change[order]).max(initial=0))


def _percent(share):
    """Of two digits, or of more where it is 100 or more: never as a power of ten."""
    return f"{100 * share:.0f}" if share >= 0.995 else f"{100 * share:.2g}"


def _rounded(value):
    return float(f"{value:.5g}")


def _head(messages):
    lines = [
        "Made from traces by `decouple import traces`. What traces cannot tell is to be filled in:",
        "- team: who owns each service (needed before services are separated);",
        "- workers: traces show how many were busy at once, so there are at least as many;",
        "- deferrable: which calls may be done later, as messages, because nobody waits for their",
        "  answer; what is a message already is marked;" if messages else
        "  answer; there is no message yet, so mark at least one before `--stage asynchronous`;",
        "- undo: the work that undoes a step when its request fails; time limits and retries;",
        "- jitter_cv and loss of the network; how requests arrive, if not at random (Poisson).",
    ]  # fmt: skip
    return lines
