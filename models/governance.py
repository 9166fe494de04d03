"""Chapter 7: what becomes of common rules, and of common platform parts, when systems are run apart.

`Regime` is how a rule that all systems share is kept: by nobody, at a gate, or by a machine. Its
closed forms are those of a two-state Markov chain, and of a comparison in a fixed rhythm
(Barlow and Proschan, Mathematical Theory of Reliability, 1965, on inspection). `drift` simulates
the events themselves. `platform_days` counts platform parts.

Rates are per year (`_per_year`), times in days (`_days`).
"""

from dataclasses import dataclass
from math import exp, inf

import numpy as np
from numpy.typing import NDArray
from scipy import special

# The platform parts that every system needs, and what a mesh does of each.
PARTS = {
    "entrance and routing": "entrance and routing",
    "certificates and keys": "certificates of all workloads",
    "logs": "access logs of all calls",
    "metrics and alerts": "counts and times of all calls",
    "traces": "spans of all calls",
    "releases": "canaries, by shares of traffic",
    "limits and breakers": "time limits, retries, breakers",
}
YEAR_DAYS = 365.25
MONTH_DAYS = YEAR_DAYS / 12


@dataclass(frozen=True)
class Regime:
    """How one common rule is kept by systems that are changed by teams of their own.

    A system is changed `changes_per_year` times (Poisson), and each change goes against the rule
    with probability `breaks`. The rule itself changes `rule_changes_per_year` times, for all
    systems at once; from then on a system is behind until it has followed.

    A gate looks at a share `reviewed` of the changes and finds a share `finds` of those that break
    the rule. Corrections are changes and pass the gate too, which takes `gate_days` on average.

    Whoever is behind corrects it after `corrected_days` on average, plus the gate (exponential).
    With `enforced_days`, a machine compares every system with the rule in that fixed rhythm, sets
    it right, and follows a new rule in the same way; nobody else has to.
    """

    changes_per_year: float = 50.0
    breaks: float = 0.02
    rule_changes_per_year: float = 2.0
    reviewed: float = 0.0
    finds: float = 0.0
    gate_days: float = 0.0
    corrected_days: float = 180.0
    enforced_days: float | None = None

    def __post_init__(self):
        for name in ("changes_per_year", "rule_changes_per_year", "gate_days"):
            between(name, getattr(self, name), 0, inf)
        for name in ("breaks", "reviewed", "finds"):
            between(name, getattr(self, name), 0, 1)
        above("corrected_days", self.corrected_days)
        if self.enforced_days is not None:
            above("enforced_days", self.enforced_days)

    @property
    def own_per_day(self) -> float:
        """How often a system breaks the rule by a change of its own that no gate holds up."""
        let_through = 1 - self.reviewed * self.finds
        return self.changes_per_year * self.breaks * let_through / YEAR_DAYS

    @property
    def rule_per_day(self) -> float:
        """How often the rule changes."""
        return self.rule_changes_per_year / YEAR_DAYS

    @property
    def behind_days(self) -> float:
        """Mean time that a system that nothing enforces is behind, once it is."""
        return self.corrected_days + self.gate_days

    def keeping(self, days: float = inf, at_first: bool = True) -> float:
        """Share of the systems that keep the rule, `days` after all of them did, or none of them.

        Markov chain: p + (k-p) exp(-(b+c)t), where b is the rate of breaking, c that of correcting,
        p = c / (b+c) and k is 1 or 0, `at_first`. Enforced every T days, each system at its own
        hour: (1 - exp(-bm)) / (bT) + k (1 - m/T) exp(-bm), where m is the smaller of t and T.
        """
        between("days", days, 0, inf, closed=True)
        broken = self.own_per_day + self.rule_per_day
        if self.enforced_days is None:
            total = broken + 1 / self.behind_days
            settled = 1 / self.behind_days / total
            return settled + (at_first - settled) * exp(-total * days)
        span = min(float(days), self.enforced_days)
        visited = span * float(special.exprel(-broken * span))  # exact for the smallest rates, too
        not_yet = 1 - span / self.enforced_days
        share = visited / self.enforced_days + at_first * not_yet * exp(-broken * span)
        return min(share, 1.0)  # rounding may put it a little above

    def all_keeping(self, systems: int) -> float:
        """Probability that, in the long run, every one of `systems` keeps the rule at a moment.

        A changed rule puts all behind at once. With b the rate of own breaking, r that of rules
        changing, c that of correcting and n systems: (c/(b+c))^n times (r/(b+c)) B(r/(b+c), n+1).
        Enforced every T days, all at the same hour: (1 - exp(-(nb+r)T)) / ((nb+r)T).
        """
        whole("systems", systems)
        own, rule = self.own_per_day, self.rule_per_day
        if self.enforced_days is not None:
            hazard = (systems * own + rule) * self.enforced_days
            return float(special.exprel(-hazard))
        total = own + 1 / self.behind_days
        since = rule / total  # x B(x, n+1) = n! / ((x+1) (x+2) ... (x+n))
        behind = special.gammaln([since + systems + 1, since + 1, systems + 1])
        apart = (1 / self.behind_days / total) ** systems
        return float(apart * exp(behind[1] + behind[2] - behind[0]))

    @property
    def at_best(self) -> float:
        """Share that keep the rule in the long run if a gate saw and found all, at no delay."""
        return 1 / (1 + self.rule_per_day * self.corrected_days)


