"""Sweeps: paths and grids, the same numbers wherever they are made, and nothing lost on the way."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

import models
from models import System, replicate, simulate, stages, sweep, sweeping, theory
from models.cli import main
from models.experiment import METRICS, ExperimentError
from models.system import InvalidSystem

SHOP = System.load("shop")
RTT, WORKERS = "network.within_ms", "services.payment.workers"
RUNS = {"replications": 3, "requests": 2000}
ROOT = Path(models.__file__).parents[1]


def decouple(*words):
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="decouple")


def swept(*words):
    return decouple("sweep", "shop", "--jobs", 1, *words)


# What is varied


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("a.b=1:3:3", "a.b", [1, 2, 3]),
        ("a=8:2:3", "a", [8, 5, 2]),
        ("a=0:1:5", "a", [0, 0.25, 0.5, 0.75, 1]),
        ("a=0.1:1:10", "a", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("a=0.1:100:4:log", "a", [0.1, 1, 10, 100]),
        ("a=1:1000:4:log", "a", [1, 10, 100, 1000]),
        ("a = 1, 1e2 ,1_000", "a", [1, 100.0, 1000]),
        ("a=exponential,deterministic", "a", ["exponential", "deterministic"]),
        ("a=2,unlimited", "a", [2, "unlimited"]),
        ("a=true,false,null,'12'", "a", [True, False, None, "12"]),
    ],
)
def test_values(text, path, values):
    found = sweeping.varied(text)
    assert found == (path, values)
    assert [type(one) for one in found[1]] == [type(one) for one in values] or ":" in text


def test_whole_numbers_stay_whole():
    assert [type(one) for one in sweeping.varied("a=1:7:3")[1]] == [int, int, int]
    assert [type(one) for one in sweeping.varied("a=1:2:3")[1]] == [float, float, float]


@given(
    a=st.floats(1e-3, 1e6),
    b=st.floats(1e-3, 1e6),
    n=st.integers(2, 50),
    log=st.booleans(),
)
def test_a_range_goes_evenly_from_one_end_to_the_other(a, b, n, log):
    _, values = sweeping.varied(f"a={a!r}:{b!r}:{n}{':log' if log else ''}")
    assert len(values) == n and values[0] == a and values[-1] == b
    steps = np.diff(np.log(values) if log else values)
    rounding = 1e-11 if log else 1e-9 * max(a, b)  # two values of 12 digits each
    assert steps == pytest.approx(steps.mean(), rel=1e-3, abs=rounding)


@given(
    st.one_of(
        st.text(max_size=40), st.from_regex(r"[a-z.]{1,5}=[-0-9.e:,logx' ]{0,20}", fullmatch=True)
    )
)
def test_any_text_is_a_path_with_values_or_refused_in_a_sentence(text):
    try:
        path, values = sweeping.varied(text)
    except ExperimentError as error:
        assert str(error).startswith("--vary") and len(str(error).splitlines()) == 1
        assert "expected" in str(error)
    else:
        assert path and values
        assert all(value is None or isinstance(value, int | float | str) for value in values)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([f"{RTT}=1:2"], "expected a:b:n or a:b:n:log"),
        ([f"{RTT}=1:2:1"], "n a whole number from 2 to 100,000"),
        ([f"{RTT}=1:2:3:lin"], "expected a:b:n or a:b:n:log"),
        ([f"{RTT}=0:2:3:log"], "expected numbers a and b above 0"),
        ([f"{RTT}=a:b:3"], "expected numbers a and b"),
        ([f"{RTT}=1,,2"], "expected a value before and after each comma"),
        ([f"{RTT}=1,1"], "expected values that are all different"),
        ([RTT], "expected PATH=VALUES"),
        ([f"{RTT}=1", f"{RTT}=2"], f"'{RTT}' was found twice"),
        (["services.paymnt.workers=1,2"], "'paymnt' is not there; expected one of order, stock,"),
        (["services.paymnt.workers=1,2"], "did you mean 'payment'?"),
        (["flows.browse.root.then[2].work.mean_ms=1"], "[2] is not there; expected a position from [0] to [1]"),
        (["network.between[0].rtt_ms=1"], "network.between: [0] is not there; expected a path that ends here"),
        ([f"{WORKERS}=0:4:5"], f"{WORKERS}: 0 was found; expected a whole number of at least 1"),
        ([f"{RTT}=1:400:400", f"{WORKERS}=1:400:400"], "'160,000 points' was given; expected at most 100,000"),
    ],
)  # fmt: skip
def test_what_cannot_be_varied_is_refused_in_a_sentence(words, says, tmp_path):
    for more in ([], ["-o", tmp_path / "out.csv"]):
        result = swept(*(word for one in words for word in ("--vary", one)), *more)
        assert result.exit_code == 2
        assert says in result.stderr and len(result.stderr.splitlines()) == 1
        assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_all_faults_of_all_points_are_named_before_anything_runs(tmp_path):
    out = tmp_path / "out.csv"
    words = ["--vary", f"{WORKERS}=2,0,-1", "--vary", f"{RTT}=1,-5", "-o", out]
    result = swept(*words)
    assert result.exit_code == 2 and not out.exists()
    lines = result.stderr.splitlines()
    assert len(lines) == 3  # each once, however many points have it
    assert [line.split(" was found")[0] for line in lines] == [
        f"{RTT}: -5", f"{WORKERS}: 0", f"{WORKERS}: -1",
    ]  # fmt: skip
    wrong = ["services.a.workers=1", "nonsense=2", f"{RTT}=1"]
    lines = swept(*(word for one in wrong for word in ("--vary", one))).stderr.splitlines()
    assert [line.split(" is not there")[0] for line in lines] == [
        "services: 'a'",
        "system: 'nonsense'",
    ]
    many = swept("--vary", f"{WORKERS}=-1:-40:40").stderr.splitlines()
    assert len(many) == 21 and many[-1] == "grid: 20 more faults; put these right first"


def test_a_fault_elsewhere_says_with_which_values():
    grid = {"services.payment.infrastructure": ["shop", "away"]}
    apart = System.model_validate(SHOP.to_dict() | {"infrastructures": {"shop": {}, "away": {}}})
    with pytest.raises(InvalidSystem, match=r"no link between .* \(with .*infrastructure='away'\)"):
        sweep(apart, grid, **RUNS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--output", "x.json"], "--output: 'x.json' was found; expected a file name, .csv or .parquet"),
        (["--output", "/not/there/x.csv"], "cannot be written: No such file or directory"),
        (["--output", "x.csv", "--json"], "--json: found beside --output"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--jobs: found beside --scheduler"),
        (["--metric", "respons_mean_ms"], "did you mean 'response_mean_ms'?"),
        (["--target", "2"], "--target: '2' was found; expected a number from 1e-06 to 1"),
        (["--target", "0.1", "--replications", "1"], "expected a whole number of at least 1, or 2 with"),
        (["--seed", str(2**63 - 1)], "one of which 5 runs have room below 2^63"),
        (["--stage", "seperated"], "did you mean 'separated'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_a_sentence(words, says):
    result = swept("--vary", f"{RTT}=1,2", *words)
    assert result.exit_code == 2
    assert says in result.stderr and len(result.stderr.splitlines()) == 1


# What comes out


def test_metrics_are_those_of_a_summary():
    found = simulate(SHOP, 100, keep="summary").summary()
    assert tuple(found.metric[: len(METRICS)]) == METRICS
    assert list(found.flow.unique()) == [*SHOP.flows, "all"]


def test_a_point_is_what_replicate_says_of_it():
    table = sweep(SHOP, {RTT: [0.5, 5], WORKERS: [4, "unlimited"]}, seed=7, jobs=1, **RUNS)
    assert list(table.columns[:4]) == [RTT, WORKERS, "flow", "metric"]
    for (rtt_ms, workers), rows in table.groupby([RTT, WORKERS], sort=False):
        alone = replicate(SHOP.with_({RTT: rtt_ms, WORKERS: workers}), seed=7, **RUNS)
        pd.testing.assert_frame_equal(
            rows[alone.columns].reset_index(drop=True), alone, check_exact=True
        )


def test_one_replication_is_what_simulate_says():
    table = sweep(SHOP, {RTT: np.array([0.5, 5])}, 1, 2000, seed=3, jobs=1)
    alone = simulate(SHOP.with_(RTT, 5.0), 2000, 3, keep="summary").summary()
    rows = table[table[RTT] == 5]
    assert np.array_equal(rows["mean"], alone.value, equal_nan=True)
    assert np.array_equal(rows.half_width, alone.half_width, equal_nan=True)
    assert set(rows.n) == {1}


def test_a_swept_queue_is_what_theory_says():
    """M/M/1, mean time in the system, within three standard errors at every load."""
    system = System.model_validate(
        {
            "name": "M/M/1",
            "infrastructures": {"here": {}},
            "network": {"within_ms": 0},
            "services": {"only": {"infrastructure": "here", "workers": 1}},
            "flows": {
                "f": {"rate_per_s": 100, "root": {"service": "only", "work": {"mean_ms": 5}}}
            },
        }
    )
    grid = {"flows.f.rate_per_s": [40, 80, 120, 160], "flows.f.root.work.mean_ms": [2, 5]}
    table = sweep(system, grid, 10, 20_000, metrics=["response_mean_ms"], jobs=1)
    for row in table[table.flow == "f"].itertuples(index=False):
        rate_per_s, mean_ms = row[:2]
        expected = theory.mmc(rate_per_s / 1000, 1 / mean_ms, 1).mean_sojourn
        error = row.half_width / student.ppf(0.975, row.n - 1)
        assert abs(row.mean - expected) < 3 * error < 0.1 * expected


def test_runs_are_added_until_the_target_is_met():
    asked = {"metrics": ["response_mean_ms"], "requests": 1000, "replications": 2, "jobs": 1}
    table = sweep(SHOP, {"flows.browse.rate_per_s": [50, 380]}, target=0.2, **asked)
    assert (table.half_width <= 0.2 * table["mean"]).all()
    few, many = table.groupby("flows.browse.rate_per_s").n.max()
    assert 2 <= few < many
    short = sweep(SHOP, {RTT: [1]}, target=1e-6, max_replications=4, **asked)
    assert set(short.n) == {4}


def test_points_that_cannot_keep_up_are_an_answer():
    result = swept("--vary", f"{WORKERS}=1,4", "--requests", 1000, "--metric", "ok_share")
    assert result.exit_code == 0
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table.groupby(WORKERS).overloaded.agg(list).to_dict() == {1: [True] * 3, 4: [False] * 3}
    assert "warning: 1 point marked `overloaded`" in result.stderr


def test_the_same_in_every_form(tmp_path):
    words = ["--vary", f"{WORKERS}=4,unlimited", "--vary", f"{RTT}=1:2:2", "--requests", 500]
    words += ["--stage", "asynchronous", "--replications", 2]
    for name in ("out.csv", "out.parquet"):
        done = swept(*words, "-o", tmp_path / name)
        assert done.exit_code == 0
        assert f"{name} written: 4 points, 2 runs of 500 requests at each, seed 1" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", "out.parquet"}
    csv, parquet = pd.read_csv(tmp_path / "out.csv"), pd.read_parquet(tmp_path / "out.parquet")
    printed = swept(*words).stdout
    assert printed == (tmp_path / "out.csv").read_text()
    data = json.loads(swept(*words, "--json").stdout)
    columns = [
        WORKERS,
        RTT,
        "flow",
        "metric",
        "value",
        "half_width",
        "runs",
        "unit",
        "seed",
        "overloaded",
    ]
    about = {"system": "Online shop", "stage": "asynchronous", "requests": 500, "confidence": 0.95}
    assert (
        list(parquet.columns)
        == columns
        == list(csv.columns[: len(columns)])
        == list(data["results"][0])
    )
    assert len(csv) == len(parquet) == len(data["results"]) == 4 * 3 * len(METRICS)
    assert np.array_equal(csv.value, parquet.value, equal_nan=True)
    assert list(parquet[WORKERS].unique()) == ["4", "unlimited"]
    assert parquet.attrs.items() >= about.items() <= data.items()
    assert all((csv[name] == value).all() for name, value in about.items())
    direct = replicate(stages.asynchronous(SHOP).with_({WORKERS: 4, RTT: 2}), 2, 500)
    rows = csv[(csv[WORKERS] == "4") & (csv[RTT] == 2)]
    assert np.array_equal(rows.value, direct["mean"], equal_nan=True)


def test_columns_of_whole_numbers_and_nothing():
    table = sweep(SHOP, {"services.payment.queue_limit": [None, 10]}, jobs=1, **RUNS)
    assert list(table["services.payment.queue_limit"].unique()) == [None, 10]


def test_progress_says_how_much_is_left(capsys):
    sweep(SHOP, {RTT: [1, 2]}, jobs=1, progress=True, **RUNS)
    assert "6/6" in (said := capsys.readouterr().err) and "runs/s" in said


# Wherever it is done: the same numbers

GRID = {RTT: [0.1, 0.5, 1, 5, 10], "flows.place_order.rate_per_s": [60, 90]}
LONG = {"replications": 4, "requests": 25_000}


@pytest.fixture(scope="module")
def expected():
    """All at once, in this very process."""
    return sweep(SHOP, GRID, jobs=1, **LONG)


def same(table, expected):
    pd.testing.assert_frame_equal(table, expected, check_exact=True)


def test_two_processes_give_the_same_numbers(expected):
    same(sweep(SHOP, GRID, jobs=2, **LONG), expected)


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(("kind", "jobs"), [(signal.SIGINT, 2), (signal.SIGKILL, 1)])
def test_an_interrupted_sweep_goes_on_where_it_was(kind, jobs, expected, tmp_path):
    out, kept = tmp_path / "out.parquet", tmp_path / "out.parquet.unfinished"
    words = ["sweep", "shop", "-o", str(out)]
    for path, values in GRID.items():
        words += ["--vary", f"{path}={','.join(map(str, values))}"]
    words += ["--requests", "25000", "--replications", "4", "--jobs"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from models.cli import main; main()", *words, str(jobs)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: lines(kept) > 2)
        process.send_signal(kind)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert printed == "" and not out.exists()
    if kind == signal.SIGINT:
        assert process.returncode == 1
        assert said.strip() == (
            f"interrupted; what was done is kept in {kept}, and the same command goes on from there"
        )
    found = [json.loads(line) for line in kept.read_bytes().split(b"\n")[:-1] if line]
    runs = len(expected[list(GRID)].drop_duplicates()) * 4
    assert 2 < len(found) < runs
    assert len({key for key, _ in found}) == len(found)
    # That the rest alone is done is seen from what is kept: what is put there comes out again.
    key, (values, *others) = found[0]
    mark = [key, [[1e9] * len(values), *others]]
    changed = tmp_path / "changed.parquet"
    marked = tmp_path / "changed.parquet.unfinished"
    marked.write_text("".join(json.dumps(one) + "\n" for one in [*found, mark]) + '["torn')
    for target in (out, changed):
        assert decouple(*words[:2], "-o", target, *words[4:], 1).exit_code == 0
    table = pd.read_parquet(out).rename(columns={"value": "mean", "runs": "n"})
    same(table, expected.astype(table.dtypes.to_dict()))
    assert pd.read_parquet(changed).value.max() > 1e8
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet", "changed.parquet"}


@pytest.mark.parametrize(
    "job",
    [
        'models.sweep(shop, {"network.within_ms": [1, 2]}, 1, 100, jobs=2)',
        'models.replicate(shop, 2, 100, engine="simpy", jobs=2)',
    ],
    ids=["sweep", "replicate"],
)
def test_threads_that_are_slow_to_end_are_waited_for(job):
    """Or loky says at the exit that a semaphore leaked which a thread was about to give back."""
    script = """
