"""Runs, replications and comparisons, each estimate with its interval, runs and seed.

Warm-up: the first tenth of the requests is not measured (`warmup=0.1`), or as many as the rule
MSER-5 finds in a pilot run (`warmup="mser"`): K. P. White, "An effective truncation heuristic for
bias reduction in simulation output", Simulation 69 (1997) 323-334.

Intervals are 95 % confidence intervals: of batch means within one run (20 batches), of independent
replications otherwise, both from Student's t.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd
from scipy import special

from models.checks import did_you_mean
from models.engine.measures import MOST_SEEN, Crowded, TooFine
from models.engine.plan import NONE, UNLIMITED, Plan
from models.engine.policies import FAILED, OK, REJECTED, UNFINISHED
from models.engine.reference import Simulation

BATCHES = 20
CROWD = 1_000_000  # requests under way at which a run ends
OPTIONS = {"engine", "keep", "warmup", "crowd"}  # of `simulate`, that replications take too
OUTCOMES = ("ok", "failed", "rejected", "unfinished")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
UNITS = {"throughput_per_s": "1/s", "undone_mean": "steps"}
METRICS = (  # in the order of a summary
    *(f"{kind}_{name}_ms" for kind in ("response", "completion") for name in ("mean", *QUANTILES)),
    *("inconsistency_mean_ms", "throughput_per_s"),
    *(f"{name}_share" for name in OUTCOMES[:3]),
    "undone_mean",
)


def fingerprint(folder: str | Path) -> str:
    """A hash of the Python files in a folder: has the code changed that made some numbers?"""
    files = sorted(Path(folder).glob("*.py"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()[:16]


class ExperimentError(ValueError):
    """A run that cannot be made as asked; the message says what was found and what is expected."""


@dataclass(frozen=True)
class Run:
    """One simulated run.

    `requests`: a row a request (None with keep="summary"); `services`, `steps`: a row each;
    `window_ms`: start and end of the measured time; `seed` and `counted` (requests after warm-up).
    With `series_ms`, `flow_series` has a row a flow and interval: time_ms (its end), load_per_s,
    goodput_per_s (answered well), failed_share (of the answers); and `service_series` a row a
    service and instant: time_ms, busy (workers), backlog (calls and messages that wait).
    `crowded`: arrivals ended before all `requests` had come, since as many as a run may have were
    under way at once. What is said is then of a queue that grows without end, up to there.
    """

    requests: pd.DataFrame | None
    window_ms: tuple[float, float]
    seed: int
    counted: int
    _services: Callable[[], pd.DataFrame]
    _steps: Callable[[], pd.DataFrame]
    _summarise: Callable[[], pd.DataFrame]
    flow_series: pd.DataFrame | None = None
    service_series: pd.DataFrame | None = None
    crowded: bool = False

    # Tables are made when they are asked for: that of a short run takes longer than the run.

    @cached_property
    def services(self) -> pd.DataFrame:
        return self._services()

    @cached_property
    def steps(self) -> pd.DataFrame:
        return self._steps()

    @cached_property
    def _summary(self):
        return self._summarise().assign(seed=self.seed)

    def summary(self) -> pd.DataFrame:
        """Tidy: flow, metric, value, half_width (95 %), n (requests), unit, seed.

        Throughput is that of the requests that ended well (goodput). Requests that never end,
        because workers wait for each other, are in none of the shares: these then miss 1.
        """
        return self._summary.copy()


def simulate(
    system,
    requests: int = 200_000,
    seed: int = 1,
    engine: Literal["compiled", "simpy"] = "compiled",
    keep: Literal["requests", "summary"] = "requests",
    warmup: float | Literal["mser"] = 0.1,
    progress: bool = False,
    series_ms: float | None = None,
    crowd: int = CROWD,
    intervals: bool = True,
) -> Run:
    """Let `requests` arrive at a system and follow each to its end.

    `system` is a System or a Plan. With keep="summary" memory stays flat however long the run;
    quantiles then come from a histogram of 128 bins an octave (less than 0.8 % wide).
    `series_ms` asks for time series with that step, of 5,000,000 rows at most. Where more than `crowd`
    requests are under way at once, no more arrive: an overload ends with an answer (`Run.crowded`),
    not without memory. Without `intervals` the summary has none, which saves most of the time of a
    short run.
    """
    plan = _plan(system)
    _check(requests, seed, engine, keep, warmup, series_ms, crowd)
    requests, seed, crowd = int(requests), int(seed), int(crowd)  # NumPy's would overflow
    if warmup != "mser":
        warmup = float(warmup)
    if series_ms is not None:
        series_ms = float(series_ms)
    options = seed, engine, keep, warmup, progress, series_ms, crowd, intervals
    try:
        try:
            return _simulate(plan, requests, *options)
        except Crowded as error:
            arrived = error.args[0]
        return replace(_simulate(plan, arrived, *options), crowded=True)
    except TooFine:
        refuse("series_ms", series_ms, f"a longer step, for at most {MOST_SEEN:,} rows")


def _simulate(plan, requests, seed, engine, keep, warmup, progress, series_ms, crowd, intervals):
    available = [len(flow.times_ms) for flow in plan.flows if flow.times_ms]
    if len(available) == len(plan.flows):
        requests = min(requests, sum(available))
    if warmup == "mser":
        pilot: Any = simulate(plan, requests, seed, engine, warmup=0.0, crowd=crowd).requests
        skipped = mser5((pilot.replied_ms - pilot.arrived_ms).to_numpy())
    else:
        skipped = int(warmup * requests)
    batches = max(1, min(BATCHES, (requests - skipped) // 2)) if intervals else 1
    if engine == "simpy":
        if keep == "summary":
            raise ExperimentError(
                "keep='summary' needs engine='compiled'; simpy keeps every request"
            )
        measures = Simulation(plan, requests, seed, skipped, series_ms or np.inf, crowd).run()
        whole = np.array(
            [
                (
                    r.flow,
                    r.index,
                    r.answer,
                    UNFINISHED if r.open else r.outcome,
                    r.attempts,
                    r.undone,
                )
                for r in measures.requests
            ],
            np.int64,
        ).reshape(-1, 6)
        times = np.array(
            [(r.arrived_ms, r.replied_ms, r.completed_ms) for r in measures.requests]
        ).reshape(-1, 3)
        window = (measures.from_ms, measures.to_ms)
        looks = measures.series
        places = np.array([list(zip(busy, waits, strict=True)) for _, busy, waits, _ in looks])
        done = np.array([counts for *_, counts in looks])
        by_service: Any = [vars(record) for record in measures.services]
        by_step: Any = [vars(record) for record in measures.steps]
    else:
        from models.engine import compiled  # imported when it is first asked for

        bar = None  # a hidden one would take a lock that processes share
        if progress:
            from tqdm.auto import tqdm  # not imported for a run that shows none

            bar = tqdm(total=requests, unit=" requests")

        def advance(arrived):
            if bar is not None:
                bar.update(arrived - bar.n)

        try:
            outcome = compiled.run(
                plan,
                requests,
                seed,
                skipped,
                batches,
                keep == "requests",
                advance,
                series_ms,
                crowd,
            )
            advance(outcome.arrived)
        except MemoryError as error:
            raise ExperimentError(f"requests: {error}") from None
        finally:
            if bar is not None:
                bar.close()
        places, done = outcome.series_places, outcome.series_done
        whole, times = outcome.whole[: outcome.arrived], outcome.times[: outcome.arrived]
        window = outcome.window_ms
        by_service, by_step = outcome.services, outcome.steps
    arrived = len(times) if keep == "requests" else outcome.arrived
    if arrived <= skipped:
        raise ExperimentError(
            f"requests: only {arrived} arrived and {skipped} are warm-up; "
            "ask for fewer requests or a smaller warm-up"
        )
    if not np.isfinite(window[1]):  # the flows ended before `requests` had arrived
        share = skipped / arrived
        return _simulate(
            plan, arrived, seed, engine, keep, share, progress, series_ms, crowd, intervals
        )
    frame = None
    if keep == "requests":
        frame = _request_frame(plan, whole, times, skipped)
        summarise = partial(_summary_of_rows, plan, whole, times, skipped, batches, window)
    else:
        summarise = partial(_summary_of_sums, plan, outcome)
    return Run(
        frame,
        (float(window[0]), float(window[1])),
        seed,
        arrived - skipped,
        partial(_service_frame, plan, by_service, window),
        partial(_step_frame, plan, by_step),
        summarise,
        *_series_frames(plan, series_ms, places, done),
    )


def replicate(
    system,
    replications: int = 20,
    requests: int = 50_000,
    seed: int = 1,
    metrics: Sequence[str] | None = None,
    target: float | None = None,
    jobs: int = -1,
    progress: bool = False,
    max_replications: int = 1000,
    **options: Any,
) -> pd.DataFrame:
    """Independent runs: flow, metric, mean, half_width (95 %), n (runs), unit, seed.

    With `target`, runs are added until every metric's half-width is at most `target` times its
    mean, or `max_replications` are done, which is at least `replications`. Replication i has the
    seed `seed + i * 2^32`.
    """
    _check_replications(replications)
    check_limit(max_replications, replications, target)
    values = _replications(
        system, range(replications), requests, seed, metrics, jobs, progress, options, target
    )
    while target is not None and len(values.columns) < max_replications:
        if precise(*interval(values), target).all():
            break
        done = len(values.columns)
        numbers = range(done, min(2 * done, max_replications))
        more = _replications(system, numbers, requests, seed, metrics, jobs, progress, options)
        values = pd.concat([values, more], axis=1)
    return _table(values, seed)


def compare(
    before,
    after,
    replications: int = 20,
    requests: int = 50_000,
    seed: int = 1,
    metrics: Sequence[str] | None = None,
    jobs: int = -1,
    **options: Any,
) -> pd.DataFrame:
    """What changes from one system to another, with common random numbers.

    flow, metric, mean (after - before), half_width, n, unit, seed, and `variance_ratio`: the
    variance of the difference with independent runs, over that with the same draws.
    """
    _check_replications(replications)
    flows = [{flow.name for flow in _plan(system).flows} for system in (before, after)]
    if flows[0] != flows[1]:
        refuse("after", sorted(flows[1]), f"the flows of the system before, {sorted(flows[0])}")
    a, b = (
        _replications(system, range(replications), requests, seed, metrics, jobs, False, options)
        for system in (before, after)
    )
    a, b = a.align(b, join="inner", axis=0)
    table = _table(b - a, seed)
    paired = (b - a).var(axis=1, ddof=1)
    ratio = (a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / paired.where(paired > 0)
    return table.assign(variance_ratio=ratio.to_numpy())


def mser5(values: np.ndarray) -> int:
    """How many of the first values to leave out, by MSER-5; at most half of them."""
    means = values[: len(values) // 5 * 5].reshape(-1, 5).mean(axis=1)
    n = len(means)
    if n < 4:
        return 0
    left = np.arange(n, 0, -1)
    total = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum(means[::-1] ** 2)[::-1]
    error = (squares - total**2 / left) / left**2
    return 5 * int(np.argmin(error[: n // 2]))


def check_runs(requests, seed, numbers, metrics, jobs, options, target=None) -> None:
    """Refuse what `replicate` cannot do, before anything runs: replications `numbers` and options."""
    if unknown := set(options) - OPTIONS:
        refuse("options", ", ".join(sorted(unknown)), f"some of {', '.join(sorted(OPTIONS))}")
    _check(requests, seed, **options)
    if seed_of(seed, numbers[-1]) >= 2**63:
        refuse("seed", seed, f"one of which {len(numbers)} runs have room below 2^63")
    if target is not None and not (is_real(target) and target > 0):
        refuse("target", target, "a relative half-width above 0, such as 0.01")
    if not is_whole(jobs, -(10**6), 10**6) or jobs == 0:
        refuse("jobs", jobs, "a number of processes, or -1 for as many as there are cores")
    if metrics is not None and (isinstance(metrics, str) or not metrics):
        refuse("metrics", metrics, "a list of at least one name, such as ['response_mean_ms']")
    for name in metrics or ():
        if name not in METRICS:
            raise ExperimentError(f"metrics: {name!r} is not known; {did_you_mean(name, METRICS)}")


def check_limit(max_replications, replications, target) -> None:
    """Refuse a limit on the replications that is below those with which a target is begun."""
    least = 1 if target is None else replications
    if not is_whole(max_replications, least):
        begun = "" if target is None else ", the replications that a target begins with"
        refuse("max_replications", max_replications, f"a whole number of at least {least}{begun}")


def refuse(name, value, expected) -> NoReturn:
    raise ExperimentError(f"{name}: {value!r} was given; expected {expected}")


def is_whole(value, low, high=2**63 - 1):
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and low <= value <= high


def is_real(value):
    """Whether it is a number from 0 on, Python's or NumPy's, that a calculation has room for."""
    real = isinstance(value, int | float | np.integer | np.floating)
    return real and not isinstance(value, bool) and 0 <= value <= 1e30


def _plan(system):
    if isinstance(system, Plan):
        return system
    if not hasattr(system, "plan"):
        known = f"System.load({system!r})" if isinstance(system, str) else "System.model_validate"
        refuse("system", type(system).__name__, f"a System; write {known}")
    return system.plan()


def _check(
    requests, seed, engine="compiled", keep="requests", warmup=0.1, series_ms=None, crowd=CROWD
):
    if not is_whole(requests, 1, 10**12):
        refuse("requests", requests, "a whole number from 1 to 10^12")
    if not is_whole(seed, 0):
        refuse("seed", seed, "a whole number from 0 to 2^63 - 1")
    if engine not in ("compiled", "simpy"):
        refuse("engine", engine, "'compiled' or 'simpy'")
    if keep not in ("requests", "summary"):
        refuse("keep", keep, "'requests' or 'summary'")
    if series_ms is not None and not (is_real(series_ms) and series_ms > 0):
        refuse("series_ms", series_ms, "a time in ms, above 0")
    if not is_whole(crowd, 1):
        refuse("crowd", crowd, "a whole number of at least 1")
    by_rule = isinstance(warmup, str) and warmup == "mser"
    if not by_rule and not (is_real(warmup) and warmup < 1):
        refuse("warmup", warmup, "a share from 0 to below 1, or 'mser'")


def _check_replications(replications):
    if not is_whole(replications, 2, 10**6):
        refuse("replications", replications, "a whole number of at least 2, for an interval")


def _replications(system, numbers, requests, seed, metrics, jobs, progress, options, target=None):
    """A row a flow and metric, a column a replication."""
    # Not imported for a single run, which starts sooner.
    from joblib import delayed
    from tqdm.auto import tqdm

    from models.processes import pool

    plan = _plan(system)
    check_runs(requests, seed, numbers, metrics, jobs, options, target)

    def one(number):
        run = replication(plan, number, requests, seed, options)
        return run.summary().set_index(["flow", "metric", "unit"]).value

    # The kernel lets go of the interpreter's lock, so threads share its machine code and memory.
    prefer = "processes" if options.get("engine") == "simpy" else "threads"
    done = pool(jobs, prefer=prefer)(
        delayed(one)(number) for number in tqdm(numbers, unit=" runs", disable=not progress)
    )
    values = pd.concat(done, axis=1, keys=list(numbers))
    if metrics is not None:
        values = values[values.index.get_level_values("metric").isin(metrics)]
    return values


def replication(plan, number: int, requests: int, seed: int, options) -> Run:
    """Replication `number` of those of `seed`."""
    keep = "summary" if options.get("engine") != "simpy" else "requests"
    said = {"keep": keep, "intervals": False, **options}
    return simulate(plan, requests, seed_of(seed, number), **said)


def seed_of(seed: int, number: int) -> int:
    """The seed of replication `number`."""
    return int(seed) + (number << 32)


def interval(values: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Mean of the columns, and half-width of its 95 % interval, row by row."""
    return values.mean(axis=1), student(values.shape[1]) * values.std(axis=1, ddof=1)


