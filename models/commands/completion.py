"""`decouple completion`: what a shell needs to complete the command."""

import click

from models.commands.common import Choice

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=Choice(SHELLS))
def completion(shell):
    """Print the script with which a shell completes commands, options and names.

    \b
    bash  source <(decouple completion bash)    in ~/.bashrc
    zsh   source <(decouple completion zsh)     in ~/.zshrc
    fish  decouple completion fish | source     in ~/.config/fish/config.fish

    It also completes the names of bundled systems, stages, notebooks and, after `rerun NOTEBOOK -p`,
    of parameters.
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    made = get_completion_class(shell)(root.command, {}, "decouple", "_DECOUPLE_COMPLETE")
    click.echo(made.source())
