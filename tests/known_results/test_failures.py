"""Known results about what goes wrong: impatience, retrials, breakdowns, retries, lost segments.

Each is said as a system and simulated by the compiled engine; the SimPy engine gives the same times
for every request (tests/test_engine.py). Tolerance: three standard errors of independent runs.
"""

import numpy as np
import pytest

from models import System, simulate, theory

HERE = {"infrastructure": "here"}
UNLIMITED_TRIES = 1_000_000


def system(root, services, rate, arrivals=None, **more):
    """One flow; rates per ms, times in ms, no time on the network."""
    flow = {"rate_per_s": 1000 * rate, "root": root}
    if arrivals:
        flow["arrivals"] = arrivals
    return System.model_validate(
        {
            "name": "known result",
            "infrastructures": {"here": {}},
            "network": {"within_ms": 0},
            "services": {name: HERE | service for name, service in services.items()},
            "flows": {"only": flow},
            **more,
        }
    )


def means(system, measure, replications=20, requests=100_000):
    values = [
        measure(simulate(system, requests, 1 + (run << 32), keep="summary"))
        for run in range(replications)
    ]
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(replications)


def agrees(found, exact, precision=0.02):
    """Within three standard errors, which are small enough to mean something."""
    mean, error = found
    assert error <= precision * abs(exact)
    assert abs(mean - exact) <= 3 * error, (mean, error, exact)


def response(run):
    return run.summary().set_index(["flow", "metric"]).loc[("all", "response_mean_ms"), "value"]


def step(run, key, column):
    return run.steps.set_index("step").loc[key, column]


def test_impatient_callers_are_erlang_a():
    """M/M/50+M, Garnett, Mandelbaum, Reiman 2002, table 1: 3.1 % abandon.

    A queue whose head is looked at when a worker is free, and left out if its caller has gone, has
    the same workers busy as one that callers leave at once; only what is still waiting counts.
    """
    root = {
        "service": "agents",
        "work": {"mean_ms": 1},
        "patience": {"mean_ms": 2},
        "passes_deadline": True,
    }
    hotline = system(root, {"agents": {"workers": 50, "sheds_late": True}}, 48)
    exact = theory.erlang_a(48, 1, 50, 0.5).p_abandon
    assert exact == pytest.approx(0.0309122492, abs=1e-9)

    def left_waiting(run):
        return step(run, "agents", "rejected") / run.counted

    agrees(means(hotline, left_waiting), exact, 0.02)


@pytest.mark.parametrize(("retry_rate", "orbit"), [(0.5, 4.9), (5.0, 1.96)])
def test_callers_that_try_again_are_a_retrial_queue(retry_rate, orbit):
    """M/M/1 with a linear retrial orbit, Falin and Templeton 1997; the response by Little's law."""
    retry = {
        "attempts": UNLIMITED_TRIES,
        "on": ["rejected"],
        "backoff": "drawn",
        "pause": {"mean_ms": 1 / retry_rate},
    }
    root = {"service": "line", "work": {"mean_ms": 1}, "retry": retry}
    line = system(root, {"line": {"workers": 1, "queue_limit": 0}}, 0.7)
    assert theory.retrial_orbit(0.7, 1, retry_rate) == pytest.approx(orbit)
    agrees(means(line, response), (orbit + 0.7) / 0.7)


def test_breakdowns_at_any_time():
    """M/M/1, fails at rate 0.05 and is repaired at 0.2, idle or not: L = 3.0, so W = 6.

    White and Christie 1958. The message whose work is lost is worked on anew, which for an
    exponential time is as long as going on.
    """
    root = {
        "service": "producer",
        "then": [{"service": "server", "work": {"mean_ms": 1}, "via": "log"}],
    }
    breaking = system(
        root,
        {"producer": {}, "server": {"workers": 1}},
        0.5,
        brokers={"log": HERE},
        outages=[{"services": ["server"], "up": {"mean_ms": 20}, "down": {"mean_ms": 5}}],
    )

    def completion(run):
        rows = run.summary().set_index(["flow", "metric"])
        return rows.loc[("all", "completion_mean_ms"), "value"]

    exact = theory.breakdowns_any_time(0.5, 1, 0.05, 0.2)
    assert exact.mean_number == pytest.approx(3.0)
    agrees(means(breaking, completion), 6.0)