def student(n: int) -> float:
    """Half-width of the 95 % interval of a mean of n runs, over their standard deviation.

    Student's quantile; `scipy.stats` has it too, but takes longer to import than all else here.
    """
    return float(special.stdtrit(n - 1, 0.975) / np.sqrt(n))


def precise(mean, half_width, target):
    """Where a half-width is at most `target` times its mean, or there is nothing to estimate."""
    return (half_width <= target * np.abs(mean)) | np.isnan(mean)


def _table(values, seed):
    mean, spread = interval(values)
    table = pd.DataFrame({"mean": mean, "half_width": spread}).reset_index()
    table = table[["flow", "metric", "mean", "half_width", "unit"]]
    table.insert(4, "n", values.shape[1])
    return table.assign(seed=seed)


def _request_frame(plan, whole, times, skipped):
    names = [flow.name for flow in plan.flows]
    return pd.DataFrame(
        {
            "flow": pd.Categorical.from_codes(whole[:, 0], names),
            "index": whole[:, 1],
            "arrived_ms": times[:, 0],
            "replied_ms": times[:, 1],
            "completed_ms": times[:, 2],
            "outcome": pd.Categorical.from_codes(whole[:, 3], OUTCOMES),
            "answer": pd.Categorical.from_codes(whole[:, 2], OUTCOMES),
            "attempts": whole[:, 4],
            "undone": whole[:, 5],
            "counted": np.arange(len(times)) >= skipped,
        }
    )


