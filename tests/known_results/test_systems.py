"""Known results, each said as a system and simulated: mean of independent runs against theory.

Tolerance: three standard errors of that mean, which must itself be small enough to mean something
(`precision`, relative). The time unit is a millisecond, so a rate of 800 per second is 0.8.
The letters in the table are those of `tests/test_theory.py`.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from models import System, simulate, theory

HERE = {"infrastructure": "here"}


# --- systems ------------------------------------------------------------------------------------


def system(flows, services, round_trip_ms=0.0, **brokers):
    return System.model_validate(
        {
            "name": "known result",
            "infrastructures": {"here": {}},
            "network": {"within_ms": round_trip_ms},
            "brokers": {name: HERE | broker for name, broker in brokers.items()},
            "services": {name: HERE | service for name, service in services.items()},
            "flows": flows,
        }
    )


def exponential(mean_ms=1.0):
    return {"mean_ms": mean_ms}


def constant(mean_ms=1.0):
    return {"mean_ms": mean_ms, "distribution": "deterministic"}


def queue(rate, work=None, workers=1, arrivals=None, **limits):
    """One service, one step: a single queue."""
    flow = {"rate_per_s": 1000 * rate, "root": {"service": "queue", "work": work or exponential()}}
    if arrivals:
        flow["arrivals"] = arrivals
    return system({"only": flow}, {"queue": {"workers": workers, **limits}})


def tandem(paths, stations):
    """Stations (service time, workers); paths (rate, stations visited), handed on by messages."""

    def visit(stops):
        station, *rest = stops
        step = {"service": f"s{station}", "work": exponential(stations[station][0])}
        if rest:
            step["then"] = [visit(rest) | {"via": "log"}]
        return step

    return system(
        {
            f"path{i}": {"rate_per_s": 1000 * rate, "root": visit(stops)}
            for i, (rate, stops) in enumerate(paths)
        },
        {f"s{i}": {"workers": workers} for i, (_, workers) in enumerate(stations)},
        log={},
    )


def held_call(rate, workers, round_trip_ms=0.0, callee_workers=1):
    root = {
        "service": "caller",
        "work": exponential(),
        "then": [{"service": "callee", "work": exponential()}],
    }
    return system(
        {"only": {"rate_per_s": 1000 * rate, "root": root}},
        {"caller": {"workers": workers}, "callee": {"workers": callee_workers}},
        round_trip_ms,
    )


def chain(depth, round_trip_ms, rate=0.1):
    root = {"service": f"s{depth}", "work": exponential()}
    for level in reversed(range(depth)):
        root = {"service": f"s{level}", "work": exponential(), "then": [root]}
    return system(
        {"only": {"rate_per_s": 1000 * rate, "root": root}},
        {f"s{i}": {} for i in range(depth + 1)},
        round_trip_ms,
    )


def fan_out(
    rate, branches, root_workers="unlimited", branch_workers=1, work=None, parallel=True, **step
):
    """A root without work of its own that calls `branches` services."""
    leaf = {"work": work or exponential(), **step}
    root = {
        "service": "root",
        "in_parallel": parallel,
        "then": [{"service": f"branch{i}", **leaf} for i in range(branches)],
    }
    return system(
        {"only": {"rate_per_s": 1000 * rate, "root": root}},
        {"root": {"workers": root_workers}}
        | {f"branch{i}": {"workers": branch_workers} for i in range(branches)},
    )


def consumers(rate, workers, partitions=None, work=None):
    """A producer without work of its own, a log, and consumers."""
    root = {
        "service": "producer",
        "then": [{"service": "consumer", "via": "log", "work": work or exponential()}],
    }
    return system(
        {"only": {"rate_per_s": 1000 * rate, "root": root}},
        {"producer": {}, "consumer": {"workers": workers}},
        log={"partitions": partitions},
    )


# --- measures of one run ------------------------------------------------------------------------


def metric(name, flow="all"):
    def measure(run):
        rows = run.summary().set_index(["flow", "metric"])
        return rows.loc[(flow, name), "value"]

    return measure


def service(name, column):
    return lambda run: run.services.set_index("service").loc[name, column]


OF_REQUESTS = set()  # measures that need a row a request


def of_requests(measure):
    OF_REQUESTS.add(measure)
    return measure


def quantile(q):
    @of_requests
    def measure(run):
        rows = run.requests[run.requests.counted]
        return np.quantile(rows.replied_ms - rows.arrived_ms, q)

    return measure


@of_requests
def above_50_ms(run):
    """Share of the responses that take more than 50 ms."""
    rows = run.requests[run.requests.counted]
    return np.mean(rows.replied_ms - rows.arrived_ms > 50)


@of_requests
def mean_number(run):
    """Customers in the system by Little's law, those turned away not counted."""
    rows = run.requests[run.requests.counted & (run.requests.answer == "ok")]
    return (rows.replied_ms - rows.arrived_ms).sum() / (run.window_ms[1] - run.window_ms[0])


