"""`decouple claims`: what the models make of the claims for a system file."""

import click

from models.commands.common import dumped, file_argument, json_option, load, told


@click.command()
@file_argument
@json_option
def claims(file, as_json):
    """Say what the models make of the claims of the road for a system, with the evidence.

    What the file says is taken from it; rates of failure, costs and targets, which no file says, are
    those that the chapters assume (5 runs of 20,000 requests, seed 1). A claim about something that
    the system does not have gets no verdict, and the reason. The book's own verdicts, which look
    closer, stand on its page "Claims".
    """
    system = load(file, None)
    from models import publish, verdicts
    from models.experiment import ExperimentError

    with told(ExperimentError):
        found = verdicts.verdicts(system)
    if as_json:
        rows = [
            {"id": each.id, "claim": publish.claims()[each.id]["claim"], "verdict": each.holds}
            | {"evidence": each.evidence, "edge": each.edge}
            for each in found
        ]
        click.echo(dumped({"name": system.name, "claims": rows}))
        return
    click.echo(f"{system.name}\n")
    for each in found:
        click.echo(f"{each.id}: {each.holds or 'no verdict'}")
        click.echo(f"  {publish.claims()[each.id]['claim']}")
        for words in filter(None, (each.evidence, each.edge)):
            click.echo(f"  - {words}")
        click.echo()
