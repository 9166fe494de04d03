"""How requests arrive: Poisson, evenly, in batches, by any distribution of gaps, as listed, or by a
rate that changes over time."""

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import model_validator

from models.checks import (
    Ms,
    Part,
    Times,
    a_count,
    a_list,
    a_number,
    an_option,
    fault,
    or_nothing,
)
from models.distributions import KINDS, Distribution, Shape

PROCESSES = ("poisson", "deterministic", "batch", "renewal", "timestamps", "profile")


class ProfileStep(Part):
    """From when on a rate is multiplied by what."""

    from_ms: Ms
    """When it begins, in ms."""
    factor: Annotated[float, a_number("a factor from 0 to 1,000,000", high=1e6)]
    """What the rate is multiplied by from then on."""


class Arrivals(Shape):
    """How requests arrive."""

    example = "{process: deterministic}"
    not_here = {"mean_ms": "the flow's rate_per_s gives the mean; leave it out"}
    process: Annotated[
        Literal["poisson", "deterministic", "batch", "renewal", "timestamps", "profile"],
        an_option(*PROCESSES),
    ] = "poisson"
    """The process; `renewal` draws its gaps from the distribution that the other fields say."""
    size: Annotated[int | None, or_nothing(a_count("1 to 1,000,000 in a batch", 1, 10**6))] = None
    """How many requests arrive at once in `batch`."""
    times_ms: Times | None = None
    """The arrival times of `timestamps`, in ms and in order."""
    steps: Annotated[
        tuple[ProfileStep, ...] | None, or_nothing(a_list("profile steps", empty=False))
    ] = None
    """How the rate of a `profile` changes: factors of rate_per_s, the first from 0 ms on."""
    period_ms: Annotated[
        Ms | None, or_nothing(a_number("a time in ms, above 0, or null", above=True))
    ] = None
    """After how many ms a `profile` starts again; null: never, its last factor stays."""

    @model_validator(mode="after")
    def _complete(self):
        extra = {"batch": {"size"}, "timestamps": {"times_ms"}, "profile": {"steps", "period_ms"}}
        given = {key for key in type(self).model_fields if getattr(self, key) is not None}
        gaps = (self.process, self.distribution)
        if "distribution" not in self.model_fields_set or gaps == ("poisson", "exponential"):
            given.discard("distribution")
        given.discard("process")
        shape = given & set(Shape.model_fields)
        if self.process != "renewal" and shape:
            key = min(shape)
            fault(f"is not used by '{self.process}'; expected it with 'renewal' only", key)
        own = extra.get(self.process, set())
        for key in sorted(given - shape - own):
            fault(f"is not used by '{self.process}'; leave it out", key)
        for key in own - given - {"period_ms"}:
            fault(f"'{self.process}' was found without {key}; expected {key}")
        if self.process == "renewal":
            needed = tuple(key for key in KINDS[self.distribution] if key != "mean_ms")
            self.check_shape(needed, shape - {"distribution"})
            longest = max((self.high_ms or 0.0, *(self.values_ms or (0.0,))))
            if "mean_ms" not in KINDS[self.distribution] and longest == 0.0:
                fault("only gaps of 0 ms were found; expected some above 0")
        if self.times_ms is not None:
            for number, (one, next_one) in enumerate(pairwise(self.times_ms)):
                if next_one < one:
                    fault(
                        f"{next_one:g} was found after {one:g}; expected times in order; sort them",
                        "times_ms",
                        number + 1,
                    )
        if self.steps is not None:
            self._check_profile(self.steps)
        return self

    def _check_profile(self, steps):
        if steps[0].from_ms != 0:
            fault(f"{steps[0].from_ms:g} was found; expected 0", "steps", 0, "from_ms")
        for number, (one, next_one) in enumerate(pairwise(steps)):
            if next_one.from_ms <= one.from_ms:
                fault(
                    f"{next_one.from_ms:g} was found after {one.from_ms:g}; expected later times",
                    "steps",
                    number + 1,
                    "from_ms",
                )
        if all(step.factor == 0 for step in steps):
            fault("only factors of 0 were found; expected one above 0", "steps")
        if self.period_ms is not None and self.period_ms <= steps[-1].from_ms:
            fault(
                f"{self.period_ms:g} was found; expected more than the last from_ms, "
                f"which is {steps[-1].from_ms:g}",
                "period_ms",
            )

    def gap(self, mean_ms: float) -> Distribution:
        """The distribution of the gaps of a renewal process with this mean, in ms."""
        data = {key: getattr(self, key) for key in Shape.model_fields}
        data = {key: value for key, value in data.items() if value is not None}
        if "mean_ms" in KINDS[self.distribution]:
            return Distribution.model_validate({**data, "mean_ms": mean_ms})
        as_given = Distribution.model_validate(data)
        return as_given.scaled(mean_ms / as_given.mean_ms)

    def mean_factor(self) -> float:
        """What a profile multiplies the rate by in the long run; 1 for the other processes."""
        if not self.steps:
            return 1.0
        if self.period_ms is None:
            return self.steps[-1].factor
        ends = [step.from_ms for step in self.steps[1:]] + [self.period_ms]
        return (
            math.fsum(
                step.factor * (end - step.from_ms)
                for step, end in zip(self.steps, ends, strict=True)
            )
            / self.period_ms
        )


POISSON = Arrivals()
