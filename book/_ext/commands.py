"""Commands and their real output, the files that they work on, and the drawings that they make.

All commands of a page run in order, in one empty folder of the page's own, whenever the page is read;
a page that has some is read at every build. A command that is not there, or that ends with another
exit code than the page says, ends the build.
"""

import base64
import csv
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import click
import published
import vl_convert
from click.testing import CliRunner
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxDirective

from models import System, drawing, publish
from models.cli import EXIT_CODES, main

DRAWN: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}  # page -> what it draws


class Failed(SphinxError):
    category = "A command of a page"


class InFolder(SphinxDirective):
    """A directive that works in the folder of its page."""

    def folder(self) -> Path:
        self.env.note_reread()
        temporary = self.env.temp_data.setdefault(
            "commands", tempfile.TemporaryDirectory(prefix="page-")
        )
        return Path(temporary.name)

    def refuse(self, sentence: str) -> Failed:
        return Failed(f"{self.env.docname}:{self.lineno}: {sentence}")

    def shown(self, text: str, language: str) -> list[nodes.Node]:
        block = nodes.literal_block(text, text, language=language, classes=["command"])
        self.set_source_info(block)
        return [block]


class Command(InFolder):
    """One run of `decouple`: its arguments on one line, in its body a text for its standard input.

    `exit` is the exit code that it has to end with, 0 if nothing is said; `lines: 3-12` shows these
    lines of its output alone (`lines: 0`: none), and dots for the others.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar = {
        "exit": directives.nonnegative_int,
        "lines": directives.unchanged_required,
    }

    def run(self):
        words = shlex.split(self.arguments[0])
        given = "\n".join(self.content) + "\n" if self.content else None
        with inside(self.folder()):
            result = CliRunner().invoke(main, words, input=given, prog_name="decouple")
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            raise self.refuse(f"decouple {self.arguments[0]}: {error!r}") from error
        if result.exit_code != self.options.get("exit", 0):
            raise self.refuse(
                f"decouple {self.arguments[0]}: ended with exit code {result.exit_code}: "
                f"{result.output[-500:]}"
            )
        output = click.unstyle(result.output).rstrip().splitlines()
        if "lines" in self.options:
            output = cut(output, self.options["lines"])
        return self.shown("\n".join([f"$ decouple {self.arguments[0]}", *output]), "console")


def cut(lines: list[str], which: str) -> list[str]:
    """Lines `3-12` of some, with dots for what is before and after; `0` are none."""
    first, _, last = which.partition("-")
    low, high = int(first), int(last or first)
    if not low:
        return []
    before, after = ["..."] * (low > 1), ["..."] * (high < len(lines))
    return [*before, *lines[low - 1 : high], *after]


class File(InFolder):
    """A file in the folder of the page, written and shown.

    `run` runs it with Python and shows what it prints; `after: ARGUMENTS` as well, with what `decouple
    ARGUMENTS` prints as its input.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"run": directives.flag, "after": directives.unchanged_required}

    def run(self):
        name = self.arguments[0]
        text = "\n".join(self.content)
        target = self.folder() / PurePosixPath(name).name
        target.write_text(text + "\n", "utf-8")
        title = nodes.paragraph("", "", nodes.literal("", name), classes=["file-name"])
        kinds = {".yml": "yaml", ".yaml": "yaml", ".py": "python", ".sh": "bash"}
        block = self.shown(text, kinds.get(target.suffix, "text"))
        ran = self.ran(name) if self.options else []
        return [nodes.container("", title, *block, classes=["file"]), *ran]

    def ran(self, name: str) -> list[nodes.Node]:
        before = self.options.get("after")
        given, words = "", f"python {name}"
        if before:
            words = f"decouple {before} | {words}"
            with inside(self.folder()):
                given = CliRunner().invoke(main, shlex.split(before), prog_name="decouple").stdout
        done = subprocess.run(
            [sys.executable, name], input=given, cwd=self.folder(), capture_output=True, text=True
        )
        if done.returncode:
            raise self.refuse(f"{words}: ended with exit code {done.returncode}: {done.stderr}")
        return self.shown(f"$ {words}\n{done.stdout.rstrip()}", "console")


class Show(InFolder):
    """A small CSV file that a command has written, as a table."""

    required_arguments = 1

    def run(self):
        file = self.folder() / self.arguments[0]
        with file.open(encoding="utf-8", newline="") as lines:
            columns, *rows = csv.reader(lines)
        kept = [
            n
            for n, name in enumerate(columns)
            if len({row[n] for row in rows}) > 1 or name in SHOWN
        ]
        group = nodes.tgroup("", cols=len(kept))
        group += [nodes.colspec("", colwidth=1) for _ in kept]

        def row(cells):
            entries = [nodes.entry("", nodes.paragraph("", short(cells[n]))) for n in kept]
            return nodes.row("", *entries)

        group += [nodes.thead("", row(columns)), nodes.tbody("", *map(row, rows))]
        return [nodes.table("", group, classes=["rows", "colwidths-auto"])]


SHOWN = ("metric", "value", "half_width", "unit")  # columns that are shown even if all is the same


def short(text: str) -> str:
    """A number with four digits; anything else as it is."""
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


class Picture(published.Chart):
    """The drawing of a system file in the folder of the page: a figure of its own."""

    def run(self):
        self.env.note_reread()
        folder = Path(self.env.temp_data["commands"].name)
        name = self.arguments[0]
        system = System.load(folder / f"{name}.yml")
        svg = drawing.draw(system)
        page = PurePosixPath(self.env.docname).name
        DRAWN.setdefault(page, {})["chart", name] = {
            publish.MIME: {
                "kind": "chart",
                "key": name,
                "alt": drawing.describe(system),
                "tables": [publish.plain_rows(drawing.steps(system))],
            },
            "text/html": f'<div class="drawing">{svg}</div>',
            "image/png": base64.b64encode(
                vl_convert.svg_to_png(drawing.plain(svg), scale=2)
            ).decode(),
        }
        published.SOURCES[page] = lambda app: DRAWN[page]
        return super().run()


class ExitCodes(SphinxDirective):
    """What the exit codes mean, as the command itself says it."""

    def run(self):
        items = nodes.bullet_list()
        for code, meaning in EXIT_CODES.items():
            text = nodes.paragraph("", "", nodes.literal("", f"{code}"), nodes.Text(f": {meaning}"))
            items += nodes.list_item("", text)
        return [items]


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, at the width of a page."""
    before, columns = Path.cwd(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "90"
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns


def help_text(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """What is in backticks is code, as in Markdown, and what keeps its line breaks is a block."""
    made: list[str] = []
    inside_block = False
    for line in lines:
        if line.startswith("| "):
            if not inside_block:
                made += ["", ".. code-block:: text", ""]
            made.append(f"    {line[2:]}")
        else:
            made += [""] * inside_block + [line if "``" in line else line.replace("`", "``")]
        inside_block = line.startswith("| ")
    lines[:] = made


def setup(app: Sphinx) -> dict:
    app.setup_extension("sphinx_click")
    app.add_directive("command", Command)
    app.add_directive("file", File)
    app.add_directive("show", Show)
    app.add_directive("picture", Picture)
    app.add_directive("exit-codes", ExitCodes)
    for part in ("description", "options", "arguments", "epilog"):
        app.connect(f"sphinx-click-process-{part}", help_text)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