def share_that_finds(number, or_more=False):
    """Share of the arrivals that find exactly (or at least) so many others in the system."""

    @of_requests
    def measure(run):
        rows = run.requests
        left = np.searchsorted(np.sort(rows.replied_ms), rows.arrived_ms, side="right")
        found = (np.arange(len(rows)) - left)[rows.counted]
        return np.mean(found >= number if or_more else found == number)

    return measure


@of_requests
def saturated_throughput(run):
    """Replies per ms in the middle of a run that never stops having work."""
    replied = np.sort(run.requests.replied_ms)
    first, last = len(replied) // 10, 9 * len(replied) // 10
    return (last - first) / (replied[last] - replied[first])


response, completion = metric("response_mean_ms"), metric("completion_mean_ms")
p95, p99 = quantile(0.95), quantile(0.99)
busy_on_arrival = share_that_finds(1, or_more=True)


# --- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    id: str
    source: str
    system: System
    measure: Callable
    exact: float
    requests: int = 100_000
    precision: float = 0.01
    replications: int = 20
    simpy: int = 1000  # requests a run for the SimPy engine; 0: so few would be biased


CIW = "[F] Jackson 1957; network of Ciw tutorial II"
CAFE = tandem([(0.09, [0, 1, 2]), (0.21, [0, 2]), (0.2, [1, 2])], [(1, 1), (2.5, 2), (2, 2)])
CAFE_THEORY = theory.jackson(
    [0.3, 0.2, 0], [1, 0.4, 0.5], [1, 2, 2], [[0, 0.3, 0.7], [0, 0, 1], [0, 0, 0]]
)
SPLIT_MERGE = "[F] Thomasian 2014; Pollaczek-Khinchine"
HYPER = {"distribution": "hyperexponential", "mean_ms": 1.0, "cv": 2.0}
PARETO = {"distribution": "pareto", "low_ms": 0.5, "high_ms": 20.0, "shape": 1.5}
PARETO_MEAN, PARETO_SECOND = (
    1.5 * (20.0 ** (k - 1.5) - 0.5 ** (k - 1.5)) / (k - 1.5) / (0.5**-1.5 - 20.0**-1.5)
    for k in (1, 2)
)
DM2_WAIT = 0.711114831456  # embedded Markov chain of what arrivals find, truncated at 200
TANDEM_P99 = 18.353560171525  # root of (5 exp(-0.3 t) - 3 exp(-0.5 t)) / 2 = 0.01
TWO_FLOWS = system(
    {
        "short": {"rate_per_s": 300, "root": {"service": "both", "work": exponential()}},
        "long": {"rate_per_s": 100, "root": {"service": "both", "work": constant(4.0)}},
    },
    {"both": {"workers": 1}},
)
JITTERED = System.model_validate(
    {
        "name": "far call",
        "infrastructures": {"here": {}, "there": {}},
        "network": {"between": [{"ends": ["here", "there"], "rtt_ms": 20, "jitter_cv": 0.5}]},
        "services": {"caller": HERE, "callee": {"infrastructure": "there"}},
        "flows": {
            "only": {
                "rate_per_s": 100,
                "root": {"service": "caller", "then": [{"service": "callee"}]},
            }
        },
    }
)
SIGMA = math.sqrt(math.log(1 + 0.5**2))  # of the logarithm of a lognormal with cv 0.5
SLOW_LEAF = {"distribution": "empirical", "values_ms": [1.0] * 99 + [100.0]}

