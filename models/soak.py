"""Chapter 5: how long to stay on one infrastructure after going asynchronous.

`Step` says what is believed about the hidden defects of the asynchronous design and what it costs
to undo the step before and after the infrastructures are separated; it knows the closed forms.
`plan` finds the best decision for every day and everything that may have been seen by then, `Roads`
are simulated futures, and `gate` gives the answer for a reader's own incident log.

The clock is in days from going asynchronous, costs are in team-days: a day's work of one team.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import expm1, inf, isfinite, log
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import special, stats

from models import theory
from models.incidents import SEVERITIES, InvalidLog, Log

ALWAYS = np.iinfo(np.int64).max  # go, whatever has been found
CONFIDENCE = 0.95
UNLIKELY = 0.01  # below this, what was seen and what was believed in do not fit together


@dataclass(frozen=True)
class Step:
    """Going asynchronous: hidden defects, what it costs to undo, what separation is worth.

    The number of hidden defects is Poisson with an unknown mean, which is gamma with mean `defects`
    and coefficient of variation `defects_cv`. Each comes to light at a rate of its own, which is
    gamma with mean `rate_per_day` and coefficient of variation `rate_cv` (0: all the same), and is
    then undone and put right: for `undo_shared_team_days` while the infrastructure is shared, for
    `undo_apart_team_days` once it is separated. Every day of being separated is worth
    `gain_team_days_per_day`. What happens after `horizon_days` is not looked at.

    Sources: Goel and Okumoto 1979 (`rate_cv` 0), Littlewood 1981 (rates that differ), Dalal and
    Mallows 1988 (an unknown mean).
    """

    defects: float = 3.0
    defects_cv: float = 1.0
    rate_per_day: float = 0.02
    rate_cv: float = 0.7
    undo_shared_team_days: float = 2.0
    undo_apart_team_days: float = 30.0
    gain_team_days_per_day: float = 0.4
    horizon_days: int = 1095

    def __post_init__(self):
        for name in ("defects", "defects_cv", "rate_per_day"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name}: {getattr(self, name)!r} was given; expected above 0")
        for name in (
            "rate_cv",
            "undo_shared_team_days",
            "undo_apart_team_days",
            "gain_team_days_per_day",
        ):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name}: {getattr(self, name)!r} was given; expected at least 0")
        days = self.horizon_days
        if not isinstance(days, int) or isinstance(days, bool) or days < 1:
            raise ValueError(f"horizon_days: {days!r} was given; expected a whole number from 1 on")

    # When a defect comes to light

    def hidden(self, days: Any) -> Any:
        """P(a defect has not come to light after so many days): exponential or Pareto (array)."""
        squared = self.rate_cv**2
        spent = self.rate_per_day * np.asarray(days, dtype=float)
        return np.exp(-spent) if not squared else np.exp(-np.log1p(squared * spent) / squared)

    def shown(self, days: Any) -> Any:
        """P(a defect has come to light by then) (array)."""
        return 1 - self.hidden(days)

    def shown_per_day(self, days: Any) -> Any:
        """The density of the day on which a defect comes to light, 1/day (array)."""
        spent = self.rate_per_day * np.asarray(days, dtype=float)
        return self.rate_per_day * self.hidden(days) / (1 + self.rate_cv**2 * spent)

    # What a fixed soak costs

    @property
    def extra_team_days(self) -> float:
        """What undoing costs more once the infrastructures are separated; 0 if it does not."""
        return max(0.0, self.undo_apart_team_days - self.undo_shared_team_days)

    @property
    def break_even_per_day(self) -> float:
        """The rate of defects coming to light at which a day more of soak is just worth it."""
        extra = self.extra_team_days
        return self.gain_team_days_per_day / extra if extra else inf

    def parts_team_days(self, days: Any) -> dict[str, Any]:
        """Expected cost of separating after so many days, by what it is spent on (arrays)."""
        last = self.shown(self.horizon_days)
        return {
            "undone while shared": self.defects * self.undo_shared_team_days * self.shown(days),
            "undone once separated": self.defects
            * self.undo_apart_team_days
            * (last - self.shown(days)),
            "not separated yet": self.gain_team_days_per_day * np.asarray(days, dtype=float),
        }

    def cost_team_days(self, days: Any) -> Any:
        """Expected cost of separating after so many days, whatever is seen until then (array)."""
        return sum(self.parts_team_days(days).values())

    @property
    def best_days(self) -> float:
        """The soak that costs the least: where defects come to light at the break-even rate.

        `theory.release_time` where every defect has the same rate.
        """
        first = self.defects * self.rate_per_day
        if first <= self.break_even_per_day:
            return 0.0
        if not self.gain_team_days_per_day:
            return float(self.horizon_days)
        ratio = first / self.break_even_per_day
        squared = self.rate_cv**2
        if squared:
            longest = expm1(log(ratio) * squared / (1 + squared)) / (squared * self.rate_per_day)
        else:
            longest = theory.release_time(
                self.defects, self.rate_per_day, self.extra_team_days, self.gain_team_days_per_day
            )
        return min(longest, float(self.horizon_days))

    @property
    def best_whole_days(self) -> int:
        """The same in whole days."""
        near = {int(self.best_days), min(int(self.best_days) + 1, self.horizon_days)}
        return min(near, key=self.cost_team_days)

    def extra_needed_team_days(self, days: float) -> float:
        """The extra cost of undoing from which on a soak of so many days pays; 0: any soak."""
        shown_per_day = self.shown(days) / days if days else self.rate_per_day
        return float(self.gain_team_days_per_day / (self.defects * shown_per_day))

    # What is known after having seen something

    @property
    def _shape(self) -> float:
        return self.defects_cv**-2

    def left(self, days: Any, found: Any) -> Any:
        """Expected number of defects still to come to light, until the horizon (arrays).

        After `found` in so many days the mean is gamma again, by conjugacy: shape + found, and its
        rate grows by the share of the defects that would have come to light.
        """
        mean = (self._shape + found) / (self._shape / self.defects + self.shown(days))
        return mean * (self.shown(self.horizon_days) - self.shown(days))

    def exposure_days(self, days: Any) -> Any:
        """How many days at a constant rate say as much about today's rate (array)."""
        weight = self._shape / self.defects + self.shown(days)
        return weight / self.shown_per_day(days)

    def rate(self, days: float, found: int) -> Any:
        """Posterior of the rate at which defects come to light today, 1/day: a frozen gamma."""
        return stats.gamma(self._shape + found, scale=1 / self.exposure_days(days))

    def found(self, days: Any) -> Any:
        """The number of defects found by then, as believed beforehand: negative binomial (array)."""
        weight = self._shape / self.defects
        return stats.nbinom(self._shape, weight / (weight + self.shown(days)))

    def _reach(self, days: Any) -> NDArray[Any]:
        """More than so many are hardly ever found by then: once in 10^9 times (array)."""
        return np.maximum(self.found(days).ppf(1 - 1e-9), 1).astype(int)


