"""The pages "Your system": what they tell a reader to type works, and the references are complete."""

import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from test_site import pages, site  # noqa: F401

from models import System
from models.cli import EXIT_CODES, main

BOOK = Path(__file__).parent.parent / "book"
PAGES = ("your-system", "how-to", "file-format", "commands")
BLOCK = re.compile(r"^```\{?(\w+)\}?([^\n]*)\n(.*?)^```$", re.M | re.S)


def blocks(page):
    """(kind, argument, options, body) of every fenced block of a page, in order."""
    for kind, argument, inner in BLOCK.findall((BOOK / f"{page}.md").read_text("utf-8")):
        options = dict(re.findall(r"^:(\w+): ?(.*)$", inner, re.M))
        body = re.sub(r"\A(:\w+:.*\n)+", "", inner)
        yield kind, argument.strip(), options, body


def files(page):
    return {argument: body for kind, argument, _, body in blocks(page) if kind == "file"}


def typed(page):
    """The lines for a shell on a page, continuations joined."""
    for kind, _, _, body in blocks(page):
        if kind == "sh":
            yield from body.replace("\\\n", " ").strip().split("\n")


def command_of(words):
    """The command that words begin with, the context to parse them in, and the other words."""
    found, context = main, click.Context(main)
    words = list(words)
    while isinstance(found, click.Group):
        found = found.commands[words.pop(0)]
        context = click.Context(found, parent=context)
    return found, context, words


