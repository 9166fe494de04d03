"""What a system is: infrastructures, network, brokers, services and flows, as plain data.

A system is written in YAML or as a dict and checked once, here. Everything that is wrong with it
is said as `place: what was found; what was expected; suggestion`, one sentence a fault. A valid
system may well be overloaded: that is an answer, not a fault (`System.loads`, `System.warnings`).

Times are in milliseconds (`_ms`), rates per second (`_per_s`).
"""

import difflib
import math
import numbers
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.engine import draws

BUNDLED = Path(__file__).parent / "systems"
MAX_STEPS = 10_000
MAX_NESTING = 100
MAX_VALUES = 2_000_000  # in one file, aliases followed
MAX_LEVELS = 2 * MAX_NESTING + 20  # of lists and mappings inside each other
MAX_BYTES = 50_000_000
MAX_FAULTS = 20  # said at once
MAX_PHASES = 500  # as many as a keyed draw has numbers for
NAME = re.compile(r"\w(?:[\w -]*\w)?")


class InvalidSystem(ValueError):
    """A system that is not valid; `faults` holds one sentence a fault, `place: what is wrong`."""

    def __init__(self, *faults: str):
        self.faults = faults
        super().__init__("\n".join(faults))


# What is said about a value, and where it is


def _show(value: Any) -> str:
    """A found value, short and on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    text = repr(value[:100] if isinstance(value, str) else value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _place(parts) -> str:
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif isinstance(part, str) and NAME.fullmatch(part) and len(part) <= 100:
            text += f".{part}" if text else part
        else:
            text += f"[{_show(part)}]"
    return text or "system"


def _meant(name: Any, known) -> str:
    """A suggestion: the nearest known name, or all of them."""
    known = [str(one) for one in known]
    near = difflib.get_close_matches(str(name)[:100], known, 1, 0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    if not known:
        return "there is none"
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"expected one of {listed}"


def _fault(*lines: tuple[tuple, str]) -> NoReturn:
    raise PydanticCustomError("fault", "{lines}", {"lines": lines})


def _refuse(value: Any, expected: str, suggestion: str = "") -> NoReturn:
    more = f"; {suggestion}" if suggestion else ""
    _fault(((), f"{_show(value)} was found; expected {expected}{more}"))


# Kinds of value


def _number(expected: str, low: float = 0.0, high: float = 1e12, above: bool = False):
    """A finite number from `low` (or above it) to `high`, and none that only rounding made."""

    def check(value):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            _refuse(value, expected, _as_number(value))
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        inside = low < found <= high if above else low <= found <= high
        if not inside or 0 < found < 1e-9:
            suggestion = f"the most is {high:g}" if high < found < math.inf else ""
            _refuse(value, expected, "too small" if inside else suggestion)
        return found + 0.0

    return BeforeValidator(check)


def _as_number(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    if found := re.fullmatch(r"([\d_]*\.?\d+(?:[eE][-+]?\d+)?) *(ms|s|/s|%)?", value.strip()):
        return f"write the plain number, such as {found[1].replace('_', '')}"
    return "write a plain number"


def _count(expected: str, low: int, high: int = 10**9):
    def check(value):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            _refuse(value, expected, _as_number(value))
        return int(value)

    return BeforeValidator(check)


def _workers(value: Any):
    if value == "unlimited":
        return value
    if isinstance(value, str) and (near := difflib.get_close_matches(value, ["unlimited"])):
        _refuse(value, "a whole number of at least 1, or 'unlimited'", f"did you mean '{near[0]}'?")
    return _count("a whole number of at least 1, or 'unlimited'", 1).func(value)  # type: ignore[call-arg]


def _optional(kind: BeforeValidator):
    return BeforeValidator(lambda value: None if value is None else kind.func(value))  # type: ignore[call-arg]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        _refuse(value, "text", "put it in quotes" if isinstance(value, int | float) else "")
    return value


def _known_name(value: Any) -> str:
    text = _text(value)
    if not NAME.fullmatch(text) or len(text) > 100:
        _refuse(value, "a name of at most 100 letters, digits, spaces, '-' and '_'")
    return text


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    meant = words.get(value.lower(), "") if isinstance(value, str) else ""
    _refuse(value, "true or false", f"write {meant}" if meant else "")


def _choice(*options: str):
    def check(value):
        if value not in options:
            suggestion = _meant(value, options) if isinstance(value, str) else ""
            _refuse(value, f"one of {', '.join(options)}", suggestion)
        return value

    return BeforeValidator(check)


def _named(what: str, empty: bool = False):
    """A mapping from names to parts; a part of which nothing is said is {}."""

    def check(value):
        if not isinstance(value, Mapping):
            _refuse(value, f"a mapping from the name of each {what} to what it is")
        if not value and not empty:
            _refuse(value, f"at least one {what}")
        for key in value:
            if not isinstance(key, str) or not NAME.fullmatch(key) or len(key) > 100:
                hint = "put it in quotes" if not isinstance(key, str) else "choose another"
                _fault(
                    (
                        (),
                        (
                            f"{_show(key)} is not a name for a {what}; expected at most 100 letters, "
                            f"digits, spaces, '-' and '_'; {hint}"
                        ),
                    )
                )
        return {key: {} if part is None else part for key, part in value.items()}

    return BeforeValidator(check)


def _listing(what: str, empty: bool = True):
    def check(value):
        if not isinstance(value, list | tuple):
            _refuse(value, f"a list of {what}")
        if not value and not empty:
            _refuse(value, f"a list of at least one of {what}")
        return tuple(value)

    return BeforeValidator(check)


def _times(value: Any) -> tuple[float, ...]:
    """A list of times in ms, checked in one go because it may be long."""
    if not isinstance(value, list | tuple) or not value:
        _refuse(value, "a list of at least one time in ms")
    for number, time_ms in enumerate(value):
        real = isinstance(time_ms, numbers.Real) and not isinstance(time_ms, bool)
        if not real or not 0 <= time_ms <= 1e12 or 0 < time_ms < 1e-9:
            _fault(((number,), f"{_show(time_ms)} was found; expected a time in ms, 0 or more"))
    return tuple(map(float, value))


Ms = Annotated[float, _number("a time in ms, 0 or more"), Field(ge=0)]
Cv = Annotated[
    float, _number("a coefficient of variation from 0 to 100", high=100), Field(ge=0, le=100)
]
Share = Annotated[float, _number("a share from 0 to 1", high=1.0), Field(ge=0, le=1)]
Rate = Annotated[
    float, _number("a number above 0, per second", high=1e9, above=True), Field(gt=0, le=1e9)
]
Name = Annotated[str, BeforeValidator(_known_name)]
Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Times = Annotated[tuple[float, ...], BeforeValidator(_times)]


# The parts of a system


class Part(BaseModel):
    """Frozen, and every key known."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, data: Any) -> Any:
        if isinstance(data, BaseModel):
            if not isinstance(data, cls):
                _refuse(type(data).__name__, f"a mapping, or a {cls.__name__}")
            return data
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        if not isinstance(data, Mapping):
            _refuse(data, f"a mapping with {', '.join(fields)}")
        lines: list[tuple[tuple, str]] = [
            ((), f"{_show(key)} is not a key here; {_meant(key, fields)}")
            for key in data
            if key not in fields
        ]
        lines += [
            ((key,), f"nothing was found; expected {_article(field.description or key)}")
            for key, field in fields.items()
            if field.is_required() and key not in data
        ]
        if lines:
            _fault(*lines)
        return data


