"""Every fault is one sentence with its place; nothing else ever gets out."""

import copy
import math
import re

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.checks import MAX_FAULTS
from models.reading import MAX_NESTING
from models.schema import schema
from models.system import InvalidSystem, System, bundled, parse

# A place is names joined by dots, positions in brackets, and quoted what is not a name.
SENTENCE = re.compile(r"[^\n:]+(?:, line \d+, column \d+)?: [^\n]+")


def small():
    return {
        "name": "Small",
        "infrastructures": {"a": None, "b": {}},
        "network": {"within_ms": 1, "between": [{"ends": ["a", "b"], "rtt_ms": 20}]},
        "brokers": {"events": {"infrastructure": "a", "partitions": 4}},
        "services": {
            "order": {"infrastructure": "a", "team": "x", "workers": 4, "queue_limit": 10},
            "payment": {"infrastructure": "a", "workers": "unlimited"},
            "mail": {"infrastructure": "b"},
        },
        "flows": {
            "buy": {
                "rate_per_s": 10,
                "arrivals": {
                    "process": "profile",
                    "steps": [{"from_ms": 0, "factor": 1}, {"from_ms": 50, "factor": 2}],
                    "period_ms": 100,
                },
                "root": {
                    "service": "order",
                    "work": {"mean_ms": 5},
                    "then": [
                        {
                            "service": "payment",
                            "work": {"distribution": "lognormal", "mean_ms": 5, "cv": 2},
                            "fails": 0.1,
                            "undo": {"distribution": "uniform", "low_ms": 1, "high_ms": 2},
                        },
                        {"service": "mail", "via": "events", "in_parallel": True},
                    ],
                },
            },
            "look": {"arrivals": {"process": "timestamps", "times_ms": [0, 1, 1, 5]},
                     "root": {"service": "order"}},
        },
    }  # fmt: skip


def faults(data):
    with pytest.raises(InvalidSystem) as caught:
        System.model_validate(data)
    return list(caught.value.faults)


def changed(path, value):
    """The small system with one value set (by a path of keys), or removed (value `...`)."""
    data = small()
    *above, last = path
    target = data
    for key in above:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return data


ROOT = ("flows", "buy", "root")
THEN0 = (*ROOT, "then", 0)
WORK = (*THEN0, "work")

