"""Runs: what is refused, what never ends, and quantiles where nothing varies."""

import warnings
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

from models import System, compare, experiment, replicate, simulate, sweep
from models.engine import compiled, measures
from models.experiment import ExperimentError

SHOP = System.load("shop")
EACH_OTHER = System.model_validate(
    {
        "name": "each waits for the other",
        "infrastructures": {"here": {}},
        "services": {name: {"infrastructure": "here", "workers": 1} for name in "ab"},
        "flows": {
            name: {
                "rate_per_s": 100,
                "root": {
                    "service": first,
                    "work": {"mean_ms": 1},
                    "then": [{"service": second, "work": {"mean_ms": 1}}],
                },
            }
            for name, first, second in (("there", "a", "b"), ("back", "b", "a"))
        },
    }
)


def test_what_never_ends_is_unfinished_in_both_engines():
    runs = [
        simulate(EACH_OTHER, 2000, 1, engine=engine, warmup=0.0) for engine in ("compiled", "simpy")
    ]
    requests = runs[0].requests
    assert requests.equals(runs[1].requests)
    stuck = requests[requests.outcome == "unfinished"]
    assert len(stuck) > 1900
    assert stuck.replied_ms.isna().all() and stuck.completed_ms.isna().all()
    streamed = simulate(EACH_OTHER, 2000, 1, keep="summary", warmup=0.0)
    for run in (runs[0], streamed):
        share = run.summary().query("flow == 'all' and metric == 'ok_share'").value.item()
        assert share == pytest.approx(1 - len(stuck) / 2000)


def test_quantiles_of_what_does_not_vary_are_exact():
    system = System.model_validate(
        {
            "name": "constant",
            "infrastructures": {"here": {}},
            "services": {"only": {"infrastructure": "here"}},
            "flows": {
                "f": {
                    "rate_per_s": 10,
                    "arrivals": "deterministic",
                    "root": {
                        "service": "only",
                        "work": {"mean_ms": 3, "distribution": "deterministic"},
                    },
                }
            },
        }
    )
    for keep in ("requests", "summary"):
        rows = simulate(system, 2000, 1, keep=keep).summary()
        times = rows[rows.metric.str.startswith("response")]
        assert np.allclose(times.value, 3.0, rtol=1e-9)
        assert (times.half_width < 1e-6).all()


@pytest.mark.parametrize(("work_ms", "flows"), [(0, 1), (10, 1), (20, 1), (0, 2), (5, 2), (10, 2)])
@pytest.mark.parametrize("more", [{}, {"workers": 4}])
def test_throughput_where_ends_and_arrivals_coincide_is_the_same_kept_or_streamed(
    work_ms, flows, more
):
    """An answer at the very moment at which a batch begins belongs to the batch before."""
    system = System.model_validate(
        {
            "name": "even",
            "infrastructures": {"here": {}},
            "services": {"only": {"infrastructure": "here", **more}},
            "flows": {
                name: {
                    "rate_per_s": per_s,
                    "arrivals": "deterministic",
                    "root": {
                        "service": "only",
                        "work": {"mean_ms": work_ms, "distribution": "deterministic"},
                    },
                }
                for name, per_s in [("quick", 100), ("slow", 50)][:flows]
            },
        }
    )
    kept, streamed = (simulate(system, 2000, 1, keep=keep) for keep in ("requests", "summary"))
    rows = [
        run.summary().query("metric == 'throughput_per_s'")[["value", "half_width"]].to_numpy()
        for run in (kept, streamed)
    ]
    assert rows[0] == pytest.approx(rows[1], rel=1e-12, abs=1e-12)
    begin, end = kept.window_ms
    ended = kept.requests.completed_ms.between(begin, end, inclusive="right").sum()
    assert rows[0][-1, 0] == pytest.approx(1000 * ended / (end - begin))


def test_numbers_of_numpy_are_numbers():
    said = {"seed": 7, "warmup": 0.25, "series_ms": 100.0, "crowd": 10_000}
    kinds = {"seed": np.int64, "warmup": np.float32, "series_ms": np.int64, "crowd": np.int32}
    for engine in ("compiled", "simpy"):
        with warnings.catch_warnings(action="error"):
            plain = simulate(SHOP, 500, engine=engine, **said)
            other = simulate(
                SHOP, np.int64(500), engine=engine, **{k: kinds[k](v) for k, v in said.items()}
            )
        assert plain.requests.equals(other.requests)
        assert plain.service_series.equals(other.service_series)
        assert plain.summary().equals(other.summary())
    asked = {"requests": 500, "seed": 3, "jobs": 1, "metrics": ["response_mean_ms"]}
    limits = {"target": 0.5, "warmup": 0.5, "replications": 3, "max_replications": 4}
    numbers = {"target": np.float32(0.5), "warmup": np.float32(0.5), "replications": np.int64(3)}
    numbers["max_replications"] = np.int64(4)
    for run in (replicate, partial(sweep, grid={"network.within_ms": [1]})):
        assert run(SHOP, **asked, **limits).equals(run(SHOP, **asked, **numbers))


