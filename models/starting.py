"""A system file to start from: valid as it is, with every key explained.

The explanations and what holds if nothing is said come from the schema, so they are those of the
parts that read the file. Where a part is met for the first time, the keys that the example does not
use are there as comments.
"""

import textwrap
from collections.abc import Iterator
from typing import Any

from models.reading import inline
from models.schema import schema

HEAD = """\
# yaml-language-server: $schema=system.schema.json
#
# A system. The first line tells an editor what can be written here; the file that it names is
# written by `decouple schema -o system.schema.json`.
#
# All numbers are examples: put in your own. A line with # right before a key says what holds without
# it, or how the key is used. Times are in milliseconds (_ms), rates per second (_per_s); a cv is a
# standard deviation over its mean; shares and probabilities go from 0 to 1.
#
# decouple check FILE    says what is wrong, and how busy every service would be
# decouple run FILE      simulates it
# decouple road FILE     says how far this system should be decoupled
"""
EXAMPLE: dict[str, Any] = {
    "name": "My system",
    "description": "A customer buys something and waits for the payment, not for the mail.",
    "infrastructures": {"main": {}, "provider": {}},
    "network": {"within_ms": 0.5, "between": [{"ends": ["main", "provider"], "rtt_ms": 20}]},
    "brokers": {"events": {"infrastructure": "main", "ack": {"mean_ms": 1}}},
    "services": {
        "web": {"infrastructure": "main", "team": "front", "workers": 8},
        "payment": {"infrastructure": "provider", "team": "money", "workers": 4},
        "mail": {"infrastructure": "main", "team": "letters", "workers": 3},
    },
    "flows": {
        "buy": {
            "rate_per_s": 40,
            "arrivals": {"process": "poisson"},
            "root": {
                "service": "web",
                "work": {"mean_ms": 5},
                "then": [
                    {
                        "service": "payment",
                        "work": {"mean_ms": 20, "distribution": "lognormal", "cv": 1.5},
                        "fails": 0.02,
                        "undo": {"mean_ms": 10},
                    },
                    {"service": "mail", "work": {"mean_ms": 30}, "deferrable": True},
                ],
            },
        }
    },
}
USES: dict[str, Any] = {  # how a key is used, where what holds without it does not show that
    "mesh": {"preset": "istio"},
    "outages": [{"services": ["payment"], "from_ms": 60_000, "for_ms": 30_000}],
    "restarts": [{"service": "web", "instances": 4, "from_ms": 60_000, "each_ms": 5_000}],
    "timeout_ms": 500,
    "retry": {"attempts": 3},
    "breaker": {"window": 100, "share": 0.5},
    "queue_limit": 100,
    "partitions": 12,
    "producers": {"buffer": 10_000, "batch": 16, "linger_ms": 5},
}


def starting() -> str:
    """The file as text."""
    whole = schema()
    return "\n".join([HEAD, *_part(EXAMPLE, whole, whole["$defs"], set(), "")])


def _part(data: dict, node: dict, parts: dict, seen: set[str], indent: str) -> Iterator[str]:
    """The lines of a part, every key with what it is; lists of parts come last: they are long."""
    unsaid = [key for key in node["properties"] if key not in data]
    last = [key for key in data if isinstance(data[key], list) and isinstance(data[key][0], dict)]
    for key in [*(key for key in data if key not in last), *unsaid, *last]:
        about = node["properties"][key]
        yield from _explained(about, indent)
        if key in unsaid:
            yield f"{indent}#{_line(key, USES.get(key, about.get('default')))}"
        else:
            yield from _value(key, data[key], about, parts, seen, indent)
        if not indent:
            yield ""


def _value(
    key: str, value: Any, about: dict, parts: dict, seen: set[str], indent: str
) -> Iterator[str]:
    """The lines of a key and its value: one, unless it holds a kind of part not `seen` before."""
    kind = _kind(about)
    below = about.get("additionalProperties") or about.get("items") or {}
    inner = _kind(below)
    if kind and kind not in seen:
        seen.add(kind)
        yield f"{indent}{key}:"
        yield from _part(value, parts[kind], parts, seen, f"{indent}  ")
    elif inner and isinstance(value, dict):
        yield f"{indent}{key}:"
        for name, one in value.items():
            yield from _value(name, one, below, parts, seen, f"{indent}  ")
    elif inner:
        yield f"{indent}{key}:"
        for one in value:
            if inner in seen:
                yield f"{indent}  - {inline(one)}"
            else:
                seen.add(inner)
                yield f"{indent}  -"
                yield from _part(one, parts[inner], parts, seen, f"{indent}    ")
    else:
        yield f"{indent}{_line(key, value)}"


def _line(key: str, value: Any) -> str:
    return inline({key: value})[1:-1]


def _kind(about: dict) -> str:
    """The name of the part that a value is, if it is one."""
    for node in (about, *about.get("anyOf", ())):
        if "$ref" in node:
            return node["$ref"].removeprefix("#/$defs/")
    return ""


def _explained(about: dict, indent: str) -> list[str]:
    words = about["description"]
    if options := [str(option) for option in about.get("enum", ()) if option is not None]:
        words += f" One of {', '.join(options)}."
    return textwrap.wrap(
        words, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