def everything(group=main, above=()):
    """(path, command) of every command and group of commands."""
    for name, command in group.commands.items():
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from everything(command, (*above, name))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_typed_from_top_to_bottom_in_an_empty_folder(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = []
    for kind, argument, options, body in blocks(page):
        if kind == "file":
            (tmp_path / argument).write_text(body)
        elif kind == "command":
            result = CliRunner().invoke(main, shlex.split(argument), prog_name="decouple")
            assert result.exit_code == int(options.get("exit", 0)), result.output
            assert result.output.strip() or options.get("lines") == "0"
            ran.append(argument.split()[0])
    assert not list(tmp_path.glob("*.part"))
    if page == "your-system":
        assert ran == ["import", "init", "check", "check", "draw", "run", "run", "road", "claims",
                       "sweep", "check"]  # fmt: skip
        assert {"draft.yml", "start.yml", "mine.yml", "mine.svg", "payment.csv"} <= {
            file.name for file in tmp_path.iterdir()
        }


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_does_not_run_has_options_that_there_are(page):
    for line in typed(page):
        words = shlex.split(line)
        if words[0] == "decouple":
            command, context, rest = command_of(words[1:])
            command.make_parser(context).parse_args(rest)


def test_the_draft_of_the_tutorial_becomes_its_system(tmp_path):
    """The same services, replicas and owners, but for what the page says came from people."""
    (tmp_path / "compose.yml").write_text(files("your-system")["compose.yml"])
    (tmp_path / "mine.yml").write_text(files("your-system")["mine.yml"])
    from models.compose import compose

    draft = compose(str(tmp_path / "compose.yml")).data
    mine = System.load(tmp_path / "mine.yml")
    assert draft["services"].keys() == mine.services.keys()
    for name, service in draft["services"].items():
        assert mine.services[name].team == service["team"]
        assert mine.services[name].workers == service["workers"] * (2 if name == "web" else 1)
    (flow,) = draft["flows"].values()
    guessed = [step["service"] for step in walk(flow["root"])]
    assert guessed == [entry.step.service for entry in mine.steps("book")]


def walk(step):
    yield step
    for below in step.get("then", ()):
        yield from walk(below)


# --- the gate for CI --------------------------------------------------------------------------------


def test_the_gate_passes_stops_at_the_budget_and_refuses_an_overload(tmp_path):
    for name, text in files("how-to").items():
        (tmp_path / name).write_text(text)
    tool = Path(sys.executable).with_name("decouple")
    assert tool.exists(), "the command is not installed"

    def gate():
        path = f"{tool.parent}:/usr/bin:/bin"
        return subprocess.run(
            [shutil.which("bash"), "gate.sh"], cwd=tmp_path, capture_output=True, text=True,
            env={"PATH": path, "PYTHONPATH": str(BOOK.parent), "HOME": str(tmp_path)},
        )  # fmt: skip

    passed = gate()
    assert passed.returncode == 0 and "budget" in passed.stdout, passed.stderr
    script = (tmp_path / "gate.py").read_text()
    (tmp_path / "gate.py").write_text(re.sub(r'"book": \d+', '"book": 1', script))
    with (tmp_path / "result.json").open() as results:
        late = subprocess.run([sys.executable, "gate.py"], cwd=tmp_path, stdin=results)
    assert late.returncode == 1
    system = (tmp_path / "mine.yml").read_text()
    (tmp_path / "mine.yml").write_text(system.replace("rate_per_s: 40", "rate_per_s: 4000"))
    assert gate().returncode == 2


# --- mean and cv from a histogram -------------------------------------------------------------------


def from_buckets(tmp_path, cdf, mean_s):
    """What the page's script says of exact counts in its own buckets: (mean_ms, cv)."""
    script = files("how-to")["moments.py"]
    edges = [
        float(edge) for edge in re.findall(r"([\d.]+):", re.search(r"counts = {(.*)}", script)[1])
    ]
    counts = {edge: 1e6 * cdf(edge) for edge in edges}
    script = re.sub(r"counts = {.*}", f"counts = {counts}", script)
    script = re.sub(r"seconds = \S+", f"seconds = {mean_s * max(counts.values())}", script)
    (tmp_path / "moments.py").write_text(script)
    done = subprocess.run(
        [sys.executable, tmp_path / "moments.py"], capture_output=True, text=True, check=True
    )
    found = re.fullmatch(r"work: {mean_ms: ([\d.]+), .*cv: ([\d.]+)}\n", done.stdout)
    return float(found[1]), float(found[2])


def test_moments_of_an_exponential_histogram_are_exact(tmp_path):
    # cut off at the last edge (0.5 s, which it passes with e^-14), tilted by 1/mean: the truth itself
    found = from_buckets(tmp_path, lambda edge: -math.expm1(-edge / 0.035), 0.035)
    assert found == (35, 1.0)


def test_moments_of_a_narrow_and_a_wide_histogram(tmp_path):
    def uniform(edge):
        return min(max((edge - 0.02) / 0.02, 0), 1)

    mean, cv = from_buckets(tmp_path, uniform, 0.03)
    assert mean == 30 and cv == pytest.approx(12**-0.5 * 2 / 3, abs=0.15)  # one bucket is its width

    def lognormal(edge):  # cv 1.5, mean 35 ms
        variance = math.log1p(1.5**2)
        shift = math.log(0.035) - variance / 2
        return 0.5 * math.erfc((shift - math.log(edge)) / math.sqrt(2 * variance))

    mean, cv = from_buckets(tmp_path, lognormal, 0.035)
    assert mean == 35 and cv == pytest.approx(1.5, rel=0.15)  # its tail beyond 0.5 s is not seen


def test_a_distribution_from_two_percentiles():
    """The formula for p50 and p99 on the page, against the distribution that it is about."""
    z = 2.326  # as the page has it; 99 % of a normal distribution lie below it
    for cv in (0.3, 1.0, 2.5):
        s = math.sqrt(math.log1p(cv**2))
        p50, p99 = 1.0, math.exp(z * s)
        found = math.log(p99 / p50) / z
        assert math.sqrt(math.expm1(found**2)) == pytest.approx(cv)
    assert 0.5 * math.erfc(-z / math.sqrt(2)) == pytest.approx(0.99, abs=5e-5)
    assert r"\ln(p_{99}/p_{50})/2.326" in (BOOK / "how-to.md").read_text("utf-8")


# --- the references, as built -----------------------------------------------------------------------


def words(text):
    """A text as the page has it: straight quotes, one space, no code marks."""
    return " ".join(re.sub("[‘’]", "'", re.sub("[“”]", '"', text.replace("`", ""))).split())


def page(pages, name):  # noqa: F811
    return next(tree for path, tree in pages.items() if path.name == f"{name}.html")


def test_every_command_and_option_is_on_the_page_of_commands(pages):  # noqa: F811
    text = page(pages, "commands").find("article").get_text()
    for path, command in everything():
        assert f"decouple {' '.join(path)} [OPTIONS]" in text, path
        about = command.help.split("\n\n")[0].strip("\f")
        assert words(about) in words(text), path
    ids = {node.get("id") for node in page(pages, "commands").find_all(id=True)}
    for path, command in everything():
        for option in command.params:
            if isinstance(option, click.Option):
                name = max(option.opts, key=len)
                assert f"cmdoption-decouple-{'-'.join(path)}-{name.lstrip('-')}" in ids, (
                    path,
                    name,
                )
    for code, meaning in EXIT_CODES.items():
        assert f"{code}: {meaning}" in text


def test_every_key_is_on_the_page_of_the_file_format(pages):  # noqa: F811
    tree = page(pages, "file-format")
    schema = System.model_json_schema()
    for name, part in {"System": schema, **schema["$defs"]}.items():
        section = tree.find(id=f"format-{name.lower()}")
        rows = {
            row.find(class_="key").get_text(): row
            for row in section.find("table").find("tbody")("tr")
        }
        assert list(rows) == list(part["properties"]), name
        for key, row in rows.items():
            said = part["properties"][key].get("description", "")
            assert words(said) == words(row.find(class_="meaning").get_text()), key
            if key.endswith("_ms"):
                assert row.find(class_="unit").get_text().strip() == "ms", key
            required = row.find(class_="default").get_text() == "required"
            assert required == (key in part.get("required", ()))
        assert name == "System" or section.find("pre"), name


@pytest.mark.parametrize("name", PAGES)
def test_outputs_are_real_and_nothing_on_them_is_of_this_machine(pages, name):  # noqa: F811
    text = page(pages, name).find("article").get_text()
    for kind, argument, _, _ in blocks(name):
        if kind == "command":
            assert f"$ decouple {argument}\n" in text
    assert "Traceback" not in text and str(BOOK.parent) not in text and "/tmp/" not in text
