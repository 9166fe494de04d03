"""`decouple rerun`: a notebook of the book with other parameters."""

import json
import math
import os
import re
import sys
from pathlib import Path

import click

from models.commands.common import (
    Mistake,
    Whole,
    aligned,
    completing,
    counted,
    dumped,
    json_option,
    resumable,
    told,
    written,
)

CHARTS = ("html", "svg", "png")


def _notebooks(ctx, param, incomplete):
    """What a shell offers for a notebook."""
    from models.reading import notebooks

    return completing(*sorted({path.stem for path in notebooks().values()}))(ctx, param, incomplete)


def _parameters(ctx, param, incomplete):
    """What a shell offers after -p: the parameters of the notebook that was named before.

    Click has not read the notebook's name while the value of -p is missing; the line has it.
    """
    from models.reading import notebooks

    words = os.environ.get("COMP_WORDS", "").split()
    name = words[words.index("rerun") + 1] if "rerun" in words[:-1] else ""
    try:
        cells = json.loads(notebooks().get(name, Path(name)).read_text("utf-8"))["cells"]
        first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return []
    names = re.findall(r"(?m)^(\w+): ", first)
    return [f"{one}=" for one in names if one.startswith(incomplete)]


@click.command()
@click.argument("notebook", shell_complete=_notebooks)
@click.option(
    "-p",
    "pairs",
    multiple=True,
    shell_complete=_parameters,
    metavar="NAME=VALUE",
    help="Set a parameter; may be said again. Several values, as in rtt_ms=1,10,100, make a grid.",
)
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(),
    help="Parameters from a YAML file; -p goes before it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="The executed notebook (.ipynb), or the table of a grid (.csv); "
    "NAME-rerun.ipynb or .csv if nothing is said.",
)
@click.option("--chart", type=click.Path(), help="Draw a grid: .html, .svg or .png.")
@click.option("--keys", default="", metavar="KEY,KEY", help="What to draw; else all that changes.")
@click.option("--jobs", type=Whole(1, 1024), help="Notebooks at a time; else one for each core.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def rerun(notebook, pairs, file, output, chart, keys, jobs, as_json, as_csv):
    """Run a notebook of the book with your parameters, and see what that changes.

    NOTEBOOK is one of the book, as 3-broker, broker or 3, or the path of a file. Each parameter is
    checked before anything runs; `-p` with a wrong name says which there are.

    With one value for each parameter the executed notebook is written, and the book's numbers are
    printed beside yours, verdicts included. The book's numbers are those that this very notebook
    publishes with its own parameters; they are computed the first time and then kept in your cache
    until the notebook or a model changes.

    With several values for some, the notebook runs with every combination. What it publishes becomes
    a CSV file, a row a number: the parameters, key, value, half_width (of the 95 % interval), unit.
    If that is interrupted, the same command goes on where it was.
    """
    if as_json and as_csv:
        raise Mistake("--csv: found beside --json; expected one of them; leave one out")
    from models import parameters
    from models import rerun as reruns

    with told(reruns.RerunError, parameters.ParameterError):
        found = reruns.load(notebook)
        points = reruns.grid(_given(found, pairs, file))
        found.check(points)
    several = len(points) > 1
    if not several and (chart or keys or jobs):
        option = "--chart" if chart else "--keys" if keys else "--jobs"
        raise Mistake(
            f"{option}: one run was asked for; expected a grid; give several values, as in "
            f"-p {next(iter(found.kinds))}=1,2"
        )
    ending = ".csv" if several else ".ipynb"
    output = _checked("-o", output or f"{found.name}-rerun{ending}", [ending])
    if chart:
        chart = _checked("--chart", chart, [f".{kind}" for kind in CHARTS])
    run = _grid if several else _one
    run(found, points, output, chart, keys, jobs, as_json, as_csv)


def _given(found, pairs, file):
    """The values for each parameter, each in a list."""
    from models import parameters, reading
    from models.checks import InvalidSystem

    given = {}
    if file is not None:
        with told(InvalidSystem):
            place, text = reading.text_of(file, {}, "parameters", "YAML", InvalidSystem)
            data = reading.parse(text, place)
        if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
            raise Mistake(
                f"{place}: expected a mapping from the name of each parameter to its value"
            )
        given = {name: one if isinstance(one, list) else [one] for name, one in data.items()}
        for name, values in given.items():
            if any(isinstance(value, dict | list) for value in values):
                raise Mistake(f"{place}: {name}: expected a value, or a list of values")
    said = set()
    for pair in pairs:
        name, equals, words = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise Mistake(f"-p: {pair!r} was found; expected NAME=VALUE, as in rtt_ms=10")
        if name in said:
            raise Mistake(
                f"-p: {name!r} was found twice; expected it once; for a grid write {name}=1,10,100"
            )
        said.add(name)
        kind = found.kinds.get(name, "str")
        given[name] = [parameters.value_of(word.strip(), kind) for word in words.split(",")]
    return given


def _checked(option, path, endings):
    """A path that can be written, before anything is computed."""
    target = Path(path)
    if target.suffix not in endings or target.is_dir():
        raise Mistake(
            f"{option}: {path!r} was found; expected a file name that ends in {' or '.join(endings)}"
        )
    if not target.parent.is_dir():
        raise Mistake(f"{option}: {path!r} cannot be written: there is no folder {target.parent}")
    return path


def _one(found, points, output, chart, keys, jobs, as_json, as_csv):
    import nbformat

    from models import rerun as reruns

    progress = sys.stderr.isatty()
    with told(reruns.RerunError):
        node = reruns.execute(found, points[0], progress and {"desc": "yours"})
        yours = reruns.rows(node)
        written(output, nbformat.writes(node) + "\n")
        book = reruns.book_rows(found, progress)
    rows = reruns.beside(book, yours)
    texts = [row.pop("texts") for row in rows]
    if as_json:
        about = {"notebook": found.name, "written": output, "confidence": 0.95}
        about |= {"parameters": found.book | points[0], "book_parameters": found.book}
        about |= {"book_from": "the same notebook and models with the book's parameters"}
        click.echo(dumped({**about, "results": [_finite(row) for row in rows]}))
    elif as_csv:
        import pandas as pd

        click.echo(pd.DataFrame(rows).to_csv(index=False), nl=False)
    else:
        click.echo("\n".join(_lines(found, points[0], rows, texts)))


def _finite(row):
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _lines(found, point, rows, texts):
    yield found.name
    changed = [(name, found.book[name], value) for name, value in point.items()]
    yield from (f"{name}: {value} (the book: {book})" for name, book, value in changed)
    yield (
        "book: what this notebook publishes with the book's parameters; +- is the half width of a "
        "95 % interval\n"
    )
    table = [
        (row["key"], row["unit"], *(_plain(text, row["unit"]) for text in both), _change(row, both))
        for row, both in zip(rows, texts, strict=True)
    ]
    yield aligned(("key", "unit", "book", "yours", "change"), table, left=2)
    moved = sum(both[0] != both[1] for both in texts)
    yield f"\n{moved} of {counted(len(rows), 'number')} and verdicts changed"


def _plain(text, unit):
    text = str(text).replace("\u00a0", " ").replace("−", "-").replace("±", "+-")
    text = text.removesuffix(f" {unit}") if unit else text
    return text if len(text) <= 40 else f"{text[:37]}..."


def _change(row, texts):
    if row["change"] is not None:
        return f"{100 * row['change']:+.3g} %" if row["change"] else "="
    return "=" if texts[0] == texts[1] else "changed"


def _grid(found, points, output, chart, keys, jobs, as_json, as_csv):
    from models import rerun as reruns
    from models import resuming

    kept = resuming.unfinished(output)
    try:
        with resumable(kept), told(reruns.RerunError, resuming.Busy):
            table = reruns.run_grid(found, points, kept, jobs or -1, sys.stderr.isatty())
            written(output, table.to_csv(index=False))
            if chart:
                names = reruns.varied(points)
                drawn = reruns.drawable(table, [key.strip() for key in keys.split(",") if key])
                if not drawn:
                    raise reruns.RerunError("--chart: no number changes; nothing to draw")
                kind = Path(chart).suffix[1:]
                written(chart, reruns.picture(found, table, drawn, names, kind))
    except OSError as error:
        raise Mistake(f"{output!r}: cannot be written: {error.strerror}") from None
    resuming.Kept(kept).done()
    if as_json:
        rows = [_finite(row) for row in table.astype(object).to_dict("records")]
        click.echo(dumped({"notebook": found.name, "written": output, "results": rows}))
    elif as_csv:
        click.echo(table.to_csv(index=False), nl=False)
    else:
        click.echo(
            f"{found.name}: {counted(len(points), 'run')}, "
            f"{counted(table.key.nunique(), 'number')} and verdicts each"
        )
