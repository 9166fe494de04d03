"""`decouple import`: a system from what people already have, one sub-command a source."""

import click

from models.commands.common import json_option, told, write

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
@json_option
def traces(file, output, as_json):
    """From traces: OpenTelemetry's OTLP JSON, or Jaeger's JSON export; each also gzipped."""
    from models.traces import InvalidTraces, read

    with told(InvalidTraces):
        found = read(file)
    write(output, found.to_yaml())
