"""`decouple schema`: the format of a system file, for editors."""

import click

from models.commands.common import dumped, output_option, put_out


@click.command()
@output_option
def schema(output):
    """Print the format of a system file as JSON Schema (draft 2020-12).

    An editor that knows JSON Schema completes keys, shows what each one is and marks mistakes while
    you type. Write it beside your file with `decouple schema -o system.schema.json`, and let the
    first line of your file name it; `decouple init` puts that line there:

    \b
        # yaml-language-server: $schema=system.schema.json

    What needs the whole system to be judged is left to `decouple check`.
    """
    from models import schema as made

    put_out(output, dumped(made.schema()))
