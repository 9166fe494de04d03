"""How a value is checked, and how a fault is said: one sentence, with its place and a suggestion.

The kinds of value of `models.system` (times, rates, shares, names), the base of its parts, and what
pydantic's errors become.
"""

import difflib
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_FAULTS = 20  # said at once; what is still to be filled in is always said
FILL_IN = "FILL_IN"  # stands where a value is to be found out; no value of any kind is this text
TO_FILL_IN = "this is still to be filled in"
MOST_KNOWN = 500  # names among which the nearest is looked for
MOST_SUGGESTIONS = 100  # in one system: far more than are said, where a file is nothing but faults
suggestions_left: ContextVar[int | None] = ContextVar("suggestions_left", default=None)
NAME = re.compile(r"\w(?:[\w -]*\w)?")
A_NAME = {  # the same for JSON Schema, whose \w is ASCII only: what it may not hold
    "pattern": r"^[^\x00-/:-@\[-^`{-\x7f]([^\x00-\x1f!-,./:-@\[-^`{-\x7f]*[^\x00-/:-@\[-^`{-\x7f])?$",
    "maxLength": 100,
}
ALSO_CALLED = {  # in other tools
    "constant": "deterministic",
    "fixed": "deterministic",
    "gamma": "erlang",
    "normal": "lognormal",
    "trace": "timestamps",
}


A_TIME = {"type": "number", "minimum": 0, "maximum": 10**12}


class InvalidSystem(ValueError):
    """A system that is not valid; `faults` holds one sentence a fault, `place: what is wrong`."""

    def __init__(self, *faults: str):
        self.faults = faults
        super().__init__("\n".join(faults))


def sentences(error: ValidationError) -> list[str]:
    """Every fault as `place: sentence`."""
    found = []
    for one in error.errors(include_url=False):
        lines = one.get("ctx", {}).get("lines") or [((), one["msg"])]
        for below, sentence in lines:
            if one["loc"] or not below:
                place = place_of((*one["loc"], *below))
            else:
                place = below[0] if len(below) == 1 else place_of(below)
            found.append(f"{place}: {sentence}")
    gaps = [sentence for sentence in found if TO_FILL_IN in sentence]
    found = [sentence for sentence in found if TO_FILL_IN not in sentence]
    if len(found) > MAX_FAULTS:
        more = len(found) - MAX_FAULTS
        found = [*found[:MAX_FAULTS], f"system: {more} more faults; put these right first"]
    return [*found, *gaps]


# What is said about a value, and where it is


def show(value: Any) -> str:
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


