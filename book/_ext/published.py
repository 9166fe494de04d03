"""Roles and directives that show in a chapter what a notebook published.

A name is `notebook:key`; without the notebook, the one of the chapter's own name. What is shown is
taken from the executed notebook when the page is written, so it cannot be stale: notebooks are run
and all pages are written at every build. An unknown name ends the build.
"""

import base64
import csv
import html
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.errors import SphinxError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from models import publish

ROWS_SHOWN = 200
ICONS = {"holds": "✓", "holds only if": "◐", "does not hold here": "✗", "not decided": "–"}
BREAKS = re.compile(r"(?<=[\d∞]) (?=±|(?:%|ms|s|h)(?!\w))|(?<=±) ")
SOURCES: dict[str, Callable] = {}  # pages whose records are made by the build, not by a notebook
logger = logging.getLogger(__name__)


class Unpublished(SphinxError):
    category = "Not published"


class published(nodes.General, nodes.Element):
    """A block that is filled in when the page is written. Attributes: kind, notebook, key."""


class published_when(nodes.General, nodes.Element):
    """What is shown only if a published value says so. Attributes: notebook, key, negated."""


class published_value(nodes.General, nodes.Inline, nodes.Element):
    """The same inside a sentence."""


def split(name: str, docname: str) -> dict[str, str]:
    notebook, colon, key = name.strip().rpartition(":")
    return {"notebook": notebook if colon else PurePosixPath(docname).name, "key": key}


class ValueRole(SphinxRole):
    """{value}`2-calls:key`, or with a format of its own: {value}`2-calls:key | .1f`."""

    def run(self):
        name, _, form = self.text.partition("|")
        node = published_value(kind="value", form=form.strip(), **split(name, self.env.docname))
        self.set_source_info(node)
        return [node], []


class Chart(SphinxDirective):
    """A numbered figure: the chart or drawing, the caption (the body), its data folded beneath."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"name": directives.unchanged, "class": directives.class_option}

    def run(self):
        names = split(self.arguments[0], self.env.docname)
        if not self.content:
            raise self.error(f"figure {self.arguments[0]!r} has no caption")
        body = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, body)
        first, *rest = body.children
        caption = nodes.caption(first.rawsource, "", *first.children)
        caption.source, caption.line = self.get_source_info()
        classes = ["published-figure", *self.options.get("class", [])]
        figure = nodes.figure("", published(kind="chart", **names), caption, classes=classes)
        figure += nodes.legend("", *rest, published(kind="data", **names))
        self.options.setdefault("name", f"fig-{names['key']}")
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


class Table(SphinxDirective):
    """A numbered table: the rows that were published, with the body as the caption."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"name": directives.unchanged}

    def run(self):
        names = split(self.arguments[0], self.env.docname)
        if not self.content:
            raise self.error(f"table {self.arguments[0]!r} has no caption")
        body = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, body)
        title = nodes.title(body[0].rawsource, "", *body[0].children)
        title.source, title.line = self.get_source_info()
        table = nodes.table(
            "", title, published(kind="table", **names), classes=["rows", "colwidths-auto"]
        )
        self.options.setdefault("name", f"tab-{names['key']}")
        self.set_source_info(table)
        self.add_name(table)
        return [table]


