"""How a notebook hands numbers, charts, drawings, tables and verdicts to the chapters.

Each function displays what it publishes, so that a reader of the notebook sees it, and puts a
machine-readable copy of it into the same output. `read` collects these copies from an executed
notebook: the book takes them from there, and so do the golden tests.
"""

import base64
import copy
import hashlib
import html
import json
import math
import numbers
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import altair as alt
import nbformat
import pandas as pd
import vl_convert
import yaml
from IPython.display import display

from models import charts, picture
from models import drawing as drawings

MIME = "application/vnd.decoupling+json"
VERDICTS = ("holds", "holds only if", "does not hold here", "not decided")
DIGITS = 3  # significant digits, unless the caller or the interval says otherwise
ROUNDING = 1e-9  # what is smaller in a table is the rest of a sum that is zero
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*$")
_NUMBER = re.compile(r"–|−?(∞|[\d,]+(\.\d+)?( ± [\d,]+(\.\d+)?)?)")


class PublishError(ValueError):
    """What was published, or asked for, cannot be used; the message says why."""


@cache
def claims() -> dict[str, dict[str, str]]:
    """Every claim of the road by its id: its `claim` in our words and its `chapter`."""
    return yaml.safe_load(resources.files("models").joinpath("claims.yml").read_text("utf-8"))