CASES = [
    ((*ROOT, "then", 0, "service"), "paymnt", "flows.buy.root.then[0].service: 'paymnt' is not a service; did you mean 'payment'?"),
    ((*ROOT, "then", 1, "via"), "event", "flows.buy.root.then[1].via: 'event' is not a broker; did you mean 'events'?"),
    (("services", "mail", "infrastructure"), "c", "services.mail.infrastructure: 'c' is not an infrastructure; expected one of a, b"),
    (("flow",), {}, "system: 'flow' is not a key here; did you mean 'flows'?"),
    ((*THEN0, "wrok"), {"mean_ms": 1}, "flows.buy.root.then[0]: 'wrok' is not a key here; did you mean 'work'?"),
    (("flows", "buy", "rate_per_s"), -3, "flows.buy.rate_per_s: -3 was found; expected a number above 0"),
    (("flows", "buy", "rate_per_s"), 0, "flows.buy.rate_per_s: 0 was found; expected a number above 0"),
    (("flows", "buy", "rate_per_s"), ..., "flows.buy.rate_per_s: nothing was found; expected a number above 0, per second"),
    (("flows", "look", "rate_per_s"), 5, "flows.look.rate_per_s: 5 was found beside timestamps; expected one of them; leave it out"),
    ((*ROOT, "work", "mean_ms"), math.nan, "flows.buy.root.work.mean_ms: nan was found; expected a time in ms, 0 or more"),
    ((*ROOT, "work", "mean_ms"), math.inf, "flows.buy.root.work.mean_ms: inf was found; expected a time in ms, 0 or more"),
    ((*ROOT, "work", "mean_ms"), 10**5000, "flows.buy.root.work.mean_ms: a number of more than 40 digits was found; expected a time in ms, 0 or more"),
    ((*ROOT, "work", "mean_ms"), "1:30", "flows.buy.root.work.mean_ms: '1:30' was found; expected a time in ms, 0 or more; write a plain number"),
    ((*ROOT, "work", "mean_ms"), "5 ms", "flows.buy.root.work.mean_ms: '5 ms' was found; expected a time in ms, 0 or more; write 5"),
    ((*ROOT, "work", "mean_ms"), True, "flows.buy.root.work.mean_ms: True was found; expected a time in ms, 0 or more"),
    ((*ROOT, "work"), 5, "flows.buy.root.work: 5 was found; expected a mapping with distribution, "),
    ((*THEN0, "fails"), 1.5, "flows.buy.root.then[0].fails: 1.5 was found; expected a share from 0 to 1"),
    ((*ROOT, "in_parallel"), "no", "flows.buy.root.in_parallel: 'no' was found; expected true or false; write false"),
    ((*ROOT, "then"), {"service": "mail"}, "flows.buy.root.then: a mapping was found; expected a list of steps"),
    ((*ROOT, "via"), "events", "flows.buy.root.via: 'events' was found; expected nothing"),
    ((*ROOT, "deferrable"), True, "flows.buy.root.deferrable: true was found; expected false"),
    ((*WORK, "distribution"), "lognorml", "flows.buy.root.then[0].work.distribution: 'lognorml' was found; expected one of deterministic, "),
    ((*WORK, "cv"), ..., "flows.buy.root.then[0].work: 'lognormal' was found without cv; expected mean_ms and cv"),
    ((*WORK, "phases"), 3, "flows.buy.root.then[0].work.phases: is not used by 'lognormal'; expected mean_ms and cv; leave it out"),
    ((*THEN0, "undo", "high_ms"), 0.5, "flows.buy.root.then[0].undo.high_ms: 0.5 was found; expected more than low_ms, which is 1"),
    ((*ROOT, "work", "distribution"), "empirical", "flows.buy.root.work.mean_ms: is not used by 'empirical'"),
    (("services", "order", "workers"), 0, "services.order.workers: 0 was found; expected a whole number of at least 1, or 'unlimited'"),
    ((*ROOT, "work", "mean_ms"), "0.5s", "flows.buy.root.work.mean_ms: '0.5s' was found; expected a time in ms, 0 or more; write 500"),
    ((*ROOT, "work", "mean_ms"), 1e-12, "flows.buy.root.work.mean_ms: 1e-12 was found; expected a time in ms, 0 or more; the least above 0 is 1e-9"),
    ((*ROOT, "work"), "5ms", "flows.buy.root.work: '5ms' was found; expected a mapping with distribution, cv, phases, low_ms, high_ms, shape, values_ms, mean_ms; write {mean_ms: 5}"),
    ((*ROOT, "then", 0), "payment", "flows.buy.root.then[0]: 'payment' was found; expected a mapping with service, name, work, in_parallel, then, via, fails, errors, undo, idempotent, deferrable, preset, timeout_ms, patience, passes_deadline, retry, breaker, throttle, bulkhead; write {service: NAME}"),
    ((*THEN0, "timeout_ms"), 0, "flows.buy.root.then[0].timeout_ms: 0 was found; expected a time in ms, above 0"),
    ((*THEN0, "retry"), 3, "flows.buy.root.then[0].retry: 3 was found; expected a mapping with attempts, on, backoff, pause, base_ms, cap_ms, factor, budget, concurrent; write {attempts: 3}"),
    ((*THEN0, "retry"), {"attempts": 0}, "flows.buy.root.then[0].retry.attempts: 0 was found; expected a number of tries of at least 1"),
    ((*THEN0, "retry"), {"attempts": 2, "on": ["timeout"]}, "flows.buy.root.then[0].retry.on[0]: 'timeout' was found; expected one of failed, rejected, timed_out, unavailable, broken; did you mean 'timed_out'?"),
    ((*THEN0, "retry"), {"attempts": 2, "backoff": "jitter"}, "flows.buy.root.then[0].retry.backoff: 'jitter' was found; expected one of none, drawn, exponential, full_jitter, equal_jitter, decorrelated; did you mean"),
    ((*THEN0, "retry"), {"attempts": 2, "backoff": "drawn"}, "flows.buy.root.then[0].retry.pause: nothing was found; expected the distribution of the pause"),
    ((*THEN0, "breaker"), {"window": 10}, "flows.buy.root.then[0].breaker.minimum: 100 was found; expected at most the window, which is 10"),
    (("outages",), [{"services": ["payment"]}], "outages[0]: neither was found; expected from_ms and for_ms, or up and down"),
    (("outages",), [{"from_ms": 1, "for_ms": 1}], "outages[0]: nothing that goes down was found; expected services, infrastructures, brokers, links or consumers"),
    (("outages",), [{"services": ["paymnt"], "from_ms": 1, "for_ms": 1}], "outages[0].services[0]: 'paymnt' is not a service; did you mean 'payment'?"),
    (("restarts",), [{"service": "payment", "instances": 1, "from_ms": 0, "each_ms": 1}], "restarts[0].instances: 1 was found; expected 2 or more instances"),
    ((*THEN0, "fails"), "2%", "flows.buy.root.then[0].fails: '2%' was found; expected a share from 0 to 1; write 0.02"),
    ((*WORK, "distribution"), "constant", "flows.buy.root.then[0].work.distribution: 'constant' was found; expected one of deterministic, exponential, erlang, hyperexponential, lognormal, uniform, pareto, empirical; did you mean 'deterministic'?"),
    ((*WORK, "distribution"), "weibull", "flows.buy.root.then[0].work.distribution: 'weibull' was found; expected one of deterministic, exponential, erlang, hyperexponential, lognormal, uniform, pareto, empirical"),
    ((*THEN0, "work"), {"distribution": "erlang", "mean_ms": 1}, "flows.buy.root.then[0].work: 'erlang' was found without phases; expected mean_ms and phases"),
    ((*THEN0, "work"), {"distribution": "erlang", "phases": 2}, "flows.buy.root.then[0].work: 'erlang' was found without mean_ms; expected mean_ms and phases"),
    (("services", "order", "workers"), 4.0, "services.order.workers: 4.0 was found; expected a whole number of at least 1, or 'unlimited'; write 4"),
    (("flows", "buy", "arrivals"), {"process": "profile"}, "flows.buy.arrivals: 'profile' was found without steps; expected steps"),
    (("flows", "buy", "arrivals"), {"process": "renewal", "distribution": "lognormal", "cv": 1, "mean_ms": 5}, "flows.buy.arrivals: 'mean_ms' is not a key here; the flow's rate_per_s gives the mean; leave it out"),
    (("services", "order", "workers"), 2.5, "services.order.workers: 2.5 was found; expected a whole number"),
    (("services", "order", "workers"), "unlimted", "services.order.workers: 'unlimted' was found; expected a whole number of at least 1, or 'unlimited'; did you mean 'unlimited'?"),
    (("services", "order", "queue_limit"), -1, "services.order.queue_limit: -1 was found; expected a whole number of at least 0, or null"),
    (("services",), {}, "services: a mapping was found; expected at least one service"),
    (("services",), ..., "services: nothing was found; expected a mapping from the name of each service"),
    (("services", 7), {"infrastructure": "a"}, "services: 7 is not a valid service name"),
    (("services", "a.b"), {"infrastructure": "a"}, "services: 'a.b' is not a valid service name"),
    (("flows", "all"), {"rate_per_s": 1, "root": {"service": "mail"}}, "flows.all: 'all' was found; expected another name"),
    (("flows", "look", "arrivals", "times_ms"), [], "flows.look.arrivals.times_ms: an empty list was found; expected a list of at least one time in ms"),
    (("flows", "look", "arrivals", "times_ms"), [0, 3, 2], "flows.look.arrivals.times_ms[2]: 2 was found after 3; expected times in order; sort them"),
    (("flows", "look", "arrivals", "times_ms"), [0, "x"], "flows.look.arrivals.times_ms[1]: 'x' was found; expected a time in ms, 0 or more"),
    (("flows", "buy", "arrivals", "steps"), [], "flows.buy.arrivals.steps: an empty list was found"),
    (("flows", "buy", "arrivals", "period_ms"), 50, "flows.buy.arrivals.period_ms: 50 was found; expected more than the last from_ms, which is 50"),
    (("flows", "buy", "arrivals"), "poison", "flows.buy.arrivals.process: 'poison' was found; expected one of poisson, deterministic, batch, renewal, timestamps, profile; did you mean 'poisson'?"),
    (("flows", "buy", "arrivals"), {"process": "batch"}, "flows.buy.arrivals: 'batch' was found without size; expected size"),
    (("flows", "buy", "arrivals"), {"process": "renewal", "distribution": "lognormal"}, "flows.buy.arrivals: 'lognormal' was found without cv; expected cv"),
    (("flows", "buy", "arrivals"), {"process": "poisson", "cv": 2}, "flows.buy.arrivals.cv: is not used by 'poisson'; expected it with 'renewal' only"),
    (("network", "between"), [], "network.between: no link between 'a' and 'b' was found, which flows.buy.root.then[1] needs"),
    (("network", "between", 0, "ends"), ["a"], "network.between[0].ends: a list of 1 was found; expected two different names"),
    (("network", "between", 0, "ends"), ["a", "z"], "network.between[0].ends[1]: 'z' is not an infrastructure; expected one of a, b"),
    (("name",), 3, "name: 3 was found; expected text; put it in quotes"),
    ((*THEN0, "then"), [{"service": "order"}], "flows.buy.root.then[0].then[0].service: 'order' is called while flows.buy.root holds one of its workers"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "start"), CASES, ids=range(len(CASES)))