def _service_frame(plan, records, window):
    frame = pd.DataFrame(records)
    workers = np.array([service.workers for service in plan.services], float)
    workers[workers == UNLIMITED] = np.nan
    length = max(window[1] - window[0], np.finfo(float).tiny)
    return pd.DataFrame(
        {
            "service": [service.name for service in plan.services],
            "workers": workers,
            "utilisation": frame.held_ms / length / workers,
            "working": frame.working_ms / length / workers,
            "mean_busy": frame.held_ms / length,
            "mean_wait_ms": frame.wait_ms / frame.handled.clip(lower=1),
            "max_queue": frame.max_queue.astype(int),
            "handled": frame.handled.astype(int),
            "rejected": frame.rejected.astype(int),
        }
    )


def _series_frames(plan, series_ms, places, done):
    """What was seen every `series_ms` as (flow_series, service_series); None if nobody looked."""
    if series_ms is None or len(done) == 0:
        return None, None
    times_ms = series_ms * np.arange(1, len(done) + 1)
    changes = np.diff(done, axis=0, prepend=0)
    answers = changes[:, :, 1:].sum(axis=2)
    names = [flow.name for flow in plan.flows]
    flows = pd.DataFrame(
        {
            "time_ms": np.repeat(times_ms, len(names)),
            "flow": np.tile(names, len(times_ms)),
            "load_per_s": 1000 * changes[:, :, 0].ravel() / series_ms,
            "goodput_per_s": 1000 * changes[:, :, 1].ravel() / series_ms,
            "failed_share": changes[:, :, 2].ravel() / np.where(answers, answers, np.nan).ravel(),
        }
    )
    count = len(plan.services)
    busy, backlog = places[:, :count, 0], places[:, :count, 1].copy()
    for number, service in {s.group: s.service for s in plan.steps if s.group != NONE}.items():
        group = plan.groups[number]
        first = count + group.first_lane
        backlog[:, service] += places[:, first : first + group.lanes, 1].sum(axis=1)
        backlog[:, service] += places[:, count + plan.lanes + number, 1]
    services = pd.DataFrame(
        {
            "time_ms": np.repeat(times_ms, count),
            "service": np.tile([service.name for service in plan.services], len(times_ms)),
            "busy": busy.ravel(),
            "backlog": backlog.ravel(),
        }
    )
    return flows, services


