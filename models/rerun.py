"""A notebook of the book with other parameters, and what that changes.

One run gives the book's numbers beside those of the run; a grid of parameters gives a tidy table.
The book's numbers are what the notebook publishes with its own parameters. They are computed when
they are first asked for and kept in the user's cache, under a key of all that they depend on: the
notebook, the models and the versions of what computes. So they are never those of another book.
"""

import ast
import hashlib
import html
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import altair as alt
import nbformat
import pandas as pd
import papermill
import vl_convert
from joblib import Parallel, delayed
from tqdm import tqdm

from models import charts, parameters, publish
from models.checks import nearest, show
from models.reading import notebooks, text_of
from models.resuming import Kept, key_of, write

PACKAGE = Path(__file__).parent
COMPUTED_BY = ("numpy", "scipy", "numba", "pandas", "simpy")
MOST_POINTS = 10_000
VERDICT = "verdict"  # what stands as the unit of a verdict
MISTAKES = {  # what a notebook says when it is given what it cannot use
    "ParameterError", "ValueError", "InvalidSystem", "InvalidLog", "StageError", "ExperimentError",
}  # fmt: skip

Row = dict[str, Any]


class RerunError(ValueError):
    """What was asked for cannot be run; the message says why, and what to do."""


@dataclass(frozen=True)
class Notebook:
    """A notebook that declares its parameters: the kind and the book's value of each."""

    name: str
    node: nbformat.NotebookNode
    kinds: dict[str, str]
    book: dict[str, Any]

    @property
    def cells(self) -> list[str]:
        """The sources of its code cells."""
        return _sources(self.node)

    def check(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Refuse values that the notebook would refuse. Raises `parameters.ParameterError`."""
        ranges = parameters.ranges(self.cells)
        if ranges is None:
            ranges = dict.fromkeys(self.kinds, (None, None))
        for values in points:
            parameters.require(values, self.kinds, ranges)


def load(name: str) -> Notebook:
    """A notebook of the book by its name, or any by its path. Raises RerunError."""
    known = notebooks()
    place, text = text_of(name, known, "notebook", "Jupyter notebook", RerunError)
    try:
        node = nbformat.reads(text, as_version=4)
        nbformat.validate(node)
        cells = _sources(node)
    except Exception as error:  # whatever nbformat says of what is no notebook
        raise RerunError(f"{place}: this is no notebook; expected a Jupyter notebook") from error
    kinds: dict[str, str] = {}
    try:
        kinds, _ = parameters.read(cells)
        book = _book(cells)
    except (SyntaxError, ValueError):
        book = {}
    if not kinds or set(kinds) != set(book) or not set(kinds.values()) <= set(parameters.WORDS):
        raise RerunError(
            f"{place}: no parameters were found; expected a first cell with lines such as "
            "'workers: int = 8'"
        )
    return Notebook(known.get(name, Path(name)).stem, node, kinds, book)


def _sources(node: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in node.cells if cell.cell_type == "code"]


def _book(cells: list[str]) -> dict[str, Any]:
    """The values in the first cell that declares something."""
    for source in cells:
        lines = [line for line in ast.parse(source).body if isinstance(line, ast.AnnAssign)]
        if lines:
            return {
                ast.unparse(line.target): ast.literal_eval(line.value)
                for line in lines
                if line.value
            }
    return {}


def grid(given: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values that are given for each parameter. Raises RerunError."""
    for name, values in given.items():
        if not values:
            raise RerunError(f"{name}: an empty list was found; expected at least one value")
    lists = [list(dict.fromkeys(values)) for values in given.values()]
    if (count := math.prod(map(len, lists))) > MOST_POINTS:
        raise RerunError(f"grid: {count:,} points were found; expected at most {MOST_POINTS:,}")
    return [dict(zip(given, point, strict=True)) for point in product(*lists)]


# Running


def execute(
    notebook: Notebook, values: Mapping[str, Any], bar: dict | bool = False
) -> nbformat.NotebookNode:
    """The notebook, executed with these parameters. Raises RerunError with what it refused."""
    options = {
        "kernel_name": "python3",
        "language": "python",
        "progress_bar": bar,
        "extra_arguments": ["--log-level=CRITICAL"],  # of the kernel: its errors are raised here
    }
    try:
        with ThreadPool(1) as aside:  # so that an interrupt is ours; the kernel ends with us
            return aside.apply(
                papermill.execute_notebook, (notebook.node, None, dict(values)), options
            )
    except papermill.PapermillExecutionError as error:
        said = "; ".join(str(error.evalue).split("\n"))
        if error.ename not in MISTAKES:
            said = (
                f"{notebook.name}, cell {error.cell_index}: {error.ename}: {said}; "
                "expected parameters that it can compute with"
            )
        raise RerunError(said) from None


def rows(node: nbformat.NotebookNode) -> list[Row]:
    """What an executed notebook published: key, value, half_width, unit and text, a row a value.

    Verdicts are rows too: their unit is `VERDICT`.
    """
    found = publish.read(node)
    infinite = {"inf": math.inf, "-inf": -math.inf}  # as a kernel sends them
    values = [
        {name: record.get(name) for name in ("half_width", "unit", "text")}
        | {"key": key, "value": infinite.get(record["value"], record["value"])}
        for key, record in found["values"].items()
    ]
    return values + [
        {"key": key, "value": record["holds"], "half_width": None, "unit": VERDICT,
         "text": record["holds"]}
        for key, record in found["claims"].items()
    ]  # fmt: skip


def book_rows(notebook: Notebook, progress: bool = False) -> list[Row]:
    """What the notebook publishes with the book's parameters: from the cache, or computed now."""
    kept = cache() / f"{notebook.name}.json"
    key = key_of(about(notebook))
    try:
        found = json.loads(kept.read_text("utf-8"))
        if found["key"] == key:
            return found["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    made = rows(execute(notebook, {}, progress and {"desc": "the book's"}))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write(kept, json.dumps({"key": key, "rows": made}))
    except OSError:
        pass  # then they are computed again the next time
    return made


def cache() -> Path:
    """The folder in which the book's numbers are kept."""
    if "XDG_CACHE_HOME" in os.environ:
        return Path(os.environ["XDG_CACHE_HOME"]) / "decoupling-in-stages"
    above = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return Path.home() / above / "decoupling-in-stages"


def about(notebook: Notebook) -> dict[str, Any]:
    """All that what a notebook publishes depends on beside its parameters."""
    files = (path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".yml", ".csv"))
    models = hashlib.sha256()
    for path in files:
        models.update(f"{path.relative_to(PACKAGE)}\n".encode() + path.read_bytes())
    return {
        "cells": notebook.cells,
        "models": models.hexdigest(),
        "versions": [sys.version, *(version(name) for name in COMPUTED_BY)],
    }


# One run


def beside(book: list[Row], yours: list[Row]) -> list[Row]:
    """The book's numbers and yours: a row a key, with both texts, values and the change.

    `change` is relative, 0.1 for a tenth more; None where that cannot be said (words, from 0).
    """
    of_book = {(row["key"], row["unit"] == VERDICT): row for row in book}
    of_yours = {(row["key"], row["unit"] == VERDICT): row for row in yours}
    nothing: Row = {"value": None, "half_width": None, "text": "-"}
    found = []
    for key in of_book | of_yours:
        one, other = of_book.get(key, nothing), of_yours.get(key, nothing)
        found.append(
            {
                "key": key[0],
                "unit": (of_yours.get(key) or of_book[key])["unit"],
                "book": one["value"],
                "book_half_width": one["half_width"],
                "yours": other["value"],
                "yours_half_width": other["half_width"],
                "change": _change(one["value"], other["value"]),
                "texts": (one["text"], other["text"]),
            }
        )
    return found


def _change(book: Any, yours: Any) -> float | None:
    if not all(_is_number(value) for value in (book, yours)):
        return None
    return 0.0 if yours == book else (yours - book) / abs(book) if book else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# A grid


def run_grid(
    notebook: Notebook,
    points: Sequence[Mapping[str, Any]],
    kept_in: str | Path | None = None,
    jobs: int = -1,
    progress: bool = False,
) -> pd.DataFrame:
    """What a notebook publishes at each point: a column a parameter, key, value, half_width, unit.

    The notebooks run side by side, each in a kernel of its own. `kept_in` names a file that keeps
    the points that are finished. Raises RerunError, `resuming.Busy`, OSError.
    """
    common = about(notebook)
    keys = [key_of([common, dict(point)]) for point in points]
    with Kept(kept_in) as kept:
        missing = [number for number, key in enumerate(keys) if key not in kept.found]
        runs = Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered")(
            delayed(_point)(notebook, number, points[number]) for number in missing
        )
        with tqdm(
            total=len(points), initial=len(points) - len(missing), unit=" runs",
            disable=not progress, leave=False,
        ) as bar:  # fmt: skip
            for number, found in runs:
                kept.put({keys[number]: found})
                bar.update()
    table = [
        {**point, **{name: row[name] for name in ("key", "value", "half_width", "unit")}}
        for point, key in zip(points, keys, strict=True)
        for row in kept.found[key]
    ]
    return pd.DataFrame(table)


