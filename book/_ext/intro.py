"""What the introduction says of the chapters: how long each takes to read.

Reading times follow from the words and figures of the chapters as they are in this build.
"""

import re
from typing import Any

import published
from docutils import nodes
from sphinx.application import Sphinx

from models import publish

WORDS_PER_MINUTE = 200  # assumed: a text to be thought about
MINUTES_PER_FIGURE = 1.5  # assumed


def records(app: Sphinx) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, key) -> what a notebook would have published under that name."""
    minutes = reading(app)
    texts = {f"minutes-{name}": f"{took:.0f}\u00a0minutes" for name, took in minutes.items()}
    texts |= {
        "words-per-minute": f"{WORDS_PER_MINUTE}",
        "minutes-per-figure": f"{MINUTES_PER_FIGURE:g}\u00a0minutes",
        "hours": f"{sum(minutes.values()) / 60:.0f}\u00a0hours",
        "chapters": f"{len(minutes)}",
    }
    return {
        ("value", key): {publish.MIME: {"value": text, "text": text}} for key, text in texts.items()
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
