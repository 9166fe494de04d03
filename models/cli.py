"""The `decouple` command.

Exit codes: 0 done; 2 something that the user can put right, said in one sentence.
Whatever takes long to import is imported where it is used, so that `--help` is there at once.
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

STAGES = ("synchronous", "asynchronous", "separated")

file_argument = click.argument("file")
stage_option = click.option(
    "--stage",
    type=click.Choice(STAGES),
    help="Take the system down the road to this stage first.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Mistake(click.ClickException):
    """Something that the user can put right."""

    exit_code = 2

    def show(self, file=None):
        click.echo(self.message, file=file, err=True)


@contextmanager
def _told(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise Mistake(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="decoupling-in-stages", prog_name="decouple")
def main():
    """Loosen a microservice system stage by stage, and see what each stage gains and costs.

    FILE is a system in YAML, or the name of one that comes along: shop, online-boutique,
    social-network. Try `decouple check shop`, then `decouple run shop --stage asynchronous`.
    """


@main.command()
@file_argument
@stage_option
@json_option
def check(file, stage, as_json):
    """Check a system and print what it is and how loaded it is.

    Utilisation is the share of a service's workers that is held, own work and calls that it waits
    for; "working" is the share for own work alone. Waiting in queues comes on top.
    """
    system = _system(file, stage)
    loads, warnings = system.loads(), system.warnings()
    if as_json:
        found = {
            "name": system.name,
            "services": {
                name: {
                    "workers": load.workers or "unlimited",
                    "handled_per_s": load.handled_per_s,
                    "working": None if math.isnan(load.working) else load.working,
                    "utilisation": None if math.isnan(load.utilisation) else load.utilisation,
                }
                for name, load in loads.items()
            },
            "warnings": warnings,
        }
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    places = {name: part.infrastructure for name, part in system.services.items()}
    click.echo(f"{system.name}\n")
    rows = [
        (
            name,
            places[name],
            system.services[name].team or "-",
            str(load.workers or "unlimited"),
            f"{load.handled_per_s:.1f}",
            _percent(load.working),
            _percent(load.utilisation),
        )
        for name, load in loads.items()
    ]
    titles = ("service", "runs on", "team", "workers", "steps/s", "working", "utilisation")
    click.echo(_table(titles, rows, left=3))
    for flow_name, flow in system.flows.items():
        click.echo(f"\n{flow_name}: {flow.mean_rate_per_s:.4g} per second, {_arrivals(flow)}")
        for entry in system.steps(flow_name):
            click.echo(f"  {'  ' * (entry.depth - 1)}{_described(entry)}")
    click.echo()
    for sentence in warnings:
        click.echo(f"warning: {sentence}")
    if not warnings:
        click.echo("No warnings.")


@main.command()
@file_argument
@stage_option
@click.option("--requests", default=200_000, show_default=True, help="How many requests a run has.")
@click.option("--seed", default=1, show_default=True, help="Which random numbers are drawn.")
@click.option(
    "--replications",
    default=1,
    show_default=True,
    help="Independent runs; from 2 on the intervals are those between runs.",
)
@click.option(
    "--engine",
    type=click.Choice(["compiled", "simpy"]),
    default="compiled",
    show_default=True,
    help="The fast engine, or the one that the book shows.",
)
@click.option("--overload", is_flag=True, help="Run although some service cannot keep up.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def run(file, stage, requests, seed, replications, engine, overload, as_json, as_csv):
    """Simulate a system and print what its users see, with 95 % intervals."""
    if as_json and as_csv:
        raise Mistake("--csv: found beside --json; expected one of them; leave one out")
    system = _system(file, stage)
    if not overload and (found := system.overloads()):
        raise Mistake("\n".join([*found, "system: it is overloaded; --overload runs it anyway"]))
    from models.experiment import ExperimentError, replicate, simulate

    with _told(ExperimentError):
        if replications == 1:
            keep = "requests" if engine == "simpy" else "summary"
            result = simulate(
                system, requests, seed, engine, keep=keep, progress=sys.stderr.isatty()
            )
            table = result.summary()
        else:
            table = replicate(
                system, replications, requests, seed, engine=engine, progress=sys.stderr.isatty()
            ).rename(columns={"mean": "value"})
    if as_json:
        about = {"system": system.name, "stage": stage, "engine": engine, "seed": seed}
        about |= {"requests": requests, "replications": replications}
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        click.echo(json.dumps({**about, "results": rows}, indent=2, ensure_ascii=False))
    elif as_csv:
        click.echo(table.to_csv(index=False), nl=False)
    else:
        runs = "1 run" if replications == 1 else f"{replications} runs"
        click.echo(f"{system.name}{f', {stage}' if stage else ''}")
        click.echo(f"{runs} of {requests:,} requests, seed {seed}, engine {engine}\n")
        rows = [
            (row.flow, row.metric, f"{row.value:.4g}", f"{row.half_width:.2g}", row.unit)
            for row in table.itertuples()
        ]
        click.echo(_table(("flow", "metric", "value", "+-", "unit"), rows, left=2))


@main.command()
@file_argument
@stage_option
@click.option("-o", "--output", type=click.Path(), help="Where to write it; else it is printed.")
def draw(file, stage, output):
    """Draw a system as an SVG: services, infrastructures, calls and messages."""
    system = _system(file, stage)
    from models.drawing import draw as drawn

    svg = drawn(system)
    if output is None or output == "-":
        click.echo(svg)
        return
    try:
        Path(output).write_text(svg, encoding="utf-8")
    except OSError as error:
        raise Mistake(
            f"{output}: cannot be written: {error.strerror}; expected a file name"
        ) from None
    click.echo(f"{output} written")


def _system(file, stage):
    from models import stages
    from models.system import InvalidSystem, System

    with _told(InvalidSystem, stages.StageError):
        system = System.load(file)
        return stages.at(system, stage) if stage else system


def _percent(share):
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def _arrivals(flow):
    process = flow.arrivals.process
    return "Poisson" if process == "poisson" else process


def _described(entry):
    step = entry.step
    words = [entry.key if entry.key == step.service else f"{entry.key} ({step.service})"]
    words += [f"{step.work.mean_ms:.4g} ms {step.work.distribution}"] if step.work.mean_ms else []
    words += [f"message via {step.via}"] if step.via else []
    words += ["inside its caller"] if entry.mode == "local" else []
    words += [f"fails {100 * step.fails:.3g} %"] if step.fails else []
    words += [f"undo {step.undo.mean_ms:.4g} ms"] if step.undo else []
    words += ["deferrable"] if step.deferrable and not step.via else []
    words += ["its steps in parallel"] if step.in_parallel and len(step.then) > 1 else []
    return ", ".join(words)


def _table(titles, rows, left):
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