def _article(description: str) -> str:
    return description[0].lower() + description[1:].rstrip(".")


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
    _choice(*KINDS),
]


class _Shape(Part):
    """The fields that say what a distribution looks like."""

    distribution: Kind = "exponential"
    """Which distribution."""
    cv: Annotated[Cv | None, _optional(_number("a cv above 0, at most 100", 0, 100, True))] = None
    """Standard deviation over mean: hyperexponential (above 1), lognormal, erlang."""
    phases: Annotated[int | None, _optional(_count("1 to 500 phases", 1, MAX_PHASES))] = None
    """Exponential phases of an erlang distribution."""
    low_ms: Annotated[Ms | None, _optional(_number("a time in ms, 0 or more"))] = None
    """Least value of a uniform or bounded Pareto distribution."""
    high_ms: Annotated[Ms | None, _optional(_number("a time in ms, 0 or more"))] = None
    """Greatest value of a uniform or bounded Pareto distribution."""
    shape: Annotated[
        float | None, _optional(_number("a shape from above 0.01 to 100", 0.01, 100, True))
    ] = None
    """Tail index of a bounded Pareto distribution."""
    values_ms: Times | None = None
    """Observed values of an empirical distribution, each as likely as the others."""

    def _check_shape(self, needed: tuple[str, ...], given: set[str]) -> None:
        kind = self.distribution
        if kind == "erlang" and "cv" in given and "phases" in given:
            _fault((("cv",), "cv and phases were found; expected one of them; leave out cv"))
        for key in sorted(given - set(needed)):
            _fault(((key,), f"is not used by '{kind}'; expected {_and(needed)}; leave it out"))
        for key in needed:
            if key not in given and not (kind == "erlang" and given & {"cv", "phases"}):
                wanted = "cv or phases" if kind == "erlang" and key != "mean_ms" else key
                _fault(((), f"'{kind}' was found without {wanted}; expected {_and(needed)}"))
        if kind == "hyperexponential" and self.cv is not None and self.cv <= 1:
            _fault((("cv",), f"{self.cv:g} was found; expected more than 1; use erlang below 1"))
        if kind == "erlang" and self.cv is not None:
            exact = self.cv**-2
            phases = max(1, round(exact))
            if abs(exact - phases) > 0.01 * phases or phases > MAX_PHASES:
                near = min(phases, MAX_PHASES) ** -0.5
                _fault(
                    (
                        ("cv",),
                        (
                            f"{self.cv:g} was found; expected 1/sqrt(phases) with 1 to "
                            f"{MAX_PHASES} phases; the nearest is {near:.4g}"
                        ),
                    )
                )
        if kind in ("uniform", "pareto") and self.low_ms is not None and self.high_ms is not None:
            if self.high_ms < self.low_ms or kind == "pareto" and self.high_ms == self.low_ms:
                _fault(
                    (
                        ("high_ms",),
                        (
                            f"{self.high_ms:g} was found; "
                            f"expected more than low_ms, which is {self.low_ms:g}"
                        ),
                    )
                )
            if kind == "pareto" and self.low_ms == 0:
                _fault((("low_ms",), "0 was found; expected a time in ms above 0"))