def _step_frame(plan, records):
    counts = ["handled", "failed", "rejected", "undone", "tried", "timed_out", "broken", "lost",
              "redelivered", "duplicates", "dead", "vanished"]  # fmt: skip
    frame = pd.DataFrame(records)[[*counts, "wait_ms", "held_ms"]]
    frame.insert(0, "flow", [plan.flows[step.flow].name for step in plan.steps])
    frame.insert(1, "step", [step.key for step in plan.steps])
    handled = frame.handled.clip(lower=1)
    frame["mean_wait_ms"] = frame.pop("wait_ms") / handled
    frame["mean_held_ms"] = frame.pop("held_ms") / handled
    return frame


class _Rows:
    """The times of some requests; `values` in ms."""

    def __init__(self, values):
        self.sorted = np.sort(values)
        self.mean = values.mean() if len(values) else np.nan

    def quantiles(self, shares):
        return (
            np.quantile(self.sorted, shares) if len(self.sorted) else np.full(len(shares), np.nan)
        )

    def shares_up_to(self, values):
        count = len(self.sorted)
        return (
            np.searchsorted(self.sorted, values, side="right") / count if count else values * np.nan
        )


class _Bins:
    """The same as a histogram, between the least and the greatest."""

    def __init__(self, total, histogram, extremes, edges):
        self.below, self.edges = np.append(0, np.cumsum(histogram)), edges
        self.count = self.below[-1]
        self.low, self.high = extremes[..., 0].min(), extremes[..., 1].max()
        self.mean = total / self.count if self.count else np.nan

    def quantiles(self, shares):
        if not self.count:
            return np.full(len(shares), np.nan)
        found = np.interp(np.asarray(shares) * self.count, self.below, self.edges)
        return np.clip(found, self.low, self.high)

    def shares_up_to(self, values):
        if not self.count:
            return values * np.nan
        share = np.interp(values, self.edges, self.below) / self.count
        return np.where(values >= self.high, 1.0, share)


