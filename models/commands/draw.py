"""`decouple draw`: a system as a picture."""

from pathlib import Path

import click

from models.commands.common import Mistake, file_argument, load, stage_option


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
    target = Path(output)
    part = target.with_name(f"{target.name}.part") if target.name else target
    try:
        if target.exists() and not target.is_file():  # a device, a pipe, or a directory
            target.write_text(svg, encoding="utf-8")
        else:
            part.write_text(svg, encoding="utf-8")
            part.replace(target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Mistake(f"{output!r}: cannot be written: {reason}; expected a file name") from None
    finally:
        if part.is_file():
            part.unlink()
    click.echo(f"{output} written")