def test_one_sentence_with_place_value_and_suggestion(path, value, start):
    found = faults(changed(path, value))
    assert found[0].startswith(start)
    assert all(SENTENCE.fullmatch(line) for line in found)


def test_the_small_system_is_valid():
    assert System.model_validate(small()).steps("buy")[2].mode == "message"


@pytest.mark.parametrize("value", [None, 3, "shop", [], [1], (), 2.5, True, object(), {1: 2}])
def test_what_is_no_mapping_is_refused(value):
    assert SENTENCE.fullmatch(faults(value)[0])


def test_a_system_made_of_its_parts_is_refused_in_the_same_sentences():
    whole = small()
    assert System(**whole) == System.model_validate(whole)
    for data in (
        {"name": "x"},
        {"self": 1},
        {},
        whole | {"nam": 1},
        changed(ROOT, {"service": "x"}),
    ):
        with pytest.raises(InvalidSystem) as error:
            System(**data)
        assert list(error.value.faults) == faults(data)
        assert all(SENTENCE.fullmatch(line) for line in error.value.faults)
    with pytest.raises(InvalidSystem, match="nest too deeply"):
        System(**nested(50_000))


def test_several_faults_are_all_said_but_not_without_end():
    data = small()
    data["flows"]["buy"]["root"]["then"] = [{"service": "nobody"}] * 50
    found = faults(data)
    assert len(found) == MAX_FAULTS + 1
    assert found[-1] == "system: 30 more faults; put these right first"


