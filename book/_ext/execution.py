"""Runs every notebook of the book, side by side, before its pages are read.

MyST-NB would run them one after the other, so it runs none (`execute_notebooks: off`) and is handed
what papermill ran, in this very build: nothing that was computed earlier can be shown. A notebook
that fails ends the build. `decouple edition` has run them already, with parameters of its own.
"""

from pathlib import Path
from typing import Any

import published
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

from models import editions, publish


class Failed(SphinxError):
    category = "A notebook failed"


def run(app: Sphinx, env, docnames: list[str]) -> None:
    """Run the notebooks of the book; what papermill wrote goes to `_build/executed`."""
    if app.config.executed_notebooks:
        return
    names = (name for name in env.found_docs if name.startswith("notebooks/"))
    try:
        editions.execute((Path(app.srcdir) / f"{name}.ipynb" for name in names), folder(app))
    except editions.EditionError as error:
        raise Failed(str(error)) from None


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Hand the executed notebook to MyST-NB in place of the stored one."""
    if docname.startswith("notebooks/"):
        notebook = (folder(app) / f"{Path(docname).name}.ipynb").read_text("utf-8")
        if not published.holds_svg(app.builder):
            notebook = publish.with_pictures(notebook)
        source[0] = notebook


def folder(app: Sphinx) -> Path:
    given = app.config.executed_notebooks
    return Path(given) if given else Path(app.outdir).parent / "executed"


def records(app: Sphinx) -> dict[tuple[str, str], dict[str, Any]]:
    """What is said about an edition: whether this is one, of which system, with what parameters."""
    given = dict(app.config.edition)
    values = {"own": bool(given), "system": given.pop("name", "")}
    values["parameters"] = ", ".join(f"{name} = {value}" for name, value in given.items())
    return {
        ("value", key): {publish.MIME: {"value": value, "text": publish.number(value)}}
        for key, value in values.items()
    }


def setup(app: Sphinx) -> dict:
    app.add_config_value("executed_notebooks", "", "")
    app.add_config_value("edition", {}, "")
    published.SOURCES["edition"] = records
    app.connect("env-before-read-docs", run)
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
