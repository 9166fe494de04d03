"""`decouple draw`: a system as a picture."""

import click

from models.commands.common import file_argument, load, stage_option, write


@click.command()
@file_argument
@stage_option
@click.option("-o", "--output", type=click.Path(), help="Where to write it; else it is printed.")
def draw(file, stage, output):
    """Draw a system as an SVG: services, infrastructures, calls, messages.

    The picture follows the light or dark scheme of whoever looks at it.
    """
    system = load(file, stage)
    from models.drawing import draw as drawn

    svg = drawn(system)
    if output is None or output == "-":
        click.echo(svg)
        return
    write(output, svg)
    click.echo(f"{output} written")
