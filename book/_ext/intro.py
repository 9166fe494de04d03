"""What the introduction shows: the road as one picture, and how long each chapter takes to read.

The picture is the one that `make picture` measured; what it says is its table. Reading times follow
from the words and figures of the chapters as they are in this build.
"""

import base64
import re
from html import unescape
from pathlib import Path
from typing import Any

import published
import vl_convert
from docutils import nodes
from sphinx.application import Sphinx

from models import publish

WORDS_PER_MINUTE = 200  # assumed: a text to be thought about
MINUTES_PER_FIGURE = 1.5  # assumed
SCHEMES = ("light", "dark")


def records(app: Sphinx) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, key) -> what a notebook would have published under that name."""
    found: dict[tuple[str, str], dict[str, Any]] = {("chart", "road"): road(Path(app.srcdir))}
    minutes = reading(app)
    texts = {f"minutes-{name}": f"{took:.0f}\u00a0minutes" for name, took in minutes.items()}
    texts |= {
        "words-per-minute": f"{WORDS_PER_MINUTE}",
        "minutes-per-figure": f"{MINUTES_PER_FIGURE:g}\u00a0minutes",
        "hours": f"{sum(minutes.values()) / 60:.0f}\u00a0hours",
        "chapters": f"{len(minutes)}",
    }
    for key, text in texts.items():
        found["value", key] = {publish.MIME: {"value": text, "text": text}}
    return found


def road(folder: Path) -> dict[str, Any]:
    """The picture in both colour schemes, and its numbers as rows."""
    files = {scheme: folder / "book" / f"road-{scheme}.svg" for scheme in SCHEMES}
    svgs = {scheme: file.read_text("utf-8") for scheme, file in files.items()}
    said = re.search(r"<desc>(.*?)</desc>", svgs["light"])
    assert said, "the picture of the road has no description"
    words = unescape(said.group(1))
    table = [re.split(", |: ", part, maxsplit=2) for part in words.split("; ")]
    shown = "".join(
        f'<div class="road-scroll only-{scheme}">{svg}</div>' for scheme, svg in svgs.items()
    )
    record = {
        "kind": "chart",
        "key": "road",
        "alt": f"The shop at three stages of the road: {words}",
        "tables": [{"columns": ["stage", "mean time", "measured"], "rows": table}],
    }
    png = vl_convert.svg_to_png(svgs["light"], scale=2)
    return {
        publish.MIME: record,
        "text/html": f'<div class="drawing road">{shown}</div>',
        "image/png": base64.b64encode(png).decode(),
    }


def reading(app: Sphinx) -> dict[str, float]:
    """Chapter -> minutes to read it."""
    found = {}
    for name in sorted(app.env.found_docs):
        if re.match(r"book/\d-", name):
            page = app.env.get_doctree(name)
            words = sum(len(part.astext().split()) for part in page.findall(nodes.paragraph))
            figures = len(list(page.findall(nodes.figure)))
            found[name.removeprefix("book/")] = (
                words / WORDS_PER_MINUTE + figures * MINUTES_PER_FIGURE
            )
    return found


def setup(app: Sphinx) -> dict:
    published.SOURCES["intro"] = records
    return {"parallel_read_safe": True, "parallel_write_safe": True}