def test_breakdowns_only_while_serving():
    """The same rates, but an idle server does not fail: L = 2.5, so W = 5 (Avi-Itzhak, Naor 1963).

    The server holds the customer; its work breaks off with the chance of a failure before its end,
    and goes on after an exponential repair.
    """
    retry = {"attempts": UNLIMITED_TRIES, "backoff": "drawn", "pause": {"mean_ms": 5}}
    work = {"service": "machine", "work": {"mean_ms": 1 / 1.05}, "errors": 0.05 / 1.05}
    root = {"service": "server", "then": [work | {"retry": retry}]}
    breaking = system(root, {"server": {"workers": 1}, "machine": {}}, 0.5)
    exact = theory.breakdowns_in_service(0.5, 1, 0.05, 0.2)
    assert exact.mean_number == pytest.approx(2.5)
    agrees(means(breaking, response), 5.0)


def test_retries_multiply_through_the_layers():
    """Four layers with three attempts each, all in vain: 3^4 = 81 tries at the bottom."""
    retry = {"retry": {"attempts": 3}}
    root = {"service": "s3", "errors": 1, **retry}
    for layer in (2, 1, 0):
        root = {"service": f"s{layer}", "then": [root], **retry}
    tower = system(root, {f"s{i}": {} for i in range(4)}, 0.01)
    run = simulate(tower, 100, 1, warmup=0.0)
    assert theory.retry_amplification(3, 4) == 81
    assert step(run, "s3", "tried") == 81 * 100
    assert (run.requests.outcome == "failed").all()


@pytest.mark.parametrize(("p", "most"), [(0.1, 3), (0.5, 4)])
def test_mean_attempts_and_success(p, most):
    """(1 - p^n) / (1 - p) tries and 1 - p^n success: 1.11 for p = 0.1 and n = 3."""
    root = {"service": "flaky", "errors": p, "retry": {"attempts": most}}
    flaky = system(root, {"flaky": {}}, 1)
    agrees(
        means(flaky, lambda run: step(run, "flaky", "tried") / run.counted),
        theory.mean_attempts(p, most),
        0.002,
    )
    success = means(
        flaky, lambda run: 1 - step(run, "flaky", "failed") / step(run, "flaky", "tried")
    )
    agrees(success, 1 - p, 0.002)


def test_a_budget_bounds_the_retries():
    """A full outage: each call brings in a tenth of a token, so a tenth more tries in the end."""
    budget = {"tokens": 10, "per_call": 0.1}
    root = {"service": "down", "errors": 1, "retry": {"attempts": 4, "budget": budget}}
    run = simulate(system(root, {"down": {}}, 1), 100_000, 1, warmup=0.0)
    assert step(run, "down", "tried") == pytest.approx(100_000 * 1.1 + 10, abs=2)


def test_a_lost_segment_costs_a_time_out_and_not_a_round_trip():
    """A chain of three services, 20 ms between them, utilisation 0.25, 1 % loss.

    Seen on a real chain: mean 56 to 66 ms, p50 stays at 55, p99 from 84 to 305 ms. Four crossings
    cost 200 ms and more with one chance in a hundred each: 0.01 x 200 / (1 - 2 x 0.01) ms on average.
    """

    def chain(loss):
        work = {"mean_ms": 5, "distribution": "erlang", "phases": 4}
        root = {"service": "c", "work": work}
        root = {"service": "b", "work": work, "then": [root]}
        root = {"service": "a", "work": work, "then": [root]}
        return System.model_validate(
            {
                "name": "lossy chain",
                "infrastructures": {"here": {}},
                "network": {"within_ms": 20, "loss": loss},
                "services": {name: HERE for name in "abc"},
                "flows": {"only": {"rate_per_s": 50, "root": root}},
            }
        )

    dry, wet = (simulate(chain(loss), 200_000, 1).requests for loss in (0.0, 0.01))
    before, after = (run.replied_ms - run.arrived_ms for run in (dry, wet))
    extra = after - before  # the same draws: what differs is what was lost
    error = extra.std() / np.sqrt(len(extra))
    assert abs(extra.mean() - 4 * 0.01 * 200 / (1 - 2 * 0.01)) < 3 * error
    assert after.median() == pytest.approx(before.median(), rel=0.02)
    assert before.quantile(0.99) < 85 and 240 < after.quantile(0.99) < 320