def nested(depth):
    step = {"service": "payment"}
    for _ in range(depth - 1):
        step = {"service": "payment", "then": [step]}
    return changed(ROOT, step)


def test_nesting_is_limited():
    System.model_validate(nested(MAX_NESTING))
    for depth in (MAX_NESTING + 1, MAX_NESTING + 9, 500, 50_000):
        assert "nest too deeply; expected at most 100" in faults(nested(depth))[0]


def test_steps_are_limited():
    System.model_validate(changed((*ROOT, "then"), [{"service": "payment"}] * 9_998))
    for many in (10_000, 1_000_000):
        found = faults(changed((*ROOT, "then"), [{"service": "payment"}] * many))
        assert found[0].startswith("flows.buy: more than 10,000 steps were found; expected at most")


def test_loops_are_refused():
    data = small()
    data["flows"]["buy"]["root"]["then"].append(data["flows"]["buy"]["root"])
    expected = "flows.buy.root.then[2]: this contains itself; expected steps that end"
    assert faults(data)[0].startswith(expected)
    loop = []
    loop.append(loop)
    for key in ("name", None, b"", ("a", 1), 2.5, True):
        assert "contains itself" in faults({key: loop})[0]
        assert "more than 10,000 steps" in faults({key: {"then": [1] * 20_000}})[0]


# Text and files


def read(tmp_path, raw):
    path = tmp_path / "system.yml"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    with pytest.raises(InvalidSystem) as caught:
        System.load(path)
    return caught.value.faults[0].replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("raw", "start"),
    [
        ("", "FILE: the file is empty"),
        ("name: [", "FILE, line "),
        ("name: a\n  b: c\n", "FILE, line 2, column 4: mapping values are not allowed in this context; expected YAML; check the indentation"),
        ("name: a\n\tb: c", "FILE, line 2, column 1: found a tab character that violates indentation; expected YAML; indent with spaces"),
        ("name: @x", "FILE, line 1, column 7: found character that cannot start any token; expected YAML; put the value in quotes"),
        ("{a: " + "{b: c}, " * 300_000, "FILE, line 1, column "),
        ("flows:\n- a: {}\n" + "- {}\n" * 300_000, "FILE, line 200000, column 3: more than 200,000 mappings were found; expected at most 10,000 steps in a system"),
        ("[" + "1," * 2_100_000, "FILE, line 1, column 3999996: more than 2,000,000 values were found; expected fewer"),
        ("name: a\x07b", "FILE: the character #x0007 at position 7 was found; expected YAML"),
        ("name: a\nname: b\n", "FILE, line 2, column 1: the key 'name' is there twice"),
        ("name: !!python/object:os.system x", "FILE, line 1, column 7: the tag "),
        ("name: a\n---\nname: b", "FILE, line 2, column 1: "),
        ("? [a]\n: b", "FILE, line 1, column 3: "),
        (b"name: \xff\xfe", "FILE: byte 6 is not UTF-8"),
        ("name: \x00", "FILE"),
        ("[" * 100_000, "FILE, line 1, column 221: more than 220 levels inside each other"),
        ("{a: " * 100_000, "FILE, line 1, column "),
        ("just text", "system: 'just text' was found; expected a mapping"),
        ("<<: {name: a}", "system: '<<' is not a key here"),
        ("a: &a [*a]", "a[0]: this contains itself"),
    ],
)  # fmt: skip
def test_files_that_are_no_system(tmp_path, raw, start):
    assert read(tmp_path, raw).startswith(start)


