"""Sweeps: every combination of some parameters' values, on this machine's cores or a Dask cluster.

Every point of the grid is checked before anything runs. Then its replications run, in any order and
anywhere: replication i has the same seed at every point (common random numbers), so that neighbours
differ by the parameters and by nothing else, and the numbers do not depend on who computed them.

Finished runs can be kept in a file, each under a key of all that it depends on: the system, the
point, requests, seed, options and the code. So an interrupted sweep goes on where it was, and what
has changed since is not taken for the same.
"""

import itertools
import logging
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import delayed, effective_n_jobs
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

from models.checks import MAX_FAULTS, InvalidSystem, show
from models.experiment import (
    METRICS,
    ExperimentError,
    check_limit,
    check_runs,
    fingerprint,
    interval,
    is_whole,
    precise,
    refuse,
    replication,
    unit_of,
)
from models.processes import pool
from models.resuming import Kept, key_of, replacing

PACKAGE = "decoupling-in-stages"
MOST_POINTS = 100_000
BATCH = 1_000_000  # requests that are simulated in one go: about a second of the compiled engine
ANSWER_S = 5  # within which a scheduler has to answer
IDLE_S = 20  # after which a process ends that has nothing to do
PATIENCE_S = 60  # how long a cluster may be without workers

Runs = list[tuple[int, dict[str, Any], list[int]]]  # point, what is set there, which replications


class Done(NamedTuple):
    """What a run said: for each flow and metric its value and, where it is the only run of its
    point, the half-width of batch means."""

    values: list[float]
    half_widths: list[float]
    overloaded: bool


Found = dict[tuple[int, int], Done]  # by point and replication