# fmt: off
ROWS = [
    # open queues
    *[
        Row(f"mm1-asimpy-{rho}", "[P] asimpy, output/14_sojourn.txt, column theory_W", queue(rho),
            response, w, n, simpy=simpy)
        for rho, w, n, simpy in ((0.1, 1 / 0.9, 20_000, 1000), (0.3, 1 / 0.7, 20_000, 1000),
                                 (0.5, 2.0, 50_000, 2000), (0.7, 1 / 0.3, 100_000, 1000),
                                 (0.9, 10.0, 300_000, 1000))
    ],
    *[
        Row(f"mm1-line-readme-{name}", "[P] line-solver README table", queue(1, exponential(0.5)),
            measure, 1.0, 50_000)
        for name, measure in (("L", mean_number), ("W", response))
    ],
    Row("mm1-sojourn-p99", "[D] exponential sojourn", queue(0.5), p99,
        theory.mmc_sojourn_quantile(0.99, 0.5, 1), 50_000),
    *[
        Row(f"mm1-sojourn-{name}", "[D] exponential sojourn, from the summary's histogram", queue(0.8),
            metric(f"response_{name}_ms"), theory.mmc_sojourn_quantile(q, 0.8, 1), 200_000, 0.02,
            40, simpy)
        for name, q, simpy in (("p50", 0.5, 2000), ("p95", 0.95, 4000), ("p999", 0.999, 0))
    ],
    Row("mm1-throughput", "[D] what arrives leaves: 500 per s", queue(0.5),
        metric("throughput_per_s"), 500.0, 50_000),
    Row("mm3-utilisation", "[D] a / c", queue(1.5, workers=3), service("queue", "utilisation"), 0.5,
        50_000),
    Row("mm4-sojourn-p95", "[F] Gross and Harris 2.3", queue(3.2, workers=4), p95,
        theory.mmc_sojourn_quantile(0.95, 3.2, 1, 4), 60_000, 0.015),
    Row("mmc-ciw-bank3-Wq", "[F] Erlang C; the bank of Ciw, Getting started",
        queue(0.2, exponential(10), 3), service("queue", "mean_wait_ms"), 4.444444, 200_000),
    Row("mm8-0.9-Wq", "[F] Erlang C", queue(7.2, workers=8), service("queue", "mean_wait_ms"),
        theory.mmc(7.2, 1, 8).mean_wait, 400_000, 0.015, simpy=4000),
    Row("erlangC-R", "[F] R package queueing, C_erlang.Rd", queue(0.5, exponential(1 / 0.7), 2),
        share_that_finds(2, or_more=True), 0.1879699248, 50_000),
    Row("erlangC-50-wq", "[R] Garnett, Mandelbaum and Reiman 2002, table 1: 20.8 s, in minutes",
        queue(48, workers=50), service("queue", "mean_wait_ms"), 20.8337 / 60, 500_000, 0.02,
        simpy=4000),
    *[
        Row(f"psthr-ciw-p{n}", "[P] Ciw, test_capacitated_ps (= M/M/3)", queue(10, exponential(1 / 12), 3),
            share_that_finds(n), p, 50_000)
        for n, p in enumerate((0.4321329639889196, 0.3601108033240997, 0.1500461680517082,
                               0.041679491125474505))
    ],
    Row("md1-08", "[F] Pollaczek-Khinchine", queue(0.8, constant()),
        service("queue", "mean_wait_ms"), 2.0),
    Row("md1-09-Lq", "[F] Pollaczek-Khinchine; Lq = 4.05", queue(0.9, constant()),
        service("queue", "mean_wait_ms"), 4.05 / 0.9, 200_000),
    Row("mdc-2-0.8", "[F] Crommelin 1932; LINE qsys_mdc_crommelin", queue(1.6, constant(), 2),
        service("queue", "mean_wait_ms"), 0.9032838794),
    Row("mdc-5-0.9", "[F] Crommelin 1932; LINE qsys_mdc_crommelin", queue(4.5, constant(), 5),
        service("queue", "mean_wait_ms"), 0.7766951582, 200_000),
    Row("mg1-scv4", "[D] Pollaczek-Khinchine, hyperexponential, scv 4", queue(0.8, HYPER),
        service("queue", "mean_wait_ms"), 10.0, 300_000, 0.015),
    *[
        Row(f"mg1-{work['distribution']}", "[D] Pollaczek-Khinchine", queue(0.6, work),
            service("queue", "mean_wait_ms"), theory.mg1(0.6, 1, scv).mean_wait, precision=0.02,
            replications=40)  # so that the standard error itself is well known
        for work, scv in (
            ({"distribution": "erlang", "mean_ms": 1.0, "phases": 4}, 0.25),
            ({"distribution": "lognormal", "mean_ms": 1.0, "cv": 1.5}, 2.25),
            ({"distribution": "uniform", "low_ms": 0.5, "high_ms": 1.5}, 1 / 12),
            ({"distribution": "empirical", "values_ms": [0.5, 0.5, 0.5, 2.5]}, 0.75),
        )
    ],
    Row("mg1-pareto", "[D] Pollaczek-Khinchine", queue(0.5 / PARETO_MEAN, PARETO),
        service("queue", "mean_wait_ms"), 0.5 * PARETO_SECOND / PARETO_MEAN / 2 / 0.5, 200_000, 0.02),
    *[
        Row(f"dm1-{rho}", "[F] root of s = exp(-(1-s)/rho)",
            queue(rho, arrivals={"process": "deterministic"}), busy_on_arrival, sigma, 30_000)
        for rho, sigma in ((0.5, 0.2031878699), (0.9, 0.8068998329))
    ],
    Row("dm1-0.9-W", "[F] 1/(1-s)", queue(0.9, arrivals={"process": "deterministic"}), response,
        1 / (1 - 0.8068998329), 200_000),
    Row("pasta-counter", "[F] arrivals see 0.62863, the time average is 0.8",
        queue(0.8, arrivals={"process": "deterministic"}), busy_on_arrival, 0.8 - 0.1713702035,
        30_000),
    Row("pasta-holds", "[F] Poisson arrivals see the time average", queue(0.8), busy_on_arrival, 0.8,
        30_000),
    Row("h2m1-0.7", "[F] Kleinrock 1975, 6.4: hyperexponential gaps, scv 4",
        queue(0.7, arrivals={"process": "renewal", "distribution": "hyperexponential", "cv": 2.0}),
        response, theory.gim1(theory.hyperexponential_transform(1 / 0.7, 4), 0.7, 1).mean_sojourn,
        200_000),
    Row("e2m1-0.8", "[F] Kleinrock 1975, 6.4: Erlang-2 gaps",
        queue(0.8, arrivals={"process": "renewal", "distribution": "erlang", "phases": 2}), response,
        theory.gim1(theory.erlang_transform(1.25, 2), 0.8, 1).mean_sojourn, 200_000),
    Row("um1-2/3", "[F] Kleinrock 1975, 6.4: gaps uniform from 0 to 3",
        queue(2 / 3, arrivals={"process": "renewal", "distribution": "uniform", "low_ms": 0,
                               "high_ms": 1}), response,
        theory.gim1(lambda z: -math.expm1(-3 * z) / (3 * z), 2 / 3, 1).mean_sojourn, 100_000),
    Row("dm2-0.8-Wq", "[F] Gross and Harris 5.3, D/M/2", queue(1.6, workers=2,
        arrivals={"process": "deterministic"}), service("queue", "mean_wait_ms"), DM2_WAIT, 200_000),
    Row("batch2", "[F] Gross and Harris 3.1", queue(0.8, arrivals={"process": "batch", "size": 2}),
        response, 7.5, 200_000),
    Row("batch10", "[F] Gross and Harris 3.1", queue(0.7, arrivals={"process": "batch", "size": 10}),
        response, theory.batch_mg1(0.07, 10, 1).mean_sojourn, 400_000, simpy=2000),
    Row("batch4-constant", "[D] a batch is a job of constant size, and each waits for those before it",
        queue(0.6, constant(), arrivals={"process": "batch", "size": 4}), response,
        theory.batch_mg1(0.15, 4, 1, 0).mean_sojourn),
    # several kinds of requests, rates that change
    *[
        Row(f"two-flows-{name}", "[F] Pollaczek-Khinchine of the mixture", TWO_FLOWS,
            metric("response_mean_ms", name), (0.3 * 2 + 0.1 * 16) / 2 / 0.3 + work,
            150_000)
        for name, work in (("short", 1.0), ("long", 4.0))
    ],
    Row("profile-slow", "[D] phases so long that each is an M/M/1: their mean, weighted by arrivals",
        queue(0.5, arrivals={"process": "profile", "period_ms": 400_000,
                             "steps": [{"from_ms": 0, "factor": 0.5},
                                       {"from_ms": 200_000, "factor": 1.5}]}), response,
        0.25 / (1 - 0.25) + 0.75 / (1 - 0.75), 888_889, simpy=0),  # four periods after the warm-up
    # open networks
    Row("jackson-ciw-cafe-W3", CIW, CAFE, service("s2", "mean_wait_ms"), 2.66666667 - 2, 200_000),
    Row("jackson-ciw-cafe-R", CIW, CAFE, completion, CAFE_THEORY.mean_response),
    Row("laz-open-0.2", "[F] Lazowska et al. 1984, p. 113",
        tandem([(0.2, [0, 1, 2])], [(0.605, 1), (2.1, 1), (1.35, 1)]), completion, 6.1582868625),
    Row("tandem-mm2", "[F] Burke 1956; three M/M/2 in a row",
        tandem([(1.4, [0, 1, 2])], [(1, 2)] * 3), completion,
        3 * theory.mmc(1.4, 1, 2).mean_sojourn),
    Row("tandem-p99", "[F] Burke 1956, Reich 1957: the sojourns are independent and exponential",
        tandem([(0.5, [0, 1])], [(1, 1), (1.25, 1)]), metric("completion_p99_ms"), TANDEM_P99,
        200_000, simpy=4000),
    # limits of queues
    Row("mmck-simmer-N", "[F] r-simmer, vignette simmer-06-queueing",
        queue(3, exponential(0.25), 2, queue_limit=1), mean_number, 0.7623400366, 30_000, simpy=2000),
    Row("mmck-simmer-blocking", "[F] r-simmer, vignette simmer-06-queueing",
        queue(3, exponential(0.25), 2, queue_limit=1), metric("rejected_share"),
        theory.mmck(3, 4, 2, 3).blocking, 100_000),
    Row("mm1k-overload", "[F] M/M/1/11 at load 1.5: throughput per s",
        queue(1.5, queue_limit=10), lambda run: metric("ok_share")(run) * 1500,
        1000 * theory.mmck(1.5, 1, 1, 11).throughput, simpy=2000),
    Row("erlangB-R", "[F] R package queueing, B_erlang.Rd",
        queue(0.5, exponential(1 / 0.7), 2, queue_limit=0), metric("rejected_share"), 0.1295336788),
    Row("erlangB-15", "[P] erlang.com manual: 8.108 erlang on 15 lines lose 1 %",
        queue(8.108043, workers=15, queue_limit=0), metric("rejected_share"), 0.01, precision=0.02,
        simpy=3000),
    *[
        Row(f"erlangB-{name}", "[F] Erlang B holds for any service time",
            queue(0.7, work, 2, queue_limit=0), metric("rejected_share"), theory.erlang_b(0.7, 2))
        for name, work in (
            ("constant", constant()),
            ("hyperexponential", HYPER),
            ("lognormal", {"distribution": "lognormal", "mean_ms": 1.0, "cv": 1.5}),
            ("uniform", {"distribution": "uniform", "low_ms": 0.0, "high_ms": 2.0}),
        )
    ],
    Row("md12-blocking", "[F] Gross and Harris 5.1: M/D/1 with one place to wait",
        queue(0.9, constant(), queue_limit=1), metric("rejected_share"),
        1 - 1 / (0.9 + math.exp(-0.9))),
    # calls that hold a worker
    Row("hold-W-3", "[D] Markov chain", held_call(0.8, 3), response, 7.5240410165, 300_000),
    Row("hold-W-2", "[D] Markov chain", held_call(0.6, 2), response, theory.hold_response(0.6, 2),
        200_000),
    Row("hold-W-1", "[F] Pollaczek-Khinchine with the sum as service", held_call(0.3, 1), response,
        theory.mg1(0.3, 2, 0.5).mean_sojourn, simpy=2000),
    Row("hold-W-many", "[D] unlimited workers: 6.0", held_call(0.8, "unlimited"), response, 6.0,
        200_000),
    Row("hold-W-4-callee-2", "[D] Markov chain", held_call(1.2, 4, callee_workers=2), response,
        theory.hold_response(1.2, 4, 1, 1, 2), 100_000),
    *[
        Row(f"hold-cap-{workers}", "[D] closed two-station product form", held_call(2, workers),
            saturated_throughput, capacity, 10_000)
        for workers, capacity in ((1, 0.5), (2, 0.8), (4, 0.9846153846))
    ],
    Row("hold-cap-4-rtt", "[D] closed product form, round trip 3", held_call(2, 4, 3.0),
        saturated_throughput, theory.hold_capacity(4, round_trip=3), 20_000),
    Row("hold-cap-far", "[F] workers / (work + time downstream), round trip 10",
        held_call(2, 4, 10.0, "unlimited"), saturated_throughput, theory.held_capacity(4, 1, 11),
        20_000),
    Row("jitter-p99", "[D] quantile of the lognormal round trip", JITTERED,
        metric("response_p99_ms"), 20 * math.exp(norm.ppf(0.99) * SIGMA - SIGMA**2 / 2), 50_000),
    Row("chain-depth-4", "[D] sum of works and round trips", chain(4, 2.5), response,
        theory.chain_response(1, 2.5, 4), 20_000),
    # fan-out: fork-join, split-merge, tails
    Row("fj2-0.5", "[F] Flatto and Hahn 1984; Nelson and Tantawi 1988", fan_out(0.5, 2), response,
        2.875, 50_000, simpy=2000),
    Row("fj2-0.8", "[F] Flatto and Hahn 1984; Nelson and Tantawi 1988", fan_out(0.8, 2), response,
        7.0, 150_000),
    Row("splitmerge-2", "[F] Thomasian 2014: 1/H_2", fan_out(2, 2, 1), saturated_throughput,
        0.6666666667, 20_000),
    Row("splitmerge-5", "[F] Thomasian 2014: 1/H_5", fan_out(2, 5, 1), saturated_throughput,
        0.4379562044, 20_000),
    Row("splitmerge-2-W", SPLIT_MERGE, fan_out(0.4, 2, 1), response,
        theory.split_merge(2, 0.4).mean_sojourn, simpy=2000),
    Row("splitmerge-5-W", SPLIT_MERGE, fan_out(0.3, 5, 1), response,
        theory.split_merge(5, 0.3).mean_sojourn),
    Row("max-exp-5", "[F] H_5", fan_out(0.1, 5, branch_workers="unlimited"), response, 2.2833333333,
        20_000),
    Row("sum-exp-5", "[F] one after the other: 5",
        fan_out(0.1, 5, branch_workers="unlimited", parallel=False), response, 5.0, 20_000),
    Row("V4-parallel", "[F] parallel steps: H_3 = 1.833",
        fan_out(0.1, 3, branch_workers="unlimited"), response, 11 / 6, 20_000),
    Row("tail-100", "[P] Dean and Barroso 2013 (63 %)",
        fan_out(0.1, 100, branch_workers="unlimited", work=SLOW_LEAF), above_50_ms,
        0.6339676587, 5_000, simpy=100),
    # pooled against partitioned consumers
    *[
        Row(f"pool-{c}", "[F] Erlang C", consumers(0.8 * c, c), completion, pooled, 100_000,
            simpy=2000)
        for c, pooled in ((4, 1.74554059), (12, 1.15368396))
    ],
    *[
        Row(f"partitioned-{c}-{workers}", "[F] M/M/1 a worker: 5", consumers(0.8 * workers, workers, c),
            completion, 5.0, 150_000, simpy=500 * workers)
        for c, workers in ((4, 4), (12, 12), (12, 4))
    ],
    Row("few-partitions", "[F] 2 partitions keep 2 of 8 workers busy",
        consumers(1.2, 8, 2), completion, theory.mm1(0.6, 1).mean_sojourn),
    Row("uneven-partitions", "[F] 7 partitions on 4 workers: three with 2, one with 1",
        consumers(2, 4, 7), completion, (6 / 7) / (1 - 4 / 7) + (1 / 7) / (1 - 2 / 7)),
    # sagas
    Row("saga-seq-ok", "[D] 0.98^5",
        fan_out(0.1, 5, branch_workers="unlimited", parallel=False, fails=0.02, undo=exponential()),
        metric("ok_share"), 0.9039207968, 50_000),
    Row("saga-seq-comp", "[D] sum of k q^k p",
        fan_out(0.1, 5, branch_workers="unlimited", parallel=False, fails=0.02, undo=exponential()),
        metric("undone_mean"), 0.1882769728, 50_000),
    Row("saga-par-comp", "[D] sum of q minus n times the product",
        fan_out(0.1, 5, branch_workers="unlimited", fails=0.02, undo=exponential()),
        metric("undone_mean"), 5 * 0.98 - 5 * 0.98**5, 50_000),
    Row("saga-par-comp-0.3", "[D] n q (1 - q^(n-1))",
        fan_out(0.1, 6, branch_workers="unlimited", fails=0.3, undo=exponential()),
        metric("undone_mean"), theory.saga_compensations_parallel([0.3] * 6), 20_000),
    Row("saga-seq-comp-0.2", "[D] sum of k q^k p",
        fan_out(0.1, 3, branch_workers="unlimited", parallel=False, fails=0.2, undo=exponential()),
        metric("undone_mean"), theory.saga_compensations_sequential([0.2] * 3), 20_000),
]
# fmt: on


