"""Runs: what is refused, what never ends, and quantiles where nothing varies."""

import numpy as np
import pytest

from models import System, compare, replicate, simulate, sweep
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
    compiled, simpy = (
        simulate(EACH_OTHER, 2000, 1, engine=engine, warmup=0.0) for engine in ("compiled", "simpy")
    )
    assert compiled.requests.equals(simpy.requests)
    stuck = compiled.requests[compiled.requests.outcome == "unfinished"]
    assert len(stuck) > 1900
    assert stuck.replied_ms.isna().all() and stuck.completed_ms.isna().all()
    streamed = simulate(EACH_OTHER, 2000, 1, keep="summary", warmup=0.0)
    for run in (compiled, streamed):
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


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: simulate("shop"), "write System.load('shop')"),
        (lambda: simulate(SHOP, requests=10**19), "requests: 10000000000000000000 was given"),
        (lambda: simulate(SHOP, requests=0), "requests: 0 was given"),
        (lambda: simulate(SHOP, seed=-1), "seed: -1 was given"),
        (lambda: simulate(SHOP, series_ms=0), "series_ms: 0 was given"),
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