def _summary(plan, measure, batches):
    """`measure(flow or None, batch or None)` gives (times by name, other metrics, requests).

    The interval of a quantile q comes from the share of each batch that is at most q: its ends are
    the quantiles of the whole run at the ends of that share's interval. The quantiles of short
    batches themselves would be biased, far out in the tail.
    """
    rows = []
    flows = [(flow.name, number) for number, flow in enumerate(plan.flows)]
    shares = np.array(list(QUANTILES.values()))
    for name, number in [*flows, ("all", None)]:
        times, others, n = measure(number, None)
        quantiles = {kind: of_all.quantiles(shares) for kind, of_all in times.items()}
        metrics, values = [], []
        for kind, of_all in times.items():
            metrics += [f"{kind}_{which}_ms" for which in ("mean", *QUANTILES)]
            values += [of_all.mean, *quantiles[kind]]
        errors = np.full(len(values) + len(others), np.nan)
        if batches > 1:
            parts = [measure(number, batch) for batch in range(batches)]
            errors = _half_widths([_as_row(part, quantiles) for part in parts])
            of_shares = errors[: len(values)].reshape(len(times), -1)[:, 1:]  # a view
            for of_all, error in zip(times.values(), of_shares, strict=True):
                low, high = (
                    of_all.quantiles(np.nan_to_num(np.clip(shares + sign * error, 0, 1)))
                    for sign in (-1, 1)
                )
                error[:] = np.where(np.isnan(error), np.nan, (high - low) / 2)
        named = zip([*metrics, *others], [*values, *others.values()], errors, strict=True)
        rows += [(name, metric, value, error, n, unit_of(metric)) for metric, value, error in named]
    return pd.DataFrame(rows, columns=["flow", "metric", "value", "half_width", "n", "unit"])


