"""The built book: complete, linked, described, numbered, and asking no other host."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import nbformat.v4 as v4
import papermill
import pytest
import yaml
from bs4 import BeautifulSoup

from models import publish

ROOT = Path(__file__).parent.parent
FLAGS = ["-W", "-n", "--keep-going"]
PAGE_LIMIT = 1_500_000  # bytes, beside the libraries that all pages share


@pytest.fixture(scope="session")
def site():
    """The built book; BOOK_HTML names another place than the usual one."""
    folder = Path(os.environ.get("BOOK_HTML", ROOT / "_build" / "html"))
    if not (folder / "index.html").exists():
        pytest.fail(f"there is no built book in {folder}: run `make book` first", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def pages(site):
    """Every page by its path, parsed."""
    return {
        path: BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }


def external(page):
    """Addresses of other hosts that a browser would load; links for the reader are no such."""
    found = []
    for node in page.find_all(
        ["script", "link", "img", "iframe", "source", "video", "audio", "object"]
    ):
        if node.name == "link" and not {"stylesheet", "preload", "icon"} & set(node.get("rel", [])):
            continue
        for name in ("src", "href", "data"):
            if urlsplit(str(node.get(name, ""))).netloc:
                found.append(node[name])
    for node in page.find_all("style"):
        found += re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", node.get_text())
    return found


def dead(pages):
    """By page, internal links whose page, file or anchor does not exist."""
    anchors = {
        path: {node["id"] for node in page.find_all(id=True)} for path, page in pages.items()
    }
    found = {}
    for path, page in pages.items():
        for node in page.find_all("a", href=True):
            parts = urlsplit(node["href"])
            if parts.scheme or parts.netloc or node["href"] == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            if not target.exists() or (
                fragment and target in pages and fragment not in anchors[target]
            ):
                found.setdefault(path, []).append(node["href"])
    return found


def undescribed(page):
    """Pictures without a description for those who cannot see them."""
    pictures = [node for node in page.find_all("img") if not node.get("alt", "").strip()]
    pictures += [
        node
        for node in page.select("figure svg, .chart svg, .drawing svg")
        if not node.find_parent("svg") and not (node.get("aria-label") or node.find("title"))
    ]
    return [str(node)[:80] for node in pictures]


def unnumbered(page):
    """Figures without a number or without a caption's text."""
    found = []
    for figure in page.find_all("figure"):
        number = figure.select_one("figcaption .caption-number")
        words = figure.select_one("figcaption .caption-text")
        if not (number and re.search(r"\d", number.text) and words and words.text.strip(" #")):
            found.append(figure.get("id"))
    return found


def listed(toc):
    """Every file that the table of contents names."""
    files = [toc[name] for name in ("root", "file") if name in toc]
    for name in ("parts", "chapters", "sections"):
        for part in toc.get(name) or []:
            files += listed(part)
    return files


def missing(folder, toc):
    """Pages that the table of contents names and that are not in the folder."""
    return [name for name in listed(toc) if not (folder / f"{name}.html").exists()]


def test_every_page_is_there(site):
    assert missing(site, yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))) == []


