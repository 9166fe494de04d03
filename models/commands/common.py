"""What the commands share: refusals, kinds of options, and how numbers are printed."""

import difflib
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation

import click

STAGES = ("synchronous", "asynchronous", "separated")
MOST_REQUESTS = 10**10


class Mistake(click.ClickException):
    """Something that the user can put right."""

    exit_code = 2

    def show(self, file=None):
        click.echo(self.message, file=file, err=True)


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise Mistake(str(error)) from None


class Whole(click.ParamType):
    """A whole number within bounds; `1e6` and `1_000_000` are numbers too."""

    name = "integer"

    def __init__(self, low: int, high: int):
        self.low, self.high = low, high

    def convert(self, value, param, ctx):
        try:
            number = Decimal(value)
            if self.low <= number <= self.high and number == int(number):
                return int(number)
        except InvalidOperation:
            pass
        raise Mistake(
            f"{param.opts[0]}: {value!r} was found; "
            f"expected a whole number from {self.low:,} to {self.high:,}"
        )


class Amount(click.ParamType):
    """A number within bounds."""

    name = "number"

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def convert(self, value, param, ctx):
        try:
            if self.low <= (number := float(value)) <= self.high:
                return number
        except ValueError:
            pass
        raise Mistake(
            f"{param.opts[0]}: {value!r} was found; "
            f"expected a number from {self.low:g} to {self.high:g}"
        )


class Choice(click.Choice):
    """One of some words; a misspelt one gets a suggestion."""

    def convert(self, value, param, ctx):
        if value not in self.choices:
            near = difflib.get_close_matches(str(value), self.choices, 1)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            expected = ", ".join(self.choices)
            raise Mistake(
                f"{param.opts[0]}: {value!r} was found; expected one of {expected}{meant}"
            )
        return value


def completing(*names: str):
    """What a shell offers for a file: names of what comes along, and files."""

    def offered(ctx, param, incomplete):
        from click.shell_completion import CompletionItem

        known = names
        if not known:
            from models.reading import bundled

            known = bundled()
        found = [CompletionItem(name) for name in known if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]

    return offered


file_argument = click.argument("file", shell_complete=completing())
stage_option = click.option(
    "--stage",
    type=Choice(STAGES),
    help="Take the system down the road to this stage first.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
output_option = click.option(
    "-o", "--output", type=click.Path(), help="Where to write it; else it is printed."
)


def load(file, stage):
    from models import stages
    from models.system import InvalidSystem, System

    with told(InvalidSystem, stages.StageError):
        system = System.load(file)
        return stages.at(system, stage) if stage else system


def put_out(output, text):
    """Print a text, or write it to a file: all of it or nothing."""
    if output is None or output == "-":
        click.echo(text)
    else:
        written(output, f"{text}\n")


def written(output, data):
    """Write a file, all of it or nothing, and say so."""
    from models.resuming import write

    try:
        write(output, data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Mistake(f"{output!r}: cannot be written: {reason}; expected a file name") from None
    click.echo(f"{output} written", err=True)


def pairs(option, given, example):
    """What was said as NAME=VALUE, the last of a name; both without the spaces around them."""
    words = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Mistake(f"{option}: {pair!r} was found; expected NAME=VALUE, as in {example}")
        words[name.strip()] = value.strip()
    return words


@contextmanager
def resumable(kept, otherwise=""):
    """A long job that keeps its finished pieces: however it ends early, it says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        nothing = ", before any piece was finished" if kept else otherwise
        click.echo(f"interrupted{how_to_go_on(kept) or nothing}", err=True)
        sys.exit(1)
    except Mistake as error:
        raise Mistake(f"{error.message}{how_to_go_on(kept)}") from None


def how_to_go_on(kept):
    """What is said of a job that has not ended, where its finished pieces are kept."""
    if kept and kept.exists():
        return f"; what was done is kept in {kept}, and the same command goes on from there"
    return ""


def dumped(data):
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)


def finite(value):
    return None if math.isnan(value) else value


def rounded(value, half_width):
    """As text: what does not exist (no such request, too few of them) is a dash."""
    return (
        "-" if math.isnan(value) else f"{value:.4g}",
        "-" if math.isnan(half_width) else f"{half_width:.2g}",
    )


def counted(number, word):
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def percent(share):
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def aligned(titles, rows, left):
    """Aligned text; the first `left` columns to the left, the others to the right."""
    rows = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