def test_alias_bomb_is_bounded(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "aliases followed" in read(tmp_path, "\n".join(lines))
    steps = ["x: &s0 {service: a}"]
    steps += [
        f"x{i}: &s{i} {{service: a, then: [{', '.join([f'*s{i - 1}'] * 10)}]}}" for i in range(1, 9)
    ]
    assert "more than 10,000 steps" in read(tmp_path, "\n".join(steps))


def test_paths_that_are_no_file(tmp_path):
    for name, start in [
        (
            "shpo",
            "shpo: no such file; expected a YAML file, or the name of a bundled system; did you mean 'shop'?",
        ),
        (str(tmp_path), f"{tmp_path}: this is a directory; expected a YAML file"),
        ("a\0b", "'a\\x00b': cannot be read"),
        ("x" * 5_000, "'xxx"),
        ("", "'': this is a directory"),
    ]:
        with pytest.raises(InvalidSystem) as caught:
            System.load(name)
        assert caught.value.faults[0].startswith(start)
        assert len(caught.value.faults[0]) < 400


def test_scalars_mean_what_they_look_like():
    data = parse("{a: 1e3, b: no, c: 1:30, d: 010, e: 0x1F, f: .5, g: 1_000, h: 2001-01-01, i: ~}")
    assert data == {"a": 1000.0, "b": "no", "c": "1:30", "d": 10, "e": "0x1F", "f": 0.5,
                    "g": "1_000", "h": "2001-01-01", "i": None}  # fmt: skip
    assert math.isnan(parse("a: .nan")["a"])
    assert parse("9" * 10_000) == math.inf
    assert parse("a: -.inf")["a"] == -math.inf


# Fuzzing

KEYS = st.sampled_from(
    "name infrastructures network within_ms between ends rtt_ms jitter_cv brokers ack partitions "
    "services infrastructure team workers queue_limit flows rate_per_s arrivals process root "
    "service work then via fails undo deferrable in_parallel mean_ms cv phases low_ms high_ms "
    "shape values_ms distribution times_ms steps from_ms factor period_ms size a order".split()
) | st.text(max_size=8)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | KEYS
    | st.binary(max_size=4) | st.sampled_from([10**400, -0.0, 1e308, 5e-324, "unlimited", "1e3"])
)  # fmt: skip
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | LEAVES, inner, max_size=5),
    max_leaves=20,
)


VALID = jsonschema.Draft202012Validator(schema())


def accept(data):
    """Only a valid system that works and that an editor does not fault, or sentences with places."""
    try:
        system = System.model_validate(data)
    except InvalidSystem as error:
        assert error.faults
        for line in str(error).split("\n"):
            assert SENTENCE.fullmatch(line), line
        return None
    assert System.model_validate(parse(system.to_yaml())) == system
    VALID.validate(data)
    system.loads(), system.warnings(), system.plan()
    return system


@settings(max_examples=300, deadline=None)
@given(JUNK | st.dictionaries(KEYS, JUNK, max_size=6))
def test_junk_is_refused_in_sentences(data):
    accept(data)


def places(data, path=()):
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


BASES = [small(), *(System.load(name).to_dict() for name in bundled())]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutations_of_valid_systems(data):
    system = copy.deepcopy(data.draw(st.sampled_from(BASES)))
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(list(places(system))))
        if not where:
            continue
        target = system
        for key in where[:-1]:
            target = target[key]
        change = data.draw(st.sampled_from(["set", "delete", "rename", "double"]))
        if change == "set":
            target[where[-1]] = data.draw(JUNK)
        elif change == "delete":
            del target[where[-1]]
        elif change == "rename" and isinstance(target, dict):
            target[data.draw(KEYS)] = target.pop(where[-1])
        elif isinstance(target, list):
            target.append(target[where[-1]])
    accept(system)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.text("[]{}:,-&*!|>'\"#%@? \nab1.", max_size=80))
def test_any_text_as_yaml(text):
    try:
        accept(parse(text))
    except InvalidSystem as error:
        assert SENTENCE.fullmatch(str(error))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | JUNK, JUNK)
def test_any_path_in_with(path, value):
    try:
        System.model_validate(small()).with_(path, value)
    except InvalidSystem as error:
        assert all(SENTENCE.fullmatch(line) for line in str(error).split("\n"))
