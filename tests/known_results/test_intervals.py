"""Intervals hold what they promise: 95 % of them cover the truth."""

import math

import pytest
from test_systems import queue

from models import System, compare, replicate, simulate, stages, theory

RUNS = 100
LEAST = 0.95 - 3 * math.sqrt(0.95 * 0.05 / RUNS)  # three standard errors of a share of 0.95


def covered(table, value, exact):
    rows = table[table.flow == "all"].set_index("metric")
    return {
        metric: abs(rows.loc[metric, value] - truth) <= rows.loc[metric, "half_width"]
        for metric, truth in exact.items()
    }


def truth(rho):
    return {
        "response_mean_ms": theory.mm1(rho, 1).mean_sojourn,
        "response_p50_ms": theory.mmc_sojourn_quantile(0.5, rho, 1),
        "response_p95_ms": theory.mmc_sojourn_quantile(0.95, rho, 1),
        "throughput_per_s": 1000 * rho,
    }


@pytest.mark.parametrize(("rho", "requests"), [(0.5, 50_000), (0.8, 200_000)])
def test_batch_means_of_one_run(rho, requests):
    """[D] M/M/1: the sojourn is exponential; 20 batches of one run, Student's t."""
    plan = queue(rho).plan()
    seen = [
        covered(
            simulate(plan, requests, seed=7919 * run, keep="summary").summary(), "value", truth(rho)
        )
        for run in range(1, RUNS + 1)
    ]
    shares = {metric: sum(one[metric] for one in seen) / RUNS for metric in seen[0]}
    assert min(shares.values()) >= LEAST, shares
    assert max(shares.values()) < 1, shares  # nor are they too wide


def test_independent_replications():
    """[D] M/M/1 at 0.5, ten runs behind each interval."""
    plan = queue(0.5).plan()
    seen = [
        covered(
            replicate(plan, 10, 5_000, seed=7919 * run, jobs=1, metrics=list(truth(0.5))),
            "mean",
            truth(0.5),
        )
        for run in range(1, RUNS + 1)
    ]
    shares = {metric: sum(one[metric] for one in seen) / RUNS for metric in seen[0]}
    assert min(shares.values()) >= LEAST, shares


def test_the_same_draws_narrow_the_comparison_of_two_stages():
    """Common random numbers: the difference varies less than with independent runs."""
    shop = System.load("shop")
    before, after = (stages.at(shop, stage) for stage in ("asynchronous", "separated"))
    table = compare(before, after, 20, 5_000, metrics=["completion_mean_ms"])
    rows = table.set_index("flow")
    assert (rows.variance_ratio > 10).all()
    assert rows["mean"]["place_order"] > 3 * rows.half_width["place_order"] > 0