@pytest.mark.parametrize("most", [3, 4, 5, 7, 12])
def test_a_target_takes_no_more_runs_than_it_may(most):
    asked = {"requests": 100, "metrics": ["response_mean_ms"], "jobs": 1, "target": 1e-9}
    asked |= {"replications": 3, "max_replications": most}
    assert set(replicate(SHOP, **asked).n) == {most}
    assert set(sweep(SHOP, {"network.within_ms": [1]}, **asked).n) == {most}


@pytest.mark.parametrize("run", [replicate, partial(sweep, grid={"network.within_ms": [1]})])
@pytest.mark.parametrize("most", ["x", None, 0, -1, True, 1, 2, 2.5, 4.0, float("nan")])
def test_a_limit_on_runs_is_a_whole_number_of_at_least_those_that_are_made(run, most):
    says = "max_replications: .* was given; expected a whole number of at least 3, the replications"
    with pytest.raises(ExperimentError, match=says):
        run(SHOP, replications=3, target=0.1, max_replications=most)
    if most not in (1, 2) or most is True:  # without a target nothing is added
        with pytest.raises(ExperimentError, match="a whole number of at least 1$"):
            run(SHOP, replications=3, max_replications=most)


@pytest.mark.parametrize("engine", ["compiled", "simpy"])
def test_time_series_that_have_no_room_are_refused(engine, monkeypatch):
    """Also where the run goes on for long after the last arrival."""
    for module in (measures, compiled, experiment):
        monkeypatch.setattr(module, "MOST_SEEN", 500_000)
    says = "series_ms: 1e-09 was given; expected a longer step, for at most 500,000 rows"
    with pytest.raises(ExperimentError, match=says):
        simulate(SHOP, 20, series_ms=1e-9, engine=engine)
    down = {"services": ["payment"], "from_ms": 0, "for_ms": 1e12, "calls": "hang"}
    hangs = System.model_validate(SHOP.to_dict() | {"outages": [down]})
    with pytest.raises(ExperimentError, match="series_ms: 10.0 was given"):
        simulate(hangs, 20, series_ms=10.0, engine=engine)


@pytest.mark.parametrize("engine", ["compiled", "simpy"])
@pytest.mark.parametrize(("room", "refused"), [(0, False), (-1, True)])
def test_both_engines_have_room_for_the_same_time_series(engine, room, refused, monkeypatch):
    run = partial(simulate, SHOP, 2000, 1, series_ms=1.0, engine=engine)
    plan, looks = SHOP.plan(), run().flow_series.time_ms.nunique()
    places = len(plan.services) + plan.lanes + len(plan.groups)
    for module in (measures, compiled):
        monkeypatch.setattr(module, "MOST_SEEN", looks * places + room)
    with pytest.raises(ExperimentError) if refused else nullcontext():
        run()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: simulate("shop"), "write System.load('shop')"),
        (lambda: simulate(SHOP, requests=10**19), "requests: 10000000000000000000 was given"),
        (lambda: simulate(SHOP, requests=0), "requests: 0 was given"),
        (lambda: simulate(SHOP, seed=-1), "seed: -1 was given"),
        (lambda: simulate(SHOP, series_ms=0), "series_ms: 0 was given"),
        (lambda: simulate(SHOP, series_ms=True), "series_ms: True was given"),
        (lambda: simulate(SHOP, series_ms=10**400), "a time in ms, above 0"),
        (lambda: simulate(SHOP, series_ms=np.array([1.0, 2.0])), "a time in ms, above 0"),
        (
            lambda: simulate(SHOP, warmup=np.array([0.1, 0.2])),
            "a share from 0 to below 1, or 'mser'",
        ),
        (lambda: simulate(SHOP, warmup=np.float32(1)), "a share from 0 to below 1, or 'mser'"),
        (lambda: replicate(SHOP, target=True), "target: True was given"),
        (lambda: replicate(SHOP, target=np.float64("nan")), "a relative half-width above 0"),
        (lambda: replicate(SHOP, replications=1.5), "replications: 1.5 was given"),
        (lambda: replicate(SHOP, replications=1), "a whole number of at least 2"),
        (lambda: replicate(SHOP, metrics="response_mean_ms"), "a list of at least one name"),
        (lambda: replicate(SHOP, metrics=[]), "a list of at least one name"),
        (lambda: replicate(SHOP, target=-1), "target: -1 was given"),
        (lambda: replicate(SHOP, jobs=0), "jobs: 0 was given"),
        (lambda: replicate(SHOP, engin="simpy"), "options: 'engin' was given"),
        (lambda: sweep(SHOP, {}), "a mapping from the path of a parameter"),
        (lambda: sweep(SHOP, {"network.within_ms": []}), "a list of at least one value"),
        (lambda: sweep(SHOP, {"network.within_ms": 3}), "a list of at least one value"),
        (lambda: sweep(SHOP.plan(), {"network.within_ms": [3]}), "'Plan' was given"),
        (lambda: compare(SHOP, EACH_OTHER), "the flows of the system before"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_sentence(call, says):
    with pytest.raises(ExperimentError) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)