def estimate(row, replications, requests, engine):
    first_seed = zlib.crc32(row.id.encode())  # else all rows would share the same arrivals
    keep = "requests" if engine == "simpy" or row.measure in OF_REQUESTS else "summary"
    plan = row.system.plan()
    values = [
        float(row.measure(simulate(plan, requests=requests, seed=seed, engine=engine, keep=keep)))
        for seed in range(first_seed, first_seed + replications)
    ]
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(replications))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.id} {row.source}" for row in ROWS])
def test_compiled_engine(row):
    mean, standard_error = estimate(row, row.replications, row.requests, "compiled")
    assert abs(mean - row.exact) <= 3 * standard_error + 1e-12 * row.exact
    assert standard_error <= row.precision * row.exact


SMALL = [row for row in ROWS if row.simpy]


@pytest.mark.parametrize("row", SMALL, ids=[f"{row.id} {row.source}" for row in SMALL])
def test_simpy_engine(row):
    """The same rows, smaller; `test_both_engines_agree` below ties the two engines together."""
    mean, standard_error = estimate(row, 10, row.simpy, "simpy")
    assert abs(mean - row.exact) <= 3 * standard_error
    assert standard_error <= 0.15 * row.exact


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_both_engines_agree(row):
    """Request by request, on the very systems of the known results."""
    runs = [simulate(row.system, requests=300, seed=5, engine=e) for e in ("simpy", "compiled")]
    pd.testing.assert_frame_equal(*(run.requests for run in runs), check_exact=True)


