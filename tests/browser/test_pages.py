"""The pages as a reader's browser sees them. Each page is opened as a file, every other host is
unresolvable, and whatever is asked for is logged."""

import os
from pathlib import Path

import chromium
import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent.parent
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
SITE = Path(os.environ.get("BOOK_HTML", ROOT / "_build" / "html"))
PAGES = sorted(f"book/{path.stem}.html" for path in ROOT.glob("book/*.md"))
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def browser():
    if not (SITE / "index.html").exists():
        pytest.fail(f"there is no built book in {SITE}: run `make book` first", pytrace=False)
    if (place := chromium.find()) is None:
        pytest.fail("there is no Chromium: `make test` says how to get it", pytrace=False)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=place, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens a page; its `asked` and `said` hold all requests and the console's errors."""
    contexts = []

    def run(name, size=DESKTOP, scheme="light", scripts=True):
        context = browser.new_context(
            viewport=size, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda sent: page.asked.append(sent.url))
        page.on("requestfailed", lambda sent: page.said.append(f"failed: {sent.url}"))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on(
            "console",
            lambda line: page.said.append(line.text) if line.type == "error" else None,
        )
        page.goto((SITE / name).as_uri())
        return page

    yield run
    for context in contexts:
        context.close()


def read_through(page):
    """Scroll to each chart and wait until it is live."""
    for box in page.query_selector_all(".chart"):
        box.scroll_into_view_if_needed()
        page.wait_for_function("box => box.dataset.live === 'yes'", arg=box, timeout=15_000)


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def brightness(colour):
    return sum(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


def with_slider():
    """The first page of the book that has a slider."""
    for name in PAGES:
        if '"input":"range"' in (SITE / name).read_text("utf-8"):
            return name
    pytest.fail("no page of the book has a slider")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_works_alone_fits_and_sets_its_formulas(visit, name, size):
    page = visit(name, size)
    read_through(page)
    if page.query_selector(".math"):
        page.wait_for_selector("mjx-container svg", timeout=15_000)
        assert page.query_selector_all("mjx-merror, [data-mjx-error]") == []
    page.wait_for_timeout(300)
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    drawn = page.eval_on_selector_all(
        ".chart .live svg, .drawing svg",
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])",
    )
    for left, right in drawn:
        assert left >= 0 and right <= size["width"]


@pytest.mark.parametrize("kind", ["img", "script", "iframe"])
def test_a_request_to_another_host_is_seen(visit, tmp_path, kind):
    page = tmp_path / "page.html"
    page.write_text(f'<h1>A page</h1><{kind} src="http://elsewhere.example/it"></{kind}>', "utf-8")
    asked = visit(page).asked
    assert [url for url in asked if not url.startswith("file:")] == ["http://elsewhere.example/it"]


def test_a_slider_moves_the_marks(visit):
    page = visit(with_slider())
    read_through(page)
    box = page.query_selector(".chart:has(input[type=range])")
    marks = "box => [...box.querySelectorAll('.mark-line path, .mark-symbol path, .mark-rect path, .mark-area path, .mark-text text')].map(m => m.outerHTML).join()"
    before = box.evaluate(marks)
    handle = box.query_selector("input[type=range]")
    handle.focus()
    page.keyboard.press("End")
    page.wait_for_function(
        f"([box, before]) => ({marks})(box) !== before", arg=[box, before], timeout=5_000
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_follow_the_scheme(visit, scheme):
    page = visit(with_slider(), scheme=scheme)
    read_through(page)
    colour = "getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill"
    ground, ink = brightness(background(page)), brightness(page.evaluate(colour))
    assert (ground > 200 and ink < 130) if scheme == "light" else (ground < 60 and ink > 130)


def test_the_switch_changes_the_scheme_of_live_charts(visit):
    page = visit(with_slider())
    read_through(page)
    colour = "getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill"
    seen = {(background(page), page.evaluate(colour))}
    for _ in range(3):
        page.click("button.theme-switch-button >> visible=true")
        page.wait_for_timeout(100)
        seen.add((background(page), page.evaluate(colour)))
    assert len(seen) == 2
    (one_ground, one_ink), (other_ground, other_ink) = seen
    assert one_ground != other_ground and one_ink != other_ink


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_scripts_the_picture_stays(visit, scheme):
    page = visit(with_slider(), scheme=scheme, scripts=False)
    picture = page.locator(".chart > svg").first
    assert picture.bounding_box()["width"] > 300
    assert picture.get_attribute("aria-label")
