"""What the engine is measured against does what the engine does."""

import json
import subprocess
import sys
from pathlib import Path

import loops
import numpy as np
import pytest
import systems

from models import simulate, theory

REQUESTS = 20_000
LOOPS = [
    (systems.tandem, loops.tandem_loop),
    (systems.tandem, loops.tandem_recursion),
    (systems.chain, loops.chain_loop),
]


def streams(plan):
    return np.array([plan.flows[0].stream] + [step.stream for step in plan.steps])


@pytest.mark.parametrize(("system", "make"), LOOPS)
def test_a_loop_gives_the_times_of_the_engine(system, make):
    plan = system().plan()
    arrived_ms, completed_ms = np.zeros(REQUESTS), np.zeros(REQUESTS)
    mean_ms = make(loops.keyed)(7, streams(plan), REQUESTS, arrived_ms, completed_ms)
    rows = simulate(plan, REQUESTS, seed=7, warmup=0.0).requests
    assert np.array_equal(arrived_ms, rows.arrived_ms)
    assert np.array_equal(completed_ms, rows.completed_ms)
    assert mean_ms == pytest.approx((rows.completed_ms - rows.arrived_ms).mean(), rel=1e-9)


@pytest.mark.parametrize(("system", "make"), LOOPS)
def test_a_loop_with_other_draws_has_the_same_mean(system, make):
    """Within three standard errors of the difference of two independent samples of runs."""
    plan = system().plan()
    run, none = make(loops.from_numpy), np.zeros(0)
    loop = [
        run(np.random.default_rng(seed), streams(plan), REQUESTS, none, none) for seed in range(20)
    ]
    engine = [
        (rows.completed_ms - rows.arrived_ms).mean()
        for rows in (
            simulate(plan, REQUESTS, seed=seed, warmup=0.0).requests for seed in range(1, 21)
        )
    ]
    error = np.sqrt((np.var(loop, ddof=1) + np.var(engine, ddof=1)) / 20)
    assert abs(np.mean(loop) - np.mean(engine)) <= 3 * error
    assert error <= 0.01 * np.mean(engine)


def test_the_stations_are_three_mm2_in_a_row():
    exact = systems.STATIONS * theory.mmc(1 / systems.GAP_MS, 1 / systems.WORK_MS, 2).mean_sojourn
    run, plan, none = loops.tandem_loop(loops.keyed), systems.tandem().plan(), np.zeros(0)
    means = [run(seed, streams(plan), 200_000, none, none) for seed in range(1, 21)]
    error = np.std(means, ddof=1) / np.sqrt(20)
    assert abs(np.mean(means) - exact) <= 3 * error
    assert error <= 0.005 * exact


def test_measuring_gives_every_row(tmp_path):
    """A run as small as can be; its speeds mean nothing, its rows are those of the real one."""
    command = [Path(__file__).with_name("run.py"), "--rounds", "2", "--size", "0.001"]
    out = tmp_path / "benchmarks.json"
    subprocess.run([sys.executable, *command, "--out", out], check=True, capture_output=True)
    found = json.loads(out.read_text("utf-8"))
    kept = Path(__file__).parents[2] / "book" / "benchmarks.json"
    real = json.loads(kept.read_text("utf-8"))
    elsewhere = ("Ciw", "LINE's C++ simulator")  # not installed for the tests

    def names(result):
        return [
            (row["system"], row["program"])
            for row in result["speeds"]
            if row["program"] not in elsewhere
        ]

    assert names(found) == names(real)
    assert found.keys() == real.keys()
    for row in found["targets"]:
        assert row["low"] <= row["measured"] <= row["high"]
        at_least = row["bound"] == "at least"
        assert row["met"] == ((row["measured"] >= row["target"]) == at_least)
