"""`decouple presets`: the named policies."""

import click

from models.commands.common import dumped, json_option


@click.command()
@json_option
def presets(as_json):
    """List the named policies: the defaults of known tools, with their sources.

    A system file uses one as `mesh: {preset: istio}`, or on a step as `preset: istio`. What is said
    beside it overrides it: `retry: {attempts: 5}` keeps the rest of its retries, `retry: null`
    takes them out.
    """
    from models.presets import PRESETS
    from models.reading import dump

    if as_json:
        click.echo(dumped({name: vars(preset) for name, preset in PRESETS.items()}))
        return
    for name, preset in PRESETS.items():
        click.echo(f"{name}: {preset.title}")
        for line in dump(dict(preset.values)).splitlines() if preset.values else ["nothing"]:
            click.echo(f"    {line}")
        click.echo(f"  source: {preset.source}")
        for sentence in preset.translated:
            click.echo(f"  - {sentence}")
        click.echo()