@pytest.mark.parametrize(("branches", "rho"), [(4, 0.8), (16, 0.8), (8, 0.5)])
def test_fork_join_lies_near_the_approximation(branches, rho):
    """[F] Nelson and Tantawi 1988: within 5 % of the truth (their statement for K <= 32)."""
    row = Row("fork-join", "", fan_out(rho, branches), response, math.nan)
    mean, standard_error = estimate(row, 5, 60_000, "compiled")
    approximation = theory.fork_join_approximation(branches, rho, 1)
    assert abs(mean - approximation) <= 0.05 * approximation + 3 * standard_error
    assert standard_error <= 0.015 * approximation


def test_spread_of_a_mean_wait():
    """[F] mm1-avar: the mean wait of n customers has the variance 1976/n (Whitt 1989)."""
    customers, replications = 20_000, 200
    means = [
        simulate(
            queue(0.8), requests=customers, seed=seed, keep="summary"
        ).services.mean_wait_ms.iloc[0]
        for seed in range(1, replications + 1)
    ]
    spread = np.var(means, ddof=1) * 0.9 * customers  # the first tenth is warm-up
    assert abs(spread / 1976 - 1) <= 3 * math.sqrt(2 / (replications - 1))


def test_backlog_of_an_outage():
    """[D] drain: 80/s, 100/s, outage 600 s: 2400 s to drain, 240,000 messages delayed.

    The outage is one job of 600 s in front of the only consumer.
    """
    out_s = 600.0
    work = exponential(10)
    consume = {"service": "consumer", "via": "log"}
    outage = system(
        {
            "orders": {
                "rate_per_s": 80,
                "root": {"service": "producer", "then": [consume | {"work": work}]},
            },
            "outage": {
                "arrivals": {"process": "timestamps", "times_ms": [20_000.0]},
                "root": {
                    "service": "producer",
                    "then": [consume | {"work": constant(1000 * out_s)}],
                },
            },
        },
        {"producer": {}, "consumer": {"workers": 1}},
        log={},
    )
    fluid = theory.fluid_backlog(80, 100, out_s)
    drained, delayed = [], []
    for seed in range(1, 9):
        rows = simulate(outage, requests=270_000, seed=seed, warmup=0.0).requests
        block = rows[rows.flow == "outage"].completed_ms.iloc[0]
        orders = rows[rows.flow == "orders"]
        idle = orders.arrived_ms > orders.completed_ms.shift()
        end = orders.arrived_ms[idle & (orders.arrived_ms > block)].iloc[0]
        drained.append((end - block) / 1000)
        delayed.append(
            ((orders.arrived_ms > block - 1000 * out_s) & (orders.arrived_ms < end)).sum()
        )
    for values, exact in ((drained, fluid.drain_time), (delayed, fluid.delayed)):
        standard_error = np.std(values, ddof=1) / math.sqrt(len(values))
        assert abs(np.mean(values) - exact) <= 3 * standard_error
        assert standard_error <= 0.01 * exact