def _point(notebook: Notebook, number: int, point: Mapping[str, Any]) -> tuple[int, list[Row]]:
    try:
        return number, rows(execute(notebook, point))
    except RerunError as error:
        raise RerunError(f"{said(point)}: {error}") from None


def said(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={show(value)}" for name, value in point.items())


def varied(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters that differ between points."""
    return [name for name in points[0] if len({point[name] for point in points}) > 1]


def drawable(table: pd.DataFrame, wanted: Sequence[str] = ()) -> list[str]:
    """The keys to draw: those `wanted`, or all numbers that change. Raises RerunError."""
    numbers = table[table.value.map(_is_number)]
    known = list(dict.fromkeys(numbers.key))
    for key in wanted:
        if key not in known:
            words = "is published as words" if key in set(table.key) else "was not published"
            raise RerunError(
                f"--keys: {show(key)} {words}; expected the key of a number; "
                f"{nearest(key, known) or 'see the column key'}"
            )
    if wanted:
        return list(dict.fromkeys(wanted))
    changing = [key for key, group in numbers.groupby("key") if group.value.nunique() > 1]
    return [key for key in known if key in set(changing)]


def chart(table: pd.DataFrame, key: str, names: Sequence[str]) -> alt.LayerChart:
    """How a number changes with the first of the varied parameters, a line for each of the others.

    Its 95 % interval is drawn where it has one.
    """
    some = table[(table.key == key) & table.value.map(_is_number)]
    x, *others = names
    frame = pd.DataFrame({"x": some[x], "value": some.value.astype(float)})
    half = pd.to_numeric(some.half_width, errors="coerce").fillna(0.0)
    frame["low"], frame["high"] = frame.value - half, frame.value + half
    frame["line"] = [
        ", ".join(f"{name} = {row[name]}" for name in others) for _, row in some.iterrows()
    ]
    unit = next((unit for unit in some.unit if unit), "")
    numeric = all(map(_is_number, frame.x)) and not any(isinstance(one, bool) for one in frame.x)
    wide = numeric and frame.x.min() > 0 and frame.x.max() / frame.x.min() >= 50
    scale = alt.Scale(type="log") if wide else alt.Scale(zero=False)
    ticks = sorted(set(frame.x)) if numeric and frame.x.nunique() <= 6 else alt.Undefined
    across = (
        alt.X("x:Q", title=x, scale=scale, axis=alt.Axis(values=ticks, tickCount=4))
        if numeric
        else alt.X("x:N", title=x, sort=None, axis=alt.Axis(labelAngle=0))
    )
    lines = list(dict.fromkeys(frame.line))
    palette = alt.Scale(domain=lines, range=list(charts.COLOUR.values()) * len(lines))
    legend = alt.Legend(columns=2, labelLimit=300) if others else None
    colour = alt.Color("line:N", scale=palette, legend=legend)
    dashes = alt.Scale(domain=lines, range=[[1, 0], [6, 4], [2, 3]] * len(lines))
    dash = alt.StrokeDash("line:N", scale=dashes, legend=legend)  # lines that lie on each other
    up = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
    base = alt.Chart(frame)
    return (
        base.mark_line().encode(x=across, y=up, stroke=colour, strokeDash=dash)
        + base.mark_rule(strokeWidth=2).encode(x=across, y="low:Q", y2="high:Q", color=colour)
        + base.mark_point(opacity=1).encode(
            x=across, y=up, fill=alt.Color("line:N", scale=palette, legend=None)
        )
    ).properties(title=f"{key} ({unit})" if unit else key, width=300, height=180)


def picture(
    notebook: Notebook, table: pd.DataFrame, keys: Sequence[str], names: Sequence[str], kind: str
) -> str | bytes:
    """The charts of some keys as `html` (a page by itself), `svg` or `png`."""
    each = {key: chart(table, key, names) for key in keys}
    if kind != "html":
        own: dict[str, Any] = dict.fromkeys(
            ["color", "stroke", "strokeDash", "fill"], "independent"
        )
        spec = alt.concat(*each.values(), columns=3).resolve_scale(**own).to_dict()
        if kind == "png":
            return charts.png(spec)
        return vl_convert.vegalite_to_svg({**spec, "background": "white"})
    title = html.escape(f"{notebook.name}: {', '.join(names)}")
    figures = []
    for key, one in each.items():
        columns = [*names, "value", "half_width", "unit"]
        frame = table[table.key == key][columns].astype(object)
        numbers: dict[str, Any] = {
            "columns": columns,
            "rows": frame.where(frame.notna(), None).values.tolist(),
        }
        words = html.escape(f"{key} by {' and '.join(names)}; the numbers are in the table")
        drawn = charts.svg(one.to_dict()).replace('id="', f'id="{key}-')
        drawn = drawn.replace("url(#", f"url(#{key}-")
        drawn = drawn.replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
        figures.append(
            f"<figure>{drawn}<details><summary>The numbers</summary>"
            f"{publish.table_html(numbers, digits=6)}</details></figure>"
        )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{charts.stylesheet()}
:root {{ color-scheme: light dark }}
body {{ margin: 2rem auto; max-width: 75rem; padding: 0 1rem; font: 1rem/1.5 {charts.FONT};
  background: var(--paper); color: var(--ink) }}
main {{ display: grid; gap: 2rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)) }}
figure {{ margin: 0; min-width: 0 }}
figure > svg {{ width: 100%; height: auto }}
details {{ overflow-x: auto }}
summary {{ color: var(--soft) }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .1rem .6rem; border-bottom: 1px solid var(--line); text-align: left }}
.number {{ text-align: right }}
</style>
<h1>{title}</h1>
<p>What the notebook publishes with these parameters. Bars are 95 % intervals.</p>
<main>{"".join(figures)}</main>
</html>
"""