def _and(words) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


class Distribution(_Shape):
    """A distribution of times in ms; it knows its mean, variance and scv."""

    given_mean_ms: Annotated[
        Ms | None, _optional(_number("a time in ms, 0 or more")), Field(alias="mean_ms")
    ] = None
    """Mean in ms; uniform, pareto and empirical have theirs from their other values."""

    @model_validator(mode="after")
    def _complete(self):
        given = {
            field.alias or name
            for name, field in type(self).model_fields.items()
            if name != "distribution" and getattr(self, name) is not None
        }
        self._check_shape(KINDS[self.distribution], given)
        if self.distribution == "erlang" and "mean_ms" not in given:
            _fault(((), "'erlang' was found without mean_ms; expected mean_ms and phases"))
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


class Infrastructure(Part):
    """Where things run, and what fails together."""

    label: Text | None = None
    """What to call it in a picture."""


class Link(Part):
    """The network between two infrastructures."""

    ends: Annotated[tuple[Name, ...], _listing("two infrastructures")]
    """The names of the two infrastructures that it joins."""
    rtt_ms: Ms
    """Round trip in ms."""
    jitter_cv: Cv = 0.0
    """Standard deviation over mean of the round trip (lognormal)."""


class Network(Part):
    """Round trips inside one infrastructure, and between two."""

    within_ms: Ms = 0.5
    """Round trip inside one infrastructure, in ms."""
    jitter_cv: Cv = 0.0
    """Standard deviation over mean of the round trip inside one infrastructure."""
    between: Annotated[tuple[Link, ...], _listing("links")] = ()
    """A link for every two infrastructures that talk to each other."""


class Broker(Part):
    """A message broker."""

    infrastructure: Name
    """The name of the infrastructure that it runs on."""
    ack: Distribution = NO_TIME
    """The broker's own time until it acknowledges a message."""
    partitions: Annotated[
        int | None, _optional(_count("1 to 1,000,000 partitions, or null", 1, 10**6))
    ] = None
    """Partitions, each processed in order; null: one queue shared by all consumers."""


class Service(Part):
    """A service, its team and its workers."""

    infrastructure: Name
    """The name of the infrastructure that it runs on."""
    team: Text | None = None
    """Who owns it."""
    workers: Annotated[int | Literal["unlimited"], BeforeValidator(_workers)] = "unlimited"
    """How many requests it can have in hand at once."""
    queue_limit: Annotated[
        int | None, _optional(_count("a whole number of at least 0, or null", 0))
    ] = None
    """Places to wait, workers not counted; null: no limit."""


class Step(Part):
    """One piece of work in a flow, and what it starts."""

    service: Name
    """The name of the service that does it."""
    name: Name | None = None
    """What to call the step; the service's name if nothing is said."""
    work: Distribution = NO_TIME
    """Its own work."""
    in_parallel: Flag = False
    """Whether its children are called together or one after the other."""
    then: Annotated[tuple["Step", ...], _listing("steps")] = ()
    """The steps that it starts."""
    via: Name | None = None
    """The broker that carries it as a message; without one it is a call."""
    fails: Share = 0.0
    """Probability that its own work fails."""
    undo: Distribution | None = None
    """The work that undoes it when its saga fails; null: nothing to undo."""
    deferrable: Flag = False
    """Whether it may be done later, because nobody waits for its answer."""


class ProfileStep(Part):
    """From when on a rate is multiplied by what."""

    from_ms: Ms
    """When it begins, in ms."""
    factor: Annotated[float, _number("a factor from 0 to 1,000,000", high=1e6), Field(ge=0)]
    """What the rate is multiplied by."""


PROCESSES = ("poisson", "deterministic", "batch", "renewal", "timestamps", "profile")


