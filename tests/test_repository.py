"""What a new user types: the Makefile, the README's commands and picture, the lock files."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from models import cli, parameters, rerun

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
TOOLS = ("ruff", "mypy", "jupyter-book", "pytest")


# --- the Makefile, with programs that only say what they would do -----------------------------------


def program(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), "utf-8")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path):
    """A fresh clone in which Python installs programs that do nothing."""
    for name in ("Makefile", "requirements.lock", "requirements-bench.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    tools = " ".join(("pip", "python", *TOOLS))
    program(
        tmp_path / "bin" / "python3",
        '[ "$1" = -c ] && exit 0  # the version is new enough',
        'for last; do folder="$last"; done',
        'rm -rf "$folder" && mkdir -p "$folder/bin"',
        f'for tool in {tools}; do cp bin/tool "$folder/bin/$tool"; done',
    )
    program(
        tmp_path / "bin" / "tool",
        'name="$(basename "$0")"',
        'echo "$name $*" >>said',
        '[ ! -f "fails-$name" ] || exit 1',
    )
    return tmp_path


def make(clone, *words, **environment):
    done = subprocess.run(
        words or ["make"],
        cwd=clone,
        env={"PATH": f"{clone / 'bin'}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_help_names_every_target():
    code, said = make(ROOT)
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert code == 0 and targets
    assert {line.split()[1] for line in said.splitlines()} == set(targets[1].split())


def test_an_installation_that_was_interrupted_is_begun_again(clone):
    (clone / "fails-pip").touch()
    assert make(clone, "make", "lint")[0] != 0
    (clone / "fails-pip").unlink()
    (clone / "said").unlink()
    assert make(clone, "make", "lint")[0] == 0
    first = (clone / "said").read_text("utf-8")
    assert "pip install" in first and "--require-hashes -r requirements.lock" in first
    (clone / "said").unlink()
    assert make(clone, "make", "lint")[0] == 0
    assert "pip" not in (clone / "said").read_text("utf-8")


def test_a_changed_lock_file_is_installed(clone):
    make(clone, "make", "lint")
    (clone / "said").unlink()
    mark = (clone / ".venv" / "installed").stat().st_mtime
    os.utime(clone / "requirements.lock", (mark + 10, mark + 10))
    make(clone, "make", "lint")
    assert "pip install" in (clone / "said").read_text("utf-8")


@pytest.mark.parametrize("tool", TOOLS)
def test_what_fails_ends_the_run(clone, tool):
    assert make(clone, "bash", ".ci/run")[0] == 0
    (clone / f"fails-{tool}").touch()
    assert make(clone, "bash", ".ci/run")[0] != 0


def test_an_old_python_is_refused(clone):
    program(clone / "bin" / "python3", "exit 1")
    code, said = make(clone, "make", "book")
    assert code == 2 and "Python 3.11 or newer is needed" in said


def test_without_a_browser_the_tests_say_what_to_do(clone):
    for name in ("python", "apt-get"):
        (clone / f"fails-{name}").touch()
    program(clone / "bin" / "apt-get", "exit 1")
    code, said = make(clone, "make", "test")
    assert code == 2
    assert "apt-get install chromium" in said and "CHROMIUM=" in said
    assert "pytest" not in (clone / "said").read_text("utf-8")


def test_without_a_book_serve_says_what_to_do(clone):
    code, said = make(clone, "make", "serve")
    assert code == 2 and "make book" in said


def test_clean_leaves_what_is_in_the_repository(clone):
    make(clone, "make", "book")
    assert (clone / ".venv").exists()
    for folder in ("book", "models", "tests"):
        (clone / folder / "__pycache__").mkdir(parents=True)
    assert make(clone, "make", "clean")[0] == 0
    assert not (clone / ".venv").exists() and not list(clone.rglob("__pycache__"))
    assert (clone / "requirements.lock").exists() and (clone / "models").exists()


# --- the browser of the tests -----------------------------------------------------------------------


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_browser_is_looked_for_in_every_usual_place(tmp_path, monkeypatch):
    chromium = load(ROOT / "tests" / "browser" / "chromium.py")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(chromium, "MACOS", (str(tmp_path / "Google Chrome"),))
    assert chromium.find() is None
    program(tmp_path / "Google Chrome")
    assert chromium.find() == str(tmp_path / "Google Chrome")
    program(tmp_path / "chromium")
    assert chromium.find() == str(tmp_path / "chromium")
    program(tmp_path / "my own")
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "my own"))
    assert chromium.find() == str(tmp_path / "my own")
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "gone"))
    assert chromium.find() is None


# --- the README -------------------------------------------------------------------------------------


def commands():
    """Every command of the README, as words."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.S)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def test_the_readme_names_what_there_is():
    targets = (ROOT / "Makefile").read_text("utf-8")
    prose = re.sub(r"```.*?```", "", README, flags=re.S)
    typed = [" ".join(words) for words in commands()] + re.findall(r"`([^`]+)`", prose)
    for name in re.findall(r"^make ([a-z]+)\b", "\n".join(typed), re.M):
        assert re.search(rf"^{name}:", targets, re.M), name
    for name in re.findall(r"^\| `([^`]+)` \|", README, re.M):
        assert (ROOT / name).exists(), name
    for words in commands():
        if words[0].startswith(".venv/bin/"):
            name = "jupyter-lab" if words[1] == "lab" else Path(words[0]).name
            assert (Path(sys.executable).parent / name).exists(), words


