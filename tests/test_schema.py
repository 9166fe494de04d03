"""The schema for editors says what the reader of the file says; the starting file explains it."""

import copy
import json
import re

import jsonschema
import pytest
from click.testing import CliRunner

from models import System
from models.cli import main
from models.schema import schema
from models.starting import USES, starting
from models.system import bundled, parse

SCHEMA = schema()
VALID = jsonschema.Draft202012Validator(SCHEMA)
WORK = {"mean_ms": 2}
FULL = {  # every key of every part, once at least
    "name": "Full",
    "description": "All there is",
    "source": "this test",
    "assumed": ["everything"],
    "infrastructures": {"a": {"label": "A"}, "b": None, "größe 1": {}},
    "network": {
        "within_ms": 0.5,
        "jitter_cv": 0.1,
        "loss": 0.01,
        "between": [{"ends": ["a", "b"], "rtt_ms": 5, "jitter_cv": 0.2, "loss": 0.001}],
    },
    "brokers": {
        "events": {
            "infrastructure": "a",
            "ack": WORK,
            "acks": "leader",
            "replication": {"distribution": "uniform", "low_ms": 1, "high_ms": 2},
            "partitions": 4,
            "keys": {"count": 100, "skew": 0.5},
            "rebalance_ms": 10,
            "rebalance": "cooperative",
            "retention_ms": 1e6,
            "max_deliveries": 3,
            "redelivery_ms": 5,
            "mirrors": {"b": {"lag": {"distribution": "erlang", "mean_ms": 3, "phases": 2}}},
            "producers": {"buffer": 10, "batch": 2, "linger_ms": 1, "waits": True},
        },
        "queue": {"infrastructure": "b", "prefetch": 5},
    },
    "services": {
        "one": {
            "infrastructure": "a",
            "team": "x",
            "workers": 4,
            "queue_limit": 9,
            "sheds_late": True,
            "max_wait_ms": 50,
            "max_standing_wait_ms": 5,
        },
        "two": {"infrastructure": "b", "workers": "unlimited"},
        "three": {"infrastructure": "b", "workers": 8},
    },
    "flows": {
        "buy": {
            "rate_per_s": 10,
            "arrivals": {
                "process": "profile",
                "steps": [{"from_ms": 0, "factor": 1}],
                "period_ms": 100,
            },
            "root": {
                "service": "one",
                "name": "first",
                "work": {"distribution": "lognormal", "mean_ms": 2, "cv": 1},
                "in_parallel": True,
                "then": [
                    {
                        "service": "two",
                        "preset": "istio",
                        "patience": {"distribution": "empirical", "values_ms": [5, 6]},
                        "passes_deadline": True,
                        "retry": {
                            "on": ["timed_out"],
                            "backoff": "drawn",
                            "pause": WORK,
                            "base_ms": 5,
                            "cap_ms": 50,
                            "factor": 2,
                            "budget": {"tokens": 5, "per_call": 0.1, "per_s": 1},
                            "concurrent": {"share": 0.1, "at_least": 2},
                        },
                        "throttle": {"multiplier": 2, "window_ms": 1000},
                        "bulkhead": 3,
                        "fails": 0.1,
                        "errors": 0.1,
                        "undo": {"distribution": "pareto", "low_ms": 1, "high_ms": 9, "shape": 2},
                    },
                    {
                        "service": "two",
                        "name": "again",
                        "timeout_ms": 100,
                        "retry": {"attempts": 2},
                        "breaker": {
                            "window": 10,
                            "share": 0.5,
                            "minimum": 5,
                            "open_ms": 10,
                            "trials": 1,
                        },
                    },
                    {"service": "three", "via": "events", "idempotent": True},
                    {"service": "three", "deferrable": True},
                ],
            },
        },
        "look": {
            "arrivals": {"process": "timestamps", "times_ms": [0, 5]},
            "root": {"service": "two"},
        },
        "flood": {
            "rate_per_s": 1,
            "arrivals": {"process": "batch", "size": 5},
            "root": {"service": "two"},
        },
        "even": {"rate_per_s": 1, "arrivals": "deterministic", "root": {"service": "two"}},
    },
    "mesh": {
        "preset": "linkerd",
        "proxy": {"hop_ms": 1, "cpu_ms": 0.1},
        "mtls": {"session_reuse": 0.9, "round_trips": 2, "cpu_ms": 0.1},
        "telemetry": {"sampling": 0.1, "span_ms": 0.1},
    },
    "outages": [
        {
            "name": "storm",
            "services": ["two"],
            "infrastructures": ["b"],
            "brokers": ["events"],
            "links": [["a", "b"]],
            "consumers": [["events", "three"]],
            "from_ms": 5,
            "for_ms": 5,
            "calls": "hang",
        },
        {"services": ["two"], "up": WORK, "down": WORK},
    ],
    "restarts": [
        {
            "service": "three",
            "instances": 2,
            "from_ms": 1,
            "each_ms": 1,
            "pause_ms": 2,
            "drains": False,
        }
    ],
}


def properties():
    for part, node in {**SCHEMA["$defs"], "System": SCHEMA}.items():
        for key, about in node["properties"].items():
            yield part, key, about


def mappings(data, path=()):
    """Every mapping in the data, by its path."""
    if isinstance(data, dict):
        yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, dict | list):
            yield from mappings(value, (*path, key))