def number(
    value: Any, unit: str = "", half_width: float | None = None, digits: int = DIGITS
) -> str:
    """A number as the book prints it: `1,234 ms`, `12.3 ± 0.4 ms`, `42 %`. Words pass unchanged.

    A `half_width` sets the decimals: it is shown with two significant digits.
    """
    if isinstance(value, numbers.Integral):
        value = int(value)
    elif isinstance(value, numbers.Real):
        value = float(value)
    shown = f"{value}"
    if isinstance(value, float) and not math.isfinite(value):
        shown = {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if half_width:
            decimals = _decimals(half_width, 2)
        elif isinstance(value, int):
            decimals = 0
        else:
            decimals = _decimals(value, digits)
        shown = f"{value:z,.{decimals}f}".replace("-", "−")  # z: no minus before a zero
        if half_width is not None:
            shown += f" ± {half_width:,.{decimals}f}"
    return f"{shown}\u00a0{unit}" if unit else shown


def _decimals(value: float, digits: int) -> int:
    """How many decimals show `value` with so many significant digits; whole parts are never cut."""
    if value == 0 or not math.isfinite(value):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def value(
    key: str,
    value: Any,
    unit: str = "",
    text: str | None = None,
    *,
    half_width: float | None = None,
    digits: int = DIGITS,
) -> None:
    """Publish a number or a word. `text`, where given, is what the chapter prints instead."""
    plain = _plain(value)
    record: dict[str, Any] = {"kind": "value", "key": _checked(key), "value": plain, "unit": unit}
    if half_width is not None:
        record["half_width"] = float(half_width)
    record["text"] = text if text is not None else number(plain, unit, half_width, digits)
    label = f"<code>{html.escape(key)}</code> <span>{html.escape(record['text'])}</span>"
    _display(record, f'<div class="published-value">{label}</div>', f"{key} = {record['text']}")


def chart(
    key: str, chart: alt.TopLevelMixin, *, alt: str, data: pd.DataFrame | None = None
) -> None:
    """Publish an Altair chart. `alt` says in words what it shows.

    The rows of the chart's own data become the table beneath the figure, unless `data` is given
    (a chart that makes its data from sliders has none of its own).
    """
    spec = chart.to_dict()
    tables = (
        [plain_rows(data)]
        if data is not None
        else [plain_rows(pd.DataFrame(rows)) for rows in spec.get("datasets", {}).values() if rows]
    )
    if not tables:
        raise PublishError(f"chart {key!r} holds no data; hand the rows over with data=")
    record: dict[str, Any] = {
        "kind": "chart",
        "key": _checked(key),
        "alt": _alt(key, alt),
        "spec": spec,
        "tables": tables,
    }
    _display(record, charts.html(spec, alt, key), alt)


def drawing(key: str, system: Any, *, alt: str | None = None) -> None:
    """Publish the drawing of a system as a figure. Without `alt`, the system's own description."""
    svg = drawings.draw(system)
    record: dict[str, Any] = {
        "kind": "chart",
        "key": _checked(key),
        "alt": _alt(key, drawings.describe(system) if alt is None else alt),
        "svg": svg,
        "tables": [plain_rows(drawings.steps(system))],
    }
    figure = f'<div class="drawing">{svg}</div>'
    _display(record, figure, record["alt"], vl_convert.svg_to_png(drawings.plain(svg), scale=2))


def milestones(key: str, found: Sequence[picture.Milestone], flow: str, *, alt: str) -> None:
    """Publish a system at stages of the road, each a picture of its own, as one figure."""
    parts = picture.columns(found, flow)
    rows = [
        (each.stage, words, each.times[name][1])
        for each in found
        for name, words in picture.MEASURES.items()
    ]
    svg = charts.themed("".join(part.svg for column in parts for part in column))
    record: dict[str, Any] = {
        "kind": "chart",
        "key": _checked(key),
        "alt": _alt(key, alt),
        "svg": svg,
        "tables": [plain_rows(pd.DataFrame(rows, columns=["stage", "mean time", "measured"]))],
    }
    png = vl_convert.svg_to_png(picture.row(parts, alt, ""), scale=2)
    _display(record, f'<div class="drawing road">{svg}</div>', record["alt"], png)


def table(key: str, frame: pd.DataFrame, digits: int = DIGITS) -> None:
    """Publish a DataFrame as a table; its columns are the headings, its index is left out."""
    record: dict[str, Any] = {
        "kind": "table",
        "key": _checked(key),
        "table": plain_rows(frame),
        "digits": digits,
    }
    _display(record, table_html(record["table"], digits), frame.to_string(index=False))


def claim(id: str, holds: str, evidence: str, edge: str) -> None:
    """Publish the verdict on a claim of the road.

    `holds` is one of `VERDICTS`; `evidence` the number behind it, with its interval; `edge` says
    where the claim, or the verdict, stops being true.
    """
    if id not in claims():
        raise PublishError(f"{id!r} is not a claim{_hint(id, claims())}")
    if holds not in VERDICTS:
        raise PublishError(f"claim {id!r}: {holds!r} is no verdict; expected one of {VERDICTS}")
    for name, words in (("evidence", evidence), ("edge", edge)):
        if not words.strip():
            raise PublishError(f"claim {id!r} has no {name}")
    record: dict[str, Any] = {
        "kind": "claim",
        "key": id,
        "holds": holds,
        "evidence": evidence,
        "edge": edge,
    }
    shown = "".join(f"<p>{html.escape(words)}</p>" for words in (evidence, edge))
    label = f"<p><code>{id}</code> <strong>{holds}</strong></p>"
    _display(record, f'<div class="published-claim">{label}{shown}</div>', f"{id}: {holds}")


def absent(kind: str, key: str, why: str) -> None:
    """Publish that a system has no such chart, table or value, and why, in one sentence.

    `kind` is "chart", "table" or "value". The chapter shows the sentence in its place, so that a
    book of any system has every part: those that make no sense for it say so.
    """
    if kind not in ("chart", "table", "value"):
        raise PublishError(f"{key!r}: {kind!r} was given; expected chart, table or value")
    if not why.strip():
        raise PublishError(f"{kind} {key!r} is absent without a reason")
    record: dict[str, Any] = {"kind": kind, "key": _checked(key), "absent": why}
    if kind == "value":
        record |= {"value": None, "unit": "", "text": why}
    _display(record, f'<p class="absent">{html.escape(why)}</p>', why)


def outputs(notebook: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Everything an executed notebook published: (kind, key) -> mime bundle of that output.

    `notebook` is a path or a notebook node. The same key twice is an error.
    """
    if isinstance(notebook, str | Path):
        notebook = nbformat.read(notebook, as_version=4)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            bundle = output.get("data", {})
            if MIME in bundle:
                name = (bundle[MIME]["kind"], bundle[MIME]["key"])
                if name in found:
                    raise PublishError(f"{name[0]} {name[1]!r} is published twice")
                found[name] = bundle
    return found


def with_pictures(notebook: str) -> str:
    """An executed notebook's text, in which every chart has a PNG, as EPUB and LaTeX need it.

    Drawing one takes longer than all the rest of a chart, so no notebook does it by itself.
    """
    parsed = nbformat.reads(notebook, as_version=4)
    for bundle in outputs(parsed).values():
        if spec := bundle[MIME].get("spec"):
            bundle["image/png"] = base64.b64encode(charts.png(spec)).decode()
    return nbformat.writes(parsed)


def read(notebook: Any) -> dict[str, dict[str, Any]]:
    """What an executed notebook published, as plain JSON for a golden file.

    values: key -> value, unit and half width; charts: key -> alt text, rows and the hash of how
    they are drawn; tables: key -> rows; claims: id -> verdict, evidence and edge.
    """
    result: dict[str, dict[str, Any]] = {"values": {}, "charts": {}, "tables": {}, "claims": {}}
    for (kind, key), bundle in outputs(notebook).items():
        record = copy.deepcopy(dict(bundle[MIME]))
        del record["kind"], record["key"]
        if kind == "chart" and "absent" not in record:
            record["drawn"] = _drawn(record.pop("spec", None), record.pop("svg", ""))
        result[f"{kind}s"][key] = record
    return result


def missing(kind: str, key: str, known: Any) -> PublishError:
    """The error for a name that no notebook published."""
    return PublishError(f"no {kind} {key!r} was published{_hint(key, known)}")


def table_html(table: dict[str, list], digits: int = DIGITS, limit: int | None = None) -> str:
    """Rows as an HTML table; numbers are set to the right. At most `limit` rows are shown."""
    columns, rows = table["columns"], table["rows"]
    right = numeric(table)

    def cells(tag, row):
        return "".join(
            f"<{tag}{' class=number' if right[i] else ''}>{html.escape(cell(item, digits))}</{tag}>"
            for i, item in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows[:limit])
    head = f"<thead><tr>{cells('th', columns)}</tr></thead>"
    return f'<table class="rows">{head}<tbody>{body}</tbody></table>'


def numeric(table: dict[str, list]) -> list[bool]:
    """Which columns hold nothing but numbers: as such, as `number` prints them, ∞, or – for none."""

    def is_number(item):
        if isinstance(item, str):
            return bool(_NUMBER.fullmatch(item))
        return item is None or isinstance(item, int | float)

    rows, columns = table["rows"], table["columns"]
    return [all(is_number(row[number]) for row in rows) for number in range(len(columns))]


def cell(item: Any, digits: int = DIGITS) -> str:
    """One cell of a table as text: nothing for what does not exist, 0 for what is rounding alone."""
    if item is None or item != item:  # not a number
        return ""
    if isinstance(item, float) and abs(item) < ROUNDING:
        item = 0.0
    return number(item, digits=digits)


def _display(record: dict, shown: str, plain: str, png: bytes | None = None) -> None:
    bundle = {"text/html": shown, "text/plain": plain, MIME: record}
    if png:
        bundle["image/png"] = base64.b64encode(png).decode()
    display(bundle, raw=True)


def _drawn(spec: dict | None, svg: str) -> str:
    """A hash of how a chart is drawn, whatever its data and the last digits of its numbers."""
    if spec is not None:
        spec = {part: rest for part, rest in spec.items() if part not in ("datasets", "config")}
        spec = json.loads(json.dumps(spec), parse_float=lambda digits: f"{float(digits):.9g}")
        svg = re.sub(r"data-[0-9a-f]{32}", "data", json.dumps(spec, sort_keys=True))
    return hashlib.sha256(svg.encode()).hexdigest()[:16]


def plain_rows(frame: pd.DataFrame) -> dict[str, list]:
    """A table's columns and rows as JSON takes them; what does not exist is None."""
    plain = [[_plain(item) for item in row] for row in frame.itertuples(index=False, name=None)]
    return {"columns": [str(column) for column in frame.columns], "rows": plain}


def _plain(item: Any) -> Any:
    """A value as JSON takes it: numpy and pandas types become Python's own, not-a-number None."""
    if hasattr(item, "item"):
        item = item.item()
    if item is None or isinstance(item, bool | int | str):
        return item
    if isinstance(item, float):
        return None if math.isnan(item) else item
    if item is pd.NaT or item is pd.NA:
        return None
    return str(item)


def _checked(key: str) -> str:
    if not _KEY.match(key):
        raise PublishError(f"{key!r} is no key; use small letters, digits, '-' and '_'")
    return key


def _alt(key: str, words: str) -> str:
    if not words.strip():
        raise PublishError(f"chart {key!r} has no alt text; say in words what it shows")
    return words.strip()


def _hint(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
