"""Distributions of times in ms; each knows its moments, and how the engines draw from it."""

import math
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.checks import (
    Cv,
    Ms,
    Part,
    Times,
    a_count,
    a_number,
    an_option,
    fault,
    listed,
    or_nothing,
)
from models.engine import draws

MAX_PHASES = 500  # as many as a keyed draw has numbers for

KINDS = {  # what each distribution needs; erlang needs one of cv and phases
    "deterministic": ("mean_ms",),
    "exponential": ("mean_ms",),
    "erlang": ("mean_ms", "cv", "phases"),
    "hyperexponential": ("mean_ms", "cv"),
    "lognormal": ("mean_ms", "cv"),
    "uniform": ("low_ms", "high_ms"),
    "pareto": ("low_ms", "high_ms", "shape"),
    "empirical": ("values_ms",),
}
Kind = Annotated[
    Literal[
        "deterministic",
        "exponential",
        "erlang",
        "hyperexponential",
        "lognormal",
        "uniform",
        "pareto",
        "empirical",
    ],
    an_option(*KINDS),
]


class Shape(Part):
    """The fields that say what a distribution looks like."""

    distribution: Kind = "exponential"
    """Which distribution it is."""
    cv: Annotated[Cv | None, or_nothing(a_number("a cv above 0, at most 100", 0, 100, True))] = None
    """Standard deviation over mean: hyperexponential (above 1), lognormal, erlang."""
    phases: Annotated[int | None, or_nothing(a_count("1 to 500 phases", 1, MAX_PHASES))] = None
    """How many exponential phases an erlang distribution has."""
    low_ms: Annotated[Ms | None, or_nothing(a_number("a time in ms, 0 or more"))] = None
    """Least value of a uniform or bounded Pareto distribution, in ms."""
    high_ms: Annotated[Ms | None, or_nothing(a_number("a time in ms, 0 or more"))] = None
    """Greatest value of a uniform or bounded Pareto distribution, in ms."""
    shape: Annotated[
        float | None, or_nothing(a_number("a shape from above 0.01 to 100", 0.01, 100, True))
    ] = None
    """Tail index of a bounded Pareto distribution."""
    values_ms: Times | None = None
    """Observed values of an empirical distribution in ms, each as likely as the others."""

    def check_shape(self, needed: tuple[str, ...], given: set[str]) -> None:
        """Refuse what a distribution does not use, lacks, or cannot have; `given`: keys with a value."""
        kind = self.distribution
        if kind == "erlang" and "cv" in given and "phases" in given:
            fault("cv and phases were found; expected one of them; leave out cv", "cv")
        for key in sorted(given - set(needed)):
            fault(f"is not used by '{kind}'; expected {listed(needed)}; leave it out", key)
        wanted = [key for key in needed if key not in given]
        if kind == "erlang":
            wanted = [key for key in wanted if key == "mean_ms"]
            wanted += [] if given & {"cv", "phases"} else ["phases"]
            needed = tuple(key for key in needed if key != "cv")
        if wanted:
            fault(f"'{kind}' was found without {wanted[0]}; expected {listed(needed)}")
        if kind == "hyperexponential" and self.cv is not None and self.cv <= 1:
            fault(f"{self.cv:g} was found; expected more than 1; use erlang below 1", "cv")
        if kind == "erlang" and self.cv is not None:
            exact = self.cv**-2
            phases = max(1, round(exact))
            if abs(exact - phases) > 0.01 * phases or phases > MAX_PHASES:
                near = min(phases, MAX_PHASES) ** -0.5
                fault(
                    f"{self.cv:g} was found; expected 1/sqrt(phases) with 1 to {MAX_PHASES} phases; "
                    f"the nearest is {near:.4g}",
                    "cv",
                )
        if kind in ("uniform", "pareto") and self.low_ms is not None and self.high_ms is not None:
            if self.high_ms < self.low_ms or kind == "pareto" and self.high_ms == self.low_ms:
                fault(
                    f"{self.high_ms:g} was found; expected more than low_ms, which is {self.low_ms:g}",
                    "high_ms",
                )
            if kind == "pareto" and self.low_ms == 0:
                fault("0 was found; expected a time in ms above 0", "low_ms")


