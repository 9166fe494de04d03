"""Philox against its published known answers; every distribution against its own moments."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from models.engine import draws

# Random123 library, tests/kat_vectors, lines "philox4x32 10" (Salmon et al., SC'11).
KNOWN_ANSWERS = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(key, counter, answer):
    assert draws.philox(*key, *counter) == answer


def test_uniforms_are_inside_the_unit_interval_and_even():
    values = np.array([draws.uniforms(5, 1, i, 0, draws.WORK, 0) for i in range(50_000)]).ravel()
    assert 0 < values.min() and values.max() < 1
    # mean 1/2, variance 1/12, each within four standard errors of 100,000 values
    assert abs(values.mean() - 0.5) < 4 * math.sqrt(1 / 12 / len(values))
    assert abs(values.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / len(values))


def test_whoever_draws_gets_a_number_of_their_own():
    base = (5, 1, 2, 0, draws.WORK, 0)
    seen = {draws.uniforms(*base)}
    for position in range(6):
        changed = list(base)
        changed[position] += 1
        seen.add(draws.uniforms(*changed))
    assert len(seen) == 7


def test_functions_agree_with_the_usual_library():
    x = np.linspace(0.001, 0.999, 997)
    assert np.allclose([draws.log(v) for v in x], np.log(x), rtol=1e-15)
    assert np.allclose([draws.normal_quantile(v) for v in x], ndtri(x), rtol=1e-14, atol=1e-15)
    tails = np.array([1e-15, 1e-9, 1 - 1e-9])
    assert np.allclose([draws.normal_quantile(v) for v in tails], ndtri(tails), rtol=1e-9)
    y = np.linspace(-50, 50, 997)
    assert np.allclose([draws.exp(v) for v in y], np.exp(y), rtol=1e-15)


def bounded_pareto(low, high, shape):
    """Mean and second moment, by the density's integral."""

    def moment(k):
        scale = shape * low**shape / (1 - (low / high) ** shape)
        return scale * (high ** (k - shape) - low ** (k - shape)) / (k - shape)

    return moment(1), moment(2)


SIGMA = math.sqrt(math.log(2.0))
DISTRIBUTIONS = {  # kind, parameters, mean, second moment
    "exponential": (draws.EXPONENTIAL, (3.0, 0, 0), (), 3.0, 18.0),
    "erlang 1": (draws.ERLANG, (3.0, 1, 0), (), 3.0, 18.0),
    "erlang 4": (draws.ERLANG, (0.5, 4, 0), (), 2.0, 5.0),
    "erlang 7": (draws.ERLANG, (1.0, 7, 0), (), 7.0, 56.0),
    "hyperexponential": (draws.HYPEREXPONENTIAL, (0.25, 4.0, 1.0), (), 1.75, 9.5),
    "lognormal": (draws.LOGNORMAL, (-(SIGMA**2) / 2, SIGMA, 0), (), 1.0, 2.0),
    "uniform": (draws.UNIFORM, (2.0, 4.0, 0), (), 4.0, 16 + 16 / 12),
    "pareto": (
        draws.PARETO,
        (1.0, 1 - (1 / 50) ** 2.5, -1 / 2.5),
        (),
        *bounded_pareto(1.0, 50.0, 2.5),
    ),
    "empirical": (draws.EMPIRICAL, (0, 3, 0), (1.0, 2.0, 6.0), 3.0, 41 / 3),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_moments(name):
    kind, parameters, values, mean, second = DISTRIBUTIONS[name]
    n = 40_000
    sample = np.array(
        [draws.sample(kind, *parameters, values, 11, 3, i, 0, draws.WORK) for i in range(n)]
    )
    for power, truth in ((1, mean), (2, second)):
        powers = sample**power
        assert abs(powers.mean() - truth) < 4 * powers.std(ddof=1) / math.sqrt(n)


def test_deterministic_is_its_value():
    assert draws.sample(draws.DETERMINISTIC, 4.5, 0, 0, (), 1, 2, 3, 0, 0) == 4.5


@pytest.mark.parametrize("now", [0.0, 3.0, 12.0, 97.25])
def test_profile_gap_inverts_the_integrated_rate(now):
    starts, factors, period = (0.0, 4.0, 6.0), (1.0, 0.0, 3.0), 10.0

    def passed(until):
        """Integral of the factor from 0."""
        cycles, rest = divmod(until, period)
        within = min(rest, 4.0) + 3.0 * max(rest - 6.0, 0.0)
        return cycles * 16.0 + within

    for amount in (0.1, 1.0, 5.0, 40.0):
        gap = draws.profile_gap(now, amount, starts, factors, period)
        assert passed(now + gap) - passed(now) == pytest.approx(amount, rel=1e-12)


def test_a_profile_that_ends_at_rate_zero_has_no_further_arrival():
    assert draws.profile_gap(0.0, 5.0, (0.0, 4.0), (1.0, 0.0), 0.0) == math.inf
    assert draws.profile_gap(0.0, 3.0, (0.0, 4.0), (1.0, 0.0), 0.0) == 3.0
