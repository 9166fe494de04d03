"""`decouple draw`: a system as a picture."""

import json

import click

from models.commands.common import (
    dumped,
    file_argument,
    json_option,
    load,
    output_option,
    put_out,
    stage_option,
)


@click.command()
@file_argument
@stage_option
@output_option
@json_option
def draw(file, stage, output, as_json):
    """Draw a system as an SVG: services, infrastructures, calls, messages.

    The picture follows the light or dark scheme of whoever looks at it. `--json` writes the picture
    together with what it shows in words and as rows, a row a step.
    """
    system = load(file, stage)
    from models import drawing

    svg = drawing.draw(system)
    if as_json:
        steps = json.loads(drawing.steps(system).to_json(orient="records", double_precision=15))
        about = {"name": system.name, "stage": stage, "description": drawing.describe(system)}
        svg = dumped({**about, "svg": svg, "steps": steps})
    put_out(output, svg)
