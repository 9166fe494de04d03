"""`decouple edition`: the whole book for a system."""

import sys
from pathlib import Path

import click

from models.commands.common import Whole, file_argument, pairs, told


@click.command()
@file_argument
@click.option("--out", required=True, metavar="DIR", help="A new folder for the website.")
@click.option(
    "-p",
    "--parameter",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another value for a parameter of the notebooks; may be said again.",
)
@click.option(
    "--jobs", type=Whole(1, 1000), help="Notebooks that run side by side; else one for each core."
)
def edition(file, out, given, jobs):
    """Build the whole book for a system: its drawing, its numbers, its charts, its verdicts.

    All notebooks are run with the system in FILE, then the website is built. Parts that make no
    sense for a system, such as the broker of one that has none, say so. What the notebooks assume
    besides the system (how often things fail, what undoing costs) keeps the book's values unless
    `-p` says otherwise: `-p requests=50_000 -p soak_days=90`. A notebook takes those of them that
    it knows; the page Status lists them all.
    """
    from models import editions
    from models.system import InvalidSystem

    words = pairs("-p", given, "requests=50_000")
    with told(InvalidSystem, editions.EditionError):
        said = editions.build(
            file, Path(out), editions.typed(words), jobs or -1, progress=sys.stderr.isatty()
        )
    if said:
        click.echo(said, err=True)
    click.echo(f"{out}: open {(Path(out) / 'index.html').absolute().as_uri()}")