def test_the_readmes_parameters_are_those_of_the_notebook():
    reruns = [words for words in commands() if words[1:2] == ["rerun"]]
    assert len(reruns) == 2
    for words in reruns:
        notebook = rerun.load(words[2])
        pairs = [words[place + 1] for place, word in enumerate(words) if word == "-p"]
        given = {name: values.split(",") for name, _, values in (p.partition("=") for p in pairs)}
        for name, values in given.items():
            given[name] = [parameters.value_of(value, notebook.kinds[name]) for value in values]
        points = rerun.grid(given)
        notebook.check(points)
        assert (len(points) > 1) == ("--chart" in words)


def test_the_readmes_commands_on_a_system_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    ran = 0
    for words in commands():
        if words[0] == "cp":
            shutil.copyfile(words[1], words[2])
        elif words[0] == "printf":
            text, _, file = words[1:]
            (tmp_path / file).write_text(text, "utf-8")
        elif words[0].endswith("decouple") and words[1] != "rerun":
            done = CliRunner().invoke(cli.main, words[1:])
            assert done.exit_code == 0, done.output
            ran += 1
    assert ran == 11 and "<svg" in (tmp_path / "mine.svg").read_text("utf-8")
    python = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(python) == 1
    exec(python[0], {})


def test_the_readmes_picture_is_the_models():
    picture = load(ROOT / "book" / "picture.py")
    for scheme, svg in picture.pictures().items():
        path = picture.file(scheme)
        assert path.relative_to(ROOT).as_posix() in README
        assert path.read_text("utf-8") == svg, f"{path.name} is old: make picture"


# --- the lock files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requirements", "requirements-bench"])
def test_a_lock_file_holds_everything_and_no_address(name):
    lock = (ROOT / f"{name}.lock").read_text("utf-8")
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==\S+", lock, re.M)
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.M)[1:]
    assert len(entries) == len(pinned)
    assert all("--hash=sha256:" in entry for entry in entries)
    for line in (ROOT / f"{name}.in").read_text("utf-8").splitlines():
        if words := line.partition("#")[0].strip():
            assert canonicalize_name(Requirement(words).name) in pinned
    for text in (lock, (ROOT / f"{name}.in").read_text("utf-8")):
        assert not re.search(r"://|^-|index-url|find-links|trusted-host", text, re.M)


def test_the_package_asks_for_nothing_that_is_not_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, asked in {
        "requirements": [
            *project["dependencies"],
            *extras["book"],
            *extras["lab"],
            *extras["test"],
        ],
        "requirements-bench": extras["bench"],
    }.items():
        lock = (ROOT / f"{name}.lock").read_text("utf-8")
        for requirement in map(Requirement, asked):
            pin = re.search(
                rf"^{re.escape(canonicalize_name(requirement.name))}==(\S+)", lock, re.M
            )
            assert pin and pin[1] in requirement.specifier, requirement
