"""`decouple import`: a system from what people already have, one sub-command a source."""

import sys

import click

from models.commands.common import Amount, Mistake, dumped, json_option, told, written

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
    as the Collector's file exporter writes it) or as Jaeger's JSON export; each also gzipped. Take
    some minutes of ordinary load, with every span of the requests that are in it.

    The system is written with a comment at everything that traces cannot tell. What was read and
    dropped, and which figures are bounds or guesses, is said on standard error, or with --json as
    one report with the system in it.
    """
    from models.traces import InvalidTraces, read

    if sampled == 0:
        raise Mistake("--sampled: '0' was found; expected a share above 0, such as 0.1")
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
