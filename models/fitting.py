"""Which of the book's distributions observed times have, and how well it fits.

Every distribution is fitted to the sample: the mean is the sample's (so that the load is right),
the shape the most likely one. The one with the least BIC is taken (G. Schwarz, "Estimating the
dimension of a model", Annals of Statistics 6 (1978) 461-464), where the two ends of a range count
twice, since they are found to within 1/n, not to within 1/sqrt(n). How well it fits is said by
the Kolmogorov-Smirnov distance: the greatest difference between the share of the observed times
below some time and the fitted probability of being below it. Where that is more than `GOOD` and
more than chance explains, nothing fits, and the observed times themselves are kept: an empirical
distribution.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from models.distributions import MAX_PHASES

GOOD = 0.05  # KS distance up to which a fit is good enough
CHANCE = 1.358  # over sqrt(n): KS distance of a true distribution in 95 % of all samples
CONSTANT = 0.01  # coefficient of variation up to which times are called constant
VALUES = 200  # of an empirical distribution
LEAST = 1e-6  # ms: what is less is no time
FEW = 0.01  # share of times that were too short to be measured, up to which that does not matter
RANGE = 30  # values from which on the least and the greatest can be taken for the ends of a range
MOST = 20_000  # values that shapes are fitted to; means come from all


@dataclass(frozen=True)
class Fit:
    """A fitted distribution as `data` for `models.distributions.Distribution`; its KS distance, and from how many values.

    `p_value` is that of the Kolmogorov-Smirnov test, too great by what was fitted (H. W. Lilliefors,
    Journal of the American Statistical Association 62 (1967) 399-402); both are NaN for times that
    are constant or taken as they are.
    """

    data: dict
    distance: float
    p_value: float
    count: int

    @property
    def kind(self) -> str:
        return self.data.get("distribution", "exponential")


def fit(values_ms) -> Fit:
    """The distribution of some observed times, 0 or more. Raises ValueError where there is none."""
    values = np.sort(np.asarray(values_ms, float))
    if not len(values) or values[0] < 0 or not np.isfinite(values[-1]):
        raise ValueError("values_ms: expected at least one time in ms, 0 or more")
    mean = float(values.mean())
    spread = float(values.std())
    if len(values) < 3 or spread <= CONSTANT * mean or mean < LEAST:
        return Fit(_constant(mean), math.nan, math.nan, len(values))
    sample = values[np.linspace(0, len(values) - 1, min(MOST, len(values))).round().astype(int)]
    if (sample < LEAST).mean() <= FEW:
        sample = np.maximum(sample, LEAST)
    best, least = None, math.inf
    for candidate in (_exponential, _erlang, _hyperexponential, _lognormal, _uniform, _pareto):
        if (found := candidate(sample, mean)) is None:
            continue
        data, log_likelihood, parameters, cdf = found
        bic = parameters * math.log(len(sample)) - 2 * log_likelihood
        if bic < least:
            best, least = (data, cdf), bic
    assert best is not None  # the exponential distribution always is one
    data, cdf = best
    distance = _distance(sample, cdf)
    if distance > max(GOOD, CHANCE / math.sqrt(len(sample))):
        return Fit(_empirical(values), math.nan, math.nan, len(values))
    return Fit(
        data, distance, float(stats.kstwobign.sf(distance * math.sqrt(len(sample)))), len(values)
    )


def _distance(values, cdf):
    expected = cdf(values)
    n = len(values)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


# Candidates: data, log-likelihood, how many parameters, distribution function


def _constant(mean):
    return {"distribution": "deterministic", "mean_ms": _rounded(mean)}


def _exponential(values, mean):
    likelihood = -len(values) * math.log(mean) - values.sum() / mean
    return {"mean_ms": _rounded(mean)}, likelihood, 1, lambda x: -np.expm1(-x / mean)


def _erlang(values, mean):
    if values[0] <= 0:
        return None
    logs = np.log(values)

    def likelihood(phases):
        rate = phases / mean
        return (
            len(values) * (phases * math.log(rate) - special.gammaln(phases))
            + (phases - 1) * logs.sum()
            - rate * values.sum()
        )

    gap = math.log(values.mean()) - logs.mean()  # of a gamma distribution, for its shape
    shape = (3 - gap + math.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap) if gap > 0 else math.inf
    near = [k for k in (math.floor(shape), math.ceil(shape)) if 2 <= k <= MAX_PHASES] if (
        shape < MAX_PHASES + 1
    ) else []  # fmt: skip
    if not near:
        return None
    phases = max(near, key=likelihood)
    data = {"mean_ms": _rounded(mean), "distribution": "erlang", "phases": phases}
    return data, likelihood(phases), 2, lambda x: special.gammainc(phases, phases * x / mean)


def _hyperexponential(values, mean):
    cv = values.std() / mean
    if cv <= 1.05:
        return None

    def parts(cv):
        scv = cv**2
        first = (1 + math.sqrt((scv - 1) / (scv + 1))) / 2
        return ((first, mean / 2 / first), (1 - first, mean / 2 / (1 - first)))

    def unlikely(cv):
        density = sum(share / own * np.exp(-values / own) for share, own in parts(cv))
        return -np.log(np.maximum(density, 1e-300)).sum()

    found = optimize.minimize_scalar(
        unlikely, bounds=(1.01, min(max(2 * cv, 2), 100)), method="bounded", options={"xatol": 1e-3}
    )
    cv = float(found.x)
    data = {"mean_ms": _rounded(mean), "distribution": "hyperexponential", "cv": _rounded(cv)}
    return (
        data,
        -float(found.fun),
        2,
        lambda x: 1 - sum(share * np.exp(-x / own) for share, own in parts(cv)),
    )


def _lognormal(values, mean):
    if values[0] <= 0:
        return None
    logs = np.log(values)
    sigma = min(float(logs.std()), math.sqrt(math.log1p(100**2)))
    mu = math.log(mean) - sigma**2 / 2
    likelihood = stats.norm.logpdf(logs, mu, sigma).sum() - logs.sum()
    cv = math.sqrt(math.expm1(sigma**2))
    data = {"mean_ms": _rounded(mean), "distribution": "lognormal", "cv": _rounded(cv)}
    return data, likelihood, 2, lambda x: special.ndtr((np.log(np.maximum(x, 1e-300)) - mu) / sigma)


def _uniform(values, mean):
    if len(values) < RANGE:
        return None
    low, high = float(values[0]), float(values[-1])
    data = {"distribution": "uniform", "low_ms": _rounded(low), "high_ms": _rounded(high)}
    return data, -len(values) * math.log(high - low), 4, lambda x: (x - low) / (high - low)


def _pareto(values, mean):
    """Between the least and the greatest value, the shape by maximum likelihood."""
    low, high = float(values[0]), float(values[-1])
    if len(values) < RANGE or low < LEAST or high < 2 * low:
        return None
    ratio, logs = low / high, np.log(values / low)

    def likelihood(shape):
        return (
            len(values) * (math.log(shape) - math.log(low) - math.log(-math.expm1(shape * math.log(ratio))))
            - (shape + 1) * logs.sum()
        )  # fmt: skip

    found = optimize.minimize_scalar(
        lambda shape: -likelihood(shape), bounds=(0.02, 50), method="bounded"
    )
    shape = float(found.x)
    data = {
        "distribution": "pareto",
        "low_ms": _rounded(low),
        "high_ms": _rounded(high),
        "shape": _rounded(shape),
    }
    return (
        data,
        likelihood(shape),
        3,
        lambda x: (
            -np.expm1(shape * np.log(low / np.maximum(x, low))) / -np.expm1(shape * math.log(ratio))
        ),
    )


def _empirical(values):
    """Means of equally many sorted values each, so that the mean stays what it is."""
    parts = np.array_split(values, min(VALUES, len(values)))
    return {
        "distribution": "empirical",
        "values_ms": [_rounded(float(part.mean())) for part in parts],
    }


def _rounded(value):
    """Five digits: less than any interval of what was observed."""
    return float(f"{value:.5g}") if value >= LEAST else 0.0
