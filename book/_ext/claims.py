"""The page of all claims: a table of the verdicts, and the verdicts of each chapter.

They are taken from what the notebooks published, in the order of the chapters. A claim whose chapter
gives it no verdict ends the build.
"""

from html import escape
from typing import Any

import published
from docutils import nodes
from published import ICONS, Unpublished
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from models import publish

UNDECIDED = publish.VERDICTS[-1]  # for editions: the book itself decides every claim


class claims(nodes.General, nodes.Element):
    """Filled in when the page is written. Attribute: chapter, or none for the rows of the table."""


class Claims(SphinxDirective):
    """With a chapter's name: its verdicts. Without: the table of all, with the body as caption."""

    optional_arguments = 1
    has_content = True

    def run(self):
        if self.arguments:
            node = claims(chapter=self.arguments[0])
            self.set_source_info(node)
            return [node]
        if not self.content:
            raise self.error("the table of the claims has no caption")
        body = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, body)
        title = nodes.title(body[0].rawsource, "", *body[0].children)
        title.source, title.line = self.get_source_info()
        table = nodes.table("", title, claims(chapter=None), classes=["rows", "colwidths-given"])
        self.options["name"] = "tab-claims"
        self.set_source_info(table)
        self.add_name(table)
        return [claims(chapter=""), table]


class Fill(SphinxPostTransform):
    """Put in the verdicts."""

    default_priority = 3

    def run(self, **kwargs):
        for node in list(self.document.findall(claims)):
            chapter = node["chapter"]
            if chapter is None:
                node.replace_self(self.rows())
            elif chapter == "":
                node.replace_self(self.choice())
            else:
                node.replace_self(self.boxes(chapter))

    def choice(self):
        """Buttons that leave only the claims of one verdict; without them all are there."""
        if not published.holds_svg(self.app.builder):
            return []
        found = [record["holds"] for record in verdicts(self.app).values()]
        labels = [("all", f"all {len(found)}")]
        labels += [
            (slug(word), f"{ICONS[word]} {word} ({found.count(word)})")
            for word in publish.VERDICTS
            if word in found or word != UNDECIDED
        ]
        buttons = "".join(
            f'<label><input type="radio" name="verdict" id="show-{name}"'
            f"{' checked' * (name == 'all')}> {escape(words)}</label>"
            for name, words in labels
        )
        text = f'<fieldset class="claims-shown"><legend>Show</legend>{buttons}</fieldset>'
        return nodes.raw("", text, format="html")

    def rows(self):
        """The body of the table: claim, verdict, chapter."""
        group = nodes.tgroup("", cols=3)
        for width in (6, 2, 2):
            group += nodes.colspec("", colwidth=width)
        group += nodes.thead(
            "", row(*(nodes.Text(word) for word in ("Claim", "Verdict", "Chapter")))
        )
        body = nodes.tbody("")
        for id, record in verdicts(self.app).items():
            about, holds = publish.claims()[id], record["holds"]
            words = nodes.inline("", about["claim"])
            line = row(
                nodes.reference("", "", words, refid=f"claim-{id}", internal=True),
                nodes.inline("", f"{ICONS[holds]} {holds}", classes=["verdict-word"]),
                self.link(about["chapter"], id, nodes.inline("", self.title(about["chapter"]))),
            )
            line["classes"] += ["claim", f"claim-{slug(holds)}"]
            body += line
        group += body
        return group

    def boxes(self, chapter):
        """The verdicts of a chapter, each with its id and the way to its place in the chapter."""
        found = {
            id: record
            for id, record in verdicts(self.app).items()
            if publish.claims()[id]["chapter"] == chapter
        }
        if not found:
            raise Unpublished(f"{self.env.docname}: no claim belongs to a chapter {chapter!r}")
        parts = []
        for id, record in found.items():
            box = published.verdict(record)
            more = nodes.inline("", f"in the chapter: {self.title(chapter)}")
            box += nodes.paragraph(
                "", "", nodes.literal("", id), nodes.Text(", "), self.link(chapter, id, more)
            )
            box[-1]["classes"] += ["verdict-from"]
            parts.append(nodes.container("", box, classes=["verdict-place"], ids=[f"claim-{id}"]))
        return parts

    def link(self, chapter, id, words):
        """To the verdict in the chapter."""
        here, there = self.env.docname, f"book/{chapter}"
        return make_refnode(self.app.builder, here, there, f"claim-{id}", words)

    def title(self, chapter):
        """A chapter's number in this book, and its title up to the colon."""
        place = f"book/{chapter}"
        number = self.env.toc_secnumbers.get(place, {}).get("", ())
        name, _, _ = self.env.titles[place].astext().partition(":")
        return " ".join([".".join(map(str, number)), name]).strip()


def row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def slug(holds: str) -> str:
    return holds.replace(" ", "-")


def verdicts(app: Sphinx) -> dict[str, dict[str, Any]]:
    """Claim id -> what its chapter's notebook published on it, in the order of the chapters."""
    found = {}
    for id, about in sorted(publish.claims().items(), key=lambda item: item[1]["chapter"]):
        bundles = published.executed(app, about["chapter"])
        if bundles is None:
            raise Unpublished(f"claim {id!r}: there is no notebook {about['chapter']!r}")
        if ("claim", id) not in bundles:
            raise Unpublished(f"claim {id!r} has no verdict in notebook {about['chapter']!r}")
        found[id] = bundles["claim", id][publish.MIME]
    return found


def records(app: Sphinx) -> dict[tuple[str, str], dict[str, Any]]:
    """How many claims there are, and how many of each verdict."""
    found = [record["holds"] for record in verdicts(app).values()]
    counts = {"all": len(found)} | {slug(word): found.count(word) for word in publish.VERDICTS}
    return {
        ("value", key): {publish.MIME: {"value": n, "text": publish.number(n)}}
        for key, n in counts.items()
    }


def setup(app: Sphinx) -> dict:
    published.SOURCES["claims"] = records
    app.add_node(claims)
    app.add_directive("claims", Claims)
    app.add_post_transform(Fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
