"""Random numbers that belong to whoever draws them.

Every random number of a run is a pure function of *who* draws it: the seed, the stream (a flow's
arrivals, or one step of one flow), the request, the attempt and the purpose. Nothing depends on
the order of events. So both engines draw the same numbers, and so does the same request at every
stage of the road: what differs between two stages is the stage and nothing else.

The generator is Philox 4x32-10, a counter-based generator (J. K. Salmon, M. A. Moraes, R. O. Dror,
D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11, 2011): the key is the seed, the
counter says who draws.

These functions need nothing but the standard library. `compiled.py` compiles the very same source
with numba, where integers wrap at 64 bits; the masks below make both give the same bits. Logarithm
and exponential are built from additions, multiplications and divisions, which IEEE 754 defines to
the last bit, so that every machine, compiler and browser gets the same numbers.
"""

import math
import zlib

WORD = 0xFFFFFFFF

# What a number is drawn for. The numbers are part of the reproducible record: never reuse one.
ARRIVAL, WORK, FAILS, NETWORK, ACK, DELIVERY, PARTITION = 0, 1, 2, 3, 4, 5, 6
UNDO_WORK, UNDO_NETWORK, UNDO_ACK, UNDO_DELIVERY = 7, 8, 9, 10
ERRORS, TIME_LIMIT, BACKOFF, THROTTLE = 11, 12, 13, 14
UP, DOWN, LOSS_THERE, LOSS_BACK, LOSS_DELIVERY = 15, 16, 17, 18, 19
REPLICATION, MIRROR, LAG, LOSS_MIRROR, HANDSHAKE, SAMPLED = 20, 21, 22, 23, 24, 25

# Kinds of distribution, as `Distribution.lowered()` numbers them.
DETERMINISTIC, EXPONENTIAL, ERLANG, HYPEREXPONENTIAL = 0, 1, 2, 3
LOGNORMAL, UNIFORM, PARETO, EMPIRICAL = 4, 5, 6, 7

LN2_HIGH = 0.6931471803691238  # ln 2 in two pieces: the first has 20 trailing zero bits,
LN2_LOW = 1.9082149292705877e-10  # so that a small whole multiple of it is exact
SQRT_HALF = 0.7071067811865476


def stream(*names):
    """The 32-bit number of a stream: a checksum of the names of who draws."""
    return zlib.crc32("/".join(names).encode())


def again(attempt, tries):
    """The number of an attempt that is made inside another, unlike any of its neighbours'.

    The first try of the first attempt keeps 0; a factor without small divisors spreads the rest.
    """
    return (attempt * 0x9E3779B1 + tries) & WORD


def philox(key0, key1, counter0, counter1, counter2, counter3):
    """Ten rounds of Philox 4x32: four 32-bit words from a key of two and a counter of four."""
    for _ in range(10):
        product0 = 0xD2511F53 * counter0
        product1 = 0xCD9E8D57 * counter2
        counter0 = (product1 >> 32) & WORD ^ counter1 ^ key0
        counter2 = (product0 >> 32) & WORD ^ counter3 ^ key1
        counter1 = product1 & WORD
        counter3 = product0 & WORD
        key0 = (key0 + 0x9E3779B9) & WORD
        key1 = (key1 + 0xBB67AE85) & WORD
    return counter0, counter1, counter2, counter3


def uniforms(seed, who, request, attempt, purpose, block):
    """Two independent uniforms, each a multiple of 2^-52 plus 2^-53: never 0, never 1."""
    word0, word1, word2, word3 = philox(
        seed & WORD,
        (seed >> 32) & WORD,
        request & WORD,
        who,
        ((request >> 32) & 0xFFFF) << 16 | purpose << 8 | block,
        attempt,
    )
    first = ((word0 << 20 ^ word1 >> 12) + 0.5) * 2.0**-52
    second = ((word2 << 20 ^ word3 >> 12) + 0.5) * 2.0**-52
    return first, second


def mantissa_and_exponent(x):
    """m in [1/2, 1) and e with x = m 2^e, of a positive float (compiled: out of its bits)."""
    return math.frexp(x)


def times_power_of_two(x, n):
    """x 2^n (compiled: a multiplication by a float made of its bits)."""
    return math.ldexp(x, n)


def log(x):
    """Natural logarithm of a positive float, to about one unit in the last place.

    x = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh(s), s = (m - 1) / (m + 1), by its
    series, which needs no more than eleven terms since s^2 < 0.03.
    """
    m, e = mantissa_and_exponent(x)
    if m < SQRT_HALF:
        m *= 2.0
        e -= 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    z2 = z * z
    z4 = z2 * z2
    low = (1 / 3 + z * (1 / 5)) + z2 * (1 / 7 + z * (1 / 9))
    high = (1 / 11 + z * (1 / 13)) + z2 * (1 / 15 + z * (1 / 17))
    tail = z * (low + z4 * (high + z4 * (1 / 19 + z * (1 / 21))))
    return e * LN2_HIGH + (2.0 * s + (2.0 * s * tail + e * LN2_LOW))


def exp(x):
    """Exponential of a float in [-700, 700], to about one unit in the last place.

    x = n ln 2 + r with |r| <= ln(2) / 2; the Taylor series of exp(r) to the 13th power.
    """
    n = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    total = 1 / 6227020800
    for c in (
        1 / 479001600,
        1 / 39916800,
        1 / 3628800,
        1 / 362880,
        1 / 40320,
        1 / 5040,
        1 / 720,
        1 / 120,
        1 / 24,
        1 / 6,
        1 / 2,
        1.0,
        1.0,
    ):
        total = total * r + c
    return times_power_of_two(total, n)


