"""Textbook results, each with its source and the range in which it is valid.

Every time is in one unit and every rate in "per that unit"; which unit is the caller's choice (the
book uses milliseconds). A rate, time or probability may be a numpy array where a function says so;
the answer has the broadcast shape.

Names are the field's words: arrival rate, service rate, utilisation, wait (before service starts),
sojourn (wait and service), queue (customers who wait), number (all who are in the system).
Greek letters stand in formulas only: λ arrival rate, μ service rate, ρ utilisation, c servers,
a = λ/μ offered load.

Parameters that mean nothing raise ValueError, as do numbers above 1e150, and rates and times below
1e-150, whose products no float may hold; an overloaded queue, which has no steady state, raises
`Unstable` (a ValueError as well).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, optimize, special

Number = Any  # a float, or an array of floats where the arguments were arrays
MOST = 10**7  # servers, customers or machines that are counted one by one


class Unstable(ValueError):
    """More work arrives than can be done: the queue grows for ever and has no mean."""


@dataclass(frozen=True)
class Queue:
    """Steady state of one queue.

    Attributes
    ----------
    utilisation : share of the servers' time that is busy
    p_wait : probability that an arrival has to wait
    mean_wait, mean_sojourn : time before service starts; time until it ends
    mean_queue, mean_number : customers waiting; customers in the system
    """

    utilisation: Number
    p_wait: Number
    mean_wait: Number
    mean_sojourn: Number
    mean_queue: Number
    mean_number: Number


# --- checks -----------------------------------------------------------------------------------


def _number(name: str, value: Any) -> Number:
    try:
        numeric = np.asarray(value).dtype.kind in "biufO"
        array = np.asarray(value, dtype=float) if numeric else np.array(math.nan)
    except (TypeError, ValueError, OverflowError):
        array = np.array(math.nan)
    if not np.all(np.isfinite(array)):
        shown = repr(value) if isinstance(value, str) else value
        raise ValueError(f"{name} is {shown}; a finite number was expected")
    if np.any(np.abs(array) > 1e150):
        raise ValueError(f"{name} is {value}; a number of at most 1e150 was expected")
    return array[()]


def _positive(name: str, value: Any) -> Number:
    number = _number(name, value)
    if np.any(number <= 0):
        raise ValueError(f"{name} is {value}; it must be greater than 0")
    if np.any(number < 1e-150):
        raise ValueError(f"{name} is {value}; at least 1e-150 was expected")
    return number


def _not_negative(name: str, value: Any) -> Number:
    number = _number(name, value)
    if np.any(number < 0):
        raise ValueError(f"{name} is {value}; it must not be negative")
    return number


def _probability(name: str, value: Any) -> Number:
    number = _number(name, value)
    if np.any((number < 0) | (number > 1)):
        raise ValueError(f"{name} is {value}; a probability lies between 0 and 1")
    return number


def _open_probability(name: str, value: Any) -> Number:
    number = _probability(name, value)
    if np.any((number < 1e-150) | (number == 1)):
        raise ValueError(f"{name} is {value}; it must lie between 1e-150 and 1, and not be 1")
    return number


def _count(name: str, value: Any, least: int = 1, most: int = 2**62) -> Any:
    number = _number(name, value)
    if np.any(number < least) or np.any(number != np.floor(number)):
        raise ValueError(f"{name} is {value}; a whole number of at least {least} was expected")
    if np.any(number > most):
        raise ValueError(f"{name} is {value}; at most {most} are counted")
    return number.astype(int)[()]


def _stable(utilisation: Number) -> Number:
    if np.any(utilisation >= 1):
        raise Unstable(
            f"utilisation is {np.max(utilisation):.4g}; a steady state needs less than 1"
        )
    return utilisation


def _queue(
    arrival_rate: Number,
    utilisation: Number,
    p_wait: Number,
    mean_wait: Number,
    mean_service: Number,
) -> Queue:
    """The rest of a queue by Little's law (Little, 1961)."""
    mean_sojourn = mean_wait + mean_service
    return Queue(
        utilisation,
        p_wait,
        mean_wait,
        mean_sojourn,
        arrival_rate * mean_wait,
        arrival_rate * mean_sojourn,
    )


# --- Erlang's formulas --------------------------------------------------------------------------


def erlang_b(offered_load: ArrayLike, servers: ArrayLike) -> Number:
    """Share of arrivals lost where nobody can wait (M/G/c/c).

    B(0) = 1, B(c) = a B(c-1) / (c + a B(c-1)); any offered load, any service distribution.

    Parameters
    ----------
    offered_load : erlang, arrival rate x mean service time, >= 0 (array)
    servers : 0 to ten million, one step each (array)

    Source: Erlang, "Solution of some problems in the theory of probabilities of significance in
    automatic telephone exchanges", 1917; recursion: Cooper, Introduction to Queueing Theory, 1981.
    """
    load = _not_negative("offered_load", offered_load)
    count = _count("servers", servers, least=0, most=MOST)
    load, count = np.broadcast_arrays(load, count)
    lost = np.ones(load.shape)
    for n in range(1, int(np.max(count, initial=0)) + 1):
        lost = np.where(n <= count, load * lost / (n + load * lost), lost)
    return lost[()]


def erlang_c(offered_load: ArrayLike, servers: ArrayLike) -> Number:
    """Probability that an arrival has to wait in M/M/c.

    C = B / (1 - ρ (1 - B)) with B from `erlang_b` and ρ = a/c < 1.

    Source: Erlang 1917; Cooper 1981, section 3.5.
    """
    load, count = _not_negative("offered_load", offered_load), _count("servers", servers)
    utilisation = _stable(load / count)
    lost = erlang_b(load, count)
    return lost / (1 - utilisation * (1 - lost))


def erlang_b_load(blocking: float, servers: int) -> float:
    """Offered load a (erlang) that `servers` carry at the given blocking: `erlang_b` inverted.

    blocking lies between 0 and 1, servers >= 1; solved for log a, to a relative 1e-12 of a, from
    B(c) / (1 - B(c)) = a B(c-1) / c, which neither a tiny nor a large blocking cancels.
    """
    blocking, c = _open_probability("blocking", blocking), _count("servers", servers)
    log_odds = special.logit(blocking)
    # (a/c)^c < a^c / c! bounds the odds from above, (a-c)/c from below.
    low = (log_odds + special.gammaln(c + 1.0)) / c - 1e-6
    high = np.logaddexp(log_odds, 0) + math.log(c) + 1e-6

    def excess(x: float) -> float:
        return float(x + np.log(erlang_b(np.exp(x), c - 1) / c) - log_odds)

    return math.exp(optimize.brentq(excess, low, high, xtol=1e-15, rtol=1e-15))


def erlang_b_servers(offered_load: float, blocking: float) -> int:
    """Smallest number of servers that keeps `erlang_b` at or below `blocking` (in (0, 1)).

    One step a server: offered_load is at most ten million.
    """
    load = _not_negative("offered_load", offered_load)
    target = _open_probability("blocking", blocking)
    if load > MOST:
        raise ValueError(f"offered_load is {offered_load}; at most {MOST} is counted through")
    servers, lost = 0, 1.0
    while lost > target:
        servers += 1
        lost = load * lost / (servers + load * lost)
    return servers


def extended_erlang_b(offered_load: float, servers: int, recall: float) -> float:
    """Blocking where a share `recall` (below 1) of those who were blocked tries again at once.

    Fixed point of a = a0 + recall a B(c, a). An approximation: it takes retries for fresh
    Poisson arrivals.

    Source: Jewett, Shrago and Yomtov, Designing Optimal Voice Networks, 1980.
    """
    first, recall = _not_negative("offered_load", offered_load), _probability("recall", recall)
    if recall >= 1:
        raise ValueError(f"recall is {recall}; it must be less than 1")

    def excess(tries: float) -> float:
        return float(1 + recall * tries * erlang_b(first * tries, servers) - tries)

    tries = optimize.brentq(excess, 1, 2 / (1 - recall), xtol=1e-14, rtol=1e-14)
    return float(erlang_b(first * tries, servers))


@dataclass(frozen=True)
class Abandonment:
    """Steady state of Erlang A: shares of all arrivals, means, busy servers."""

    p_abandon: float
    p_wait: float
    mean_wait: float
    mean_queue: float
    busy_servers: float