def place_of(parts) -> str:
    """A path as names joined by dots, with positions in brackets."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif isinstance(part, str) and NAME.fullmatch(part) and len(part) <= 100:
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text or "system"


def did_you_mean(name: Any, known) -> str:
    """A suggestion: the nearest known name, or all of them."""
    known = [str(one) for one in islice(known, MOST_KNOWN)]
    if near := nearest(name, known):
        return near
    if not known:
        return "there is none"
    return f"expected one of {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"


def nearest(name: Any, known) -> str:
    """A suggestion of the nearest known name, if one is near and has not been looked for too often."""
    if (left := suggestions_left.get()) is not None:
        if not left:
            return ""
        suggestions_left.set(left - 1)
    near = difflib.get_close_matches(str(name)[:100], islice(known, MOST_KNOWN), 1, 0.5)
    return f"did you mean '{near[0]}'?" if near else ""


def listed(words, word: str = "and") -> str:
    *most, last = words
    return f"{', '.join(most)} {word} {last}" if most else last


def fault(sentence: str, *below: str | int) -> NoReturn:
    """Refuse what is being checked, or what lies at the path `below` in it."""
    faults([(below, sentence)])


def faults(lines: Iterable[tuple[tuple, str]]) -> NoReturn:
    """Several at once: (path below what is being checked, sentence)."""
    raise PydanticCustomError("faults", "{lines}", {"lines": list(lines)})


def refuse(value: Any, expected: str, suggestion: str = "") -> NoReturn:
    if isinstance(value, str) and value == FILL_IN:
        fault(f"{TO_FILL_IN}; expected {expected}")
    more = f"; {suggestion}" if suggestion else ""
    fault(f"{show(value)} was found; expected {expected}{more}")


# Kinds of value


@dataclass(frozen=True)
class Kind(BeforeValidator):
    """A check of a value, and what an editor is told of it: keywords of JSON Schema."""

    keywords: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core_schema)
        parts = schema.get("additionalProperties")
        if isinstance(parts, dict) and "required" not in handler.resolve_ref_schema(parts):
            schema["additionalProperties"] = {"anyOf": [parts, {"type": "null"}]}
        return {**schema, **self.keywords}


def a_number(expected: str, low: float = 0.0, high: float = 1e12, above: bool = False):
    """A finite number from `low` (or above it) to `high`, and none that only rounding made."""

    def check(value):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            refuse(value, expected, _as_number(value))
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        inside = low < found <= high if above else low <= found <= high
        if not inside or 0 < found < 1e-9:
            suggestion = f"the most is {high:g}" if high < found < math.inf else ""
            refuse(value, expected, "the least above 0 is 1e-9" if inside else suggestion)
        return found + 0.0

    lowest = "exclusiveMinimum" if above else "minimum"
    return Kind(check, keywords={lowest: _plain(low), "maximum": _plain(high)})


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def _as_number(value: Any) -> str:
    """A suggestion for what is nearly a number."""
    if isinstance(value, float) and value.is_integer():
        return f"write {value:.0f}"
    if not isinstance(value, str):
        return ""
    found = re.fullmatch(r"([\d_]*\.?\d+(?:[eE][-+]?\d+)?) *(ms|s|/s|%)?", value.strip())
    if not found:
        return "write a plain number"
    number = found[1].replace("_", "")
    factor = {"%": 0.01, "s": 1000}.get(found[2] or "", 1)
    return f"write {number if factor == 1 else f'{float(number) * factor:g}'}"


def a_count(expected: str, low: int, high: int = 10**9):
    def check(value):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            refuse(value, expected, _as_number(value))
        return int(value)

    return Kind(check, keywords={"minimum": low, "maximum": high})


def or_nothing(kind: Kind):
    keywords = dict(kind.keywords)
    if "enum" in keywords:
        keywords["enum"] = [*keywords["enum"], None]
    return Kind(lambda value: None if value is None else kind.func(value), keywords=keywords)  # type: ignore[call-arg]


def some_text(value: Any) -> str:
    if not isinstance(value, str) or value == FILL_IN:
        refuse(value, "text", "put it in quotes" if isinstance(value, int | float) else "")
    return value


def _known_name(value: Any) -> str:
    if value == FILL_IN or not NAME.fullmatch(some_text(value)) or len(value) > 100:
        refuse(value, "a name of at most 100 letters, digits, spaces, '-' and '_'")
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    meant = words.get(value.lower(), "") if isinstance(value, str) else ""
    refuse(value, "true or false", f"write {meant}" if meant else "")


def an_option(*options: str):
    def check(value):
        if value not in options:
            word = ALSO_CALLED.get(value, value) if isinstance(value, str) else ""
            refuse(value, f"one of {', '.join(options)}", nearest(word, options))
        return value

    return Kind(check, keywords={"enum": list(options)})


def a_mapping(what: str, empty: bool = False):
    """A mapping from names to parts; a part of which nothing is said is {}."""

    def check(value):
        if not isinstance(value, Mapping):
            refuse(value, f"a mapping from the name of each {what} to what it is")
        if not value and not empty:
            refuse(value, f"at least one {what}")
        for key in value:
            if not isinstance(key, str) or not NAME.fullmatch(key) or len(key) > 100:
                hint = "put it in quotes" if not isinstance(key, str) else "choose another"
                fault(
                    f"{show(key)} is not a valid {what} name; expected at most 100 letters, digits, "
                    f"spaces, '-' and '_'; {hint}"
                )
        return {key: {} if part is None else part for key, part in value.items()}

    least = {} if empty else {"minProperties": 1}
    return Kind(check, keywords={"propertyNames": A_NAME, **least})


def a_list(what: str, empty: bool = True):
    def check(value):
        if not isinstance(value, list | tuple):
            refuse(value, f"a list of {what}")
        if not value and not empty:
            refuse(value, f"a list of at least one of {what}")
        return tuple(value)

    return Kind(check, keywords={} if empty else {"minItems": 1})


def _times(value: Any) -> tuple[float, ...]:
    """A list of times in ms, checked in one go because it may be long."""
    if not isinstance(value, list | tuple) or not value:
        refuse(value, "a list of at least one time in ms")
    for number, time_ms in enumerate(value):
        real = isinstance(time_ms, numbers.Real) and not isinstance(time_ms, bool)
        if not real or not 0 <= time_ms <= 1e12 or 0 < time_ms < 1e-9:
            fault(f"{show(time_ms)} was found; expected a time in ms, 0 or more", number)
    return tuple(map(float, value))


Ms = Annotated[float, a_number("a time in ms, 0 or more")]
Cv = Annotated[float, a_number("a coefficient of variation from 0 to 100", high=100)]
Share = Annotated[float, a_number("a share from 0 to 1", high=1.0)]
Rate = Annotated[float, a_number("a number above 0, per second", high=1e9, above=True)]
Name = Annotated[str, Kind(_known_name, keywords=A_NAME)]
Text = Annotated[str, Kind(some_text)]
Flag = Annotated[bool, Kind(_flag)]
Times = Annotated[tuple[float, ...], Kind(_times, keywords={"minItems": 1, "items": A_TIME})]


# Parts


class Part(BaseModel):
    """Frozen, and every key known. `example` is how a short one is written."""

    example: ClassVar[str] = ""
    own_first: ClassVar[bool] = False  # its own keys are named before those that it inherits
    not_here: ClassVar[dict[str, str]] = {}  # keys that one might expect, and what to do instead
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, data: Any) -> Any:
        if isinstance(data, BaseModel):
            if not isinstance(data, cls):
                refuse(type(data).__name__, f"a mapping, or a {cls.__name__}")
            return data
        names = list(cls.model_fields)
        if cls.own_first:
            names.sort(key=lambda name: name not in cls.__annotations__)
        fields = {cls.model_fields[name].alias or name: cls.model_fields[name] for name in names}
        if not isinstance(data, Mapping):
            suggestion = f"write {cls.example}" if cls.example else ""
            refuse(data, f"a mapping with {', '.join(fields)}", suggestion)
        lines: list[tuple[tuple, str]] = [
            ((), f"{show(key)} is not a key here; {cls._instead_of(key, fields)}")
            for key in data
            if key not in fields
        ]
        lines += [
            ((key,), f"nothing was found; expected {_article(field.description or key)}")
            for key, field in fields.items()
            if field.is_required() and key not in data
        ]
        if lines:
            faults(lines)
        return data

    @classmethod
    def _instead_of(cls, key: Any, fields: Mapping[str, Any]) -> str:
        instead = cls.not_here.get(key) if isinstance(key, str) else None
        return instead or did_you_mean(key, fields)


def _article(description: str) -> str:
    return description[0].lower() + description[1:].rstrip(".")