def normal_quantile(p):
    """Quantile of the standard normal distribution.

    Algorithm AS 241 (PPND16) of M. J. Wichura, "The percentage points of the normal
    distribution", Applied Statistics 37 (1988) 477-484; relative accuracy about 1e-16.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = 2.5090809287301226727e3
        for c in (
            3.3430575583588128105e4,
            6.7265770927008700853e4,
            4.5921953931549871457e4,
            1.3731693765509461125e4,
            1.9715909503065514427e3,
            1.3314166789178437745e2,
            3.3871328727963666080e0,
        ):
            top = top * r + c
        bottom = 5.2264952788528545610e3
        for c in (
            2.8729085735721942674e4,
            3.9307895800092710610e4,
            2.1213794301586595867e4,
            5.3941960214247511077e3,
            6.8718700749205790830e2,
            4.2313330701600911252e1,
            1.0,
        ):
            bottom = bottom * r + c
        return q * top / bottom
    r = math.sqrt(-log(min(p, 1.0 - p)))
    if r <= 5.0:
        r -= 1.6
        top = 7.74545014278341407640e-4
        for c in (
            2.27238449892691845833e-2,
            2.41780725177450611770e-1,
            1.27045825245236838258e0,
            3.64784832476320460504e0,
            5.76949722146069140550e0,
            4.63033784615654529590e0,
            1.42343711074968357734e0,
        ):
            top = top * r + c
        bottom = 1.05075007164441684324e-9
        for c in (
            5.47593808499534494600e-4,
            1.51986665636164571966e-2,
            1.48103976427480074590e-1,
            6.89767334985100004550e-1,
            1.67638483018380384940e0,
            2.05319162663775882187e0,
            1.0,
        ):
            bottom = bottom * r + c
    else:
        r -= 5.0
        top = 2.01033439929228813265e-7
        for c in (
            2.71155556874348757815e-5,
            1.24266094738807843860e-3,
            2.65321895265761230930e-2,
            2.96560571828504891230e-1,
            1.78482653991729133580e0,
            5.46378491116411436990e0,
            6.65790464350110377720e0,
        ):
            top = top * r + c
        bottom = 2.04426310338993978564e-15
        for c in (
            1.42151175831644588870e-7,
            1.84631831751005468180e-5,
            7.86869131145613259100e-4,
            1.48753612908506148525e-2,
            1.36929880922735805310e-1,
            5.99832206555887937690e-1,
            1.0,
        ):
            bottom = bottom * r + c
    return math.copysign(top / bottom, q)


def sample(kind, p0, p1, p2, values, seed, who, request, attempt, purpose):
    """One value of a distribution in the units of its parameters.

    `kind, p0, p1, p2` as `Distribution.lowered()` gives them; `values` holds the observed values
    of an empirical distribution, which occupy p1 places from place p0.
    """
    if kind == DETERMINISTIC:
        return p0
    first, second = uniforms(seed, who, request, attempt, purpose, 0)
    if kind != ERLANG:
        return value_of(kind, p0, p1, p2, values, first, second)
    total = log(first)
    for phase in range(1, int(p1)):
        if phase % 2:
            total += log(second)
        else:
            first, second = uniforms(seed, who, request, attempt, purpose, phase // 2)
            total += log(first)
    return -p0 * total


def value_of(kind, p0, p1, p2, values, first, second):
    """The value that two uniforms stand for, of a distribution that needs no more than two."""
    if kind == EXPONENTIAL:
        return -p0 * log(first)
    if kind == HYPEREXPONENTIAL:
        return -(p1 if first < p0 else p2) * log(second)
    if kind == LOGNORMAL:
        return exp(p0 + p1 * normal_quantile(first))
    if kind == UNIFORM:
        return p0 + p1 * first
    if kind == PARETO:
        return p0 * exp(p2 * log(1.0 - first * p1))
    return values[int(p0) + int(first * p1)]


def retransmission_ms(loss, uniform):
    """What lost segments cost: 200 ms for the first loss in a row, and double for each further.

    A segment is lost with probability `loss` each time it is sent, at most ten times in a row.
    """
    total = 0.0
    timeout = 200.0
    chance = loss
    for _ in range(10):
        if uniform >= chance:
            break
        total += timeout
        timeout *= 2.0
        chance *= loss
    return total


def mean_retransmission_ms(loss):
    """The mean of that: each of the ten time-outs, and how likely it comes to it."""
    return math.fsum(200.0 * 2.0**row * loss ** (row + 1) for row in range(10))


def profile_gap(now, amount, starts, factors, period):
    """Time from `now` until a piecewise constant rate has let `amount` of mean time pass.

    The rate's factor is factors[i] from starts[i] on (starts[0] = 0), repeated every `period` ms
    (0: never repeated, the last factor stays). This is the inversion of the integrated rate
    (E. Çınlar, "Introduction to Stochastic Processes", 1975, section 4.7), so a unit exponential
    amount gives a Poisson process with that rate. Infinite where no arrival can come any more.
    """
    origin = math.floor(now / period) * period if period > 0.0 else 0.0
    position = now - origin
    i = 0
    while i + 1 < len(starts) and starts[i + 1] <= position:
        i += 1
    while True:
        last = i + 1 == len(starts)
        if last and period == 0.0:
            if factors[i] == 0.0:
                return math.inf
            return max(origin + position + amount / factors[i] - now, 0.0)
        end = period if last else starts[i + 1]
        room = (end - position) * factors[i]
        if amount < room:
            return max(origin + position + amount / factors[i] - now, 0.0)
        amount -= max(room, 0.0)
        if last:
            origin += period
            position = 0.0
            i = 0
        else:
            position = end
            i += 1
