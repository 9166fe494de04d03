"""`decouple sweep`: a system at every combination of some parameters' values."""

import json
import math
import sys
from importlib.metadata import version
from pathlib import Path

import click

from models import resuming
from models.commands.common import (
    MOST_REQUESTS,
    Amount,
    Mistake,
    Whole,
    counted,
    dumped,
    file_argument,
    json_option,
    load,
    resumable,
    stage_option,
    told,
)


@click.command()
@file_argument
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="PATH=VALUES",
    help="What to vary; may be said again, for every combination.",
)
@stage_option
@click.option(
    "--requests",
    type=Whole(1, MOST_REQUESTS),
    default=20_000,
    show_default=True,
    help="How many requests a run has, all flows together; the first tenth is not measured.",
)
@click.option(
    "--replications",
    type=Whole(1, 100_000),
    default=5,
    show_default=True,
    help="Independent runs at each point; from 2 on the intervals are those between runs.",
)
@click.option(
    "--seed",
    type=Whole(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Which random numbers are drawn, the same at every point. Same seed, same numbers.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="Only this metric, such as response_p99_ms; may be said again.",
)
@click.option(
    "--target",
    type=Amount(1e-6, 1),
    help="Add runs until every half-width is at most this share of its value (at most 1,000 runs).",
)
@click.option(
    "--jobs", type=Whole(1, 10_000), help="Processes on this machine; else one for each core."
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Run on this Dask cluster, such as tcp://127.0.0.1:8786."
)
@click.option("-o", "--output", help="A .csv or .parquet file; else CSV is printed.")
@json_option
def sweep(file, vary, stage, output, jobs, scheduler, as_json, **asked):
    """Simulate a system at every combination of some parameters' values.

    PATH is a place in the system, written as in `decouple check`'s messages. VALUES are a:b:n (n
    values evenly from a to b), a:b:n:log (with the same factor from one to the next), or a list:

    \b
    decouple sweep shop --vary network.within_ms=0.1:100:7:log -o distance.parquet
    decouple sweep shop --vary services.payment.workers=4,6,8 \\
                        --vary flows.place_order.rate_per_s=50:100:6
    decouple sweep shop --vary flows.browse.root.work.distribution=exponential,deterministic

    The table has a row for each point, flow and metric: what is varied, value, half_width (of the
    95 % interval), runs, unit, seed. The metrics are those of `decouple run`. Every point gets the
    same random numbers. `overloaded` marks the points at which some service cannot keep up or can
    lock up: times there depend on the length of the run.

    With -o an interrupted sweep goes on where it was if the same command is given again.
    """
    if jobs and scheduler:
        raise Mistake("--jobs: found beside --scheduler; expected one of them; leave one out")
    if output and as_json:
        raise Mistake("--json: found beside --output; expected one of them; leave one out")
    target = Path(output) if output and output != "-" else None
    if target and (target.suffix not in (".csv", ".parquet") or target.is_dir()):
        raise Mistake(f"--output: {output!r} was found; expected a file name, .csv or .parquet")
    kept = target and resuming.unfinished(target)
    system = load(file, stage)
    from models import sweeping
    from models.experiment import ExperimentError
    from models.system import InvalidSystem

    asked |= {"metrics": asked["metrics"] or None, "scheduler": scheduler, "jobs": jobs or -1}
    progress = sys.stderr.isatty()
    try:
        with (
            resumable(kept, "; with -o it could go on later"),
            told(ExperimentError, InvalidSystem, resuming.Busy),
        ):
            grid = sweeping.grid(vary)
            table = sweeping.sweep(system, grid, kept_in=kept, progress=progress, **asked)
    except OSError as error:
        raise Mistake(f"--output: {output!r} cannot be written: {error.strerror}") from None
    table = table.rename(columns={"mean": "value", "n": "runs"})
    about = {"system": system.name, "stage": stage, "requests": asked["requests"]}
    about |= {"confidence": 0.95, "version": version(sweeping.PACKAGE)}
    if as_json:
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        more = {"seed": asked["seed"], "vary": grid, "code": sweeping.code()}
        click.echo(dumped({**about, **more, "results": rows}))
    elif target is None:
        click.echo(table.assign(**about).to_csv(index=False), nl=False)
    else:
        sweeping.save(table, target, about)
        resuming.Kept(kept).done()
        most, points = table.runs.max(), counted(math.prod(map(len, grid.values())), "point")
        most = counted(most, "run") if most == table.runs.min() else f"up to {most:,} runs"
        each = counted(asked["requests"], "request")
        click.echo(f"{output} written: {points}, {most} of {each} at each, seed {asked['seed']}")
    strained = int(table.drop_duplicates([*grid]).overloaded.sum())
    if strained:
        click.echo(
            f"warning: {counted(strained, 'point')} marked `overloaded`: some service cannot keep up "
            "or can lock up there, so times depend on the length of the run",
            err=True,
        )
