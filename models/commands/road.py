"""`decouple road`: the whole road with one system."""

import json
import math

import click

from models.commands.common import (
    Whole,
    aligned,
    counted,
    dumped,
    file_argument,
    json_option,
    load,
    pairs,
    told,
)


@click.command()
@file_argument
@click.option(
    "--assume",
    "assumed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Assume something else; may be said again. `--json` lists all that is assumed.",
)
@click.option(
    "--runs",
    type=Whole(2, 1000),
    default=6,
    show_default=True,
    help="Independent runs behind each interval.",
)
@click.option(
    "--requests",
    type=Whole(1000, 10**8),
    default=20_000,
    show_default=True,
    help="Requests in a run.",
)
@click.option(
    "--years",
    type=Whole(1, 10_000),
    default=100,
    show_default=True,
    help="Years of outages in a run.",
)
@click.option(
    "--seed",
    type=Whole(0, 2**62),
    default=1,
    show_default=True,
    help="Which random numbers are drawn. Same seed, same numbers.",
)
@json_option
def road(file, assumed, runs, requests, years, seed, as_json):
    """Walk the whole road with a system: what each step gains and costs, and how far to go.

    \b
    synchronous    every message is a call
    asynchronous   what is marked deferrable is a message
    separated      what is reached by messages alone runs apart
    meshed         a mesh is put into all calls, with one policy for all
    governed       its policies go out in waves

    Each stage gets the same requests and the same outages. Of each measure the value is printed,
    with its 95 % interval (+-) where it is simulated. Then come what each step gained (+) and lost
    (-), the gates with what they ask for, and the advice: the last stage whose gates are all passed
    and whose step gains what it is for.

    The times are those of the flow with the most steps that can wait. How often things fail, and
    what a soak has shown, is assumed: `--assume soak_days=90 --assume found=1`. Outages and restarts
    in the file are left out. Chapter 8 of the book says what all of it means.
    """
    system = load(file, None)
    from models import roadmap

    words = pairs("--assume", assumed, "soak_days=90")
    with told(ValueError):
        terms = roadmap.assume(words)
    walked = roadmap.walk(system, terms, runs, requests, years, seed)
    click.echo(
        _road_report(walked, runs, seed) if as_json else "\n".join(_road_lines(walked, runs))
    )


def _road_report(walked, runs, seed):
    from dataclasses import asdict

    from models import roadmap

    table = walked.table().replace([math.inf, -math.inf], math.nan)
    steps = walked.steps().replace([math.inf, -math.inf], math.nan)
    found = {
        "name": walked.systems["synchronous"].name,
        "flow": walked.flow,
        "runs": runs,
        "seed": seed,
        "confidence": 0.95,
        "stages": json.loads(table.to_json(orient="records", double_precision=15)),
        "steps": json.loads(steps.to_json(orient="records", double_precision=15)),
        "gates": [asdict(gate) for gate in roadmap.gates(walked)],
        "advice": asdict(roadmap.advice(walked)),
        "assumed": asdict(walked.terms),
    }
    return dumped(found)


def _road_lines(walked, runs):
    from models import roadmap

    yield f"{walked.systems['synchronous'].name}, {walked.flow}: {counted(runs, 'run')}\n"
    rows = [
        (
            f"{measure.title} ({measure.unit})" if measure.unit else measure.title,
            *(_measured(*walked.at(stage, name)) for stage in walked.stages),
        )
        for name, measure in roadmap.MEASURES.items()
    ]
    yield aligned(("measure", *walked.stages), rows, left=1)
    for stage in walked.stages[1:]:
        yield f"\nto {stage}"
        for sign, effect in (("+", "gained"), ("-", "lost")):
            titles = [roadmap.MEASURES[name].title for name in walked.moved(stage, effect)]
            yield f"  {sign} {'; '.join(titles) or 'nothing'}"
    yield ""
    rows = [
        (gate.stage, gate.condition, gate.found, gate.expected, "yes" if gate.passed else "no")
        for gate in roadmap.gates(walked)
    ]
    yield aligned(("gate to", "condition", "found", "expected", "passed"), rows, left=5)
    told = roadmap.advice(walked)
    yield f"\nadvice: go as far as {told.stage}. {told.reason}."


def _measured(value, half_width):
    if math.isinf(value):
        return "without end"
    return f"{value:.4g}" + (f" +- {half_width:.2g}" if half_width else "")