def sweep(
    system,
    grid: Mapping[str, Iterable],
    replications: int = 5,
    requests: int = 20_000,
    seed: int = 1,
    metrics: Sequence[str] | None = None,
    target: float | None = None,
    jobs: int = -1,
    scheduler: str | None = None,
    kept_in: str | Path | None = None,
    progress: bool = False,
    max_replications: int = 1000,
    **options: Any,
) -> pd.DataFrame:
    """Every combination of the values in `grid` (path of a parameter -> values).

    Tidy: one column a path, then those of `replicate` (a single replication has the interval of its
    batch means), and `overloaded`: there some service cannot keep up or can lock up, so that times
    depend on the length of the run. `target` works as in `replicate`, point by point.

    It runs in `jobs` processes (-1: as many as there are cores), or on the Dask cluster whose
    scheduler has the address `scheduler`. `kept_in` names a file that keeps finished runs: the same
    sweep goes on from there if it was interrupted. Delete it once the result is safe.

    Raises ExperimentError, InvalidSystem with the faults of all points, and `resuming.Busy`.
    """
    if not is_whole(replications, 1 if target is None else 2, 10**6):
        refuse("replications", replications, "a whole number of at least 1, or 2 with a target")
    check_limit(max_replications, replications, target)
    last = replications if target is None else max_replications
    check_runs(requests, seed, range(last), metrics, jobs, options, target)
    points = check(system, grid)
    rows = [(flow, metric) for flow in [*system.flows, "all"] for metric in METRICS]
    chosen = np.array([metrics is None or metric in metrics for _, metric in rows])
    counts = np.full(len(points), replications)
    work = (system, requests, seed, options | {"intervals": replications == 1})
    with (
        _cluster(scheduler) if scheduler is not None else _processes(jobs) as (places, run),
        _kept(kept_in, _keys(points, *work), len(rows)) as (found, keep),
        tqdm(unit=" runs", disable=not progress, initial=len(found)) as bar,
    ):
        while True:
            missing = [
                (point, number)
                for point, count in enumerate(counts)
                for number in range(count)
                if (point, number) not in found
            ]
            bar.total, bar.n = int(counts.sum()), int(counts.sum()) - len(missing)
            bar.refresh()
            size = 1 if options.get("engine") == "simpy" else max(1, BATCH // requests)
            size = max(1, min(size, len(missing) // (16 * places)))
            batches = _batches(points, missing, size)
            with closing(run((*work, code(), batch) for batch in batches)) as results:
                for done in results:
                    keep(done)
                    bar.update(len(done))
            mean, half_width = _estimates(found, counts)
            if target is None:
                break
            met = precise(mean, half_width, target)[:, chosen].all(axis=1)
            if (met | (counts >= max_replications)).all():
                break
            counts[~met] = np.minimum(2 * counts[~met], max_replications)
    columns = {path: np.repeat(_column(points, path), len(rows)) for path in points[0]}
    flows, names = zip(*rows, strict=True)
    table = pd.DataFrame(columns | {"flow": flows * len(points), "metric": names * len(points)})
    table["mean"], table["half_width"] = mean.ravel(), half_width.ravel()
    table["n"], table["unit"] = np.repeat(counts, len(rows)), table.metric.map(unit_of)
    table["seed"] = seed
    table["overloaded"] = np.repeat(_overloaded(found, counts), len(rows))
    return table[np.tile(chosen, len(points))].reset_index(drop=True)


def save(table: pd.DataFrame, path: str | Path, about: Mapping[str, Any]) -> None:
    """Write a table as Parquet or CSV, by the ending, whole or not at all.

    What is said `about` all of it becomes columns of the CSV file; in the Parquet file it is
    metadata, which `pandas.read_parquet` gives as `attrs`, and numbers among words are words.
    """
    with replacing(path) as part:
        if Path(path).suffix == ".csv":
            table.assign(**about).to_csv(part, index=False)
            return
        for name in table:
            if pd.api.types.infer_dtype(table[name]) in ("mixed", "mixed-integer"):
                table = table.assign(**{str(name): table[name].map(str, na_action="ignore")})
        table.attrs = {**about, "code": code()}  # type: ignore[dict-item]
        table.to_parquet(part, index=False)


def check(system, grid) -> list[dict[str, Any]]:
    """The points of a grid, each from path to value. Raises ExperimentError or InvalidSystem."""
    if not hasattr(system, "with_"):
        refuse("system", type(system).__name__, "a System")
    if not isinstance(grid, Mapping) or not grid:
        refuse("grid", grid, "a mapping from the path of a parameter to a list of values")
    listed: dict[str, list] = {}
    for path, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            refuse(f"grid[{path!r}]", values, "a list of at least one value")
        listed[path] = [one.item() if isinstance(one, np.generic) else one for one in values]
        if not listed[path]:
            refuse(f"grid[{path!r}]", listed[path], "a list of at least one value")
        if len(set(map(repr, listed[path]))) < len(listed[path]):
            refuse(f"grid[{path!r}]", listed[path], "values that are all different")
    if (count := math.prod(map(len, listed.values()))) > MOST_POINTS:
        refuse("grid", f"{count:,} points", f"at most {MOST_POINTS:,}")
    points = [
        dict(zip(listed, point, strict=True)) for point in itertools.product(*listed.values())
    ]
    faults: dict[str, None] = {}  # in the order in which they were found
    for point in points:
        try:
            system.with_(point)
        except InvalidSystem as error:
            for fault in error.faults:
                clear = fault.split(":")[0] in point or "is not there" in fault
                faults[fault if clear else f"{fault} (with {_said(point)})"] = None
    if faults:
        shown = list(faults)[:MAX_FAULTS]
        if more := len(faults) - len(shown):
            shown.append(f"grid: {more:,} more faults; put these right first")
        raise InvalidSystem(*shown)
    return points


def grid(expressions: Iterable[str]) -> dict[str, list]:
    """What `PATH=VALUES` expressions say, by path. Raises ExperimentError."""
    found: dict[str, list] = {}
    for path, values in map(varied, expressions):
        if path in found:
            raise ExperimentError(f"--vary: {show(path)} was found twice; expected it once")
        found[path] = values
    return found


def varied(text: str) -> tuple[str, list]:
    """`PATH=VALUES` as path and values: `a:b:n` (evenly from a to b), `a:b:n:log`, or `x,y,z`."""
    path, _, values = text.partition("=")
    if not path.strip() or not values.strip():
        raise ExperimentError(
            f"--vary: {show(text)} was found; expected PATH=VALUES, such as network.within_ms=1:9:5, "
            "network.within_ms=0.1:100:4:log or services.payment.workers=2,4,8"
        )
    try:
        return path.strip(), _range(values) if ":" in values else _list(values)
    except ValueError as error:
        raise ExperimentError(f"--vary {path}: {show(values)} was found; {error}") from None


def _list(text):
    return [_word(word) for word in text.split(",")]


def _range(text):
    first, last, count, *scale = text.split(":") if text.count(":") > 1 else ("", "", "0")
    a, b, n = (_word(word) if word.strip() else None for word in (first, last, count))
    if not is_whole(n, 2, MOST_POINTS) or [word.strip() for word in scale] not in ([], ["log"]):
        raise ValueError(f"expected a:b:n or a:b:n:log, n a whole number from 2 to {MOST_POINTS:,}")
    least = 0 if scale else -math.inf
    if not all(type(end) in (int, float) and least < end and abs(end) <= 1e300 for end in (a, b)):
        raise ValueError(f"expected numbers a and b{' above 0' if scale else ''}")
    spaced = np.geomspace(a, b, n, dtype=float) if scale else np.linspace(a, b, n, dtype=float)
    values = [a, *(float(f"{value:.12g}") for value in spaced[1:-1]), b]
    if type(a) is type(b) is int and all(value == int(value) for value in values):
        return [int(value) for value in values]
    return [float(value) for value in values]


def _word(text):
    """A number, true, false, null or a word; what is in quotes is a word."""
    text = text.strip()
    if not text:
        raise ValueError("expected a value before and after each comma")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return {"true": True, "false": False, "null": None}.get(text, text)


def _said(point):
    return ", ".join(f"{path}={show(value)}" for path, value in point.items())


@cache
def code() -> str:
    """What the numbers depend on beside the system: this package and what it computes with."""
    folder = Path(__file__).parent
    sources = f"{fingerprint(folder)}{fingerprint(folder / 'engine')}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy"))
    return f"{PACKAGE} {version(PACKAGE)}, sources {sources}, {libraries}"


def _batches(points, missing, size) -> Iterator[Runs]:
    """The missing runs, so many in one go, those of a point together."""
    for start in range(0, len(missing), size):
        some = itertools.groupby(missing[start : start + size], key=lambda run: run[0])
        yield [(point, points[point], [number for _, number in runs]) for point, runs in some]


def _batch(system, requests, seed, options, made_by, runs: Runs) -> Found:
    """Some runs, here and now. Refuses where this is not the code that the sweep was begun with."""
    if code() != made_by:
        raise ExperimentError(f"scheduler: a worker with {code()} was found; expected {made_by}")
    found = {}
    for point, setting, numbers in runs:
        changed = system.with_(setting)
        plan, strained = changed.plan(), bool(changed.warnings())
        for number in numbers:
            try:
                run = replication(plan, number, requests, seed, options)
            except ExperimentError as error:
                raise ExperimentError(f"{error} (with {_said(setting)})") from None
            said = run.summary()
            found[point, number] = Done(
                said.value.tolist(), said.half_width.tolist(), strained or run.crowded
            )
    return found


# Where the runs are done: how many at once, and a function that yields what batches found


@contextmanager
def _processes(jobs):
    """Processes on this machine, still warm for a next sweep; they end by themselves when idle."""
    workers = pool(jobs, return_as="generator_unordered", batch_size=1, idle_worker_timeout=IDLE_S)

    def run(batches):
        results = workers(delayed(_batch)(*batch) for batch in batches)
        try:
            for found in results:  # noqa: UP028 - `yield from` would close it with a warning
                yield found
        except TerminatedWorkerError:
            raise ExperimentError(
                "jobs: a process was ended from outside, perhaps for lack of memory; "
                "expected all to finish; try fewer"
            ) from None
        finally:
            with warnings.catch_warnings(action="ignore"):  # that some were under way is no news
                results.close()

    yield effective_n_jobs(jobs), run


@contextmanager
def _cluster(address):
    """An existing Dask cluster. What a lost worker had begun is begun again by another."""
    place = f"scheduler: {show(address)}"
    try:
        from distributed import CancelledError, Client, KilledWorker, wait
    except ImportError:
        raise ExperimentError(
            f"{place} was given without the package distributed; expected it; "
            f"install {PACKAGE}[cluster]"
        ) from None
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what happens is said in a sentence
    try:
        client = Client(address, timeout=ANSWER_S)
    except (OSError, ValueError, TypeError):
        raise ExperimentError(
            f"{place} was given, and nothing answered within {ANSWER_S} s; expected the address of a "
            "running Dask scheduler, such as tcp://127.0.0.1:8786"
        ) from None

    @contextmanager
    def connected():
        try:
            yield
        except KilledWorker:
            raise ExperimentError(
                f"{place} lost several workers with the same runs, perhaps for lack of memory; "
                "expected workers that live on"
            ) from None
        except (CancelledError, OSError) as error:
            raise ExperimentError(
                f"{place} was lost on the way ({type(error).__name__}); expected it to stay"
            ) from None

    def run(batches):
        waiting, heard = set(), time.monotonic()
        while True:
            with connected():
                workers = client.nthreads()
                room = 3 * max(1, sum(workers.values())) - len(waiting)
                for batch in itertools.islice(batches, max(0, room)):
                    waiting.add(client.submit(_batch, *batch, pure=False))
                if not waiting:
                    return
                try:
                    finished, waiting = wait(waiting, timeout=1, return_when="FIRST_COMPLETED")
                except TimeoutError:
                    finished = ()
                found = [future.result() for future in finished]
            if workers:
                heard = time.monotonic()
            elif time.monotonic() > heard + PATIENCE_S:
                refuse("scheduler", address, f"workers; it had none for {PATIENCE_S} s")
            yield from found

    with client:
        with connected():
            _check_workers(client, place)
            places = sum(client.nthreads().values())
        yield places, run


def _check_workers(client, place):
    said = client.run(code, on_error="return")
    if not said:
        raise ExperimentError(f"{place} has no workers; expected at least one; start some first")
    for worker, answer in said.items():
        if answer != code():
            raise ExperimentError(
                f"{place} has a worker {worker} with {answer}; expected {code()}; "
                "install the same version everywhere"
            )


# What is kept of a sweep that has not ended


def _keys(points, system, requests, seed, options) -> list[str]:
    """For each point a key of all that a run there depends on, but for which replication it is."""
    common = key_of([code(), system.to_dict(), requests, seed, options])
    return [key_of([common, point]) for point in points]


@contextmanager
def _kept(path, keys, length):
    """What was found before, and a function that adds to it and to the file, a line a run."""
    places = {key: point for point, key in enumerate(keys)}
    found: Found = {}
    with Kept(path) as kept:
        for name, said in kept.found.items():
            key, _, number = name.partition("-")
            if key in places and len(said[0]) == len(said[1]) == length:
                found[places[key], int(number)] = Done(*said)

        def keep(more: Found):
            found.update(more)
            kept.put({f"{keys[point]}-{number}": said for (point, number), said in more.items()})

        yield found, keep


# The estimates


def _estimates(found, counts) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half-width, a row a point, a column a flow and metric."""
    shape = len(counts), len(found[0, 0].values)
    mean, half_width = np.empty(shape), np.empty(shape)
    for count in np.unique(counts):
        group = np.flatnonzero(counts == count)
        values = np.array([[found[point, run].values for point in group] for run in range(count)])
        if count == 1:
            mean[group], half_width[group] = values[0], [found[p, 0].half_widths for p in group]
        else:
            of_all = interval(pd.DataFrame(values.reshape(count, -1).T))
            mean[group], half_width[group] = (
                one.to_numpy().reshape(len(group), -1) for one in of_all
            )
    return mean, half_width


def _overloaded(found, counts):
    return [
        any(found[point, number].overloaded for number in range(count))
        for point, count in enumerate(counts)
    ]


def _column(points, path):
    """The values of one parameter, of whatever type; whole numbers stay whole beside null."""
    values = pd.Series([point[path] for point in points], dtype=object)
    return (values if values.isna().any() else values.infer_objects()).to_numpy()
