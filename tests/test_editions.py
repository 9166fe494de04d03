"""Editions: the whole book for a bundled system and for one that nobody has seen."""

import random
import re

import golden
import papermill
import pytest
import test_site
from bs4 import BeautifulSoup
from click.testing import CliRunner

from models import editions, publish
from models.cli import main
from models.system import System, bundled

# Fewer runs than the book: what is tested is that every page is there and true of the system.
QUICK = {
    "replications": 2, "requests": 2000, "simulated_futures": 1000, "wait_requests": 4000, "incidents": 1000, "futures": 200,
    "span": 20.0, "years": 20.0, "storm_runs": 2, "window_runs": 2, "runs": 40, "both": 100,
}  # fmt: skip
SEED = 6


def random_system(seed):
    """A valid system of random size: infrastructures, teams, calls and messages, without overload."""
    draw = random.Random(seed)
    places = [f"place{number}" for number in range(draw.randint(1, 3))]
    names = [f"svc{number}" for number in range(draw.randint(3, 7))]
    services = {
        name: {
            "infrastructure": draw.choice(places),
            "team": f"team{draw.randint(0, 2)}",
            "workers": draw.choice([3, 8, "unlimited"]),
        }
        for name in names
    }

    def step(number, depth):
        """Calls go to services of higher numbers, so that none can lock up."""
        made = {"service": names[number], "work": {"mean_ms": draw.choice([1, 4.5, 12])}}
        made |= draw.choice([{}, {"undo": {"mean_ms": 3}}, {"fails": 0.02}])
        below = [
            step(draw.randint(number + 1, len(names) - 1), depth + 1)
            for _ in range(draw.randint(0, 3))
            if number + 1 < len(names) and depth < 3
        ]
        for child in below:
            child |= draw.choice([{}, {"via": "log"}, {"deferrable": True}])
        return made | ({"then": below} if below else {})

    return {
        "name": f"Random {seed}",
        "infrastructures": {place: {} for place in places},
        "network": {
            "between": [
                {"ends": [a, b], "rtt_ms": draw.choice([2, 15])}
                for number, a in enumerate(places)
                for b in places[:number]
            ]
        },
        "brokers": {"log": {"infrastructure": places[0], "ack": {"mean_ms": 2}}},
        "services": services,
        "flows": {
            f"flow{number}": {"rate_per_s": draw.choice([3, 25]), "root": step(0, 0)}
            for number in range(draw.randint(1, 2))
        },
    }


def in_this_process(files, out, given, *_):
    """Run notebooks as `editions.execute` does, but without kernels, which take long to start."""
    out.mkdir()
    for file in files:
        names = papermill.inspect_notebook(str(file))
        own = {name: value for name, value in given.items() if name in names}
        golden.execute(file.stem, out, **own)


@pytest.mark.parametrize("name", [*bundled(), "random"])
def test_an_edition_is_a_whole_book_of_its_system(name, tmp_path, monkeypatch):
    file = name
    if name != "random":
        monkeypatch.setattr(editions, "execute", in_this_process)
    else:
        file = str(tmp_path / "mine.yml")
        system = System.model_validate(random_system(SEED))
        (tmp_path / "mine.yml").write_text(system.to_yaml(), "utf-8")
    system = System.load(file)
    site = tmp_path / "edition"
    assert editions.build(file, site, QUICK) == ""  # no warnings
    pages = {
        path: BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    assert test_site.dead(pages) == {}
    for path, page in pages.items():
        assert test_site.external(page) == [], path
        assert test_site.undescribed(page) == test_site.unnumbered(page) == [], path
    for page in pages.values():
        for part in page.select(COMPARES):
            part.decompose()
    said = {path.stem: page.select_one("article").get_text(" ") for path, page in pages.items()
            if path.parent.name == "book"}  # fmt: skip
    assert system.name in said["intro"] and system.name in said["8-roadmap"]
    assert len(pages[site / "book" / "claims.html"].select("tr.claim")) == 23
    keep_the_books = {  # chapters about what the system does not have; they say so
        path.stem
        for path in site.glob("notebooks/*.ipynb")
        if publish.read(path)["values"].get("own", {}).get("value") is False
    }
    assert keep_the_books == KEEPS_THE_BOOKS.get(name, set())
    words = UNMISTAKABLE - {*system.services, *system.flows, system.name}
    for chapter, text in said.items():
        if re.match(r"\d-", chapter) and chapter not in keep_the_books:
            found = {word for word in words if re.search(rf"\b{word}\b", text)}
            assert not found, (chapter, found)


# Tables beside the bundled systems, and the one exercise that is about the book's shop by name.
COMPARES = "#tab-choice, #tab-advice, #exercises .admonition"
# Chapters whose subject stays that of the book: the shop itself, and nothing that is undone.
KEEPS_THE_BOOKS = {"shop": {"1-saga", "2-calls", "3-broker"}, "social-network": {"1-saga"}}
# Of the words of the shop those that no other text has, as it has "order".
UNMISTAKABLE = {"place_order", "loyalty", "Online shop"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["shop", "--out", "here", "-p", "request=5"], "did you mean 'requests'?"),
        (["shop", "--out", "here", "-p", "requests"], "expected NAME=VALUE"),
        (["shop", "--out", "here", "-p", "requests=many"], "expected a whole number"),
        (["shpo", "--out", "here"], "did you mean 'shop'?"),
        (["shop", "--out", "full"], "expected a new or an empty folder"),
        (["shop", "--out", "no/such/folder"], "no folder that can be written"),
    ],
)
def test_what_cannot_be_built_is_refused_at_once(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept", "utf-8")
    done = CliRunner().invoke(main, ["edition", *words])
    assert done.exit_code == 2
    assert expected in done.stderr and len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_notebook_that_cannot_run_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(editions, "NOTEBOOKS", editions.NOTEBOOKS[:2])
    with pytest.raises(editions.EditionError, match="replications: 1 was found"):
        editions.build("shop", tmp_path / "edition", {"replications": 1})
    assert list(tmp_path.iterdir()) == []
