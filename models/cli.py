"""The `decouple` command: one module a command, in `models.commands`."""

import os
import signal
import sys
import threading

import click

from models.commands.check import check
from models.commands.claims import claims
from models.commands.completion import completion
from models.commands.draw import draw
from models.commands.edition import edition
from models.commands.gate import gate
from models.commands.import_ import import_
from models.commands.init import init
from models.commands.presets import presets
from models.commands.rerun import rerun
from models.commands.road import road
from models.commands.run import run
from models.commands.schema import schema
from models.commands.sweep import sweep

EXIT_CODES = {
    0: "done",
    1: "interrupted (Ctrl-C or SIGTERM)",
    2: "something that you can put right, said in one sentence",
}


class Command(click.Group):
    """The command, and what it says where its output cannot be written.

    After SIGTERM (a time limit, a CI that is cancelled) it ends as after Ctrl-C.
    """

    def main(self, *args, **options):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().main(*args, **options)
        except OSError as error:
            click.echo(f"output: cannot be written: {error.strerror}", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to say
            sys.exit(2)

    def list_commands(self, ctx):
        """In the order in which they are met."""
        return list(self.commands)


@click.group(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit codes: {'; '.join(f'{code} {words}' for code, words in EXIT_CODES.items())}.",
)
@click.version_option(package_name="decoupling-in-stages", prog_name="decouple")
def main():
    """Loosen a microservice system stage by stage, and see what each stage gains and costs.

    FILE is a system in YAML, or the name of one that comes along: shop, online-boutique,
    social-network. Try `decouple check shop`, then `decouple run shop --stage asynchronous`. (`gate`
    takes an incident log instead, `import` what you have of a system of your own.)

    The stages, each applied to the one before: `synchronous` (every message becomes a call),
    `asynchronous` (what is marked deferrable becomes a message), `separated` (what is reached by
    messages alone moves to its team's own infrastructure).

    \b
    Exit codes: 0  done
                2  something that you can put right; it is said in a sentence
                1  interrupted (Ctrl-C, SIGTERM), or nobody reads the output any more
    """


for command in (
    init,
    import_,
    check,
    run,
    sweep,
    draw,
    presets,
    gate,
    road,
    claims,
    rerun,
    edition,
    schema,
    completion,
):
    main.add_command(command)