class Arrivals(_Shape):
    """How requests arrive."""

    process: Annotated[
        Literal["poisson", "deterministic", "batch", "renewal", "timestamps", "profile"],
        _choice(*PROCESSES),
    ] = "poisson"
    """Which process; the fields of a distribution belong to `renewal`."""
    size: Annotated[int | None, _optional(_count("1 to 1,000,000 in a batch", 1, 10**6))] = None
    """Requests in a batch."""
    times_ms: Times | None = None
    """The arrival times of `timestamps`, in order."""
    steps: Annotated[
        tuple[ProfileStep, ...] | None, _optional(_listing("profile steps", empty=False))
    ] = None
    """A piecewise constant rate for `profile`, from 0 ms on."""
    period_ms: Annotated[
        Ms | None, _optional(_number("a time in ms, above 0, or null", above=True))
    ] = None
    """After how long a profile starts again; null: never, its last factor stays."""

    @model_validator(mode="after")
    def _complete(self):
        extra = {"batch": {"size"}, "timestamps": {"times_ms"}, "profile": {"steps", "period_ms"}}
        given = {key for key in type(self).model_fields if getattr(self, key) is not None}
        if "distribution" not in self.model_fields_set:
            given.discard("distribution")
        given.discard("process")
        shape = given & set(_Shape.model_fields)
        if self.process != "renewal" and shape:
            key = min(shape)
            _fault(((key,), f"is not used by '{self.process}'; expected it with 'renewal' only"))
        own = extra.get(self.process, set())
        for key in sorted(given - shape - own):
            _fault(((key,), f"is not used by '{self.process}'; leave it out"))
        for key in sorted(own - given - {"period_ms"}):
            _fault(((), f"'{self.process}' was found without {key}; expected {_and(sorted(own))}"))
        if self.process == "renewal":
            needed = tuple(key for key in KINDS[self.distribution] if key != "mean_ms")
            self._check_shape(needed, shape - {"distribution"})
            longest = max((self.high_ms or 0.0, *(self.values_ms or (0.0,))))
            if "mean_ms" not in KINDS[self.distribution] and longest == 0.0:
                _fault(((), "only gaps of 0 ms were found; expected some above 0"))
        if self.times_ms is not None:
            for number, (one, next_one) in enumerate(pairwise(self.times_ms)):
                if next_one < one:
                    _fault(
                        (
                            ("times_ms", number + 1),
                            (
                                f"{next_one:g} was found after {one:g}; "
                                "expected times in order; sort them"
                            ),
                        )
                    )
        if self.steps is not None:
            self._check_profile(self.steps)
        return self

    def _check_profile(self, steps):
        if steps[0].from_ms != 0:
            _fault((("steps", 0, "from_ms"), f"{steps[0].from_ms:g} was found; expected 0"))
        for number, (one, next_one) in enumerate(pairwise(steps)):
            if next_one.from_ms <= one.from_ms:
                _fault(
                    (
                        ("steps", number + 1, "from_ms"),
                        (
                            f"{next_one.from_ms:g} was found after "
                            f"{one.from_ms:g}; expected later times"
                        ),
                    )
                )
        if all(step.factor == 0 for step in steps):
            _fault((("steps",), "only factors of 0 were found; expected one above 0"))
        if self.period_ms is not None and self.period_ms <= steps[-1].from_ms:
            _fault(
                (
                    ("period_ms",),
                    (
                        f"{self.period_ms:g} was found; expected more than the last "
                        f"from_ms, which is {steps[-1].from_ms:g}"
                    ),
                )
            )

    def gap(self, mean_ms: float) -> Distribution:
        """The distribution of the gaps of a renewal process with this mean, in ms."""
        data = {key: getattr(self, key) for key in _Shape.model_fields}
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


class Flow(Part):
    """What a kind of request sets going."""

    root: Step
    """The first step, whose end is the answer."""
    rate_per_s: Annotated[Rate | None, _optional(_number("a number above 0", 0, 1e9, True))] = None
    """Arrivals per second; not with timestamps."""
    arrivals: Annotated[
        Arrivals,
        BeforeValidator(lambda value: {"process": value} if isinstance(value, str) else value),
    ] = POISSON
    """How they arrive: Poisson if nothing is said."""

    @model_validator(mode="after")
    def _complete(self):
        stamps = self.arrivals.process == "timestamps"
        if stamps and self.rate_per_s is not None:
            _fault(
                (
                    ("rate_per_s",),
                    (
                        f"{self.rate_per_s:g} was found beside timestamps; "
                        "expected one of them; leave it out"
                    ),
                )
            )
        if not stamps and self.rate_per_s is None:
            _fault((("rate_per_s",), "nothing was found; expected a number above 0, per second"))
        period_ms, mean = self.arrivals.period_ms, self.arrivals.mean_factor()
        if self.rate_per_s and period_ms and self.rate_per_s * mean * period_ms < 0.1:
            _fault(
                (
                    ("arrivals", "period_ms"),
                    (
                        f"{period_ms:g} was found; expected a period in which "
                        "something arrives at least once in 10,000 times"
                    ),
                )
            )
        return self

    @property
    def mean_rate_per_s(self) -> float:
        """Arrivals per second in the long run; of timestamps, between the first and the last."""
        times_ms = self.arrivals.times_ms
        if times_ms is None:
            return (self.rate_per_s or 0.0) * self.arrivals.mean_factor()
        span_ms = times_ms[-1] - times_ms[0]
        return 1000 * (len(times_ms) - 1) / span_ms if span_ms else 0.0


@dataclass(frozen=True)
class Located:
    """A step and where it is. `key` is unique in its flow and labels the step's random numbers."""

    flow: str
    step: Step
    key: str
    parent: "Located | None"
    path: str
    depth: int

    @property
    def mode(self) -> Literal["root", "local", "call", "message"]:
        """How it is reached; a call inside one service is local: no network, no new worker."""
        if self.parent is None:
            return "root"
        if self.step.via is not None:
            return "message"
        return "local" if self.step.service == self.parent.step.service else "call"

    def held_above(self) -> Iterator["Located"]:
        """The steps whose workers are held while this one is done, the nearest first."""
        entry = self
        while entry.parent is not None and entry.mode in ("call", "local"):
            entry = entry.parent
            yield entry


