"""Known results on when to stop a test, and on what a count of events says about their rate."""

import math

import numpy as np
import pytest
from scipy import stats

from models import soak, theory


@pytest.mark.parametrize(
    ("confidence", "published"), [(0.95, 3.0), (0.97, 3.51), (0.99, 4.61), (0.995, 5.30)]
)
def test_rule_of_three(confidence, published):
    """Hanley and Lippman-Hand 1983; the other levels as usually tabled, to two decimals."""
    assert theory.poisson_bound(0, 1, confidence) == pytest.approx(published, abs=5.1e-3)
    assert theory.poisson_bound(0, 1, confidence) == pytest.approx(-math.log(1 - confidence))
    assert theory.poisson_bound(0, 250, confidence) == pytest.approx(published / 250, rel=2e-3)


@pytest.mark.parametrize(
    ("events", "published"),
    [(0, 2.996), (1, 4.744), (2, 6.296), (3, 7.754), (4, 9.154), (5, 10.51), (10, 16.96)],
)
def test_poisson_bounds(events, published):
    """Gehrels, Astrophysical Journal 303, 1986, table 1, confidence 0.95."""
    found = theory.poisson_bound(events, 1)
    assert found == pytest.approx(published, rel=5e-4)
    assert stats.poisson.cdf(events, found) == pytest.approx(0.05)
    assert found == pytest.approx(stats.chi2.ppf(0.95, 2 * events + 2) / 2)


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_the_bound_covers_as_often_as_it_says(rate):
    """Garwood 1936: at least the confidence, over simulated counts, within three standard errors."""
    counts = np.random.default_rng(1).poisson(rate * 60, 20_000)
    covered = (theory.poisson_bound(counts, 60) >= rate).mean()
    assert covered >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / len(counts))
    exact = stats.poisson.sf(
        np.argmax(theory.poisson_bound(np.arange(50), 60) >= rate) - 1, rate * 60
    )
    assert abs(covered - exact) <= 3 * math.sqrt(exact * (1 - exact) / len(counts)) + 1e-12


def test_optimum_release_time():
    """Okumoto and Goel 1980: T* = ln(a b (c2 - c1) / c3) / b, and its cost."""
    a, b, c1, c2, c3 = 142.32, 0.1246, 1.0, 5.0, 2.5
    step = soak.Step(a, 1e-3, b, 0.0, c1, c2, c3, horizon_days=2000)
    exact = math.log(a * b * (c2 - c1) / c3) / b
    assert theory.release_time(a, b, c2 - c1, c3) == pytest.approx(exact)
    assert step.best_days == pytest.approx(exact)
    cost = c1 * a * (1 - math.exp(-b * exact)) + c2 * a * math.exp(-b * exact) + c3 * exact
    assert step.cost_team_days(exact) == pytest.approx(cost)
    assert theory.release_time(1.0, 0.1, 4.0, 2.5) == 0.0  # finds too little a day from the start


def test_faults_found_over_time_are_goel_and_okumoto():
    """Mean and variance of what is found by t are both a (1 - exp(-b t)): a Poisson process."""
    step = soak.Step(defects=20.0, defects_cv=1e-3, rate_per_day=0.02, rate_cv=0.0)
    found = soak.roads(step, 40_000, 3).found(40)
    exact = 20 * (1 - math.exp(-0.8))
    assert abs(found.mean() - exact) <= 3 * found.std() / 200
    spread = math.sqrt((exact + 2 * exact**2) / len(found))  # of the variance of Poisson counts
    assert abs(found.var() - exact) <= 3 * spread


def test_faults_of_different_rates_are_littlewood():
    """Littlewood 1981: a fault is still hidden by t with probability (beta / (beta + t)) ** alpha."""
    step = soak.Step(defects=20.0, rate_per_day=0.02, rate_cv=0.7, horizon_days=5000)
    alpha, beta = 1 / 0.49, 1 / (0.49 * 0.02)
    assert step.hidden(90) == pytest.approx((beta / (beta + 90)) ** alpha)
    futures = soak.roads(step, 10_000, 5)
    shown = (futures.day <= 90).mean()
    exact = step.shown(90) / step.shown(5000)
    assert abs(shown - exact) <= 3 * math.sqrt(exact * (1 - exact) / len(futures.day))


def test_numbers_found_are_negative_binomial():
    """Greenwood and Yule 1920: a Poisson number whose mean is gamma."""
    step = soak.Step()
    found = soak.roads(step, 40_000, 9).found(60)
    observed = np.bincount(found, minlength=12)[:12]
    expected = step.found(60).pmf(np.arange(12)) * len(found)
    rest = len(found) - observed.sum(), len(found) - expected.sum()
    chi2 = (((observed - expected) ** 2) / expected).sum() + (rest[0] - rest[1]) ** 2 / rest[1]
    assert chi2 < stats.chi2.ppf(0.999, 12)