class Distribution(Shape):
    """A distribution of times in ms; it knows its mean, variance and scv."""

    example = "{mean_ms: 5}"

    given_mean_ms: Annotated[
        Ms | None, or_nothing(a_number("a time in ms, 0 or more")), Field(alias="mean_ms")
    ] = None
    """Mean in ms; uniform, pareto and empirical have theirs from their other values."""

    @model_validator(mode="after")
    def _complete(self):
        given = {
            field.alias or name
            for name, field in type(self).model_fields.items()
            if name != "distribution" and getattr(self, name) is not None
        }
        self.check_shape(KINDS[self.distribution], given)
        return self

    @property
    def mean_ms(self) -> float:
        """Mean in ms."""
        if self.given_mean_ms is not None:
            return self.given_mean_ms
        return self._moments[0]

    @property
    def variance_ms2(self) -> float:
        """Variance in ms squared."""
        if self.given_mean_ms is not None:
            return self._scv_of_mean * self.given_mean_ms**2
        mean, second = self._moments
        return max(second - mean**2, 0.0)

    @property
    def scv(self) -> float:
        """Squared coefficient of variation: variance over squared mean; 0 where the mean is 0."""
        if self.given_mean_ms is not None:
            return self._scv_of_mean if self.given_mean_ms else 0.0
        return self.variance_ms2 / self.mean_ms**2 if self.mean_ms else 0.0

    @property
    def _phases(self) -> int:
        return self.phases or round((self.cv or 1.0) ** -2)

    @property
    def _scv_of_mean(self) -> float:
        """Scv of the distributions that have their mean given."""
        if self.distribution == "deterministic":
            return 0.0
        if self.distribution == "erlang":
            return 1 / self._phases
        return (self.cv or 1.0) ** 2

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """First and second moment of the distributions that have no mean given."""
        if self.values_ms is not None:
            n = len(self.values_ms)
            mean = math.fsum(self.values_ms) / n
            spread = math.fsum((value - mean) ** 2 for value in self.values_ms) / n
            return mean, spread + mean**2
        low, high = self.low_ms or 0.0, self.high_ms or 0.0
        if self.distribution == "uniform":
            mean = (low + high) / 2
            return mean, mean**2 + (high - low) ** 2 / 12
        shape, span = self.shape or 1.0, math.log(high / low)

        def moment(k):  # of a Pareto distribution with exponent `shape`, cut off at `high`
            gap = shape - k
            top = span if abs(gap) * span < 1e-12 else -math.expm1(-gap * span) / gap
            return low**k * shape * top / -math.expm1(-shape * span)

        return moment(1), moment(2)

    def lowered(self) -> tuple[int, float, float, float, tuple[float, ...]]:
        """(kind, p0, p1, p2, values) as `models.engine.draws.sample` takes them."""
        kind, mean = self.distribution, self.mean_ms
        if kind == "deterministic" or mean == 0.0:
            return draws.DETERMINISTIC, mean, 0.0, 0.0, ()
        if kind == "exponential":
            return draws.EXPONENTIAL, mean, 0.0, 0.0, ()
        if kind == "erlang":
            return draws.ERLANG, mean / self._phases, float(self._phases), 0.0, ()
        if kind == "hyperexponential":  # two phases with balanced means
            first = (1 + math.sqrt((self.scv - 1) / (self.scv + 1))) / 2
            return draws.HYPEREXPONENTIAL, first, mean / 2 / first, mean / 2 / (1 - first), ()
        if kind == "lognormal":
            variance = math.log1p(self.scv)
            return draws.LOGNORMAL, math.log(mean) - variance / 2, math.sqrt(variance), 0.0, ()
        low, high = self.low_ms or 0.0, self.high_ms or 0.0
        if kind == "uniform":
            return draws.UNIFORM, low, high - low, 0.0, ()
        if kind == "pareto":
            shape = self.shape or 1.0
            return draws.PARETO, low, 1 - (low / high) ** shape, -1 / shape, ()
        return draws.EMPIRICAL, 0.0, 0.0, 0.0, self.values_ms or ()

    def scaled(self, factor: float) -> "Distribution":
        """The same shape with every time `factor` times as long."""
        data = self.model_dump(by_alias=True, exclude_none=True)
        for key in ("mean_ms", "low_ms", "high_ms"):
            if key in data:
                data[key] *= factor
        if "values_ms" in data:
            data["values_ms"] = [value * factor for value in data["values_ms"]]
        return Distribution.model_validate(data)


NO_TIME = Distribution.model_validate({"distribution": "deterministic", "mean_ms": 0.0})
