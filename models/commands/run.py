"""`decouple run`: simulate a system."""

import json
import sys

import click

from models.commands.common import (
    MOST_REQUESTS,
    Choice,
    Mistake,
    Whole,
    aligned,
    counted,
    dumped,
    file_argument,
    json_option,
    load,
    rounded,
    stage_option,
    told,
)

MOST_TRACED = 10_000_000


@click.command()
@file_argument
@stage_option
@click.option(
    "--requests",
    type=Whole(1, MOST_REQUESTS),
    default=200_000,
    show_default=True,
    help="How many requests a run has, all flows together; the first tenth is not measured.",
)
@click.option(
    "--seed",
    type=Whole(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Which random numbers are drawn. Same seed, same numbers.",
)
@click.option(
    "--replications",
    type=Whole(1, 100_000),
    default=1,
    show_default=True,
    help="Independent runs; from 2 on the intervals are those between runs.",
)
@click.option(
    "--engine",
    type=Choice(["compiled", "simpy"]),
    default="compiled",
    show_default=True,
    help="The fast engine, or the one that the book shows; both give the same times.",
)
@click.option(
    "--overload", is_flag=True, help="Run although some service cannot keep up or can lock up."
)
@click.option(
    "--traces",
    type=click.Path(),
    help="Also write the requests of the (first) run as traces, OTLP JSON, to this file; gzipped "
    "if it ends in .gz. The engine simpy runs for it.",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def run(file, stage, requests, seed, replications, engine, overload, traces, as_json, as_csv):
    """Simulate a system and print what its users see, with 95 % intervals (value +- half width).

    \b
    response       from the arrival of a request until its answer
    completion     until all is done that it started, messages included
    inconsistency  from the answer until all is done
    throughput     requests a second that ended well
    ok, failed, rejected (share)  how requests ended: well; undone; turned away by a full queue
    undone         steps undone for each request

    Times are in ms: mean, median (p50) and the times that 95 %, 99 % and 99.9 % stay below. The
    response and completion times are those of requests that ended well.
    """
    if as_json and as_csv:
        raise Mistake("--csv: found beside --json; expected one of them; leave one out")
    if traces and requests > MOST_TRACED:
        raise Mistake(
            f"--traces: {requests:,} requests were found; expected at most {MOST_TRACED:,} with it"
        )
    system = load(file, stage)
    if not overload and (found := system.warnings()):
        raise Mistake("\n".join([*found, "system: it cannot keep up; --overload runs it anyway"]))
    from models.experiment import ExperimentError, replicate, simulate

    progress = sys.stderr.isatty()
    if traces:
        _write_traces(system, requests, traces, seed, progress)
    with told(ExperimentError):
        if replications == 1:
            keep = "requests" if engine == "simpy" else "summary"
            result = simulate(system, requests, seed, engine, keep=keep, progress=progress)
            table = result.summary()
        else:
            table = replicate(
                system, replications, requests, seed, engine=engine, progress=progress
            ).rename(columns={"mean": "value"})
    about = {"system": system.name, "stage": stage, "engine": engine, "seed": seed}
    about |= {"requests": requests, "replications": replications, "confidence": 0.95}
    if as_json:
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        click.echo(dumped({**about, "results": rows}))
    elif as_csv:
        click.echo(table.assign(**about).to_csv(index=False), nl=False)
    else:
        runs, each = counted(replications, "run"), counted(requests, "request")
        rows = [
            (row.flow, row.metric, *rounded(row.value, row.half_width), row.unit)
            for row in table.itertuples()
        ]
        click.echo(
            f"{system.name}{f', {stage}' if stage else ''}\n"
            f"{runs} of {each}, seed {seed}, engine {engine}, 95 % intervals\n\n"
            + aligned(("flow", "metric", "value", "+-", "unit"), rows, left=2)
        )
    for sentence in _growing(system, table):
        click.echo(f"warning: {sentence}", err=True)


def _write_traces(system, requests, path, seed, progress):
    from models.traces import record

    try:
        count = record(system, requests, path, seed, progress)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Mistake(f"{path!r}: cannot be written: {reason}; expected a file name") from None
    click.echo(f"{path} written, {count:,} spans", err=True)


def _growing(system, table):
    """Flows of which clearly fewer end than arrive: a queue grows, however long the run."""
    rows = table.set_index(["flow", "metric"])
    for name, flow in system.flows.items():
        if flow.arrivals.process in ("timestamps", "profile"):  # no steady rate to compare with
            continue
        ended = rows.loc[(name, "throughput_per_s")]
        due = flow.mean_rate_per_s * rows.loc[(name, "ok_share"), "value"]
        if ended.value + 2 * ended.half_width < 0.99 * due:
            yield (
                f"flows.{name}: {ended.value:.4g} requests per second end well of {due:.4g} that "
                "should; a queue grows, so the times depend on the length of the run; "
                "see `decouple check` for the services that are nearly full"
            )