class When(SphinxDirective):
    """Text for a case: shown if the value is true (or, with `not` before its name, false).

    Figures and tables stand outside, so that their numbers never change; what a system does not
    have is published as absent.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self):
        name = self.arguments[0].removeprefix("not ")
        node = published_when(
            kind="value", negated=name != self.arguments[0], **split(name, self.env.docname)
        )
        self.set_source_info(node)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


class Verdict(SphinxDirective):
    """The verdict on a claim: the claim in our words, the verdict, the evidence and the edge."""

    required_arguments = 1

    def run(self):
        names = split(self.arguments[0], self.env.docname)
        node = published(kind="claim", **names)
        self.set_source_info(node)
        target = nodes.container("", node, classes=["verdict-place"], ids=[f"claim-{names['key']}"])
        return [target]


class Fill(SphinxPostTransform):
    """Put in what was published."""

    default_priority = 3  # before other transforms look at the content

    def run(self, **kwargs):
        for node in reversed(list(self.document.findall(published_when))):  # the inner ones first
            holds = bool(self.bundle(node, "value")[publish.MIME]["value"])
            node.replace_self(node.children if holds != node["negated"] else [])
        for node in list(self.document.findall(published_value)):
            bundle = self.bundle(node, "value")
            record = bundle[publish.MIME]
            shown = record["text"]
            if node["form"]:
                try:
                    shown = format(record["value"], node["form"])
                except ValueError as error:
                    raise Unpublished(f"{self.place(node)}: {error}") from None
            node.replace_self(nodes.inline("", shown, classes=["value"]))
        fillers = {"chart": self.chart, "data": self.data, "table": self.table, "claim": self.claim}
        for node in list(self.document.findall(published)):
            kind = "chart" if node["kind"] == "data" else node["kind"]
            node.replace_self(fillers[node["kind"]](node, self.bundle(node, kind)))

    def place(self, node):
        return f"{self.env.docname}:{node.line or (node.parent and node.parent.line) or ''}"

    def bundle(self, node, kind):
        found = executed(self.app, node["notebook"])
        if found is None:
            raise Unpublished(f"{self.place(node)}: there is no notebook {node['notebook']!r}")
        try:
            return found[kind, node["key"]]
        except KeyError:
            keys = [key for other, key in found if other == kind]
            error = publish.missing(kind, node["key"], keys)
            raise Unpublished(f"{self.place(node)}: {node['notebook']}: {error}") from None

    def absent(self, record):
        return nodes.paragraph("", record["absent"], classes=["absent"])

    def chart(self, node, bundle):
        if "absent" in bundle[publish.MIME]:
            return self.absent(bundle[publish.MIME])
        if holds_svg(self.app.builder):
            return nodes.raw("", bundle["text/html"], format="html")
        return self.picture(node, bundle)

    def picture(self, node, bundle):
        folder = Path(self.app.outdir) / "_images_published"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{node['notebook']}-{node['key']}.png"
        file.write_bytes(base64.b64decode(bundle["image/png"]))
        uri = Path(file).relative_to(self.env.srcdir).as_posix()
        self.env.images.add_file(self.env.docname, uri)
        alt = bundle[publish.MIME]["alt"]
        return nodes.image("", uri=uri, candidates={"*": uri}, alt=alt, width="100%")

    def data(self, node, bundle):
        if "absent" in bundle[publish.MIME]:
            return []
        if not holds_svg(self.app.builder):
            return []
        parts = []
        tables = bundle[publish.MIME]["tables"]
        for number, table in enumerate(tables, 1):
            name = node["key"] + (f"-{number}" if len(tables) > 1 else "")
            file = f"_data/{node['notebook']}/{name}.csv"
            write_csv(Path(self.app.outdir) / file, table)
            link = "../" * self.env.docname.count("/") + file
            count = len(table["rows"])
            rows = publish.table_html(table, limit=ROWS_SHOWN)
            more = f" (the first {ROWS_SHOWN} shown)" if count > ROWS_SHOWN else ""
            parts.append(
                f'<p class="download"><a href="{html.escape(link)}" download>{name}.csv</a>, '
                f'{count:,} rows{more}</p><div class="scroll">{rows}</div>'
            )
        text = f'<details class="data"><summary>Data</summary>{"".join(parts)}</details>'
        return nodes.raw("", text, format="html")

    def table(self, node, bundle):
        record = bundle[publish.MIME]
        if "absent" in record:
            record = {"table": {"columns": [""], "rows": [[record["absent"]]]}, "digits": 3}
        columns, rows = record["table"]["columns"], record["table"]["rows"]
        group = nodes.tgroup("", cols=len(columns))
        for _ in columns:
            group += nodes.colspec("", colwidth=1)

        right = publish.numeric(record["table"])

        def row(items):
            return nodes.row(
                "",
                *(
                    nodes.entry(
                        "",
                        nodes.paragraph("", publish.cell(item, record["digits"])),
                        classes=["number"] if number else [],
                    )
                    for item, number in zip(items, right, strict=True)
                ),
            )

        group += nodes.thead("", row(columns))
        group += nodes.tbody("", *(row(items) for items in rows))
        return group

    def claim(self, node, bundle):
        return verdict(bundle[publish.MIME])


class Unbroken(SphinxPostTransform):
    """A number stays on one line with its interval and its unit."""

    default_priority = Fill.default_priority + 1

    def run(self, **kwargs):
        for text in list(self.document.findall(nodes.Text)):
            if not isinstance(text.parent, nodes.literal | nodes.math | nodes.FixedTextElement):
                joined = BREAKS.sub("\u00a0", text)
                if joined != text:
                    text.parent.replace(text, nodes.Text(joined))


def verdict(record) -> nodes.container:
    """The box of one verdict."""
    holds = record["holds"]
    kind = holds.replace(" ", "-")

    def line(label, text):
        return nodes.paragraph("", "", nodes.strong("", label), nodes.Text(f" {text}"))

    words = publish.claims()[record["key"]]["claim"]
    head = nodes.paragraph("", "", classes=["verdict-word"])
    head += nodes.inline("", ICONS[holds], classes=["verdict-icon"])
    head += nodes.inline("", f" {holds[0].upper()}{holds[1:]}{' …' * holds.endswith(' if')}")
    return nodes.container(
        "",
        nodes.paragraph("", "", nodes.inline("", words), classes=["verdict-claim"]),
        head,
        line("Evidence.", record["evidence"]),
        line("The edge.", record["edge"]),
        classes=["verdict", f"verdict-{kind}"],
    )


def write_csv(file: Path, table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table["columns"])
        writer.writerows(table["rows"])


def holds_svg(builder: Builder) -> bool:
    """Whether pages can show SVG and run scripts; EPUB and LaTeX get pictures instead."""
    return builder.format == "html" and builder.name != "epub"


def executed(app: Sphinx, notebook: str):
    """What the executed notebook published, or None; read once a build."""
    kept = app.env.temp_data.setdefault("published", {})
    if notebook in SOURCES and notebook not in kept:
        kept[notebook] = SOURCES[notebook](app)
    if notebook not in kept:
        file = Path(app.outdir).parent / "jupyter_execute" / "notebooks" / f"{notebook}.ipynb"
        in_book = f"notebooks/{notebook}" in app.env.found_docs
        kept[notebook] = publish.outputs(file) if in_book and file.exists() else None
    return kept[notebook]


def notebooks(app, env, added, changed, removed):
    """Run every notebook at every build: Sphinx does not see a change in models/."""
    return [name for name in env.found_docs if name.startswith("notebooks/")]


def setup(app: Sphinx) -> dict:
    app.add_node(published)
    app.add_node(published_value)
    app.add_node(published_when)
    app.add_role("value", ValueRole())
    app.add_directive("chart", Chart)
    app.add_directive("rows", Table)
    app.add_directive("verdict", Verdict)
    app.add_directive("when", When)
    app.add_post_transform(Fill)
    app.add_post_transform(Unbroken)
    app.connect("env-get-outdated", notebooks)
    app.connect("env-updated", lambda app, env: sorted(env.found_docs))
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
