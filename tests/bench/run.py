"""How fast the engines are: `make bench` runs this and keeps the result for the status page.

Machines are shared and noisy, so nothing is compared across time: in each round every program has
one turn on the same system, and what counts is the ratio within the round; its median and its range
are kept. Seconds are those of processor time on one core, but for sweeps (`sweeps.py`).
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import loops
import numpy as np
import pandas as pd
import sweeps
import systems

import models
from models import experiment, publish, simulate, stages, theory
from models.traces import record

HERE = Path(__file__).parent
ENGINE = "compiled engine"
SIMPY, LOOP, NUMPY_LOOP = "SimPy engine", "numba loop, same draws", "numba loop, numpy's draws"
RECURSION, NUMPY_RECURSION = "recursion in numba, same draws", "recursion in numba, numpy's draws"
CIW, LINE = "Ciw", "LINE's C++ simulator"
TANDEM, CHAIN, SHOP = "three M/M/2 in a row", "three held calls", "shop"
EVERYTHING = "shop, every mechanism at work"
IDLE = "kernel with every mechanism, none used"

# What is asked of the compiled engine: requests a second, and how many times as fast as others.
REQUESTS_PER_S = {TANDEM: 1.5e6, CHAIN: 1.5e6, SHOP: 0.5e6, EVERYTHING: 0.5e6}
TIMES_AS_FAST = {SIMPY: 100.0, LOOP: 0.5, CIW: 1.0, LINE: 1.0}
TURNS = 30  # of a process, where two programs are so much alike that they take turns

START = "from models import System, simulate; simulate(System.load('shop'), 1_000)"
VERSIONS = """
import json
from importlib.metadata import version
print(json.dumps({"Ciw": version("ciw"), "LINE": version("line-solver")}))
"""
PEAK = """
import resource, sys
sys.path.insert(0, {here!r})
import systems
from models import simulate
simulate(systems.tandem(), {requests}, keep="summary")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
UNUSED = """
import sys
sys.path.insert(0, {here!r})
import run
print(run.unused_share({requests}))
"""
TRACES = """
import resource, sys, time
from models.traces import read
started = time.process_time()
assert read(sys.argv[1]).spans == int(sys.argv[2])
print(time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def engine(system, requests, name="compiled", keep="summary"):
    """One of the book's engines."""

    def run(seed):
        started = time.process_time()
        simulate(system, requests, seed, name, keep)
        return requests / (time.process_time() - started)

    return run


def loop(make, draw, system, requests):
    """A loop of `loops.py`, compiled before it is measured."""
    plan = system.plan()
    streams = np.array([plan.flows[0].stream] + [step.stream for step in plan.steps])
    run_loop, none = make(draw), np.zeros(0)
    source = (lambda seed: seed) if draw is loops.keyed else np.random.default_rng
    run_loop(source(1), streams, 1000, none, none)

    def run(seed):
        started = time.process_time()
        run_loop(source(seed), streams, requests, none, none)
        return requests / (time.process_time() - started)

    return run