def siloed(share: float, at_once: float, kept: float) -> str:
    """The verdict on silos: if fewer than `kept` of the systems keep a rule that nobody looks after.

    Only if it is asked that all keep it `at_once` (a probability), where enough keep it at a moment.
    """
    if share < kept:
        return "holds"
    return "does not hold here" if at_once >= kept else "holds only if"


def drift(
    regime: Regime,
    systems: int,
    days: NDArray[np.floating],
    runs: int,
    seed: int,
    together: bool = False,
    at_first: bool = True,
) -> NDArray[np.bool_]:
    """Which systems keep the rule at each of `days`: shape (runs, systems, days).

    On day 0 all keep it, or none. Whatever happened last decides: a change that broke it, one of
    the rule itself (for all systems of a run), or a correction. Changes of systems and of rules are
    the same for every regime of one seed. A machine comes to each system at an hour of its own, or
    to all at the same one (`together`), which changes no share but how many keep it at once.
    """
    whole("systems", systems)
    whole("runs", runs)
    days = np.asarray(days, float)
    if days.ndim != 1 or not len(days) or not (days >= 0).all():
        raise ValueError("days: expected a list of at least one time, each 0 or more")
    until = float(days.max())

    def draws(purpose: int) -> np.random.Generator:
        return np.random.default_rng([seed, purpose])

    own_rate = regime.changes_per_year * regime.breaks / YEAR_DAYS
    own = _poisson(draws(0), own_rate, until, (runs, systems))
    found = draws(1).random(own.shape) < regime.reviewed * regime.finds
    broken = _last(np.where(found, np.inf, own), days)
    rules = _last(_poisson(draws(2), regime.rule_per_day, until, (runs, 1)), days)
    broken = np.maximum(broken, rules)
    if regime.enforced_days is None:
        corrected = _last(_poisson(draws(3), 1 / regime.behind_days, until, (runs, systems)), days)
    else:
        hours = draws(4).random((runs, 1 if together else systems, 1)) * regime.enforced_days
        turns = np.floor((days - hours) / regime.enforced_days)
        corrected = np.where(turns >= 0, hours + turns * regime.enforced_days, -np.inf)
    return corrected >= (broken if at_first else np.maximum(broken, -1.0))


def platform_days(
    systems: int, parts: int, part_days: float, join_days: float, common_days: float
) -> tuple[float, float]:
    """Person-days a year for the platform parts: every system its own, and one common mesh.

    Apart, each of `systems` runs all `parts` at `part_days` each. In common, the parts are run
    once, the mesh itself costs `common_days`, and every system `join_days` to stay connected.
    """
    whole("systems", systems)
    whole("parts", parts)
    for name, value in (("part_days", part_days), ("join_days", join_days),
                        ("common_days", common_days)):  # fmt: skip
        between(name, value, 0, inf)
    return systems * parts * part_days, parts * part_days + common_days + systems * join_days


def worth_it_from(parts: int, part_days: float, join_days: float, common_days: float) -> float:
    """The number of systems from which the common mesh costs less; infinite if it never does."""
    saved = parts * part_days - join_days
    return (parts * part_days + common_days) / saved if saved > 0 else inf


def _poisson(
    draws: np.random.Generator, per_day: float, until: float, shape: tuple[int, int]
) -> NDArray[np.floating]:
    """Times of Poisson events up to `until` and a few beyond it: shape (*shape, events)."""
    if per_day == 0:
        return np.full((*shape, 1), np.inf)
    batch = int(per_day * until + 4 * (per_day * until) ** 0.5 + 4)
    times = draws.exponential(1 / per_day, (*shape, batch)).cumsum(axis=-1)
    while times[..., -1].min() <= until:
        more = draws.exponential(1 / per_day, (*shape, batch)).cumsum(axis=-1)
        times = np.concatenate([times, times[..., -1:] + more], axis=-1)
    return times


def _last(times: NDArray[np.floating], days: NDArray[np.floating]) -> NDArray[np.floating]:
    """When the last event up to each day was, -inf if there was none: shape (..., days)."""
    return np.stack([np.where(times <= day, times, -np.inf).max(axis=-1) for day in days], axis=-1)


def above(name: str, value: float) -> None:
    """Refuse a number that is not above 0."""
    if not 0 < value < inf:
        raise ValueError(f"{name}: {value!r} was given; expected a number above 0")


def between(name: str, value: float, low: float, high: float, closed: bool = False) -> None:
    """Refuse a number outside of these bounds; an infinite one is allowed only if `closed`."""
    if not (low <= value < high or (value == high and (closed or high < inf))):
        expected = (
            f"a number of at least {low:g}" if high == inf else f"a number from {low:g} to {high:g}"
        )
        raise ValueError(f"{name}: {value!r} was given; expected {expected}")


def whole(name: str, value: int, least: int = 1) -> None:
    """Refuse what is no whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {value!r} was given; expected a whole number from {least} on")
