"""System files from anybody: small files that mean to be large, and whatever a fuzzer finds."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from fuzzing import fuzz

from models.starting import starting
from models.system import System, bundled

# Reads a file with a gigabyte of memory at most (it takes 0.2 to start) and says what it took.
LIMITED = """
import resource, sys, time
from models.system import InvalidSystem, System
System.load("shop")
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
begun = time.process_time()
try:
    System.load(sys.argv[1])
except InvalidSystem as error:
    print(error.faults[0])
assert time.process_time() - begun < 10, time.process_time() - begun
"""


def laughs(levels, width, start="x"):
    """Lists of lists by aliases: width**levels values in a short text."""
    yield f"a0: &a0 [{', '.join([start] * width)}]"
    for level in range(1, levels):
        yield f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]"


BOMBS = {
    "laughs": (
        "\n".join(laughs(12, 10)),
        "more than 2,000,000 values were found, aliases followed",
    ),
    "wide laughs": ("\n".join(laughs(3, 3000)), "aliases followed; expected fewer"),
    "names": (
        f"name: &a {'x' * 90_000}\nassumed: [{', '.join(['*a'] * 900_000)}]",
        "assumed: more than 50,000,000 characters were found, aliases followed",
    ),
    "steps": (
        "x: &s0 {service: a}\n"
        + "\n".join(
            f"x{i}: &s{i} {{service: a, then: [{', '.join([f'*s{i - 1}'] * 10)}]}}"
            for i in range(1, 9)
        ),
        "more than 10,000 steps were found",
    ),
    "itself": ("flows: &f {a: {root: {service: b, then: [*f]}}}", "this contains itself"),
    "lists": ("[" * 5_000_000, "more than 220 levels inside each other"),
    "mappings": ("{a: " * 5_000_000, "more than 220 levels inside each other"),
    "blocks": ("- " * 5_000_000, "more than 220 levels inside each other"),
    "a long text": (f"name: {'x' * 40_000_000}", "a value of more than 100,000 characters was fo"),
    "a long key": (f"? {'x' * 40_000_000}\n: 1", "a value of more than 100,000 characters was fo"),
    "a block of text": ("name: |\n" + "  xxxxxxxxx\n" * 3_000_000, "a value of more than 100,000"),
    "a long number": (f"name: {'9' * 5_000_000}", "a value of more than 100,000 characters was"),
    "a long anchor": (f"name: &{'a' * 40_000_000} x", "infrastructures: nothing was found"),
    "anchors": ("\n".join(f"k{i}: &a{i} 1" for i in range(100_000)), "is not a key here"),
    "faults": (
        "name: a\ninfrastructures: {a: {}}\nservices:\n"
        + "".join(f"  service-{i}-name: {{infrastructure: a}}\n" for i in range(50_000))
        + "flows:\n  f:\n    rate_per_s: 1\n    root:\n      service: x\n      then:\n"
        + "".join(f"      - {{service: servce-{i}-nam}}\n" for i in range(9_000)),
        "'x' is not a service; expected one of service-0-name",
    ),
    "unknown keys": (
        "name: a\ninfrastructures: {a: {}}\nservices: {a: {infrastructure: a}}\nflows:\n  f:\n"
        "    rate_per_s: 1\n    root:\n      service: a\n      then:\n"
        + "".join(
            "      - {" + ", ".join(f"servce{i}{j}: 1" for j in range(20)) + "}\n"
            for i in range(9_000)
        ),
        "'servce00' is not a key here; did you mean 'service'?",
    ),
    "comments": ("# nothing\n" * 4_000_000, "the file is empty; expected a system"),
    "too large": ("# nothing\n" * 5_100_000, "more than 50,000,000 bytes; expected a smaller"),
    "merges": ("a: &a {b: 1}\nc: {<<: [" + "*a, " * 300_000 + "]}", "is not a key here"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_soon_and_in_little_memory(tmp_path, bomb):
    text, said = BOMBS[bomb]
    path = tmp_path / "bomb.yml"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout
    assert len(done.stdout) < 500


WATCHED = """
import sys
from models.system import InvalidSystem, System
System.load("shop")
sys.addaudithook(lambda event, about: event == "open" and print(about[0]))
for path in sys.argv[1:]:
    try:
        System.load(path)
    except InvalidSystem:
        print("refused")
"""


def test_no_file_but_the_one_that_is_named_is_opened(tmp_path):
    """A system file can name no other file, whatever the words."""
    secret = tmp_path / "secret.yml"
    secret.write_text("mean_ms: 5")
    inside = tmp_path / "systems"
    inside.mkdir()
    paths = []
    for other in ("../secret.yml", str(secret), "file:///etc/passwd"):
        for work in (f"!include {other}", f"{{$ref: {other}}}", f"'{other}'", f"{{file: {other}}}"):
            paths.append(inside / f"{len(paths)}.yml")
            paths[-1].write_text(starting().replace("work: {mean_ms: 5}", f"work: {work}"))
    done = subprocess.run([sys.executable, "-c", WATCHED, *paths], capture_output=True, text=True)
    assert done.stdout.split() == [str(word) for path in paths for word in (path, "refused")]


if find_spec("atheris"):  # it has wheels for Linux on x86-64 alone

    def test_a_fuzzer_finds_nothing(tmp_path):
        corpus = {name: System.load(name).to_yaml().encode() for name in bundled()}
        corpus["starting"] = starting().encode()
        corpus |= {name: BOMBS[name][0].encode() for name in ("steps", "itself")}
        fuzz("system_files", corpus, tmp_path, 8, 100, "-timeout=60")
