"""`decouple import`: a system from what people already have, one sub-command a source."""

import sys
from pathlib import Path

import click

from models.commands.common import (
    Amount,
    Mistake,
    counted,
    dumped,
    json_option,
    put_out,
    told,
    written,
)

output_option = click.option(
    "-o", "--output", type=click.Path(), help="Where to write the system; else it is printed."
)


@click.group("import")
def import_():
    """Make a system from what you already have.

    What a source does not say is marked in the file as to be filled in.
    """


@import_.command()
@click.argument("file")
@output_option
@click.option(
    "--sampled",
    type=Amount(0, 1),
    help="Which share of the requests was traced; else as the spans say, or all of them.",
)
@click.option("--name", help="What to call the system; else as the file.")
@json_option
def traces(file, output, sampled, name, as_json):
    """From traces: services, flows, work times, round trips.

    FILE holds the spans of many requests, as OpenTelemetry's OTLP JSON (also one document a line,
    as the Collector's file exporter writes it) or as Jaeger's JSON export; each also gzipped. `-` is
    the standard input, as in `zcat traces-*.gz | decouple import traces -`. Take some minutes of
    ordinary load, with every span of the requests that are in it.

    The system is written with a comment at everything that traces cannot tell. What was read and
    dropped, and which figures are bounds or guesses, is said on standard error, or with --json as
    one report with the system in it.
    """
    from models.traces import InvalidTraces, read

    if sampled == 0:
        raise Mistake("--sampled: '0' was found; expected a share above 0, such as 0.1")
    _unused(output)
    with told(InvalidTraces):
        found = read(file, sampled, name, progress=sys.stderr.isatty())
    if output:
        written(output, found.to_yaml())
    if as_json:
        click.echo(dumped({**found.report(), "system": found.system.to_dict()}))
        return
    if not output:
        click.echo(found.to_yaml(), nl=False)
    for line in found.lines():
        click.echo(line, err=True)


@import_.command()
@click.argument("file")
@output_option
@json_option
def compose(file, output, as_json):
    """From a Compose file: services, replicas, owners, brokers, and who may call whom.

    FILE may also be what `docker compose config` prints, or `-` for the standard input. How often
    requests come, how long work takes and what is called when stays to be filled in.
    """
    from models.compose import compose as read
    from models.system import InvalidSystem

    with told(InvalidSystem):
        found = read(file)
    _hand_over(found, output, as_json)


@import_.command()
@click.argument("files", nargs=-1, required=True)
@output_option
@json_option
def kubernetes(files, output, as_json):
    """From Kubernetes manifests: workloads, replicas, namespaces, owners, brokers, calls.

    FILES are files, folders, or `-` for the standard input, as in `kubectl get all -o yaml |
    decouple import kubernetes -`. How often requests come, how long work takes and what is called
    when stays to be filled in.
    """
    from models.kube import kubernetes as read
    from models.system import InvalidSystem

    with told(InvalidSystem):
        found = read(files)
    _hand_over(found, output, as_json)


def _unused(output):
    """Refuse the name of a file that is there: what somebody has filled in would be lost."""
    if output and Path(output).is_file():
        raise Mistake(f"{output!r}: is there already; expected a new name, so that nothing is lost")


def _hand_over(found, output, as_json):
    """Write or print a draft, and say on stderr what is to be done with it."""
    from models.checks import place_of

    gaps = found.gaps()
    if as_json:
        places = [place_of(path) for path in gaps]
        report = {"system": found.data, "to_fill_in": places, "left_out": found.left_out}
        text = dumped(report)
    else:
        text = found.to_yaml().rstrip("\n")
    _unused(output)
    put_out(output, text)
    for sentence in found.left_out:
        click.echo(f"left out: {sentence}", err=True)
    click.echo(
        f"{counted(len(found.data['services']), 'service')}, {counted(len(gaps), 'place')} to be "
        "filled in, marked FILL_IN; `decouple check` names them",
        err=True,
    )