def believed_defects(messages: int, each: float) -> float:
    """How many hidden defects are believed in: so many for `each` step that becomes a message.

    At least 0.01 and at most 50. Where nothing becomes a message, that of five of them, as in the
    book, since a number is needed to speak about.
    """
    return min(max((messages or 5) * each, 0.01), 50.0)


# Deciding by what is seen


@dataclass(frozen=True)
class Plan:
    """The best decision for every day (row) and number of defects found by then (column).

    `go_team_days`, `wait_team_days`: expected cost from then on of separating now, and of waiting
    a day and then deciding as well as possible. `go_most`: the largest number found at which
    separating is right, by day; -1 where it never is.
    """

    go_team_days: NDArray[Any]
    wait_team_days: NDArray[Any]
    go_most: NDArray[Any]

    @property
    def cost_team_days(self) -> float:
        """Expected cost from the first day on, decided as well as possible."""
        return float(min(self.go_team_days[0, 0], self.wait_team_days[0, 0]))


@lru_cache(maxsize=256)
def plan(step: Step) -> Plan:
    """Dynamic programming backwards from the horizon, a decision a day.

    Source of the problem: Dalal and Mallows, "When should one stop testing software?", Journal of
    the American Statistical Association 83, 1988.
    """
    last = step.horizon_days
    days = np.arange(last + 1)
    shape, shown = step._shape, step.shown(days)
    weight = shape / step.defects + shown
    reach = step._reach(days)
    counts = np.arange(reach[-1] + 1)

    # P(so many more come to light on the next day | found so far): negative binomial again.
    share = np.diff(shown) / weight[1:]
    more = stats.nbinom(shape + reach[:-1], 1 - share).ppf(1 - 1e-12).astype(int) + 1
    number = np.arange(more.max() + 1)
    log_gamma = special.gammaln(shape + np.arange(len(counts) + more.max()))
    log_gammas = sliding_window_view(log_gamma, len(number))  # of counts[:, None] + number
    log_factorial = special.gammaln(number + 1)

    go = step.undo_apart_team_days * step.left(days[:, None], counts)
    wait = np.full_like(go, inf)
    best = go[-1]
    for day in range(last - 1, -1, -1):
        found, come = counts[: reach[day] + 1, None], number[: more[day] + 1]
        ways = log_gammas[: len(found), : len(come)] - log_gamma[found] - log_factorial[come]
        logs = ways + (shape + found) * np.log1p(-share[day])
        chance = np.exp(logs + special.xlogy(come, share[day]))
        later = _extended(best, len(found) + len(come))[found + come]
        cost = step.undo_shared_team_days * come + later
        expected = step.gain_team_days_per_day + (chance * cost).sum(axis=1)
        wait[day] = _extended(expected, len(counts))
        best = np.minimum(go[day], wait[day])
    rather_wait = wait < go
    go_most = np.where(rather_wait.any(axis=1), rather_wait.argmax(axis=1) - 1, ALWAYS)
    for kept in (go, wait, go_most):
        kept.flags.writeable = False
    return Plan(go, wait, go_most)


