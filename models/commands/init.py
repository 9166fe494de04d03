"""`decouple init`: a system file to start from."""

from pathlib import Path

import click

from models.commands.common import Mistake, put_out


@click.command()
@click.argument("output", metavar="[OUT]", default="system.yml")
@click.option("--force", is_flag=True, help="Write over a file that is there already.")
def init(output, force):
    """Write a system file to start from: valid as it is, with every key explained.

    OUT is the file to write, system.yml if nothing is said, - to print it. Put your own names and
    numbers in, then try `decouple check system.yml`. For an editor that completes and checks what
    you type, see `decouple schema`.
    """
    if not force and output != "-" and _exists(output):
        raise Mistake(
            f"{output}: there is such a file already; expected a new name; --force writes over it"
        )
    from models.starting import starting

    put_out(output, starting().rstrip("\n"))


def _exists(output):
    try:
        return Path(output).is_file()
    except ValueError:  # no name of a file at all
        return False