def test_every_chapter_and_notebook_is_in_the_book():
    files = listed(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8")))
    for path in [*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")]:
        assert path.relative_to(ROOT).with_suffix("").as_posix() in files, path


def test_pages_say_what_they_should(site):
    intro = (site / "book" / "intro.html").read_text("utf-8")
    for words in ("Decoupling in Stages", "one and the same system", "typed by hand"):
        assert words in intro


def test_chapters_show_what_their_notebooks_published(site, pages):
    for path in ROOT.glob("notebooks/*.ipynb"):
        chapter = site / "book" / f"{path.stem}.html"
        if chapter not in pages:
            continue
        page = pages[chapter]
        assert page.select(".published-figure .chart, .published-figure .drawing"), chapter
        judged = page.select(".verdict .verdict-word")
        assert judged or path.stem in ("1-saga", "trust"), chapter
        assert page.select("span.value"), chapter


def test_no_page_loads_from_another_host(pages):
    assert {path: external(page) for path, page in pages.items() if external(page)} == {}


def test_every_page_forbids_other_hosts(pages):
    for path, page in pages.items():
        if page.find("article"):
            policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
            assert policy and policy["content"].startswith("default-src 'self'"), path


def test_no_internal_link_is_dead(pages):
    assert dead(pages) == {}


def test_every_picture_is_described(pages):
    assert {p: undescribed(page) for p, page in pages.items() if undescribed(page)} == {}


def test_every_figure_has_a_number_and_a_caption(pages):
    assert {p: unnumbered(page) for p, page in pages.items() if unnumbered(page)} == {}


def test_every_table_of_a_chapter_has_a_number_and_a_caption(site, pages):
    for chapter in ROOT.glob("book/[0-9]-*.md"):
        page = pages[site / "book" / f"{chapter.stem}.html"]
        for table in page.select("article table"):
            if not table.find_parent("details"):  # a figure's data
                number = table.select_one("caption .caption-number")
                assert number and re.search(r"\d", number.text), (chapter.stem, table.text[:80])


def test_every_figure_brings_its_data(site, pages):
    for path, page in pages.items():
        for figure in page.select("figure.published-figure"):
            links = figure.select("details.data a[download]")
            assert links, (path, figure.get("id"))
            for link in links:
                assert (path.parent / link["href"]).stat().st_size > 0


def test_pages_are_light(pages):
    heavy = {path: path.stat().st_size for path in pages if path.stat().st_size > PAGE_LIMIT}
    assert heavy == {}


def test_stylesheets_load_from_no_other_host(site):
    for path in site.rglob("*.css"):
        loads = re.findall(
            r"(?:url\(|@import\s+)['\"]?((?:https?:)?//\S+)", path.read_text("utf-8")
        )
        assert not loads, (path, loads)


def cells(page, name):
    """The rows of a table of a page, as text."""
    lines = page.select(f"table#tab-{name} tbody tr")
    return [
        [" ".join(cell.get_text(" ").split()) for cell in line.find_all("td")] for line in lines
    ]


def test_the_page_of_the_claims_has_a_row_and_a_box_for_each(site, pages):
    page = pages[site / "book" / "claims.html"]
    there = publish.claims()
    shown = cells(page, "claims")
    assert {row[0] for row in shown} == {about["claim"] for about in there.values()}
    assert len(shown) == len(there) == len(page.select(".verdict"))
    assert [row[2] for row in shown] == sorted(row[2] for row in shown)
    for id, about in there.items():
        box = page.find(id=f"claim-{id}")
        chapter = pages[site / "book" / f"{about['chapter']}.html"].find(id=f"claim-{id}")
        for part in (".verdict-word", ".verdict-claim"):
            assert box.select_one(part).text == chapter.select_one(part).text
        for text in ("Evidence.", "The edge.", id):
            assert text in box.text, id
    counts = [row[1].split(" ", 1)[1] for row in shown]
    for label in page.select("fieldset.claims-shown label")[1:]:
        word, number = re.search(r". ([a-z ]+) \((\d+)\)", label.text).groups()
        assert counts.count(word) == int(number)


def test_the_introduction_shows_the_road_and_every_chapter(site, pages):
    page = pages[site / "book" / "intro.html"]
    shown = {title.text.split(":")[0] for title in page.select("figure#fig-road svg > title")}
    assert {"synchronous", "asynchronous", "separated"} <= shown
    links = {link["href"] for link in page.select(".bd-article li a")}
    for path in ROOT.glob("book/[0-9]-*.md"):
        assert f"{path.stem}.html" in links


def test_the_glossary_has_each_term_once_in_both_languages(site, pages):
    page = pages[site / "book" / "glossary.html"]
    terms = [term.get_text().strip("#").strip() for term in page.select("dl.glossary dt")]
    assert len(terms) == len(set(terms)) == 2 * len(page.select("dl.glossary dd"))
    assert all(re.search(r"[\u3040-\u9fff]", japanese) for japanese in terms[1::2])
    assert not any(re.search(r"[\u3040-\u9fff]", english) for english in terms[::2])


def test_the_references_list_every_entry(site, pages):
    page = pages[site / "book" / "references.html"]
    entries = re.findall(r"^@", (ROOT / "book" / "references.bib").read_text("utf-8"), re.M)
    assert len(page.select(".citation .label, dl.citation dt")) == len(entries)


def test_the_status_page_says_what_built_this_book(site, pages):
    page = pages[site / "book" / "status.html"]
    versions = cells(page, "versions")
    assert {"numba", "simpy", "jupyter-book", "pytest"} <= {name for name, _, _ in versions}
    for name, shown, _ in versions:
        assert shown == version(name)
    notebooks = {path.stem: path for path in ROOT.glob("notebooks/*.ipynb")}
    ran = cells(page, "notebooks")
    assert [row[0] for row in ran] == sorted(notebooks)
    assert all(float(row[-1]) > 0 for row in ran)
    assert cells(page, "parameters") == [
        [name, key, parameter["default"], parameter["help"]]
        for name, path in sorted(notebooks.items())
        for key, parameter in papermill.inspect_notebook(str(path)).items()
    ]


def test_the_status_page_shows_what_was_measured(site, pages):
    page = pages[site / "book" / "status.html"]
    bench = json.loads((ROOT / "book" / "benchmarks.json").read_text("utf-8"))
    assert bench["date"] in page.get_text() and bench["machine"]["processor"] in page.get_text()
    shown = cells(page, "targets")
    assert [row[0] for row in shown] == [row["what"] for row in bench["targets"]]
    assert [row[-1] for row in shown] == ["yes" if row["met"] else "no" for row in bench["targets"]]
    for line, row in zip(cells(page, "speeds"), bench["speeds"], strict=True):
        assert line[:2] == [row["system"], row["program"]]
        assert float(line[2].replace(",", "")) == pytest.approx(row["per_s"], rel=0.005)
    for line, row in zip(cells(page, "sweeps"), bench["sweeps"], strict=True):
        assert line[0] == row["where"]
        assert float(line[1].replace(",", "")) == pytest.approx(row["points_per_s"], rel=0.005)


# The same checks see what is wrong.


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (external, '<script src="https://cdn.example/x.js"></script>'),
        (external, '<link rel="stylesheet" href="//cdn.example/x.css">'),
        (external, '<img alt="x" src="http://example/x.png">'),
        (external, "<style>@font-face{src:url('https://example/x.woff')}</style>"),
        (undescribed, '<img src="x.png">'),
        (undescribed, '<div class="chart"><svg></svg></div>'),
        (unnumbered, "<figure><svg></svg></figure>"),
        (
            unnumbered,
            '<figure><figcaption><span class="caption-text">Hm</span></figcaption></figure>',
        ),
    ],
)
def test_a_flaw_is_seen(check, text):
    assert check(BeautifulSoup(text, "html.parser"))