def erlang_a(
    arrival_rate: float, service_rate: float, servers: int, abandon_rate: float
) -> Abandonment:
    """M/M/c+M: those who wait give up after an exponential patience of rate `abandon_rate` (> 0).

    Always stable. mean_wait is over all arrivals, whether served or not. Counts customer by
    customer, and refuses where more than ten million may be there.

    Source: Palm 1957; Garnett, Mandelbaum and Reiman, "Designing a call center with impatient
    customers", Manufacturing & Service Operations Management 4, 2002, section 2.
    """
    rate, mu = _positive("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    c, theta = _count("servers", servers, most=MOST), _positive("abandon_rate", abandon_rate)
    last = int(c) + 64
    while True:  # until what is cut off is below rounding
        n = np.arange(1, last + 1)
        p = _birth_death(np.full(last, rate), np.minimum(n, c) * mu + np.maximum(n - c, 0) * theta)
        if p[-1] <= 1e-20 * p[c]:
            break
        last *= 2
        if last > MOST:
            raise ValueError(
                f"abandon_rate is {abandon_rate}; a larger one was expected, for fewer who wait"
            )
    states = np.arange(last + 1)
    mean_queue = float(np.sum(np.maximum(states - c, 0) * p))
    return Abandonment(
        min(1.0, float(theta * mean_queue / rate)),
        min(1.0, float(np.sum(p[c:]))),
        mean_queue / rate,
        mean_queue,
        float(np.sum(np.minimum(states, c) * p)),
    )


def _birth_death(births: NDArray[Any], deaths: NDArray[Any]) -> NDArray[Any]:
    """Stationary distribution of states 0..n; births[i] leads from i to i+1, deaths[i] back.

    births / deaths must not rise with the state: the products start at the likeliest one.
    """
    ratio = births / deaths
    top = int(np.sum(ratio > 1))
    p = np.concatenate([np.cumprod(1 / ratio[:top][::-1])[::-1], [1.0], np.cumprod(ratio[top:])])
    return p / p.sum()


# --- single queues ----------------------------------------------------------------------------


def mm1(arrival_rate: ArrayLike, service_rate: ArrayLike) -> Queue:
    """M/M/1, first come first served: mean sojourn 1/(μ-λ), mean number ρ/(1-ρ); ρ < 1 (arrays).

    Source: Kleinrock, Queueing Systems I, 1975, section 3.2.
    """
    return mmc(arrival_rate, service_rate, 1)


def mm1_processor_sharing(arrival_rate: ArrayLike, mean_service: ArrayLike) -> Number:
    """Mean sojourn S/(1-ρ) of M/G/1 with processor sharing, whatever the distribution (arrays).

    Source: Kleinrock, Queueing Systems II, 1976, section 4.4.
    """
    rate = _not_negative("arrival_rate", arrival_rate)
    service = _positive("mean_service", mean_service)
    return service / (1 - _stable(rate * service))


def mmc(arrival_rate: ArrayLike, service_rate: ArrayLike, servers: ArrayLike) -> Queue:
    """M/M/c, first come first served; service_rate is one server's; ρ = λ/(cμ) < 1 (arrays).

    Mean wait C/(cμ-λ), C from `erlang_c`.

    Source: Kleinrock 1975, section 3.5; Gross and Harris, Fundamentals of Queueing Theory, 2.3.
    """
    rate = _not_negative("arrival_rate", arrival_rate)
    mu, c = _positive("service_rate", service_rate), _count("servers", servers)
    utilisation = _stable(rate / (c * mu))
    p_wait = erlang_c(rate / mu, c)
    return _queue(rate, utilisation, p_wait, p_wait / (c * mu - rate), 1 / mu)


def mmc_wait_tail(
    time: ArrayLike, arrival_rate: ArrayLike, service_rate: ArrayLike, servers: ArrayLike = 1
) -> Number:
    """P(wait > time) = C exp(-(cμ-λ) time) in M/M/c (arrays); time >= 0, ρ < 1.

    Source: Gross and Harris, section 2.3.
    """
    t, rate = _not_negative("time", time), _not_negative("arrival_rate", arrival_rate)
    mu, c = _positive("service_rate", service_rate), _count("servers", servers)
    return erlang_c(rate / mu, c) * np.exp(-(c * mu - rate) * t)


def mmc_wait_quantile(
    probability: ArrayLike, arrival_rate: ArrayLike, service_rate: ArrayLike, servers: ArrayLike = 1
) -> Number:
    """Time that a share `probability` (in [0, 1)) of the waits in M/M/c stays below (arrays)."""
    share = _probability("probability", probability)
    if np.any(share == 1):
        raise ValueError("probability is 1; no finite time bounds every wait")
    rate, mu = _positive("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    c = _count("servers", servers)
    return np.log(np.maximum(1, erlang_c(rate / mu, c) / (1 - share))) / (c * mu - rate)


def mmc_sojourn_tail(
    time: ArrayLike, arrival_rate: ArrayLike, service_rate: ArrayLike, servers: ArrayLike = 1
) -> Number:
    """P(sojourn > time) in M/M/c (arrays); for c = 1 it is exp(-(μ-λ) time).

    With x = (cμ-λ-μ) t: e^(-μt) + C μt (e^(-μt) - e^(-μt-x)) / x, and its limit at x = 0.

    Source: Gross and Harris, section 2.3.
    """
    t, rate = _not_negative("time", time), _not_negative("arrival_rate", arrival_rate)
    mu, c = _positive("service_rate", service_rate), _count("servers", servers)
    return np.minimum(1, np.exp(-mu * t) + _mmc_sojourn_excess(t, rate, mu, c))


def _mmc_sojourn_excess(t: Number, rate: Number, mu: Number, c: Number) -> Number:
    """What waiting adds to P(sojourn > t): its second term."""
    x = ((c - 1) * mu - rate) * t
    slower = np.exp(-np.minimum(mu, c * mu - rate) * t)
    return erlang_c(rate / mu, c) * mu * t * slower * special.exprel(-np.abs(x))


def mmc_sojourn_quantile(
    probability: ArrayLike, arrival_rate: ArrayLike, service_rate: ArrayLike, servers: ArrayLike = 1
) -> Number:
    """Time that a share `probability` (in (0, 1)) of the sojourns in M/M/c stays below (arrays)."""
    _open_probability("probability", probability)

    def one(share: float, rate: float, mu: float, c: int) -> float:
        def excess(t: float) -> float:  # of late ones, without cancelling a small share
            if share < 0.5:
                return float(share + math.expm1(-mu * t) + _mmc_sojourn_excess(t, rate, mu, c))
            return float(mmc_sojourn_tail(t, rate, mu, c) - (1 - share))

        low = -math.log1p(-share) / mu * (1 - 1e-9)  # service alone takes that long
        high = 2 * low
        while excess(high) > 0:
            high *= 2
        return float(optimize.brentq(excess, low, high, xtol=1e-300, rtol=1e-15))

    rate, mu = _not_negative("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    c = _count("servers", servers)
    _stable(rate / (c * mu))
    return np.vectorize(one, otypes=[float])(probability, rate, mu, c)[()]


def mmc_state(number: ArrayLike, arrival_rate: float, service_rate: float, servers: int) -> Number:
    """P(number in the system = `number`) in M/M/c (array over `number`); ρ < 1.

    The same for processor sharing where up to c customers are each served at full speed.
    Source: Kleinrock 1975, section 3.5.
    """
    n, c = _count("number", number, least=0), _count("servers", servers, most=MOST)
    rate, mu = _positive("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    utilisation = _stable(rate / (c * mu))
    p = _birth_death(np.full(c, rate), np.arange(1, c + 1) * mu)  # without those who wait
    waiting = p[c] * rate / (c * mu - rate)
    return p[np.minimum(n, c)] * utilisation ** np.maximum(n - c, 0) / (1 + waiting)


@dataclass(frozen=True)
class LossQueue:
    """Steady state of a queue with limited room; times are those of the accepted arrivals."""

    blocking: float
    throughput: float
    utilisation: float
    mean_wait: float
    mean_sojourn: float
    mean_queue: float
    mean_number: float


def mmck(arrival_rate: float, service_rate: float, servers: int, capacity: int) -> LossQueue:
    """M/M/c/K: an arrival that finds `capacity` (K >= c, those in service counted) is turned away.

    Any load, also overload. A `queue_limit` q of this project is K = c + q.

    Source: Gross and Harris, section 2.5; Kleinrock 1975, section 3.6.
    """
    rate, mu = _positive("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    c, k = _count("servers", servers), _count("capacity", capacity, most=MOST)
    if k < c:
        raise ValueError(f"capacity is {k}; it must be at least the {c} servers")
    p = _birth_death(np.full(k, rate), np.minimum(np.arange(1, k + 1), c) * mu)
    states = np.arange(k + 1)
    busy = min(float(np.sum(np.minimum(states, c) * p)), float(c))
    throughput = float(busy * mu)
    mean_queue = float(np.sum(np.maximum(states - c, 0) * p))
    mean_number = float(np.sum(states * p))
    return LossQueue(
        float(p[-1]),
        throughput,
        float(busy / c),
        mean_queue / throughput,
        mean_number / throughput,
        mean_queue,
        mean_number,
    )


def mg1(arrival_rate: ArrayLike, mean_service: ArrayLike, service_scv: ArrayLike) -> Queue:
    """M/G/1, first come first served (arrays); ρ = λS < 1.

    Mean wait λ S² (1 + scv) / (2 (1-ρ)); scv is the variance of service over its mean squared.

    Source: Pollaczek 1930, Khinchine 1932; Kleinrock 1975, equation 5.68 ff.
    """
    rate = _not_negative("arrival_rate", arrival_rate)
    service, scv = (
        _positive("mean_service", mean_service),
        _not_negative("service_scv", service_scv),
    )
    utilisation = _stable(rate * service)
    wait = utilisation * service * (1 + scv) / (2 * (1 - utilisation))
    return _queue(rate, utilisation, utilisation, wait, service)


def md1(arrival_rate: ArrayLike, service: ArrayLike) -> Queue:
    """M/D/1: `mg1` with a constant service time (arrays)."""
    return mg1(arrival_rate, service, 0.0)


def mdc_mean_wait(arrival_rate: float, service: float, servers: int) -> float:
    """Exact mean wait of M/D/c, first come first served; a = λD, ρ = a/c < 1.

    Customer n of M/D/c takes the server of customer n-c, so the queue is E_c/D/1 and Spitzer's
    identity gives D Σ_i [P(N_i >= ic) - P(N_i > ic)/ρ], N_i Poisson of mean iλD.
    Where that is long, and then inexact for many servers: mean queue (a² - c(c-1)) / (2(c-a)) + Σ_k 1/(1-z_k) over the
    c-1 roots of z^c = exp(a(z-1)) inside the unit circle. `md1` for c = 1.

    Source: Crommelin, "Delay probability formulae when the holding times are constant", Post
    Office Electrical Engineers Journal 25, 1932; Tijms, A First Course in Stochastic Models, 9.6.
    """
    rate, hold = _positive("arrival_rate", arrival_rate), _positive("service", service)
    c = _count("servers", servers, most=MOST)
    if c == 1:
        return float(md1(rate, hold).mean_wait)
    load = rate * hold
    utilisation = _stable(load / c)
    terms = 90 / (c * (1 - utilisation) ** 2)  # Chernoff: below rounding from there on
    if terms < 1000:
        i = np.arange(1, int(terms) + 3, dtype=float)
        late = special.gammainc(i * c, i * load)
        return hold * float(np.sum(late - special.gammainc(i * c + 1, i * load) / utilisation))
    turns = np.exp(2j * math.pi * np.arange(1, c) / c)
    roots = -special.lambertw(-utilisation * np.exp(-utilisation) * turns) / utilisation
    # (a² - c(c-1)) / (2(c-a)), as the difference that is left over
    queue = (c / (c - load) - c - load) / 2 + float(np.sum(1 / (1 - roots)).real)
    return float(queue / rate)


class RenewalQueue(NamedTuple):
    """GI/M/1: p_busy is what an arrival sees; utilisation is the share of time."""

    p_busy: float
    utilisation: float
    mean_wait: float
    mean_sojourn: float


def gim1(
    transform: Callable[[float], float], arrival_rate: float, service_rate: float
) -> RenewalQueue:
    """GI/M/1 by the root σ of σ = A*(μ(1-σ)); mean sojourn 1/(μ(1-σ)), exponential; ρ < 1.

    Solved for -log σ: to a relative 1e-15/(1-ρ), and for a transform of one's own, which rounds
    1 - A*, to 1e-15/(1-ρ)².

    transform : A*(s) = E[exp(-s x interarrival time)], of interarrival mean 1/arrival_rate;
        see `deterministic_transform`, `erlang_transform`, `hyperexponential_transform`

    Source: Kleinrock 1975, section 6.4. PASTA does not hold: p_busy differs from utilisation.
    """
    rate, mu = _positive("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    utilisation = float(_stable(rate / mu))
    exponent = getattr(transform, "exponent", lambda s: -math.log(max(transform(s), 5e-324)))

    def excess(y: float) -> float:
        return float(exponent(-mu * math.expm1(-y)) - y)

    # Concave, 0 at 0 and positive until the root, which is at most -log A*(μ).
    low = exponent(mu) / 2
    while excess(low) <= 0:
        low /= 2
        if low < 1e-300:
            raise ValueError("transform has no root below 1; is its mean 1/arrival_rate?")
    y = optimize.brentq(excess, low, 2 * low, xtol=1e-300, rtol=1e-15)
    sojourn = float(-1 / (mu * math.expm1(-y)))
    return RenewalQueue(math.exp(-y), utilisation, math.exp(-y) * sojourn, sojourn)


@dataclass(frozen=True)
class Transform:
    """Laplace transform A*(s) of a time; `exponent` is -log A*(s), exact where that is tiny."""

    exponent: Callable[[float], float]

    def __call__(self, s: float) -> float:
        return math.exp(-self.exponent(s))


def deterministic_transform(mean: float) -> Transform:
    """Laplace transform of a constant."""
    time = _positive("mean", mean)
    return Transform(lambda s: s * time)


def erlang_transform(mean: float, phases: int) -> Transform:
    """Laplace transform of an Erlang distribution; scv = 1/phases."""
    k = _count("phases", phases)
    phase = _positive("mean", mean) / k
    return Transform(lambda s: k * math.log1p(s * phase))


def hyperexponential_transform(mean: float, scv: float) -> Transform:
    """Laplace transform of a two-phase hyperexponential with balanced means; scv > 1.

    Source: Tijms, A First Course in Stochastic Models, 2003, appendix B.
    """
    time, v = _positive("mean", mean), _number("scv", scv)
    if not v > 1:
        raise ValueError(f"scv is {scv}; a hyperexponential needs more than 1")
    root = math.sqrt((v - 1) / (v + 1))
    p, q = (1 + root) / 2, 1 / ((v + 1) * (1 + root))  # q = 1 - p
    first, second = time / (2 * p), time / (2 * q)

    def exponent(s: float) -> float:
        if s * time > 1:
            return -math.log(p / (1 + s * first) + q / (1 + s * second))
        return -math.log1p(-s * (time / 2) * (1 / (1 + s * first) + 1 / (1 + s * second)))

    return Transform(exponent)


def dm1(arrival_rate: float, service_rate: float) -> RenewalQueue:
    """D/M/1: `gim1` with one arrival every 1/arrival_rate."""
    return gim1(
        deterministic_transform(1 / _positive("arrival_rate", arrival_rate)),
        arrival_rate,
        service_rate,
    )


def batch_mg1(
    batch_rate: float,
    batch_size: float,
    mean_service: float,
    service_scv: float = 1.0,
    batch_size_scv: float = 0.0,
) -> Queue:
    """M^[X]/G/1: whole batches arrive as a Poisson process; ρ = batch rate x size x service < 1.

    With exponential service and batches of b: mean number ρ(1+b) / (2(1-ρ)).

    Source: Gross and Harris, section 3.1; Chaudhry and Templeton, Bulk Queues, 1983.
    """
    rate, size = _positive("batch_rate", batch_rate), _positive("batch_size", batch_size)
    if np.any(size < 1):
        raise ValueError(f"batch_size is {batch_size}; a mean of at least 1 was expected")
    service, scv = (
        _positive("mean_service", mean_service),
        _not_negative("service_scv", service_scv),
    )
    size_scv = _not_negative("batch_size_scv", batch_size_scv)
    customers = rate * size
    utilisation = _stable(customers * service)
    within = (size * (1 + size_scv) - 1) * service / (2 * (1 - utilisation))
    wait = utilisation * service * (1 + scv) / (2 * (1 - utilisation)) + within
    p_wait = (size - 1 + utilisation) / size
    return _queue(customers, utilisation, p_wait, wait, service)


def kingman_wait(
    arrival_rate: ArrayLike, mean_service: ArrayLike, arrival_scv: ArrayLike, service_scv: ArrayLike
) -> Number:
    """*Approximate* mean wait of GI/G/1 (arrays): (ca² + cs²)/2 x ρ/(1-ρ) x S.

    Exact for M/G/1, exact in the limit ρ -> 1, otherwise too high for arrivals smoother than
    Poisson. Source: Kingman, "The single server queue in heavy traffic", 1961.
    """
    rate, service = _positive("arrival_rate", arrival_rate), _positive("mean_service", mean_service)
    scv = (
        _not_negative("arrival_scv", arrival_scv) + _not_negative("service_scv", service_scv)
    ) / 2
    utilisation = _stable(rate * service)
    return scv * utilisation / (1 - utilisation) * service


def allen_cunneen_wait(
    arrival_rate: ArrayLike,
    mean_service: ArrayLike,
    servers: ArrayLike,
    arrival_scv: ArrayLike,
    service_scv: ArrayLike,
) -> Number:
    """*Approximate* mean wait of GI/G/c (arrays): (ca² + cs²)/2 x the wait of M/M/c.

    Exact for M/M/c and M/G/1. Source: Allen, Probability, Statistics and Queueing Theory, 1990, 5.3.
    """
    service = _positive("mean_service", mean_service)
    scv = (
        _not_negative("arrival_scv", arrival_scv) + _not_negative("service_scv", service_scv)
    ) / 2
    return scv * mmc(arrival_rate, 1 / service, servers).mean_wait


def mgc_wait(
    arrival_rate: ArrayLike, mean_service: ArrayLike, servers: ArrayLike, service_scv: ArrayLike
) -> Number:
    """*Approximate* mean wait of M/G/c (arrays): between M/D/c (scv 0) and M/M/c (scv 1); ρ < 1.

    [v + (1-v)/2 (1 + (1-ρ)(c-1)(√(4+5c) - 2) / (16 ρ c))] x the wait of M/M/c, v the scv of service.
    Exact for c = 1 and for v = 1. Constant service, up to 16 servers: within 2 % of `mdc_mean_wait`
    from ρ = 0.5 on; below, where hardly anybody waits, too high.

    Source: Cosmetatos, "Some approximate equilibrium results for the multi-server queue (M/G/r)",
    Operational Research Quarterly 27, 1976.
    """
    rate, service = _positive("arrival_rate", arrival_rate), _positive("mean_service", mean_service)
    c, scv = _count("servers", servers), _probability("service_scv", service_scv)
    utilisation = rate * service / c
    constant = (
        1 + (1 - utilisation) * (c - 1) * (np.sqrt(4 + 5 * c) - 2) / (16 * utilisation * c)
    ) / 2
    return (scv + (1 - scv) * constant) * mmc(rate, 1 / service, c).mean_wait


def mm1_wait_asymptotic_variance(arrival_rate: ArrayLike, service_rate: ArrayLike) -> Number:
    """Variance of the mean wait of n successive customers of M/M/1, times n, for large n (arrays).

    ρ(2 + 5ρ - 4ρ² + ρ³) / (1-ρ)⁴ / μ². A run of n customers has the standard error sqrt(this/n).

    Source: Daley, "The serial correlation coefficients of waiting times in a stationary single
    server queue", 1968; Whitt, "Planning queueing simulations", Management Science 35, 1989.
    """
    mu = _positive("service_rate", service_rate)
    r = _stable(_not_negative("arrival_rate", arrival_rate) / mu)
    return r * (2 + 5 * r - 4 * r**2 + r**3) / (1 - r) ** 4 / mu / mu


def run_length(
    relative_half_width: float, arrival_rate: float, service_rate: float, confidence: float = 0.95
) -> int:
    """Customers of M/M/1 whose mean wait has the wanted relative half-width (Whitt 1989)."""
    wanted = _positive("relative_half_width", relative_half_width)
    _positive("arrival_rate", arrival_rate)
    z = special.ndtri((1 + _open_probability("confidence", confidence)) / 2)
    spread = mm1_wait_asymptotic_variance(arrival_rate, service_rate)
    width = wanted * mm1(arrival_rate, service_rate).mean_wait
    return math.ceil(_number("customers", spread * (z / width) ** 2))


def priority_sojourns(
    arrival_rates: Sequence[float],
    mean_services: Sequence[float],
    service_scvs: Sequence[float] | None = None,
) -> NDArray[Any]:
    """Mean sojourn of each class of M/G/1 with non-preemptive priorities, first class first.

    Wait of class k: R / ((1-σ(k-1)) (1-σ(k))), R = Σ λ E[S²]/2, σ(k) = load of classes up to k.

    Source: Cobham 1954; Kleinrock 1976, section 3.6.
    """
    rates = np.atleast_1d(_positive("arrival_rates", arrival_rates))
    services = np.atleast_1d(_positive("mean_services", mean_services))
    scvs = (
        np.ones(len(rates)) if service_scvs is None else _not_negative("service_scvs", service_scvs)
    )
    if rates.shape != services.shape or np.shape(scvs) not in ((), rates.shape):
        raise ValueError("arrival_rates, mean_services and service_scvs need one entry a class")
    load = np.concatenate([[0.0], np.cumsum(rates * services)])
    _stable(load[-1])
    residual = np.sum(rates * services**2 * (1 + scvs)) / 2
    return residual / ((1 - load[:-1]) * (1 - load[1:])) + services


def machine_repair(
    machines: int, mean_up: float, mean_repair: float, crews: int = 1
) -> NDArray[Any]:
    """P(0), P(1), ... machines down; exponential times, first come first served, `crews` at work.

    Source: Gross and Harris, section 2.7 (finite-source queue M/M/c//N).
    """
    n, c = _count("machines", machines, most=MOST), _count("crews", crews)
    up, repair = _positive("mean_up", mean_up), _positive("mean_repair", mean_repair)
    down = np.arange(n)
    return _birth_death((n - down) / up, np.minimum(down + 1, c) / repair)


def breakdowns_any_time(
    arrival_rate: float, service_rate: float, failure_rate: float, repair_rate: float
) -> Queue:
    """M/M/1 whose server fails at any time, idle or busy; work is kept and resumed.

    Mean number λ(1 + μf/(f+r)²) / (μr/(f+r) - λ). Needs λ < μr/(f+r).

    Source: White and Christie, "Queuing with preemptive priorities or with breakdown",
    Operations Research 6, 1958; Avi-Itzhak and Naor 1963, model A.
    """
    rate, mu = _positive("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    fail, repair = (
        _not_negative("failure_rate", failure_rate),
        _positive("repair_rate", repair_rate),
    )
    effective = mu * repair / (fail + repair)
    utilisation = _stable(rate / effective)
    outages = mu * fail / (fail + repair) / (fail + repair)
    wait = (outages + utilisation) / (effective - rate)
    return _queue(rate, utilisation, math.nan, wait, 1 / effective)


def breakdowns_in_service(
    arrival_rate: float, service_rate: float, failure_rate: float, repair_rate: float
) -> Queue:
    """M/M/1 whose server fails only while it serves; work is kept and resumed.

    `mg1` with the completion time: mean S(1+f/r), second moment 2S²(1+f/r)² + 2Sf/r².

    Source: Avi-Itzhak and Naor, "Some queuing problems with the service station subject to
    breakdown", Operations Research 11, 1963, model B.
    """
    mu = _positive("service_rate", service_rate)
    fail, repair = (
        _not_negative("failure_rate", failure_rate),
        _positive("repair_rate", repair_rate),
    )
    mean = (1 + fail / repair) / mu
    return mg1(arrival_rate, mean, 1 + 2 * mu * fail / (fail + repair) / (fail + repair))


def vacation_sojourn(
    arrival_rate: float,
    mean_service: float,
    service_scv: float,
    mean_vacation: float,
    vacation_scv: float = 1.0,
) -> float:
    """Mean sojourn of M/G/1 whose idle server goes away again and again until work is there.

    That of `mg1` plus the mean residual vacation V(1+scv)/2.

    Source: Fuhrmann and Cooper, "Stochastic decompositions in the M/G/1 queue with generalized
    vacations", Operations Research 33, 1985.
    """
    residual = (
        _positive("mean_vacation", mean_vacation)
        * (1 + _not_negative("vacation_scv", vacation_scv))
        / 2
    )
    return float(mg1(arrival_rate, mean_service, service_scv).mean_sojourn + residual)


def retrial_orbit(arrival_rate: float, service_rate: float, retry_rate: float) -> float:
    """Mean number in orbit of M/M/1 where those who find it busy try again, each at `retry_rate`.

    ρ(λ + ρν) / ((1-ρ)ν). Source: Falin and Templeton, Retrial Queues, 1997, section 1.2.
    """
    rate, retry = _positive("arrival_rate", arrival_rate), _positive("retry_rate", retry_rate)
    r = _stable(rate / _positive("service_rate", service_rate))
    return float(r * (rate + r * retry) / ((1 - r) * retry))


def two_choices_sojourn(utilisation: float, choices: int = 2) -> float:
    """Mean sojourn, in service times, where each arrival joins the shortest of `choices` queues.

    Σ_i ρ^((d^i - d)/(d-1)), i = 1, 2, ...; for very many servers; d = 1 is M/M/1.

    Source: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE
    Transactions on Parallel and Distributed Systems 12, 2001.
    """
    r, d = _stable(_not_negative("utilisation", utilisation)), _count("choices", choices)
    if d == 1:
        return 1 / (1 - r)
    total, exponent, term = 0.0, 0, 1.0
    while term > 1e-18:
        term = float(r) ** exponent
        total += term
        exponent = exponent * int(d) + int(d)
    return total


# --- networks ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """Open network: one entry a station; `mean_response` is that of a request from outside."""

    arrival_rates: NDArray[Any]
    utilisations: NDArray[Any]
    mean_sojourns: NDArray[Any]
    mean_numbers: NDArray[Any]
    mean_response: float


def jackson(
    external_rates: Sequence[float],
    service_rates: Sequence[float],
    servers: Sequence[int],
    routing: Sequence[Sequence[float]],
) -> Network:
    """Open Jackson network; routing[i][j] is the share that goes from station i to j.

    Traffic equations λ = γ + Pᵀλ; each station is then an M/M/c by itself.

    Source: Jackson, "Networks of waiting lines", Operations Research 5, 1957.
    """
    outside = np.atleast_1d(_not_negative("external_rates", external_rates))
    p = np.atleast_2d(_probability("routing", routing))
    if p.shape != (len(outside),) * 2 or np.any(p.sum(axis=1) > 1 + 1e-12):
        raise ValueError("routing needs a row a station, and no row may sum to more than 1")
    mu, c = _positive("service_rates", service_rates), _count("servers", servers)
    if not {np.shape(mu), np.shape(c)} <= {(), outside.shape}:
        raise ValueError("service_rates and servers need one entry a station")
    try:
        rates = np.linalg.solve(np.eye(len(outside)) - p.T, outside)
    except np.linalg.LinAlgError:
        raise ValueError("routing keeps some requests in the network for ever") from None
    rates = np.maximum(rates, 0.0)  # rounding may leave -1e-17
    station = mmc(rates, mu, c)
    total = float(np.sum(outside))
    return Network(
        rates,
        station.utilisation,
        station.mean_sojourn,
        station.mean_number,
        float(np.sum(station.mean_number)) / total if total else math.nan,
    )


def open_network_response(arrival_rate: ArrayLike, demands: Sequence[float]) -> Number:
    """Mean response Σ D/(1-λD) of an open network of single servers (array over arrival_rate).

    demands : visits x service time a station

    Source: Lazowska, Zahorjan, Graham and Sevcik, Quantitative System Performance, 1984, 6.4.
    """
    demand = np.atleast_1d(_not_negative("demands", demands))
    rate = np.asarray(_not_negative("arrival_rate", arrival_rate))
    return np.sum(demand / (1 - _stable(rate[..., None] * demand)), axis=-1)[()]


@dataclass(frozen=True)
class Closed:
    """Closed network: throughput and response a class; queues[class, station] by mean number."""

    throughput: NDArray[Any]
    response: NDArray[Any]
    queues: NDArray[Any]


def mean_value_analysis(
    populations: Sequence[int], demands: Sequence[Sequence[float]], think_times: Sequence[float]
) -> Closed:
    """Exact mean value analysis of a closed product-form network of single servers.

    demands[class][station]; think_times are delays without a queue. The cost grows with the
    product of the populations.

    Source: Reiser and Lavenberg, "Mean-value analysis of closed multichain queuing networks",
    Journal of the ACM 27, 1980; Lazowska et al. 1984, sections 6.4 and 7.4.
    """
    people = np.atleast_1d(_count("populations", populations, least=0))
    demand = np.atleast_2d(_not_negative("demands", demands))
    think = np.atleast_1d(_not_negative("think_times", think_times))
    if demand.shape[0] != len(people) or think.shape != people.shape:
        raise ValueError("populations, demands and think_times need one entry a class")
    if math.prod(int(n) + 1 for n in people) > MOST:
        raise ValueError(f"populations is {populations}; at most {MOST} combinations are computed")
    if np.any((people > 0) & (demand.sum(axis=1) + think == 0)):
        raise ValueError("demands and think_times of a class are all 0; a time was expected")
    total: dict[tuple[int, ...], NDArray[Any]] = {}
    throughput, residence = np.zeros(len(people)), np.zeros(demand.shape)
    for now in product(*(range(n + 1) for n in people)):
        throughput, residence = np.zeros(len(people)), np.zeros(demand.shape)
        for k in (k for k, n in enumerate(now) if n):
            fewer = tuple(n - (j == k) for j, n in enumerate(now))
            residence[k] = demand[k] * (1 + total[fewer])
            throughput[k] = now[k] / (think[k] + residence[k].sum())
        total[now] = throughput @ residence
    return Closed(throughput, residence.sum(axis=1), throughput[:, None] * residence)


# --- calls that hold a worker -----------------------------------------------------------------


def held_capacity(workers: ArrayLike, mean_work: ArrayLike, mean_downstream: ArrayLike) -> Number:
    """Largest throughput of a service whose worker is held during its calls (arrays).

    workers / (work + time downstream), by Little's law; downstream holds round trips and what the
    callees take, waits included. Any distribution.
    """
    held = _not_negative("mean_work", mean_work) + _not_negative("mean_downstream", mean_downstream)
    return _positive("workers", workers) / _positive("mean_work + mean_downstream", held)


def hold_capacity(
    workers: int,
    mean_work: float = 1.0,
    callee_service: float = 1.0,
    callee_servers: int = 1,
    round_trip: float = 0.0,
) -> float:
    """Largest throughput of `workers` that work, then hold while a callee with a queue serves.

    Closed product form of two stations: a delay (work and round trip, any distribution) and
    M/M/c (the callee, exponential). With one callee server it is μ(1 - B(T, μ x delay)),
    B from `erlang_b`.

    Source: Gordon and Newell, "Closed queuing systems with exponential servers", Operations
    Research 15, 1967; Gross and Harris 2.7.
    """
    n, c = _count("workers", workers), _count("callee_servers", callee_servers)
    service = _positive("callee_service", callee_service)
    delay = _not_negative("mean_work", mean_work) + _not_negative("round_trip", round_trip)
    if delay == 0:
        return float(min(n, c) / service)
    p = machine_repair(int(n), float(delay), float(service), int(c))
    return float(np.sum(np.minimum(np.arange(n + 1), c) * p) / service)


def hold_response(
    arrival_rate: float,
    workers: int,
    mean_work: float = 1.0,
    callee_service: float = 1.0,
    callee_servers: int = 1,
) -> float:
    """Mean response where each of `workers` is held during its call to a callee with a queue.

    Poisson arrivals, exponential work and callee, no network. Exact: a Markov chain over (requests
    in the system, of them at the callee), solved level by level with matrix-geometric tail; to a
    relative 1e-14/(1-ρ), ρ the share of `hold_capacity`, which must be below 1. The cost grows with
    the fourth power of `workers`, at most 300.

    Source: method of Neuts, Matrix-Geometric Solutions in Stochastic Models, 1981, chapter 3.
    """
    rate = float(_positive("arrival_rate", arrival_rate))
    t = int(_count("workers", workers, most=300))
    c = int(_count("callee_servers", callee_servers))
    own, callee = (
        1 / _positive("mean_work", mean_work),
        1 / _positive("callee_service", callee_service),
    )
    _stable(rate / hold_capacity(t, mean_work, callee_service, c))

    at_callee = np.arange(t + 1)
    up = rate * np.eye(t + 1)
    # A reply ends the request: one fewer in the system, one fewer at the callee.
    down = np.diag(np.minimum(at_callee[1:], c) * callee, -1)

    def local(requests: int) -> NDArray[Any]:
        working = np.maximum(min(requests, t) - at_callee, 0) * own
        leave = rate + working + np.minimum(at_callee, c) * callee
        return np.diag(working[:-1], 1) - np.diag(leave)

    full = local(t)
    # R of the homogeneous levels, by logarithmic reduction (Latouche and Ramaswami, 1993).
    inverse = np.linalg.inv(-full)
    high, low = inverse @ up, inverse @ down
    first_passage, product_ = low.copy(), high.copy()
    while np.max(np.abs(1 - first_passage.sum(axis=1))) > 1e-14 and np.max(product_) > 1e-200:
        middle = np.linalg.inv(np.eye(t + 1) - high @ low - low @ high)
        high, low = middle @ high @ high, middle @ low @ low
        # They go up or down for certain; rounding in that doubles each time, and costs 1/(1-ρ)².
        both = (high + low).sum(axis=1, keepdims=True)
        high, low = high / both, low / both
        first_passage += product_ @ low
        product_ = product_ @ high
    ratio = up @ np.linalg.inv(-(full + up @ first_passage))
    ratios = {t: ratio}
    for level in range(t - 1, 0, -1):
        ratios[level] = up @ np.linalg.inv(-(local(level) + ratios[level + 1] @ down))
    start = np.zeros(t + 1)
    start[0] = 1.0  # an empty system has nobody at the callee
    levels = [start]
    for level in range(1, t):
        levels.append(levels[-1] @ ratios[level])
    tail = np.linalg.inv(np.eye(t + 1) - ratio)
    boundary = levels[-1]  # level t-1; level t-1+k is boundary R^k
    weight = sum(level.sum() for level in levels) + (boundary @ ratio @ tail).sum()
    number = sum(k * level.sum() for k, level in enumerate(levels))
    number += (boundary @ ratio @ tail).sum() * (t - 1) + (boundary @ ratio @ tail @ tail).sum()
    return float(number / weight / rate)


def chain_response(mean_work: ArrayLike, round_trip: ArrayLike, depth: ArrayLike) -> Number:
    """Mean response of a chain of `depth` calls below the first service, no queueing (arrays).

    (depth+1) x work + depth x round trip: with synchronous calls distance adds up.
    """
    work, trip = _not_negative("mean_work", mean_work), _not_negative("round_trip", round_trip)
    hops = _count("depth", depth, least=0)
    return (hops + 1) * work + hops * trip


def chain_capacity(
    workers: ArrayLike, mean_work: ArrayLike, round_trip: ArrayLike, depth: ArrayLike
) -> Number:
    """Largest throughput of that chain (arrays): its first service is held longest.

    workers / `chain_response`; `workers` in each service; an upper bound where callees queue.
    """
    return _positive("workers", workers) / _positive(
        "response", chain_response(mean_work, round_trip, depth)
    )


def fan_out_response(
    own_work: ArrayLike,
    child_work: ArrayLike,
    round_trip: ArrayLike,
    fan_out: ArrayLike,
    in_parallel: bool = False,
) -> Number:
    """Mean response of one service with `fan_out` calls to exponential children, no queueing (arrays).

    One after the other: work + n (round trip + child). Together: work + round trip + child x H_n.
    """
    own, child = _not_negative("own_work", own_work), _not_negative("child_work", child_work)
    trip, n = _not_negative("round_trip", round_trip), _count("fan_out", fan_out)
    return own + (trip + child * harmonic(n) if in_parallel else n * (trip + child))


def largest_round_trip(
    target_response: ArrayLike, mean_work: ArrayLike, depth: ArrayLike
) -> Number:
    """Round trip at which `chain_response` just meets the target (arrays); below 0 it never does."""
    hops = _count("depth", depth)
    return (
        _positive("target_response", target_response)
        - (hops + 1) * _not_negative("mean_work", mean_work)
    ) / hops


# --- fan-out: fork-join, split-merge, tails -----------------------------------------------------


def harmonic(n: ArrayLike) -> Number:
    """H_n = 1 + 1/2 + ... + 1/n (array); H_0 = 0."""
    return special.digamma(_count("n", n, least=0) + 1.0) + np.euler_gamma


def max_exponentials(n: ArrayLike, mean: ArrayLike = 1.0) -> Number:
    """Mean of the largest of n independent exponential times (arrays): mean x H_n (Rényi 1953)."""
    return _positive("mean", mean) * harmonic(_count("n", n))


def max_exponentials_scv(n: int) -> float:
    """Squared coefficient of variation of that largest: (Σ 1/i²) / H_n²."""
    return float((special.zeta(2) - special.zeta(2, _count("n", n) + 1.0)) / harmonic(n) ** 2)


def max_of_exponentials(means: Sequence[float]) -> float:
    """Mean of the largest of independent exponentials with different means (at most 20 of them).

    Σ over non-empty subsets of (-1)^(size+1) / Σ rates (inclusion and exclusion).
    """
    rates = 1 / np.atleast_1d(_positive("means", means))
    if len(rates) > 20:
        raise ValueError(f"means has {len(rates)} entries; at most 20 are summed over subsets")
    sums, signs = np.zeros(1), -np.ones(1)
    for rate in rates:
        sums, signs = np.append(sums, sums + rate), np.append(signs, -signs)
    return float(np.sum(signs[1:] / sums[1:]))


def mean_of_maximum(cdf: Callable[[float], float], n: int) -> float:
    """Mean of the largest of n independent times with the given cdf: ∫ 1 - F(t)^n dt, t >= 0.

    Integrated in pieces that double on both sides of the time at which 1 - F(t)^n has fallen by
    half: any unit of time and any n will do. To about 1e-9; below 1e-14 a cdf tells nothing of its
    tail, and one so heavy that 1e-7 of the mean may be there is refused.
    """
    power = int(_count("n", n))
    half = (1 - float(_probability("cdf(0)", cdf(0.0))) ** power) / 2
    if half == 0:
        return 0.0

    def above(t: float) -> float:
        return 1 - float(cdf(t)) ** power

    scale = 1.0
    while above(scale) > half and scale < 1e300:
        scale *= 2
    while above(scale / 2) <= half and scale > 1e-300:
        scale /= 2
    low = scale / 2
    for _ in range(53):
        middle = (low + scale) / 2
        low, scale = (middle, scale) if above(middle) > half else (low, middle)

    def area(start: float, end: float) -> float:
        return integrate.quad(
            lambda x: above(scale * x),
            start,
            end,
            epsabs=1e-13,
            epsrel=1e-12,
            limit=500,
            full_output=1,
        )[0]

    near = 0.5 ** np.arange(41)
    total = sum(area(*ends) for ends in pairwise([*(1 - near), *(1 + near[::-1])]))
    last, start = total, 2.0
    while last > 1e-13 * total and above(scale * start) > 1e-14 and scale * start < 1e300:
        last = area(start, 2 * start)
        total, start = total + last, 2 * start
    if start > 1e7 * total or scale * start >= 1e300:
        raise ValueError("cdf has a tail that is too heavy; one with a finite mean was expected")
    return float(scale * total)


def fork_join_two(arrival_rate: ArrayLike, service_rate: ArrayLike) -> Number:
    """Exact mean response of a two-way fork-join of M/M/1 queues: (12-ρ)/8 x 1/(μ-λ) (arrays).

    Each request forks into both queues and is done when both parts are; nothing blocks; ρ < 1.

    Source: Flatto and Hahn, "Two parallel queues created by arrivals with two demands", 1984;
    Nelson and Tantawi, "Approximate analysis of fork/join synchronization in parallel queues",
    IEEE Transactions on Computers 37, 1988, equation 6.
    """
    rate, mu = _not_negative("arrival_rate", arrival_rate), _positive("service_rate", service_rate)
    utilisation = _stable(rate / mu)
    return (12 - utilisation) / 8 / (mu - rate)


def fork_join_approximation(
    branches: ArrayLike, arrival_rate: ArrayLike, service_rate: ArrayLike
) -> Number:
    """*Approximate* mean response of a K-way fork-join of M/M/1 queues, K >= 2 (arrays).

    [H_K/H_2 + 4/11 (1 - H_K/H_2) ρ] x `fork_join_two`; within 5 % for K <= 32, exact for K = 2.

    Source: Nelson and Tantawi 1988; Thomasian, "Analysis of fork/join and related queueing
    systems", ACM Computing Surveys 47, 2014, equation 3.
    """
    scale = harmonic(_count("branches", branches, least=2)) / harmonic(2)
    two = fork_join_two(arrival_rate, service_rate)
    utilisation = np.asarray(arrival_rate, dtype=float) / service_rate
    return (scale + 4 / 11 * (1 - scale) * utilisation) * two


def split_merge_capacity(branches: ArrayLike, service_rate: ArrayLike = 1.0) -> Number:
    """Largest arrival rate of a fan-out that blocks until all answered: μ/H_K (arrays).

    A fork-join that does not block keeps μ. Source: Thomasian 2014, section 3.
    """
    return _positive("service_rate", service_rate) / harmonic(_count("branches", branches))


def split_merge(branches: int, arrival_rate: float, service_rate: float = 1.0) -> Queue:
    """M/G/1 whose service is the largest of K exponentials: one request at a time, K ways.

    Source: Thomasian 2014, section 3; `mg1`.
    """
    mean = 1 / split_merge_capacity(branches, service_rate)
    return mg1(arrival_rate, mean, max_exponentials_scv(branches))


def pooled_and_partitioned(
    arrival_rate: ArrayLike, service_rate: ArrayLike, servers: ArrayLike
) -> tuple[Queue, Queue]:
    """One shared queue for c servers (M/M/c), and c queues with an even random split (c x M/M/1).

    A broker's topic with one consumer a partition is the second (arrays).
    Source: Kleinrock 1976, section 5.1.
    """
    c = _count("servers", servers)
    rate = _not_negative("arrival_rate", arrival_rate)
    return mmc(rate, service_rate, c), mm1(rate / c, service_rate)


def tail_at_scale(p_slow: ArrayLike, leaves: ArrayLike) -> Number:
    """P(any of n independent leaves is slow) = 1 - (1-p)^n (arrays).

    Source: Dean and Barroso, "The tail at scale", Communications of the ACM 56, 2013.
    """
    p, n = _probability("p_slow", p_slow), _count("leaves", leaves, least=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p == 1, n > 0, -np.expm1(n * np.log1p(-np.minimum(p, 1 - 1e-16))))[()] * 1.0


def leaf_quantile(quantile: ArrayLike, leaves: ArrayLike) -> Number:
    """Quantile that each of n leaves must meet so that the whole meets `quantile`: q^(1/n)."""
    return _probability("quantile", quantile) ** (1 / _count("leaves", leaves))


# --- sagas ------------------------------------------------------------------------------------


def saga_commit(failures: Sequence[float]) -> float:
    """P(every step succeeds); failures: each step's probability, independent."""
    return float(np.prod(1 - np.atleast_1d(_probability("failures", failures))))


def saga_compensations_sequential(failures: Sequence[float]) -> float:
    """Mean number of steps undone a saga that stops at its first failure.

    Σ_k k q_1...q_k p_(k+1): all that had succeeded before is undone.
    Source: model of Garcia-Molina and Salem, "Sagas", SIGMOD 1987; arithmetic.
    """
    p = np.atleast_1d(_probability("failures", failures))
    reached = np.concatenate([[1.0], np.cumprod(1 - p)[:-1]])
    return float(np.sum(np.arange(len(p)) * reached * p))


def saga_compensations_parallel(failures: Sequence[float]) -> float:
    """Mean number of steps undone a saga whose steps all run: Σ q_i - n Π q_i."""
    p = np.atleast_1d(_probability("failures", failures))
    with np.errstate(divide="ignore"):
        logs = np.log1p(-p)
    others = [abs(np.expm1(np.sum(np.delete(logs, i)))) for i in range(len(p))]  # another fails
    return float(np.sum((1 - p) * others))


def saga_time_sequential(mean_steps: Sequence[float], failures: Sequence[float]) -> float:
    """Mean time until the last step, or the first failure, of steps one after the other.

    Compensations and queueing not counted: Σ_i time_i Π_(j<i) q_j.
    """
    times = np.atleast_1d(_not_negative("mean_steps", mean_steps))
    p = np.atleast_1d(_probability("failures", failures))
    if times.shape != p.shape:
        raise ValueError("mean_steps and failures need one entry a step")
    return float(np.sum(times * np.concatenate([[1.0], np.cumprod(1 - p)[:-1]])))


# --- backlog, batching, prefetch ----------------------------------------------------------------


@dataclass(frozen=True)
class Backlog:
    """Fluid backlog: peak and delayed in messages, drain_time and longest_wait in time."""

    peak: float
    drain_time: float
    delayed: float
    longest_wait: float


def fluid_backlog(
    arrival_rate: float,
    capacity: float,
    duration: float,
    *,
    capacity_during: float = 0.0,
    arrival_rate_during: float | None = None,
) -> Backlog:
    """Backlog of an outage (or a burst, or both) of a consumer that has a log in front of it.

    Peak (λ' - μ') T; drained peak/(μ-λ) after the end; drain of an outage λT/(μ-λ). Fluid: no
    randomness, so right where the peak is far above the standing queue. Needs λ < μ.

    Parameters
    ----------
    arrival_rate, capacity : before and after
    duration : of the disturbance
    capacity_during, arrival_rate_during : in it; by default 0 (an outage) and unchanged

    Source: Newell, Applications of Queueing Theory, 1982, chapter 2.
    """
    rate, mu = _not_negative("arrival_rate", arrival_rate), _positive("capacity", capacity)
    length = _not_negative("duration", duration)
    slow = _not_negative("capacity_during", capacity_during)
    fast = (
        rate
        if arrival_rate_during is None
        else _not_negative("arrival_rate_during", arrival_rate_during)
    )
    _stable(rate / mu)
    if fast <= slow:
        return Backlog(0.0, 0.0, 0.0, 0.0)
    peak = (fast - slow) * length
    drain = peak / (mu - rate)
    return Backlog(
        float(peak),
        float(drain),
        float(fast * length + rate * drain),
        float(max(length * ((fast - slow) / fast), peak / mu)),
    )


def fluid_stream(messages: float, arrival_rate: float, capacity: float) -> Backlog:
    """A finite stream of messages, sent faster than they are consumed; drain_time from the start.

    The last one waits messages/capacity - messages/arrival_rate.
    """
    n, rate = _positive("messages", messages), _positive("arrival_rate", arrival_rate)
    mu = _positive("capacity", capacity)
    wait = max(0.0, n / mu * ((rate - mu) / rate))
    return Backlog(float(wait * mu), float(n / min(mu, rate)), float(n if wait else 0), float(wait))


class Batching(NamedTuple):
    """Producer batching: messages a batch, and time in the producer's buffer a message."""

    mean_batch: float
    mean_delay: float


def linger(arrival_rate: float, batch_limit: int, linger_time: float) -> Batching:
    """Producer that sends when `batch_limit` messages are there or `linger_time` after the first.

    Poisson arrivals. Batch 1 + E[min(N-1, Poisson(λT))]; delay by renewal reward:
    Σ_(j<N-1) (j+1) P(Poisson(λT) > j) / λ, over the batch.

    Source: structure of Paolieri et al., MASCOTS 2025; renewal reward (Ross 1996, 3.6).
    """
    rate = _positive("arrival_rate", arrival_rate)
    n = _count("batch_limit", batch_limit, most=MOST)
    load = rate * _not_negative("linger_time", linger_time)
    j = np.arange(n - 1)
    more = special.gammainc(j + 1.0, load)  # P(Poisson(load) > j)
    batch = 1 + float(np.sum(more))
    return Batching(batch, float(np.sum((j + 1) * more) / rate) / batch)


class Prefetch(NamedTuple):
    """Consumer with a prefetch window: share busy, and wait in its local buffer."""

    busy: Number
    buffer_wait: Number


def prefetch(window: ArrayLike, mean_work: ArrayLike, one_way: ArrayLike) -> Prefetch:
    """Consumer that always has messages to fetch, `window` unacknowledged at most (arrays).

    Constant times. Busy min(1, window x work / (work + 2 x one way)); beyond that point every
    message waits window x work - (work + 2 x one way) in the consumer's buffer.

    Source: "Some queuing theory: throughput, latency and bandwidth", RabbitMQ blog, 2012 (which
    rounds the second up to whole messages).
    """
    size, work = _count("window", window), _positive("mean_work", mean_work)
    cycle = work + 2 * _not_negative("one_way", one_way)
    return Prefetch(np.minimum(1.0, size * work / cycle), np.maximum(0.0, size * work - cycle))


# --- failures, retries, availability ------------------------------------------------------------


def mean_attempts(p_fail: ArrayLike, most: ArrayLike) -> Number:
    """Mean attempts a call, at most `most`, each failing independently: (1-p^n)/(1-p) (arrays)."""
    p, n = _probability("p_fail", p_fail), _count("most", most)
    p, n = np.broadcast_arrays(p, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p == 1, n, -np.expm1(n * np.log(p)) / (1 - p))[()]


def retry_success(p_fail: ArrayLike, most: ArrayLike) -> Number:
    """P(a call succeeds within `most` attempts) = 1 - p^n (arrays)."""
    with np.errstate(divide="ignore"):
        return np.abs(np.expm1(_count("most", most) * np.log(_probability("p_fail", p_fail))))


def retry_amplification(attempts: ArrayLike, layers: ArrayLike) -> Number:
    """Attempts at the bottom a user's call when all fail and each layer retries: attempts^layers.

    Source: Beyer et al., Site Reliability Engineering, 2016, chapter 22.
    """
    with np.errstate(over="ignore"):
        total = _positive("attempts", attempts) ** _count("layers", layers, least=0)
    return _number("attempts to the power of layers", total)


def series_availability(availabilities: Sequence[float]) -> float:
    """Availability where all must be up, independently: the product."""
    return float(np.prod(_probability("availabilities", availabilities)))


def k_of_n_availability(k: int, n: int, availability: ArrayLike) -> Number:
    """Availability where at least k of n independent parts must be up (array).

    Source: Barlow and Proschan, Mathematical Theory of Reliability, 1965; binomial tail, as the
    incomplete beta function I_A(k, n-k+1).
    """
    need, parts = _count("k", k, least=0), _count("n", n)
    if need > parts:
        raise ValueError(f"k is {need}; it must not exceed n, which is {parts}")
    a = _probability("availability", availability)
    return special.betainc(need, parts - need + 1, a) if need else a**0


def downtime(availability: ArrayLike, period: ArrayLike) -> Number:
    """Time that may be lost in a period: (1-A) x period (arrays)."""
    return (1 - _probability("availability", availability)) * _not_negative("period", period)


def beta_factor_loss(
    failure_rate: ArrayLike, beta: ArrayLike, time: ArrayLike, n: int = 2
) -> Number:
    """P(all n redundant parts are lost by `time`), no repair, a share `beta` by a common cause.

    1 - [1 - (1-exp(-(1-β)λt))^n] exp(-βλt) (arrays).

    Source: Fleming, "A reliability model for common mode failures in redundant safety systems",
    General Atomic GA-A13284, 1975.
    """
    hazard = _not_negative("failure_rate", failure_rate) * _not_negative("time", time)
    share = _probability("beta", beta)
    alone = (-np.expm1(-(1 - share) * hazard)) ** _count("n", n)
    return alone - (1 - alone) * np.expm1(-share * hazard)


def common_cause(unavailability: ArrayLike, beta: ArrayLike, n: int = 2) -> Number:
    """P(all n redundant parts are down), a share `beta` of each one's down time by a common cause.

    βu + ((1-β)u)ⁿ (arrays), at most u; rare events, so that the two hardly ever coincide.

    Source: Fleming 1975, as in `beta_factor_loss`, for unavailabilities instead of losses.
    """
    u = _probability("unavailability", unavailability)
    share = _probability("beta", beta)
    return np.minimum(u, share * u + ((1 - share) * u) ** _count("n", n))


def shard_overlap(workers: int, shard: int) -> NDArray[Any]:
    """P(two random shards of `shard` out of `workers` share exactly 0, 1, ... workers).

    Hypergeometric. Source: MacCárthaigh, "Shuffle sharding: massive and magical fault isolation",
    AWS Architecture blog, 2014.
    """
    n, k = int(_count("workers", workers)), int(_count("shard", shard, most=MOST))
    if k > n:
        raise ValueError(f"shard is {k}; it must not exceed the {n} workers")
    least = max(0, 2 * k - n)
    i = np.arange(least, k, dtype=float)
    shared = _birth_death((k - i) ** 2, (i + 1) * (n - 2 * k + i + 1))
    return np.concatenate([np.zeros(least), shared])


def routing_factor(p_reassigned: ArrayLike, factor: ArrayLike) -> Number:
    """Mean time to restore, relative to direct routing: 1 + q(f-1) (arrays).

    q is the share of incidents that first go to a wrong team, f how much longer those take
    (Chen et al., ICSE-SEIP 2019: up to 10.16).
    """
    return 1 + _probability("p_reassigned", p_reassigned) * (_positive("factor", factor) - 1)


# --- deciding from data -------------------------------------------------------------------------


def burn_rate(budget_share: ArrayLike, window: ArrayLike, slo_period: ArrayLike) -> Number:
    """Burn rate at which a share of the error budget is gone within the window (arrays).

    Source: Beyer et al., The Site Reliability Workbook, 2018, chapter 5.
    """
    return (
        _probability("budget_share", budget_share)
        * _positive("slo_period", slo_period)
        / _positive("window", window)
    )


def time_to_exhaustion(burn: ArrayLike, slo_period: ArrayLike) -> Number:
    """Time until a full error budget is gone at a steady burn rate (arrays)."""
    return _positive("slo_period", slo_period) / _positive("burn", burn)


class SequentialTest(NamedTuple):
    """Wald's test: accept below -h1 + s n failures, reject above h2 + s n; mean sizes."""

    k: float
    h1: float
    h2: float
    s: float
    mean_size_good: float
    mean_size_bad: float


def sequential_test(p_good: float, p_bad: float, alpha: float, beta: float) -> SequentialTest:
    """Sequential probability ratio test of a failure probability, p_good < p_bad.

    alpha: P(reject though good); beta: P(accept though bad). Mean sizes neglect the overshoot at
    the boundary, so they are a few per cent low.

    Source: Wald, Sequential Analysis, 1947; NIST/SEMATECH e-Handbook of Statistical Methods 6.2.6.
    """
    p0, p1 = _open_probability("p_good", p_good), _open_probability("p_bad", p_bad)
    a, b = _open_probability("alpha", alpha), _open_probability("beta", beta)
    if not p0 < p1:
        raise ValueError(f"p_good is {p_good} and p_bad is {p_bad}; p_good must be the smaller")
    if a + b >= 1:
        raise ValueError(f"alpha + beta is {a + b}; it must be less than 1")
    fail, ok = math.log1p((p1 - p0) / p0), -math.log1p((p1 - p0) / (1 - p1))
    k = fail - ok
    reject, accept = math.log((1 - b) / a), math.log(b / (1 - a))
    good = ((1 - a) * accept + a * reject) / (p0 * fail + (1 - p0) * ok)
    bad = (b * accept + (1 - b) * reject) / (p1 * fail + (1 - p1) * ok)
    return SequentialTest(k, -accept / k, reject / k, -ok / k, good, bad)


def fixed_test_size(p_good: float, p_bad: float, alpha: float, beta: float) -> int:
    """Requests for a one-sided test against a known baseline with the same errors (normal).

    Source: Fleiss, Statistical Methods for Rates and Proportions, 1981, section 2.
    """
    p0, p1 = _open_probability("p_good", p_good), _open_probability("p_bad", p_bad)
    za, zb = (
        -special.ndtri(_open_probability(n, v)) for n, v in (("alpha", alpha), ("beta", beta))
    )
    if p0 == p1:
        raise ValueError("p_good and p_bad are equal; no test tells them apart")
    spread = za * math.sqrt(p0 * (1 - p0)) + zb * math.sqrt(p1 * (1 - p1))
    if spread <= 0:
        raise ValueError(f"alpha is {alpha} and beta is {beta}; smaller ones were expected")
    return math.ceil(_number("requests", (spread / (p1 - p0)) ** 2))


def two_proportion_size(
    base: float, effect: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Requests an arm to see an absolute change `effect` of the share `base`, two-sided (normal).

    Source: the formula of Miller's sample size calculator (evanmiller.org), variance of the base
    under the null hypothesis.
    """
    p, change = _open_probability("base", base), _number("effect", effect)
    other = _open_probability("base + effect", p + change)
    if change == 0:
        raise ValueError("effect is 0; no test finds it")
    za = -special.ndtri(_open_probability("alpha", alpha) / 2)
    zb = special.ndtri(_open_probability("power", power))
    spread = za * math.sqrt(2 * p * (1 - p)) + zb * math.sqrt(p * (1 - p) + other * (1 - other))
    if spread <= 0:
        raise ValueError(f"power is {power}; more was expected, with alpha {alpha}")
    return float(_number("requests", (spread / change) ** 2))


def clean_trials(p_bound: float, confidence: float = 0.95) -> int:
    """Trials without a failure that bound the failure probability: ln(1-confidence)/ln(1-p).

    About 3/p at 95 %: the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983).
    """
    log_share = math.log1p(-_open_probability("confidence", confidence))
    return math.ceil(log_share / math.log1p(-_open_probability("p_bound", p_bound)))


def clean_bound(trials: ArrayLike, confidence: float = 0.95) -> Number:
    """Upper bound of a failure probability after so many trials without a failure (array)."""
    log_share = np.log1p(-_open_probability("confidence", confidence))
    return -np.expm1(log_share / _count("trials", trials))


def poisson_bound(events: ArrayLike, exposure: ArrayLike, confidence: float = 0.95) -> Number:
    """Upper bound of a rate after so many events in `exposure` units of time (arrays).

    A quantile of chi-squared: χ²(confidence; 2n+2) / 2t. After no event it is -ln(1-confidence)/t,
    at 95 % about 3/t: the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983). The same bound
    is the quantile of the gamma posterior of the rate after a flat prior.

    Source: Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28, 1936.
    """
    share = _open_probability("confidence", confidence)
    number = _not_negative("events", events)
    return special.gammaincinv(number + 1, share) / _positive("exposure", exposure)


def release_time(faults: float, rate: float, extra_cost: float, cost_per_time: float) -> float:
    """When to release software: ln(faults x rate x extra cost / cost of time) / rate, or at once.

    Faults are a Poisson number, each is found after an exponential time of that `rate`, and one
    that is found after the release costs `extra_cost` more than one that is found before.

    Source: Okumoto and Goel, "Optimum release time for software systems based on reliability and
    cost criteria", Journal of Systems and Software 1, 1980.
    """
    log_worth = math.log(_positive("faults", faults)) + math.log(_positive("rate", rate))
    log_worth += math.log(_positive("extra_cost", extra_cost))
    return max(0.0, (log_worth - math.log(_positive("cost_per_time", cost_per_time))) / rate)