class Load(NamedTuple):
    """What a service is offered, in mean numbers of workers.

    `own` is its own work; `held` also the time that its workers wait for the steps that they call.
    """

    workers: int | None
    handled_per_s: float
    own: float
    held: float

    @property
    def working(self) -> float:
        """Share of its workers that do own work; NaN where they are unlimited."""
        return self.own / self.workers if self.workers else math.nan

    @property
    def utilisation(self) -> float:
        """Share of its workers that are held; NaN where they are unlimited."""
        return self.held / self.workers if self.workers else math.nan


class System(Part):
    """A whole system. Use `load` for a file or a bundled name, `model_validate` for a dict."""

    name: Text
    """What to call the system."""
    description: Text = ""
    """What it is, in a sentence or two."""
    source: Text = ""
    """Where its structure and figures come from."""
    assumed: Annotated[tuple[Text, ...], _listing("texts")] = ()
    """What is assumed, not measured or published."""
    infrastructures: Annotated[dict[str, Infrastructure], _named("infrastructure")]
    """A mapping from the name of each infrastructure to what it is."""
    network: Network = Network()
    """Round trips."""
    brokers: Annotated[dict[str, Broker], _named("broker", empty=True)] = {}
    """A mapping from the name of each broker to what it is."""
    services: Annotated[dict[str, Service], _named("service")]
    """A mapping from the name of each service to what it is."""
    flows: Annotated[dict[str, Flow], _named("flow")]
    """A mapping from the name of each flow to what it is."""

    # From outside, and back

    @classmethod
    def load(cls, name_or_path: str | Path) -> "System":
        """A bundled system by its name, or one from a YAML file. Raises InvalidSystem."""
        return cls.model_validate(_read(name_or_path))

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> "System":
        """A system from a mapping. Raises InvalidSystem, one line a fault."""
        if not isinstance(obj, cls):
            _check_size(obj)
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise InvalidSystem(*_sentences(error)) from None

    def to_dict(self) -> dict:
        """What was said, without what goes without saying; `model_validate` takes it back."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def to_yaml(self) -> str:
        """The system as a file that `load` reads."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)

    def with_(self, path: str | Mapping[str, Any], value: Any = None) -> "System":
        """The system with one parameter changed, by its path (`flows.buy.root.then[1].fails`).

        Several at once as a mapping from path to value. Raises InvalidSystem.
        """
        changes = list(path.items()) if isinstance(path, Mapping) else [(path, value)]
        data, whole = self.to_dict(), self.model_dump(mode="json", by_alias=True)
        for where, new in changes:
            _set(data, whole, where, new)
        return type(self).model_validate(data)

    # Looking around

    def steps(self, flow: str | None = None) -> tuple[Located, ...]:
        """Every step of a flow, or of all, depth first."""
        if flow is not None:
            return self._located[flow]
        return tuple(entry for entries in self._located.values() for entry in entries)

    @cached_property
    def _located(self) -> dict[str, tuple[Located, ...]]:
        return {name: tuple(_walk_steps(name, flow.root)) for name, flow in self.flows.items()}

    def round_trip(self, here: str, there: str) -> tuple[float, float]:
        """(rtt_ms, jitter_cv) between two infrastructures. Raises KeyError if nothing links them."""
        if here == there:
            return self.network.within_ms, self.network.jitter_cv
        link = self._links[frozenset((here, there))]
        return link.rtt_ms, link.jitter_cv

    @cached_property
    def _links(self) -> dict[frozenset[str], Link]:
        return {frozenset(link.ends): link for link in self.network.between}

    def crossings(self, entry: Located) -> tuple[tuple[str, str], ...]:
        """The pairs of infrastructures that a call or message goes between."""
        if entry.parent is None or entry.mode == "local":
            return ()
        here = self.services[entry.parent.step.service].infrastructure
        there = self.services[entry.step.service].infrastructure
        if entry.step.via is None:
            return ((here, there),)
        broker = self.brokers[entry.step.via].infrastructure
        return (here, broker), (broker, there)

    def plan(self):
        """The system made flat and plain, as the engines run it (`models.engine.plan.Plan`)."""
        from models.engine.plan import compile_plan

        return compile_plan(self)

    # Load

    def loads(self) -> dict[str, Load]:
        """What each service is offered, if nothing had to wait or be undone: a lower bound.

        A worker is held for its own work and the round trips and times of the steps that it calls;
        of parallel calls, for the one that takes longest on average. Failures end a sequence.
        """
        own = dict.fromkeys(self.services, 0.0)
        held = dict.fromkeys(self.services, 0.0)
        handled = dict.fromkeys(self.services, 0.0)
        for entry, per_s, held_ms in self._visits():
            own[entry.step.service] += per_s * entry.step.work.mean_ms / 1000
            if entry.mode != "local":
                handled[entry.step.service] += per_s
                held[entry.step.service] += per_s * held_ms / 1000
        return {
            name: Load(
                None if service.workers == "unlimited" else service.workers,
                handled[name],
                own[name],
                held[name],
            )
            for name, service in self.services.items()
        }

    def _visits(self) -> Iterator[tuple[Located, float, float]]:
        """Every step with how often it is done per second, and how long it takes in ms."""
        for name, flow in self.flows.items():
            entries = self.steps(name)
            children: dict[str, list[Located]] = {entry.key: [] for entry in entries}
            for entry in entries[1:]:
                children[entry.parent.key].append(entry)  # type: ignore[union-attr]
            took: dict[str, float] = {}
            succeeds: dict[str, float] = {}
            reached: dict[str, float] = {}  # given that the parent's own work succeeded
            for entry in reversed(entries):
                times, sure = [], 1.0
                for child in children[entry.key]:
                    reached[child.key] = 1.0 if entry.step.in_parallel else sure
                    times.append(reached[child.key] * self._asked_ms(child, took[child.key]))
                    sure *= 1.0 if child.mode == "message" else succeeds[child.key]
                below = max(times, default=0.0) if entry.step.in_parallel else sum(times)
                ok = 1 - entry.step.fails
                took[entry.key] = entry.step.work.mean_ms + ok * below
                succeeds[entry.key] = ok * sure
            rate = {entries[0].key: flow.mean_rate_per_s}
            for entry in entries:
                if entry.parent is not None:
                    ok = 1 - entry.parent.step.fails
                    rate[entry.key] = rate[entry.parent.key] * ok * reached[entry.key]
                yield entry, rate[entry.key], took[entry.key]

    def _asked_ms(self, entry: Located, took_ms: float) -> float:
        """How long a caller waits for a step that takes `took_ms`."""
        if entry.mode == "local":
            return took_ms
        rtt_ms = self.round_trip(*self.crossings(entry)[0])[0]
        if entry.step.via is not None:
            return rtt_ms + self.brokers[entry.step.via].ack.mean_ms
        return rtt_ms + took_ms

    def warnings(self) -> tuple[str, ...]:
        """What is allowed but will not go well, one sentence each."""
        return (*self.overloads(), *self._deadlocks())

    def overloads(self) -> tuple[str, ...]:
        """The services that are offered more than they can do, one sentence each."""
        found = []
        for name, load in self.loads().items():
            if load.workers and load.utilisation >= 1:
                workers = f"{load.workers} worker" + "s" * (load.workers > 1)
                found.append(
                    f"services.{name}.workers: {workers} would be held "
                    f"{100 * load.utilisation:.0f} % of the time; expected less than 100 %; "
                    f"give it at least {math.floor(load.held) + 1} or lower the rate"
                )
        lanes: dict[tuple[str, str], float] = {}
        for entry, per_s, held_ms in self._visits():
            if entry.step.via is not None and self.brokers[entry.step.via].partitions:
                pair = entry.step.via, entry.step.service
                lanes[pair] = lanes.get(pair, 0.0) + per_s * held_ms / 1000
        for (broker, service), held in lanes.items():
            partitions, limit = self.brokers[broker].partitions, self.services[service].workers
            if partitions and held >= partitions and (limit == "unlimited" or limit > held):
                found.append(
                    f"brokers.{broker}.partitions: {partitions} would be busy "
                    f"{100 * held / partitions:.0f} % of the time with messages for '{service}'; "
                    f"expected less than 100 %; give it at least {math.floor(held) + 1}"
                )
        return tuple(found)

    def _deadlocks(self) -> Iterator[str]:
        """Services that wait for each other's workers, by way of different flows or branches."""
        waits: dict[str, set[str]] = {name: set() for name in self.services}
        for entry in self.steps():
            if entry.mode == "call" and self._finite(entry):
                for above in entry.held_above():
                    if self._finite(above):
                        waits[above.step.service].add(entry.step.service)
        while True:  # leave out who waits for nobody, or is waited for by nobody
            awaited = set().union(*waits.values())
            free = [name for name in waits if name not in awaited or not waits[name] & set(waits)]
            if not free:
                break
            for name in free:
                del waits[name]
        if waits:
            yield (
                f"services: {_and(sorted(waits))} call each other with limited workers, so that "
                "all of them can be held for ever; expected calls in one direction; "
                "give one of them unlimited workers or make one of the calls a message"
            )

    def _finite(self, entry: Located) -> bool:
        return self.services[entry.step.service].workers != "unlimited"

    # What pydantic cannot see: names, links, loops

    @model_validator(mode="after")
    def _consistent(self):
        lines = [*self._unknown_places(), *self._faults_of_steps()]
        if not lines:
            lines = [*self._reentries(), *self._missing_links()]
        if lines:
            _fault(*(((place,), sentence) for place, sentence in lines))
        return self

    def _unknown_places(self) -> Iterator[tuple[str, str]]:
        def unknown(place, name):
            if name not in self.infrastructures:
                near = _meant(name, self.infrastructures)
                yield place, f"{_show(name)} is not an infrastructure; {near}"

        for number, link in enumerate(self.network.between):
            place = f"network.between[{number}].ends"
            if len(link.ends) != 2 or len(set(link.ends)) != 2:
                yield place, f"{_show(list(link.ends))} was found; expected two different names"
            else:
                for end, name in enumerate(link.ends):
                    yield from unknown(f"{place}[{end}]", name)
            if self._links[frozenset(link.ends)] is not link:
                ends = _and(link.ends)
                yield place, f"a second link between {ends} was found; expected one; remove one"
        for kind, parts in (("brokers", self.brokers), ("services", self.services)):
            for name, part in parts.items():
                yield from unknown(f"{kind}.{name}.infrastructure", part.infrastructure)
        if "all" in self.flows:
            yield "flows.all", "'all' was found; expected another name, since it means all flows"

    def _faults_of_steps(self) -> Iterator[tuple[str, str]]:
        entries = []
        for name, flow in self.flows.items():
            for entry in _walk_steps(name, flow.root):
                entries.append(entry)
                if len(entries) > MAX_STEPS:
                    yield f"flows.{name}", _too_many_steps()
                    return
                if entry.depth > MAX_NESTING:
                    yield entry.path, _too_deep()
                    return
        for entry in entries:
            step = entry.step
            if step.service not in self.services:
                near = _meant(step.service, self.services)
                yield f"{entry.path}.service", f"'{step.service}' is not a service; {near}"
            if step.via is not None and entry.parent is None:
                yield (
                    f"{entry.path}.via",
                    (
                        f"'{step.via}' was found; expected nothing, since requests arrive there "
                        "by themselves; leave it out"
                    ),
                )
            elif step.via is not None and step.via not in self.brokers:
                near = _meant(step.via, self.brokers)
                yield f"{entry.path}.via", f"'{step.via}' is not a broker; {near}"
            if step.deferrable and entry.parent is None:
                yield (
                    f"{entry.path}.deferrable",
                    "true was found; expected false, since the first step gives the answer",
                )

    def _reentries(self) -> Iterator[tuple[str, str]]:
        for entry in self.steps():
            if entry.mode == "call" and self._finite(entry):
                for above in entry.held_above():
                    if above.step.service == entry.step.service:
                        yield (
                            f"{entry.path}.service",
                            (
                                f"'{entry.step.service}' is called while {above.path} holds one of "
                                "its workers, which can lock up for ever; expected another service; "
                                "make it a message or give the service unlimited workers"
                            ),
                        )
                        break

    def _missing_links(self) -> Iterator[tuple[str, str]]:
        missing: dict[frozenset[str], str] = {}
        for entry in self.steps():
            for here, there in self.crossings(entry):
                pair = frozenset((here, there))
                if len(pair) == 2 and pair not in self._links:
                    missing.setdefault(pair, entry.path)
        for pair, path in missing.items():
            here, there = sorted(pair)
            yield (
                "network.between",
                (
                    f"no link between '{here}' and '{there}' was found, which {path} needs; "
                    f"expected one; add {{ends: [{here}, {there}], rtt_ms: ...}}"
                ),
            )


