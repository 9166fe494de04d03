"""Fitted distributions: samples of each of ours are recognised, what is none of them is kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.distributions import Distribution
from models.engine import draws
from models.fitting import CHANCE, GOOD, RANGE, VALUES, fit

KNOWN = [
    {"mean_ms": 20},
    {"mean_ms": 8, "distribution": "erlang", "phases": 4},
    {"mean_ms": 0.3, "distribution": "erlang", "phases": 60},
    {"mean_ms": 5, "distribution": "hyperexponential", "cv": 2.5},
    {"mean_ms": 20, "distribution": "lognormal", "cv": 1.5},
    {"mean_ms": 20, "distribution": "lognormal", "cv": 0.3},
    {"distribution": "uniform", "low_ms": 3, "high_ms": 9},
    {"distribution": "pareto", "low_ms": 1, "high_ms": 200, "shape": 1.3},
]


def sample(data, count, seed=1):
    """Drawn as the engines draw."""
    d = Distribution.model_validate(data).lowered()
    return [draws.sample(*d, seed, 7, index, 0, draws.WORK) for index in range(count)]


@pytest.mark.parametrize("data", KNOWN, ids=lambda data: data.get("distribution", "exponential"))
def test_what_was_drawn_is_recognised(data):
    count = 4000
    values = sample(data, count)
    found, true = fit(values), Distribution.model_validate(data)
    fitted = Distribution.model_validate(found.data)
    assert found.kind == true.distribution
    assert found.count == count
    # The distance of a true distribution; 1.63 is that of 99 % of all samples.
    assert found.distance < 1.63 / math.sqrt(count)
    assert found.p_value > 0.01
    error = 3 * math.sqrt(true.variance_ms2 / count)
    if found.kind not in ("uniform", "pareto"):  # these have their mean from their ends
        assert fitted.mean_ms == pytest.approx(np.mean(values), rel=1e-4)
    assert fitted.mean_ms == pytest.approx(true.mean_ms, abs=2 * error)
    assert fitted.scv == pytest.approx(true.scv, rel=0.35)


def test_constant_times_are_deterministic():
    assert fit([5.0, 5.0, 5.001]).data == {"distribution": "deterministic", "mean_ms": 5.0003}
    assert fit([7.0]).data == {"distribution": "deterministic", "mean_ms": 7.0}
    assert fit([0.0] * 10).data == {"distribution": "deterministic", "mean_ms": 0.0}


def test_what_is_none_of_ours_is_kept_as_it_is():
    rng = np.random.default_rng(3)
    two_humps = np.concatenate([rng.normal(5, 0.2, 3000), rng.normal(50, 1, 2000)])
    found = fit(two_humps)
    assert found.kind == "empirical"
    assert len(found.data["values_ms"]) == VALUES
    fitted = Distribution.model_validate(found.data)
    assert fitted.mean_ms == pytest.approx(two_humps.mean(), rel=1e-4)
    assert fitted.scv == pytest.approx(two_humps.var() / two_humps.mean() ** 2, rel=0.01)


def test_of_a_few_values_the_ends_are_not_taken_for_those_of_a_range():
    assert fit(np.linspace(5, 9, RANGE - 1)).kind not in ("uniform", "pareto")
    assert fit(np.linspace(5, 9, RANGE)).kind == "uniform"


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=60))
def test_whatever_was_observed_gives_a_valid_distribution_of_its_mean(values):
    found = fit(values)
    fitted = Distribution.model_validate(found.data)
    if found.kind not in ("uniform", "pareto"):
        assert fitted.mean_ms == pytest.approx(np.mean(values), rel=1e-3, abs=2e-6)
    if not math.isnan(found.distance):
        assert 0 <= found.distance <= max(GOOD, CHANCE / math.sqrt(len(values)))


@pytest.mark.parametrize("values", [[], [-1.0], [math.inf], [math.nan]])
def test_no_times_are_refused(values):
    with pytest.raises(ValueError, match="expected at least one time"):
        fit(values)