def _as_row(part, quantiles):
    """Of a batch: each kind's mean and shares up to those quantiles, then the other metrics."""
    times, others, _ = part
    row = []
    for kind, of_part in times.items():
        row += [of_part.mean, *of_part.shares_up_to(quantiles[kind])]
    return [*row, *others.values()]


def _half_widths(batches):
    """From the batches (rows) that have a value, column by column, where there are two or more."""
    spread = np.ma.masked_invalid(batches).std(axis=0, ddof=1).filled(np.nan)
    return student(len(batches)) * spread


def unit_of(metric: str) -> str:
    return UNITS.get(metric, "ms" if metric.endswith("_ms") else "share")


def _others(inconsistency, throughput, shares, undone):
    return {
        "inconsistency_mean_ms": inconsistency,
        "throughput_per_s": throughput,
        **{f"{name}_share": share for name, share in zip(OUTCOMES[:3], shares, strict=True)},
        "undone_mean": undone,
    }


def _summary_of_rows(plan, whole, times, skipped, batches, window):
    n = len(times)
    part = np.full(n, -1)
    part[skipped:] = np.arange(n - skipped) * batches // (n - skipped)
    starts = times[skipped + np.searchsorted(part[skipped:], range(batches)), 0]
    ended_in = np.searchsorted(starts, times[:, 2], side="left") - 1  # a batch is (from, to]
    ended_in[~(times[:, 2] <= window[1])] = -1
    starts = np.append(starts, window[1])

    def measure(flow, batch):
        of_flow = np.full(n, True) if flow is None else whole[:, 0] == flow
        chosen = of_flow & (part >= 0 if batch is None else part == batch)
        ended = of_flow & (ended_in >= 0 if batch is None else ended_in == batch)
        begin, end = window if batch is None else (starts[batch], starts[batch + 1])
        rows, stamps = whole[chosen], times[chosen]
        arrived, replied, completed = stamps.T
        reply, outcome = rows[:, 2], rows[:, 3]
        count = max(len(rows), 1)
        windows = (completed - replied)[(outcome != REJECTED) & (outcome != UNFINISHED)]
        others = _others(
            windows.mean() if len(windows) else np.nan,
            1000 * (ended & (whole[:, 3] == OK)).sum() / (end - begin) if end > begin else np.nan,
            [(outcome == kind).sum() / count for kind in (OK, FAILED, REJECTED)],
            rows[:, 5].sum() / count,
        )
        response = _Rows((replied - arrived)[reply == OK])
        completion = _Rows((completed - arrived)[outcome == OK])
        return {"response": response, "completion": completion}, others, len(rows)

    return _summary(plan, measure, batches)


