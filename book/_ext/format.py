"""The format of a system file as tables, made from the schema of the parts that read the file.

Each part has a section: its keys with type, unit, what holds if nothing is said, and meaning, and an
example from a bundled system, else from `book/every-part.yml`, which uses what those do not.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from models import System
from models import schema as made
from models.reading import BUNDLED, bundled, dump, parse

UNITS = {"_ms": "ms", "per_s": "per second", "cv": "–", "skew": "–"}
MOST = 10**7  # beyond, a limit is there to catch mistakes, and is not shown
LONGEST = 700  # characters of an example
ENOUGH = 4  # keys in an example; beyond, a bundled system and a short text are better
COLUMNS = ("Key", "Type", "Unit", "If not said", "Meaning")
CLASSES = ("key", "type", "unit", "default", "meaning")
REQUIRED = "required"


class Format(SphinxDirective):
    """All parts of a system file."""

    def run(self):
        self.env.note_reread()
        schema = made.schema()
        parts = {"System": schema, **schema["$defs"]}
        examples = gathered(schema, Path(self.env.srcdir) / "book" / "every-part.yml")
        return [
            self.section(name, parts[name], parts, examples.get(name))
            for name in in_order("System", parts)
        ]

    def section(self, name: str, part: dict, parts: dict, example: tuple | None) -> nodes.section:
        section = nodes.section(ids=[anchor(name)], names=[anchor(name)])
        section += nodes.title(name, name)
        section += nodes.paragraph("", "", *marked(re.split(r"(?<=\.)\s", part["description"])[0]))
        section += table(part)
        if name != "System" and example:
            path, value, source = example
            text = dump({"example": value}).partition("\n")[2]
            text = "\n".join(line.removeprefix("  ") for line in text.splitlines())
            words = nodes.paragraph("", "Example, ")
            words += [nodes.literal("", path), nodes.Text(" of "), nodes.literal("", source)]
            section += [words, nodes.literal_block(text, text, language="yaml")]
        self.state.document.note_implicit_target(section, section)
        return section


def in_order(first: str, parts: dict) -> Iterator[str]:
    """The parts in the order in which they are met."""
    waiting, seen = [first], {first}
    while waiting:
        name = waiting.pop(0)
        yield name
        for ref in re.findall(r"#/\$defs/(\w+)", str(parts[name]["properties"])):
            if ref not in seen:
                seen.add(ref)
                waiting.append(ref)


def anchor(name: str) -> str:
    return f"format-{name.lower()}"


def table(part: dict) -> nodes.table:
    """The keys of a part."""
    rows = [[nodes.paragraph("", title) for title in COLUMNS]]
    for key, about in part["properties"].items():
        default = REQUIRED if key in part.get("required", ()) else said(about.get("default"))
        rows.append(
            [
                nodes.paragraph("", "", nodes.literal("", key)),
                nodes.paragraph("", "", *kind(about)),
                nodes.paragraph("", unit(key, about)),
                nodes.paragraph("", default, classes=[default] if default == REQUIRED else []),
                nodes.paragraph("", "", *marked(about.get("description", ""))),
            ]
        )
    made = [
        nodes.row(
            "",
            *(
                nodes.entry("", cell, classes=[kind])
                for kind, cell in zip(CLASSES, row, strict=True)
            ),
        )
        for row in rows
    ]
    group = nodes.tgroup("", cols=len(COLUMNS))
    group += [nodes.colspec("", colwidth=1) for _ in COLUMNS]
    group += [nodes.thead("", made[0]), nodes.tbody("", *made[1:])]
    return nodes.table("", group, classes=["rows", "keys", "colwidths-auto"])


def said(default: Any) -> str:
    """What holds if nothing is said."""
    if default is None or default in ("", [], {}):
        return "–"
    if isinstance(default, dict):  # a part: what it says other than nothing
        inner = [
            f"{key}: {said(value)}" for key, value in default.items() if value not in (None, [])
        ]
        return ", ".join(inner)
    if isinstance(default, list):
        return ", ".join(map(str, default))
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:,g}" if isinstance(default, int | float) else str(default)


def kind(about: dict) -> Iterator[nodes.Node]:
    """The type of a value, other parts as links to their sections."""
    choices = [one for one in about.get("anyOf", [about]) if one.get("type") != "null"]
    for number, one in enumerate(choices):
        if number:
            yield nodes.Text(" or ")
        yield from one_kind(one)


def one_kind(about: dict) -> Iterator[nodes.Node]:
    words = {"number": "number", "integer": "whole number", "boolean": "true or false"}
    if "allOf" in about:
        about = about["allOf"][0]
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        yield nodes.reference("", name, internal=True, refid=anchor(name))
    elif "const" in about:
        yield nodes.literal("", about["const"])
    elif "enum" in about:
        options = [option for option in about["enum"] if option is not None]
        for number, option in enumerate(options):
            yield from [nodes.Text(", ")] * bool(number)
            yield nodes.literal("", str(option))
    elif about.get("type") == "array":
        yield nodes.Text("list of ")
        inner = {"number": "numbers", "string": "texts"}.get(about["items"].get("type", ""))
        yield from [nodes.Text(inner)] if inner else kind(about["items"])
    elif about.get("type") == "object":
        yield nodes.Text("name → ")
        yield from kind(named(about))
    else:
        yield nodes.Text(words.get(about.get("type", ""), "text") + limits(about))


def named(about: dict) -> dict:
    """What stands behind each name in a mapping; empty for a part, whose keys are known."""
    patterns = list(about.get("patternProperties", {}).values())
    return patterns[0] if patterns else about.get("additionalProperties") or {}


def limits(about: dict) -> str:
    """From where to where a number goes."""
    low, above = about.get("minimum"), about.get("exclusiveMinimum")
    high = about.get("maximum", MOST)
    if low is not None and high < MOST:
        return f", {low:,.12g} to {high:,.12g}"
    if above is not None:
        return f" above {above:,.12g}" + (f", to {high:,.12g}" if high < MOST else "")
    return f", {low:,.12g} or more" if low else ""


def unit(key: str, about: dict) -> str:
    for one in about.get("anyOf", [about]):
        if one.get("type") == "number" and one.get("minimum") == 0 and one.get("maximum", 2) <= 1:
            return "share"
        if one.get("type") in ("number", "array"):
            return next((unit for end, unit in UNITS.items() if key.endswith(end)), "")
    return ""


def marked(text: str) -> Iterator[nodes.Node]:
    """Text with code in backticks."""
    for number, part in enumerate(re.split(r"`([^`]+)`", " ".join(text.split()))):
        if part:
            yield nodes.literal("", part) if number % 2 else nodes.Text(part)


def gathered(schema: dict, more: Path) -> dict[str, tuple[str, Any, str]]:
    """Part -> (path, value, file) of the example that says most and is not too long."""
    found: dict[str, list[tuple[int, bool, int, str, Any, str]]] = {}
    for rank, file in enumerate([*(BUNDLED / f"{name}.yml" for name in bundled()), more]):
        data = parse(file.read_text("utf-8"), file.name)
        System.model_validate(data)
        for name, path, value in parts_in(data, schema, schema["$defs"], ""):
            size = len(dump({"x": value})) + len(path)
            if size <= LONGEST and len(value):
                own = rank == len(bundled())
                says = -min(len(value), ENOUGH)
                found.setdefault(name, []).append((says, own, size, path, value, file.name))
    if missing := set(schema["$defs"]) - set(found):
        raise ValueError(f"{more}: no example of {', '.join(sorted(missing))} was found")
    best = {name: min(examples, key=lambda one: one[:3]) for name, examples in found.items()}
    return {name: (path, value, file) for name, (*_, path, value, file) in best.items()}


def parts_in(value: Any, about: dict, parts: dict, path: str) -> Iterator[tuple[str, str, Any]]:
    """(part, path, value) of every part in some data."""
    for one in about.get("anyOf", [about]):
        if "$ref" in one and isinstance(value, dict):
            name = one["$ref"].rpartition("/")[2]
            yield name, path, value
            about = parts[name]
        elif one.get("type") in ("array", "object"):
            about = one
    if isinstance(value, dict):
        for key, below in value.items():
            if inner := about.get("properties", {}).get(key) or named(about):
                yield from parts_in(below, inner, parts, f"{path}.{key}".strip("."))
    elif isinstance(value, list) and "items" in about:
        for number, below in enumerate(value):
            yield from parts_in(below, about["items"], parts, f"{path}[{number}]")


def setup(app: Sphinx) -> dict:
    app.add_directive("format", Format)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