def bundled() -> tuple[str, ...]:
    """The names of the systems that come with the package."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.yml")))


def _walk_steps(flow: str, root: Step) -> Iterator[Located]:
    seen: dict[str, int] = {}
    waiting: list[tuple[Step, Located | None, str, int]] = [(root, None, f"flows.{flow}.root", 1)]
    while waiting:
        step, parent, path, depth = waiting.pop()
        label = step.name or step.service
        seen[label] = seen.get(label, 0) + 1
        key = label if seen[label] == 1 else f"{label}#{seen[label]}"
        entry = Located(flow, step, key, parent, path, depth)
        yield entry
        for number in reversed(range(len(step.then))):
            waiting.append((step.then[number], entry, f"{path}.then[{number}]", depth + 1))


def _too_many_steps() -> str:
    return f"more than {MAX_STEPS:,} steps were found; expected at most {MAX_STEPS:,} in a system"


def _too_deep() -> str:
    return f"steps nest too deeply; expected at most {MAX_NESTING} inside each other"


def _check_size(data: Any) -> None:
    """Refuse what contains itself, nests absurdly or is far too large, before looking closer."""
    path: list[Any] = []
    steps = values = 0
    active = {id(data)}
    stack = [_items(data)]
    owners = [data]
    while stack:
        try:
            key, value = next(stack[-1])
        except StopIteration:
            stack.pop()
            active.discard(id(owners.pop()))
            if path:
                path.pop()
            continue
        values += 1
        if isinstance(key, int) and path and path[-1] == "then":
            steps += 1
        if steps > MAX_STEPS:
            raise InvalidSystem(f"{_place(path[:2])}: {_too_many_steps()}")
        if values > MAX_VALUES:
            raise InvalidSystem(
                f"{_place(path[:1])}: more than {MAX_VALUES:,} values were found, aliases followed; "
                "expected fewer"
            )
        if isinstance(value, dict | list | tuple) and value:
            where = [*path, key]
            if id(value) in active:
                raise InvalidSystem(
                    f"{_place(where[:12])}: this contains itself; expected steps that end; "
                    "remove the loop"
                )
            if len(where) > MAX_LEVELS:
                raise InvalidSystem(f"{_place(where[:4])}: {_too_deep()}")
            active.add(id(value))
            owners.append(value)
            stack.append(_items(value))
            path.append(key)


def _items(data: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(data, dict):
        return iter(data.items())
    return iter(enumerate(data)) if isinstance(data, list | tuple) else iter(())


def _sentences(error: ValidationError) -> list[str]:
    """Every fault as `place: sentence`."""
    found = []
    for one in error.errors(include_url=False):
        lines = one.get("ctx", {}).get("lines") or [((), one["msg"])]
        for below, sentence in lines:
            if one["loc"] or not below:
                place = _place((*one["loc"], *below))
            else:
                place = below[0] if len(below) == 1 else _place(below)
            found.append(f"{place}: {sentence}")
    if len(found) > MAX_FAULTS:
        more = len(found) - MAX_FAULTS
        found = [*found[:MAX_FAULTS], f"system: {more} more faults; put these right first"]
    return found


def _set(data: dict, whole: dict, where: Any, new: Any) -> None:
    """Set one value in `data` by its path, which has to exist in `whole` (defaults included)."""
    parts = _parts(where)
    target: Any = data
    for number, part in enumerate(parts):
        place = _place(parts[:number])
        if isinstance(part, int):
            if not isinstance(whole, list) or part >= len(whole):
                found = len(whole) if isinstance(whole, list) else 0
                raise InvalidSystem(f"{place}: [{part}] is not there; expected less than {found}")
        elif whole is None:
            whole = {part: None}
        elif not isinstance(whole, dict) or part not in whole:
            known = whole if isinstance(whole, dict) else ()
            raise InvalidSystem(f"{place}: {_show(part)} is not there; {_meant(part, known)}")
        whole = whole[part]  # type: ignore[index]
        if number == len(parts) - 1:
            target[part] = new
        elif isinstance(target, dict):
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        else:
            target = target[part]


def _parts(where: Any) -> list[str | int]:
    if not isinstance(where, str) or not re.fullmatch(
        r"[^.\[\]]+(\.[^.\[\]]+|\[\d{1,9}\])*", where
    ):
        raise InvalidSystem(
            f"path: {_show(where)} was found; expected names joined by dots, with positions in "
            "brackets, such as flows.place_order.root.then[1].fails"
        )
    found = re.findall(r"([^.\[\]]+)|\[(\d+)\]", where)
    return [name or int(position) for name, position in found]


# YAML


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2 scalars (no `yes`, `1:30` or `010` with another meaning), every key once."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def flatten_mapping(self, node):
        """No merge keys: `<<` is a key like any other."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key.value[:60]}' is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def ignore_aliases(self, data):
        return True