def shed_in_an_mm1(load, patient, strict, calls, rng):
    """The share that an M/M/1 queue turns away at its head, call by call without any events.

    B. Maurer, "Fail at Scale", ACM Queue 13 (2015): the allowed wait is `strict` if the queue was
    last empty more than `patient` ago. It is empty for whoever comes after the one before has begun.
    """
    arrivals = np.cumsum(rng.exponential(1 / load, calls))
    works = rng.exponential(1, calls)
    free = begun = empty = 0.0
    shed = 0
    for arrived, work in zip(arrivals, works, strict=True):
        if arrived >= begun:
            empty = arrived
        begun = max(arrived, free)
        allowed = strict if begun - empty > patient else patient
        if begun - arrived > allowed:
            shed += 1
        else:
            free = begun + work
    return shed / calls


@pytest.mark.parametrize(("load", "patient", "strict"), [
    (0.5, 1, 0.1), (0.7, 2, 0.2), (0.5, 5, 0.25), (1.5, 1, 0.2),
])  # fmt: skip
def test_a_standing_queue_is_cut_as_published(load, patient, strict):
    root = {"service": "api", "work": {"mean_ms": 1}}
    limits = {"workers": 1, "max_wait_ms": patient, "max_standing_wait_ms": strict}
    mean, error = means(system(root, {"api": limits}, load),
                        lambda run: step(run, "api", "rejected") / run.counted)  # fmt: skip
    rng = np.random.default_rng(1)
    other = [shed_in_an_mm1(load, patient, strict, 20_000, rng) for _ in range(20)]
    assert error <= 0.02 * mean
    assert abs(mean - np.mean(other)) <= 3 * np.hypot(error, np.std(other, ddof=1) / np.sqrt(20))


@pytest.mark.parametrize(("base_per_s", "after_s", "goodput"), [(6, 200, 1.0), (8, 100, 0.0)])
def test_a_retry_storm_outlives_its_trigger(base_per_s, after_s, goodput):
    """20/s, 256 places to wait, 0.75 s patience, 3 tries; 40/s for 10 s, then the base rate.

    SREGym, pull request 946: at 8/s nothing is answered in time 100 s later, since three tries of
    each are a load of 24/s. At 6/s they are 18/s: a full queue is worked off at 2/s, in 128 s.
    """
    arrivals = {
        "process": "profile",
        "steps": [
            {"from_ms": 0, "factor": 1},
            {"from_ms": 20_000, "factor": 40 / base_per_s},
            {"from_ms": 30_000, "factor": 1},
        ],
    }
    root = {
        "service": "api",
        "work": {"mean_ms": 50, "distribution": "deterministic"},
        "timeout_ms": 750,
        "retry": {"attempts": 3},
    }
    api = system(root, {"api": {"workers": 1, "queue_limit": 256}}, base_per_s / 1000, arrivals)
    shares = []
    for run in range(20):
        rows = simulate(api, 2400, 1 + (run << 32), warmup=0.0).requests
        begins_ms = 1000 * (30 + after_s)
        late = rows[rows.arrived_ms.between(begins_ms, begins_ms + 20_000)]
        shares.append((late.answer == "ok").mean())
    assert np.mean(shares) == pytest.approx(goodput, abs=0.02)