def values(data, path=()):
    """The path of every value in the data."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from values(value, (*path, key))


def at(data, path):
    for key in path:
        data = data[key]
    return data


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert all(node["additionalProperties"] is False for node in SCHEMA["$defs"].values())


def test_every_key_is_described_with_its_unit():
    units = {"_ms": r"\bms\b", "_per_s": "per second", "_cv": "over mean", "^cv": "over mean"}
    for part, key, about in properties():
        words = about["description"]
        assert re.fullmatch(r"[A-Z].*\.", words), (part, key)
        assert words.count(". ") == 0, (part, key)  # one sentence
        for name, unit in units.items():
            if re.search(name if name.startswith("^") else f"{name}$", key):
                assert re.search(unit, words), (part, key, words)
    assert all(node["description"] for node in SCHEMA["$defs"].values())


def test_every_system_is_accepted():
    System.model_validate(FULL)
    VALID.validate(FULL)
    used = set()
    for path in mappings(FULL):
        used |= set(at(FULL, path))
    assert {key for _, key, _ in properties()} <= used  # nothing is left untried
    for name in bundled():
        for system in (System.load(name), System.load(name).with_("mesh", {"preset": "istio"})):
            VALID.validate(system.to_dict())
            VALID.validate(system.model_dump(mode="json", by_alias=True))


def test_what_has_the_wrong_shape_is_refused():
    """An unknown key anywhere, and a value of the wrong kind anywhere."""
    tried = 0
    for path in mappings(FULL):
        data = copy.deepcopy(FULL)
        at(data, path)["nonsense"] = 1
        assert not VALID.is_valid(data), path
        tried += 1
    for path in values(FULL):
        words = [] if isinstance(at(FULL, path), str) else ["no such word!"]
        for wrong in ({"nonsense": 1}, [[[]]], *words):
            data = copy.deepcopy(FULL)
            at(data, path[:-1])[path[-1]] = wrong
            assert not VALID.is_valid(data), path
            tried += 1
    assert tried > 500


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("flows.buy.rate_per_s", -1),
        ("flows.buy.rate_per_s", "10"),
        ("flows.even.arrivals", "poison"),
        ("flows.buy.root.then[0].preset", "isto"),
        ("flows.buy.root.then[0].retry.on", ["timeout"]),
        ("flows.buy.root.then[0].fails", 1.1),
        ("flows.buy.root.then[1].retry", {"base_ms": 5}),
        ("flows.buy.root.work.distribution", "normal"),
        ("services.one.workers", 0),
        ("services.one.workers", "unlimted"),
        ("services.one.infrastructure", "a.b"),
        ("services.one.infrastructure", " a"),
        ("services.one.team", 5),
        ("services", {}),
        ("services.two", None),
        ("network.loss", 0.6),
        ("brokers.events.acks", "most"),
        ("brokers.events.partitions", 2.5),
        ("flows.look.arrivals.times_ms", []),
        ("flows.look.arrivals.times_ms", [-1]),
    ],
)
def test_what_is_out_of_range_is_refused_by_both(path, value):
    data = copy.deepcopy(FULL)
    *above, last = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", path)]
    at(data, above)[last] = value
    assert not VALID.is_valid(data)
    with pytest.raises(ValueError, match=re.escape(path)):
        System.model_validate(data)


def test_the_command_prints_or_writes_it(tmp_path):
    assert json.loads(CliRunner().invoke(main, ["schema"]).output) == SCHEMA
    out = tmp_path / "system.schema.json"
    assert CliRunner().invoke(main, ["schema", "-o", str(out)]).exit_code == 0
    assert json.loads(out.read_text()) == SCHEMA
    assert list(tmp_path.iterdir()) == [out]


# The file to start from


def test_the_starting_file_is_valid_and_has_every_key(tmp_path):
    path = tmp_path / "mine.yml"
    result = CliRunner().invoke(main, ["init", str(path)])
    assert result.exit_code == 0
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=system.schema.json\n")
    assert "No warnings." in CliRunner().invoke(main, ["check", str(path)]).output
    system = System.load(path)
    VALID.validate(system.to_dict())
    assert any(entry.step.deferrable for entry in system.steps())  # the road leads somewhere
    plain = re.sub(r"(?m)^( *)#(?! )(?=\w)", r"\1", text)  # all that is there as an example, too
    for key in SCHEMA["properties"]:
        assert re.search(rf"(?m)^{key}:", plain), key
    for part in ("Network", "Link", "Broker", "Service", "Flow", "Step", "Arrivals"):
        for key, about in SCHEMA["$defs"][part]["properties"].items():
            assert re.search(rf"(?m)^ *{key}:", plain), (part, key)
            shown = " ".join(re.sub(r"(?m)^ *#", "", text).split())
            assert " ".join(about["description"].split()) in shown, (part, key)


def test_every_line_that_is_commented_out_holds_as_it_stands():
    """What is said to hold without a key does: writing it out changes nothing or is an example."""
    lines = starting().splitlines()
    before = System.model_validate(parse("\n".join(lines)))
    examples = 0
    for number, line in enumerate(lines):
        if re.match(r" *#\w", line):
            written = [*lines[:number], line.replace("#", "", 1), *lines[number + 1 :]]
            system = System.model_validate(parse("\n".join(written)))
            examples += system != before
    assert examples == len(USES)


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("mine")
    result = CliRunner().invoke(main, ["init", str(path)])
    assert result.exit_code == 2
    assert result.output == (
        f"{path}: there is such a file already; expected a new name; --force writes over it\n"
    )
    assert path.read_text() == "mine"
    assert CliRunner().invoke(main, ["init", str(path), "--force"]).exit_code == 0
    assert path.read_text() == starting()
    assert CliRunner().invoke(main, ["init", "-"]).output == starting()
    for wrong in (str(tmp_path), str(tmp_path / "no" / "such.yml"), "a\0b"):
        result = CliRunner().invoke(main, ["init", wrong])
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert "cannot be written" in result.output