def _extended(values: NDArray[Any], length: int) -> NDArray[Any]:
    """At least so many values: beyond the last one they lie on a straight line, or nearly so."""
    beyond = np.arange(1, max(0, length - len(values)) + 1)
    return np.append(values, values[-1] + (values[-1] - values[-2]) * beyond)


def after(step: Step, days: int) -> NDArray[Any]:
    """Separate on that day, whatever has been found by then (as `Plan.go_most`)."""
    return np.where(np.arange(step.horizon_days + 1) < days, -1, ALWAYS)


def myopic(step: Step) -> NDArray[Any]:
    """Separate when the expected rate is at most the break-even rate (as `Plan.go_most`)."""
    if step.break_even_per_day == inf:
        return after(step, 0)
    exposure = step.exposure_days(np.arange(step.horizon_days + 1))
    most = np.floor(step.break_even_per_day * exposure - step._shape + 1e-9)
    most = np.clip(most, -1, 2**60).astype(np.int64)
    most[-1] = ALWAYS
    return most


def certain(step: Step, confidence: float = CONFIDENCE) -> NDArray[Any]:
    """Separate when the log alone bounds the rate by the break-even rate (as `Plan.go_most`).

    Nothing is assumed beforehand: `theory.poisson_bound`, the rule of three while nothing is found.
    """
    if step.break_even_per_day == inf:
        return after(step, 0)
    reach = int(step._reach(step.horizon_days))
    events = np.arange(1 + int(min(step.break_even_per_day * step.horizon_days, reach)))
    needed = theory.poisson_bound(events, 1.0, confidence) / max(step.break_even_per_day, 1e-12)
    most = np.searchsorted(needed, np.arange(step.horizon_days + 1), side="right") - 1
    most[-1] = ALWAYS
    return most