_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
for _kind in (_Loader, _Dumper):
    for _tag, _pattern, _first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]{1,300}", list("-+0123456789")),
        ("float", rf"{_FLOAT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.0123456789")),
    ):
        _kind.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
        )
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Loader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda loader, node: float(re.sub(r"\.(?=[inIN])", "", node.value)),
)


def parse(text: str, place: str = "system") -> Any:
    """The data in a YAML text. Raises InvalidSystem with line and column."""

    def refuse(mark, problem):
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidSystem(f"{place}{where}: {problem}; expected YAML") from None

    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_LEVELS:
                refuse(event.start_mark, f"more than {MAX_LEVELS} levels inside each other")
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                refuse(event.start_mark, f"the tag {_show(tag)} is not known here")
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        refuse(error.problem_mark, " ".join(str(error.problem or error.context).split()))
    except yaml.YAMLError as error:
        refuse(None, " ".join(str(error).split())[:200])
    except (RecursionError, ValueError) as error:
        if isinstance(error, InvalidSystem):
            raise
        refuse(None, "this cannot be read")


def _read(name_or_path: str | Path) -> Any:
    """The data of a bundled system or of a file."""
    name = str(name_or_path)
    place = name if name.isprintable() and 0 < len(name) < 200 else _show(name)
    path = BUNDLED / f"{name}.yml" if name in bundled() else Path(name)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise InvalidSystem(
            f"{place}: no such file, and no bundled system of that name; {_meant(name, bundled())}"
        ) from None
    except IsADirectoryError:
        raise InvalidSystem(f"{place}: this is a directory; expected a YAML file") from None
    except UnicodeDecodeError as error:
        raise InvalidSystem(
            f"{place}: byte {error.start} is not UTF-8; expected a YAML file in UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidSystem(f"{place}: cannot be read: {reason}; expected a YAML file") from None
    if len(raw) > MAX_BYTES:
        raise InvalidSystem(f"{place}: more than {MAX_BYTES:,} bytes; expected a smaller file")
    data = parse(text, place)
    if data is None:
        raise InvalidSystem(f"{place}: the file is empty; expected a system")
    return data