def _summary_of_sums(plan, outcome):
    from models.engine import compiled as c

    edges = ((np.arange(c.BINS + 1) + c.LOWEST) << 45).view(np.float64)
    edges[0] = 0.0
    starts = outcome.batch_from_ms

    def measure(flow, batch):
        flows = slice(None) if flow is None else slice(flow, flow + 1)
        parts = slice(None) if batch is None else slice(batch, batch + 1)
        sums = outcome.sums[parts, flows].sum(axis=(0, 1))
        histograms = outcome.histograms[parts, flows].sum(axis=(0, 1))
        extremes = outcome.extremes[parts, flows]
        begin, end = (starts[0], starts[-1]) if batch is None else starts[batch : batch + 2]
        count = max(sums[c.A_COUNT], 1)
        others = _others(
            sums[c.A_GAP] / sums[c.A_ADMITTED] if sums[c.A_ADMITTED] else np.nan,
            1000 * sums[c.A_THROUGHPUT] / (end - begin) if end > begin else np.nan,
            [sums[c.A_DONE] / count, sums[c.A_FAILED] / count, sums[c.A_REJECTED] / count],
            sums[c.A_UNDONE] / count,
        )
        times = {
            kind: _Bins(sums[total], histograms[number], extremes[:, :, number], edges)
            for number, (kind, total) in enumerate(
                {"response": c.A_RESPONSE, "completion": c.A_COMPLETION}.items()
            )
        }
        return times, others, int(sums[c.A_COUNT])

    return _summary(plan, measure, len(outcome.sums))