def test_backlog_of_a_burst():
    """[D] fluid: 80/s, for 60 s 400/s, 100/s: peak 18,000, so the longest wait is 180 s."""
    profile = {
        "process": "profile",
        "steps": [
            {"from_ms": 0, "factor": 1},
            {"from_ms": 20_000, "factor": 5},
            {"from_ms": 80_000, "factor": 1},
        ],
    }
    root = {
        "service": "producer",
        "then": [{"service": "consumer", "via": "log", "work": constant(10)}],
    }
    burst = system(
        {"only": {"rate_per_s": 80, "arrivals": profile, "root": root}},
        {"producer": {}, "consumer": {"workers": 1}},
        log={},
    )
    fluid = theory.fluid_backlog(80, 100, 60, capacity_during=100, arrival_rate_during=400)
    longest = []
    for seed in range(1, 21):
        rows = simulate(burst, requests=60_000, seed=seed, warmup=0.0).requests
        longest.append((rows.completed_ms - rows.arrived_ms).max() / 1000)
    standard_error = np.std(longest, ddof=1) / math.sqrt(len(longest))
    # The few messages that stood before the burst come on top, and the longest is a maximum.
    assert (
        abs(np.mean(longest) - fluid.longest_wait)
        <= 3 * standard_error + 0.005 * fluid.longest_wait
    )
    assert standard_error <= 0.01 * fluid.longest_wait