import threading, time
import models
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.backend import queues, resource_tracker

feed, unregister = queues.Queue._feed, resource_tracker.unregister
shut, giving_back = threading.Event(), threading.Event()

def last_to_hold_it(*args):
    feed(*args)
    shut.wait()

def slowly(*args):
    if threading.current_thread().name == "QueueFeederThread":
        giving_back.set()
        time.sleep(0.1)
    unregister(*args)

queues.Queue._feed, resource_tracker.unregister = staticmethod(last_to_hold_it), slowly
shop = models.System.load("shop")
JOB
get_reusable_executor().shutdown(kill_workers=True)
shut.set()
giving_back.wait()
"""
    command = [sys.executable, "-c", script.replace("JOB", job)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "other",
    [{"requests": 1000}, {"seed": 2}, {"crowd": 10**5}, {"system": SHOP.with_(WORKERS, 5)}],
    ids=lambda other: next(iter(other)),
)
def test_what_has_changed_is_not_taken_for_the_same(other, tmp_path):
    kept = tmp_path / "kept"
    asked = {"system": SHOP, "grid": {RTT: [1]}, "jobs": 1, **RUNS}
    sweep(**asked, kept_in=kept)
    before = lines(kept)
    sweep(**asked, kept_in=kept)
    assert lines(kept) == before == RUNS["replications"]
    again = sweep(**asked | other, kept_in=kept)
    assert lines(kept) == 2 * before
    same(again, sweep(**asked | other))


def test_code_that_has_changed_is_not_taken_for_the_same(tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    sweep(SHOP, {RTT: [1]}, jobs=1, kept_in=kept, **RUNS)
    monkeypatch.setattr(sweeping, "code", lambda: "another")
    sweep(SHOP, {RTT: [1]}, jobs=1, kept_in=kept, **RUNS)
    assert (
        len({json.loads(line)[0].split("-")[0] for line in kept.read_text().splitlines() if line})
        == 2
    )


def test_two_sweeps_do_not_write_to_the_same_file(tmp_path):
    kept = tmp_path / "out.csv.unfinished"
    with sweeping._kept(kept, ["key"], 1):
        result = swept("--vary", f"{RTT}=1,2", "-o", tmp_path / "out.csv")
        assert kept.exists()
    assert result.exit_code == 2 and "another process writes to it now" in result.stderr
    assert list(tmp_path.iterdir()) == []  # and nothing is left of one that had found nothing


def test_a_run_that_cannot_be_made_says_where(monkeypatch):
    def replication(*_):
        raise ExperimentError("requests: too many")

    monkeypatch.setattr(sweeping, "replication", replication)
    result = swept("--vary", f"{RTT}=2")
    assert result.exit_code == 2
    assert result.stderr == "requests: too many (with network.within_ms=2)\n"


# On a cluster


class Cluster:
    """A Dask scheduler and workers, each a process of its own on this machine alone."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        file = folder / "scheduler.json"
        self.begin("scheduler", "--port", "0", "--scheduler-file", file)
        self.address = json.loads(wait_for(lambda: file.exists() and file.read_text()))["address"]

    def begin(self, what, *words, python_path=ROOT):
        number = len(self.processes)
        own = ["--host", "127.0.0.1", "--no-dashboard"]
        if what == "worker":
            own += ["--nthreads", "1", "--no-nanny", "--local-directory", self.folder / str(number)]
        with open(self.folder / f"{number}.log", "w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, [*own, *words])],
                env=os.environ | {"PYTHONPATH": str(python_path)},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def workers(self, *python_paths):
        from distributed import Client

        begun = [self.begin("worker", self.address, python_path=one) for one in python_paths]
        with Client(self.address, timeout=60) as client:
            client.wait_for_workers(len(begun), timeout=60)
        return begun

    def end(self, *processes):
        for process in processes or reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    found = Cluster(folder)
    try:
        yield found
    finally:
        found.end()


def test_a_cluster_gives_the_same_numbers_though_a_worker_is_lost(cluster, expected, tmp_path):
    first, _ = cluster.workers(ROOT, ROOT)
    kept, done_at_loss = tmp_path / "kept", []

    def lose():
        wait_for(lambda: lines(kept) > 2)
        os.kill(first.pid, signal.SIGKILL)
        done_at_loss.append(lines(kept))

    loss = threading.Thread(target=lose)
    loss.start()
    table = sweep(SHOP, GRID, scheduler=cluster.address, kept_in=kept, **LONG)
    loss.join()
    runs = [json.loads(line)[0] for line in kept.read_text().splitlines()]
    assert done_at_loss[0] < len(runs)
    assert len(runs) == len(set(runs)) == 4 * len(GRID[RTT]) * 2
    same(table, expected)


def test_a_cluster_that_cannot_do_it_is_refused(cluster, tmp_path):
    words = ["--vary", f"{RTT}=1,2", "-o", tmp_path / "x.csv"]

    def refused(*more):
        result = decouple("sweep", "shop", *words, *more)
        assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["cluster"]
        return result.stderr

    assert "has no workers; expected at least one" in refused("--scheduler", cluster.address)
    other = tmp_path / "cluster" / "other"
    shutil.copytree(ROOT / "models", other / "models", ignore=shutil.ignore_patterns("__pycache__"))
    with open(other / "models" / "experiment.py", "a") as file:
        file.write("\n# changed\n")
    worker = cluster.workers(other)
    said = refused("--scheduler", cluster.address)
    assert f"expected {sweeping.code()}; install the same version everywhere" in said
    assert said.count("sources") == 2
    cluster.end(*worker)


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1:1"])
def test_a_scheduler_that_is_not_there(address, monkeypatch):
    monkeypatch.setattr(sweeping, "ANSWER_S", 1)
    result = decouple("sweep", "shop", "--vary", f"{RTT}=1,2", "--scheduler", address)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert f"'{address}' was given, and nothing answered within 1 s" in result.stderr


def test_a_cluster_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = decouple("sweep", "shop", "--vary", f"{RTT}=1,2", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 2
    assert (
        "without the package distributed; expected it; install decoupling-in-stages[cluster]"
        in result.stderr
    )