def test_a_dead_link_is_seen(tmp_path):
    path = tmp_path / "a.html"
    path.write_text('<a href="b.html">b</a> <a href="#no">no</a> <a href="#yes" id="yes">yes</a>')
    page = BeautifulSoup(path.read_text(), "html.parser")
    assert dead({path: page}) == {path: ["b.html", "#no"]}


def test_a_missing_page_is_seen(tmp_path):
    (tmp_path / "a.html").touch()
    toc = {"root": "a", "parts": [{"chapters": [{"file": "b", "sections": [{"file": "c"}]}]}]}
    assert missing(tmp_path, toc) == ["b", "c"]


# A book with a flaw does not build.


@pytest.fixture
def build(tmp_path):
    """Builds a book of one chapter and one notebook with this book's own configuration."""

    def run(
        chapter="Fine: {value}`n`.",
        code="publish.value('n', 41 + 1)",
        package=ROOT,
        pages=(),
        more=(),
    ):
        shutil.copyfile(ROOT / "_config.yml", tmp_path / "_config.yml")
        shutil.copytree(ROOT / "book", tmp_path / "book", dirs_exist_ok=True)
        (tmp_path / "book" / "1-tiny.md").write_text(f"# Tiny\n\n{chapter}\n", "utf-8")
        notebook = v4.new_notebook(
            cells=[
                v4.new_markdown_cell("# Its notebook"),
                v4.new_code_cell(f"from models import publish\n\n{code}"),
            ],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        (tmp_path / "notebooks" / "1-tiny.ipynb").write_text(nbformat.writes(notebook), "utf-8")
        files = ["notebooks/1-tiny", *pages]
        toc = {
            "format": "jb-book",
            "root": "book/1-tiny",
            "chapters": [{"file": name} for name in files],
        }
        (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc), "utf-8")
        (tmp_path / "_build").mkdir(exist_ok=True)
        for library in ROOT.glob("_build/.vega-*.js"):  # made anew, it takes seconds
            shutil.copy(library, tmp_path / "_build")
        command = [Path(sys.executable).parent / "jupyter-book", "build", tmp_path, *FLAGS, *more]
        environment = {**os.environ, "PYTHONPATH": str(package)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        page = tmp_path / "_build" / "html" / "book" / "1-tiny.html"
        return done.returncode, done.stdout + done.stderr, page

    return run


def test_a_book_without_a_flaw_builds(build):
    code, said, page = build()
    assert code == 0, said
    assert 'Fine: <span class="value">42</span>' in page.read_text("utf-8")


def test_a_number_stays_on_one_line_with_its_interval_and_unit(build):
    code, said, page = build(chapter="With 95 % it is {value}`n`, not `3 ms`.",
                             code="publish.value('n', 41.5, 'ms', half_width=2.0)")  # fmt: skip
    assert code == 0, said
    shown = BeautifulSoup(page.read_text("utf-8"), "html.parser").text
    assert "With 95\u00a0% it is 41.5\u00a0±\u00a02.0\u00a0ms, not 3 ms." in shown


def test_text_for_a_case_is_shown_in_that_case_alone(build):
    chapter = """
:::{when} n
There is {value}`n`.
:::

:::{when} not n
There is none, and {value}`gone` is not asked for.
:::

```{chart} lag
What is absent keeps its number and its caption.
```
"""
    code = "publish.value('n', 42)\npublish.absent('chart', 'lag', 'This system has no broker.')"
    done, said, page = build(chapter=chapter, code=code)
    assert done == 0, said
    shown = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    assert "There is 42." in shown.text and "There is none" not in shown.text
    assert "This system has no broker." in shown.find("figure").text
    assert unnumbered(shown) == []


def test_charts_are_pictures_in_an_epub(build, tmp_path):
    code = """import altair as alt
import pandas as pd

rows = pd.DataFrame({"x": [0, 1], "y": [1, 2]})
publish.chart("lag", alt.Chart(rows).mark_line().encode(x="x:Q", y="y:Q"), alt="A line.")"""
    more = ["--builder=custom", "--custom-builder=epub"]
    done, said, _ = build(chapter="```{chart} lag\nA caption.\n```", code=code, more=more)
    assert done == 0, said
    (book,) = tmp_path.glob("_build/epub/*.epub")
    with zipfile.ZipFile(book) as parts:
        page = BeautifulSoup(parts.read("book/1-tiny.xhtml"), "html.parser")
        picture = page.select_one("figure img")
        assert picture["alt"] == "A line." and picture["src"].startswith("../")
        assert parts.read(picture["src"].removeprefix("../")).startswith(b"\x89PNG")
        notebook = BeautifulSoup(parts.read("notebooks/1-tiny.xhtml"), "html.parser")
    assert notebook.find("img") and not notebook.find("script", type="application/json")


def test_a_changed_constant_of_the_models_changes_the_page(build, tmp_path_factory):
    """Built again in the same folder, where everything else is as it was."""
    package = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "models", package / "models")
    code = "from models import stages\n\npublish.value('n', stages.ACK_MS, 'ms')"
    shown = re.compile('Fine: <span class="value">([^<]*)')
    pages = []
    for change in ("", "\nACK_MS = 7.25\n"):
        with (package / "models" / "stages.py").open("a", encoding="utf-8") as stream:
            stream.write(change)
        done, said, page = build(code=code, package=package)
        assert done == 0, said
        pages += shown.findall(page.read_text("utf-8"))
    assert pages[0] != pages[1] == "7.25\u00a0ms"


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ({"code": "raise ValueError('broken cell')"}, "broken cell"),
        ({"chapter": "{value}`m`"}, "no value 'm' was published"),
        ({"chapter": "{value}`2-other:n`"}, "there is no notebook '2-other'"),
        ({"chapter": "```{verdict} soak-first\n```"}, "no claim 'soak-first' was published"),
    ],
    ids=["cell", "value", "notebook", "claim"],
)
def test_a_flaw_ends_the_build(build, flaw, message):
    code, said, _ = build(**flaw)
    assert code != 0
    assert message in re.sub(r"\s+", " ", said)


WARNED_OF = {
    "[gone](gone.md)": "gone.md",
    "{numref}`fig-gone`": "fig-gone",
    "```{chart} n\n```": "has no caption",
    "### A level left out": "Non-consecutive header level",
}


def test_each_flaw_is_warned_of_and_a_warning_ends_the_build(build):
    """A line each. The book is built with -W, so that any of them is enough."""
    code, said, _ = build(chapter="\n\n".join([*WARNED_OF, "{value}`n`"]), pages=["book/gone"])
    lines = [line for line in said.splitlines() if re.search("WARNING|ERROR", line)]
    found = [
        [line for line in lines if words in line] for words in (*WARNED_OF.values(), "book/gone")
    ]
    assert [len(each) for each in found] == [1] * 5 and len(lines) == 5, lines
    assert code != 0