def other(python, name, customers):
    """A program of `others.py`; None where it does not run on this machine."""
    numbers = (systems.GAP_MS, systems.WORK_MS, systems.STATIONS, systems.WORKERS)
    command = [python, HERE / "others.py", name, *map(str, numbers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    expected = (
        systems.STATIONS
        * theory.mmc(1 / systems.GAP_MS, 1 / systems.WORK_MS, systems.WORKERS).mean_sojourn
    )

    def run(seed):
        process.stdin.write(f"{customers} {seed}\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline())
        if abs(said["mean_ms"] / expected - 1) > 0.25:
            raise RuntimeError(f"{name}: mean response {said['mean_ms']} ms, expected {expected}")
        return customers / said["seconds"]

    try:
        run(1)
    except (OSError, ValueError):
        return None
    return run


def programs(size: float, python: str | None) -> dict[str, dict[str, Callable]]:
    """Per system, each program as a function from seed to requests a second."""

    def count(requests):
        return max(200, int(size * requests))

    tandem, chain, shop = systems.tandem(), systems.chain(), systems.shop()
    made: dict[str, dict[str, Callable]] = {}
    everything = systems.everything()
    measured = ((TANDEM, tandem), (CHAIN, chain), (SHOP, shop), (EVERYTHING, everything))
    for name, system in measured:
        made[name] = {
            ENGINE: engine(system, count(1_000_000)),
            SIMPY: engine(system, count(10_000), "simpy", "requests"),
        }
    made[SHOP][IDLE] = engine(systems.idle(), count(1_000_000))
    for name, system, make, same, numpys in (
        (TANDEM, tandem, loops.tandem_loop, LOOP, NUMPY_LOOP),
        (TANDEM, tandem, loops.tandem_recursion, RECURSION, NUMPY_RECURSION),
        (CHAIN, chain, loops.chain_loop, LOOP, NUMPY_LOOP),
    ):
        made[name][same] = loop(make, loops.keyed, system, count(2_000_000))
        made[name][numpys] = loop(make, loops.from_numpy, system, count(4_000_000))
    if python:
        for name, key, customers in ((LINE, "line", 1_000_000), (CIW, "ciw", 20_000)):
            if (run := other(python, key, count(customers))) is not None:
                made[TANDEM][name] = run
            else:
                print(f"{name} does not run here and is left out", file=sys.stderr)
    return made


def speeds(made: dict[str, dict[str, Callable]], rounds: int) -> dict[str, dict[str, list]]:
    """Requests a second of each program in each round."""
    found: dict[str, dict[str, list[float]]] = {
        system: {name: [] for name in runs} for system, runs in made.items()
    }
    for system, runs in made.items():
        for seed in range(1, rounds + 1):
            for name, run in runs.items():
                found[system][name].append(run(seed))
    return found


def unused_share(requests: int) -> float:
    """What the mechanisms cost that the shop does not use, as a share of its speed.

    It is less than what a shared machine's speed changes by within seconds. So both take many
    short turns, in the order a b b a, and their fastest twentieth are compared: who else uses the
    machine only ever makes a turn slower.
    """
    plain, idle = (engine(system, requests) for system in (systems.shop(), systems.idle()))
    for run in (plain, idle):  # the first turn loads the kernel
        run(0)
    turns = np.array([(plain(s), idle(s), idle(s), plain(s)) for s in range(1, TURNS + 1)])
    return 1 - np.quantile(turns[:, 1:3], 0.95) / np.quantile(turns[:, ::3], 0.95)


def in_fresh_process(script: str, requests: int) -> float:
    """The number that a script prints in a process of its own."""
    script = script.format(here=str(HERE), requests=requests)
    return float(subprocess.check_output([sys.executable, "-c", script], text=True))


def peak_bytes(requests: int) -> float:
    """Peak of the resident memory of a fresh process that simulates so many requests."""
    peak = in_fresh_process(PEAK, requests)
    return peak if sys.platform == "darwin" else 1024 * peak


def traces_import(spans: int, rounds: int) -> tuple[int, list[float], list[float]]:
    """(spans, seconds of processor time, peak bytes) of importing traces of the shop, each round."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traces.jsonl"
        shop = stages.at(systems.shop(), "asynchronous")
        spans = record(shop, spans // 7, path)  # a request has a little more than seven on average
        command = [sys.executable, "-c", TRACES, str(path), str(spans)]
        said = [subprocess.check_output(command, text=True).split() for _ in range(rounds)]
    scale = 1 if sys.platform == "darwin" else 1024
    return spans, [float(used) for used, _ in said], [scale * float(peak) for _, peak in said]


def start_s() -> float:
    """Processor time of a fresh process with a first small run, machine code from the cache."""

    def used():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before = used()
    subprocess.run([sys.executable, "-c", START], check=True)
    return used() - before


def target(what, values, unit, bound, limit):
    """One row of what is asked of the engine. `bound` is 'at least' or 'at most' the `limit`."""
    measured = statistics.median(values)
    return {
        "what": what,
        "measured": measured,
        "low": min(values),
        "high": max(values),
        "unit": unit,
        "bound": bound,
        "target": limit,
        "met": measured >= limit if bound == "at least" else measured <= limit,
    }


def targets(found, unused, peaks, starts, traces, swept):
    rows = []
    for system, per_s in found.items():
        limit = REQUESTS_PER_S[system]
        rows.append(target(f"{system}: requests", per_s[ENGINE], "/s", "at least", limit))
        for name, limit in TIMES_AS_FAST.items():
            if name in per_s:
                ratios = [a / b for a, b in zip(per_s[ENGINE], per_s[name], strict=True)]
                what = f"{system}: speed over that of {name}"
                rows.append(target(what, ratios, "", "at least", limit))
    what = f"{SHOP}: what the mechanisms cost that it does not use"
    rows.append(target(what, unused, "share", "at most", 0.05))
    (few, less), (many, more) = peaks.items()
    what = f"peak memory of {many:,} requests over that of {few:,}"
    rows.append(target(what, [more / less], "", "at most", 1.1))
    rows.append(target("a second process: start and a first run", starts, "s", "at most", 2.0))
    spans, seconds, peak = traces
    per = 1_000_000 / spans
    what = "importing traces, for 1,000,000 spans"
    rows.append(target(f"{what}: one core", [per * used for used in seconds], "s", "at most", 60.0))
    rows.append(
        target(f"{what}: peak memory", [used / 2**30 for used in peak], "GiB", "at most", 2.0)
    )
    what = "a sweep of the shop, 100,000 requests a point"
    one, two = swept[sweeps.ONE], swept[sweeps.TWO]
    shares = [both / (2 * alone) for alone, both in zip(one, two, strict=True)]
    rows.append(target(f"{what}: parallel efficiency of 2 processes", shares, "", "at least", 0.85))
    seconds = [1000 / per_s for per_s in two]
    rows.append(target(f"{what}: 1,000 points, 2 processes", seconds, "s", "at most", 240.0))
    return rows


def machine(python: str | None) -> dict[str, str]:
    """What was measured on, and with which versions."""
    try:
        cpu = next(
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        cpu = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "processor": f"{cpu or platform.machine()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("numba", "numpy", "simpy")},
        **(json.loads(subprocess.check_output([python, "-c", VERSIONS])) if python else {}),
    }


def text(rows: list[dict]) -> str:
    """Rows as an aligned table."""
    frame = pd.DataFrame(rows).rename(columns={"per_s": "requests/s"})
    return frame.to_string(index=False, float_format=lambda number: publish.number(number))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each program")
    parser.add_argument("--size", type=float, default=1.0, help="share of the usual run lengths")
    parser.add_argument("--others", help="the Python that has Ciw and LINE; else they are left out")
    parser.add_argument("--out", type=Path, help="where to keep the result, as JSON")
    options = parser.parse_args()
    for system in (systems.shop(), systems.everything()):
        engine(system, 200)(0)  # has both kernels compiled
    found = speeds(programs(options.size, options.others), options.rounds)
    turn = max(200, int(options.size * 40_000))
    unused = [in_fresh_process(UNUSED, turn) for _ in range(3 * options.rounds)]
    counts = [max(1000, int(options.size * requests)) for requests in (1_000_000, 10_000_000)]
    peaks = {requests: peak_bytes(requests) for requests in counts}
    start_s()  # fills the cache
    starts = [start_s() for _ in range(options.rounds)]
    traces = traces_import(max(10_000, int(options.size * 1_050_000)), min(options.rounds, 3))
    swept = sweeps.points_per_s(options.size, options.rounds)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": options.rounds,
        "engine": experiment.fingerprint(Path(models.__file__).parent / "engine"),
        "machine": machine(options.others),
        "speeds": [
            {
                "system": system,
                "program": name,
                "per_s": statistics.median(values),
                "low": min(values),
                "high": max(values),
            }
            for system, programs in found.items()
            for name, values in programs.items()
        ],
        "sweeps": [
            {
                "where": name,
                "points_per_s": statistics.median(values),
                "low": min(values),
                "high": max(values),
            }
            for name, values in swept.items()
        ],
        "targets": targets(found, unused, peaks, starts, traces, swept),
    }
    print(*(text(result[name]) for name in ("speeds", "sweeps", "targets")), sep="\n\n")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(f"\nkept in {options.out}")


if __name__ == "__main__":
    main()
