"""What a shell is told: the script, and the answers to its questions, by the shell's own protocol."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from models.cli import main
from models.system import bundled

SHELLS = ("bash", "zsh", "fish")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_asks_this_command(shell):
    result = CliRunner().invoke(main, ["completion", shell], prog_name="decouple")
    assert result.exit_code == 0
    assert f"_DECOUPLE_COMPLETE={shell}_complete" in result.stdout.replace(" ", "")
    assert result.stdout.count("decouple") >= 2


def test_an_unknown_shell_is_refused():
    result = CliRunner().invoke(main, ["completion", "bsh"])
    assert result.exit_code == 2
    assert result.output == (
        "shell: 'bsh' was found; expected one of bash, zsh, fish; did you mean 'bash'?\n"
    )


def ask(line, shell="bash"):
    """What is offered for the last word of a line."""
    words = line.split(" ")
    position = words[-1] if shell == "fish" else str(len(words) - 1)
    about = {"_DECOUPLE_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": position}
    code = "from models.cli import main; main(prog_name='decouple')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **about}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("decouple che", {"plain,check"}),
        ("decouple check ", {f"plain,{name}" for name in bundled()}),
        ("decouple check sh", {"plain,shop"}),
        ("decouple check mine", {"file,mine"}),
        ("decouple gate i", {"plain,invented"}),
        ("decouple run shop --stage s", {"plain,synchronous", "plain,separated"}),
        ("decouple run shop --sta", {"plain,--stage"}),
        ("decouple rerun 3", {"plain,3-broker"}),
        ("decouple rerun 3 -p rep", {"plain,replication_ms=", "plain,replications="}),
        ("decouple rerun saga -p seed=1 -p work", {"plain,work_ms=", "plain,workers="}),
        ("decouple rerun nothing -p work", set()),
    ],
)
def test_what_is_offered(line, offered):
    assert set(filter(None, ask(line))) == offered


def test_the_other_shells_get_the_same():
    assert ask("decouple check sh", "zsh")[:2] == ["plain", "shop"]
    assert ask("decouple check sh", "fish")[0] == "plain,shop"