# Simulated futures


@dataclass(frozen=True)
class Roads:
    """Simulated futures: which road each defect lies on, and the day on which it comes to light.

    `mean` is the mean number of defects by road, which nobody on the road knows. A defect that comes
    to light within day 3 is known at its end: its `day` is 3. Ordered by road and day; those that
    come to light after the horizon are left out.
    """

    step: Step
    number: int
    mean: NDArray[Any]
    road: NDArray[Any]
    day: NDArray[Any]

    @cached_property
    def defects(self) -> NDArray[Any]:
        """How many come to light until the horizon, by road."""
        return np.bincount(self.road, minlength=self.number)

    def found(self, days: int) -> NDArray[Any]:
        """How many have come to light by the end of that day, by road."""
        return np.bincount(self.road[self.day <= days], minlength=self.number)

    def follow(self, go_most: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The day of separation and the cost in team-days, by road, of a rule as `Plan.go_most`."""
        found = np.zeros(self.number, dtype=np.int64)
        found_then = found.copy()
        when = np.full(self.number, -1)
        order = np.argsort(self.day, kind="stable")
        starts = np.searchsorted(self.day[order], np.arange(len(go_most) + 1))
        for day, most in enumerate(go_most):
            np.add.at(found, self.road[order[starts[day] : starts[day + 1]]], 1)
            goes = (when < 0) & (found <= most)
            when[goes], found_then[goes] = day, found[goes]
        return when, self._cost(when, found_then)

    def fixed(self, days: int) -> NDArray[Any]:
        """The cost in team-days, by road, of separating on that day whatever is seen."""
        return self._cost(np.full(self.number, days), self.found(days))

    @cached_property
    def hindsight(self) -> NDArray[Any]:
        """The least that any day of separation would have cost, by road, known only afterwards."""
        first = np.searchsorted(self.road, np.arange(self.number))
        rank = np.arange(len(self.road)) - first[self.road] + 1
        best = self._cost(np.zeros(self.number), np.zeros(self.number))
        at_defect = self._cost(self.day, rank, self.road)
        np.minimum.at(best, self.road, at_defect)
        return best

    def _cost(self, when, found, road: Any = slice(None)):
        step = self.step
        late = self.defects[road] - found
        undone = step.undo_shared_team_days * found + step.undo_apart_team_days * late
        return undone + step.gain_team_days_per_day * when


def roads(step: Step, number: int, seed: int) -> Roads:
    """So many independent futures of a step."""
    random = np.random.default_rng(seed)
    shape = step._shape
    mean = random.gamma(shape, step.defects / shape, number)
    defects = random.poisson(mean)
    rates = np.full(defects.sum(), step.rate_per_day)
    if step.rate_cv:
        squared = step.rate_cv**2
        rates = random.gamma(1 / squared, squared * step.rate_per_day, defects.sum())
    with np.errstate(divide="ignore"):
        day = np.ceil(random.exponential(size=len(rates)) / rates)
    road = np.repeat(np.arange(number), defects)
    seen = day <= step.horizon_days
    road, day = road[seen], day[seen].astype(np.int64)
    order = np.lexsort((day, road))
    return Roads(step, number, mean, road[order], day[order])


# The gate


@dataclass(frozen=True)
class Gate:
    """Go or wait, why, and what the log says.

    Rates are per day. `rate_low_per_day` to `rate_high_per_day` hold the rate with 95 %;
    `log_alone_per_day` is its 95 % upper bound with nothing assumed beforehand. `clean_days` is how
    many more days without a defect lead to "go"; `as_many_share` how often as many or more would be
    found, as believed beforehand. Where that is below `UNLIKELY`, the answer is "wait": the beliefs
    are wrong, and so is what follows from them, and `clean_days` is None.
    """

    answer: str
    reason: str
    days: int
    found: int
    not_counted: int
    go_team_days: float
    wait_team_days: float
    rate_per_day: float
    rate_low_per_day: float
    rate_high_per_day: float
    log_alone_per_day: float
    break_even_per_day: float
    left: float
    clean_days: int | None
    as_many_share: float


def gate(step: Step, log: Log, counts_from: str = "major", decided: Plan | None = None) -> Gate:
    """Whether to separate now, by `plan`, after what a log says; `decided` saves planning again.

    Incidents below the severity `counts_from` are no defects that would have to be undone; how many
    there are is said. Raises InvalidLog, ValueError.
    """
    if counts_from not in SEVERITIES:
        raise ValueError(
            f"counts_from: {counts_from!r} was given; expected one of {', '.join(SEVERITIES)}"
        )
    days, found = log.days, len(log.found_days(counts_from))
    if days > step.horizon_days:
        raise InvalidLog(
            f"from: the soak has lasted {days:,} days; expected at most the horizon, "
            f"{step.horizon_days:,} days; set the horizon farther away"
        )
    decided = decided or plan(step)
    as_many = float(step.found(days).sf(found - 1))
    believed = as_many >= UNLIKELY or not step.extra_team_days
    last = decided.go_team_days.shape[1] - 1  # more than that nobody believes in
    go, wait = (
        float(cost[days, min(found, last)])
        for cost in (decided.go_team_days, decided.wait_team_days)
    )
    later = decided.go_most[days:] >= found
    rate = step.rate(days, found)
    answer = "go" if later[0] and believed else "wait"
    if believed:
        reason = _reason(answer, days, found, go, wait, rate.mean(), step.break_even_per_day)
    else:
        reason = (
            f"{_came_to_light(days, found)}; where {step.defects:g} are believed in, so many come "
            f"to light in {100 * as_many:.2g} % of all cases. Believe in more, then ask again."
        )
    return Gate(
        answer=answer,
        reason=reason,
        days=days,
        found=found,
        not_counted=len(log.incidents) - found,
        go_team_days=go,
        wait_team_days=wait,
        rate_per_day=float(rate.mean()),
        rate_low_per_day=float(rate.ppf((1 - CONFIDENCE) / 2)),
        rate_high_per_day=float(rate.ppf((1 + CONFIDENCE) / 2)),
        log_alone_per_day=float(theory.poisson_bound(found, days, CONFIDENCE)),
        break_even_per_day=step.break_even_per_day,
        left=float(step.left(days, found)),
        clean_days=int(later.argmax()) if believed else None,
        as_many_share=as_many,
    )


def _came_to_light(days, found) -> str:
    counted = f"{found} defect{'' if found == 1 else 's'}" if found else "no defect"
    return f"In {days:,} day{'' if days == 1 else 's'} {counted} came to light"


def _reason(answer, days, found, go, wait, rate, break_even) -> str:
    said = (
        f"{_came_to_light(days, found)}. Separating now is expected to cost {_plain(go)} team-days "
        "from here on"
    )
    if isfinite(wait):
        more = "more" if wait >= go else "less"
        said += f", waiting and deciding again tomorrow {_plain(abs(wait - go))} {more}. "
    else:
        said += ", and nothing that comes later is looked at. "
    said += f"The next defect is expected to come to light at a rate of {per(rate)}, "
    if break_even == inf:
        return said + "and undoing the step later costs no more than undoing it now."
    if rate <= break_even and answer == "wait":
        return said + (
            f"which is below the break-even of {per(break_even)} already; but what the next days "
            "show is worth more than they cost."
        )
    where = "below" if rate < break_even else "above" if rate > break_even else "just at"
    return said + f"which is {where} the break-even of {per(break_even)}."


def per(rate_per_day: float) -> str:
    """A rate in words that can be imagined: one in so many days."""
    if rate_per_day == inf:
        return "any rate"
    if rate_per_day <= 0:
        return "none at all"
    days = _plain(1 / rate_per_day)
    return "one a day" if days == "1" else f"one in {days} days"


def _plain(number: float) -> str:
    """Three significant digits, and all of those before the point."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
