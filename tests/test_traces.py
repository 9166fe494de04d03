"""Traces: written, read, and made a system of; a known system comes back.

Samples are made by opentelemetry-sdk in the test (tests/samples.py). Jaeger's program is in no
package registry that the tests can use: its JSON is made of the SDK's spans by the documented
mapping, so that it is tested against the documentation of the format, not against Jaeger itself.
"""

import gzip
import json
import math
import random
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import samples
from click.testing import CliRunner
from fuzzing import fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace._sampling_experimental import (
    composable_traceid_ratio_based,
    composite_sampler,
)
from scipy.stats import norm

from models import System, simulate, stages
from models.cli import main
from models.distributions import Distribution
from models.engine.plan import LOCAL
from models.traces import InvalidTraces, reading, record
from models.traces import read as import_traces


def decouple(*words):
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="decouple")


def written(tmp_path, content, name="traces.json"):
    path = tmp_path / name
    if isinstance(content, str | dict | list):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    return path


# The round trip: a known system is simulated, its traces are imported


def shape(step):
    """Service, way and children of a step, in order unless they are called together."""
    children = [shape(child) for child in step.then]
    together = step.in_parallel and len(children) > 1
    return step.service, step.via, together, sorted(children, key=str) if together else children


def same_place(step, there):
    """Pairs of steps at the same place in two trees of the same shape."""
    yield step, there
    order = [sorted(one.then, key=lambda child: str(shape(child))) if one.in_parallel else one.then
             for one in (step, there)]  # fmt: skip
    for child, other in zip(*order, strict=True):
        yield from same_place(child, other)


@pytest.mark.parametrize("stage", ["synchronous", "asynchronous"])
@pytest.mark.parametrize("name", ["shop", "online-boutique", "social-network"])
def test_a_known_system_comes_back(name, stage, tmp_path):
    requests = 2500
    system = stages.at(System.load(name), stage)
    path = tmp_path / "traces.jsonl"
    assert record(system, requests, path, seed=3) > requests
    found = import_traces(path)
    back = found.system
    assert not found.dropped
    assert set(back.services) == set(system.services)
    assert {one.infrastructure for one in back.services.values()} == set(system.infrastructures)
    for service, one in system.services.items():
        assert 1 <= back.services[service].workers <= one.workers
    assert set(back.brokers) == {step.step.via for step in system.steps() if step.step.via}
    assert set(back.flows) == set(system.flows)
    # Who did not wait shows the round trip to the nanosecond that a span can tell.
    assert back.network.within_ms == pytest.approx(system.network.within_ms, abs=2e-6)
    visits = {(fit["flow"], fit["step"]): fit["n"] for fit in found.fits}
    # So many standard errors that one of so many figures is farther off in 1 of 1,000 runs.
    z = norm.isf(0.0005 / (3 * len(visits)))
    run = simulate(system, requests, seed=3, engine="simpy", warmup=0.0)
    for flow, one in system.flows.items():
        other = back.flows[flow]
        assert shape(other.root) == shape(one.root)
        n = int((run.requests.flow == flow).sum())
        # Poisson: the number of arrivals in the time of the run has the variance of its mean.
        assert other.rate_per_s == pytest.approx(one.rate_per_s, rel=z / math.sqrt(n))
        for step, there in same_place(one.root, other.root):
            seen = min(count for (f, _), count in visits.items() if f == flow)
            error = z * math.sqrt(step.work.variance_ms2 / seen)
            assert there.work.mean_ms == pytest.approx(step.work.mean_ms, abs=error + 1e-4)
            assert abs(there.fails - step.fails) <= z * math.sqrt(step.fails / seen) + 1e-9
            if seen > 700 and step.work.mean_ms:
                assert there.work.distribution == step.work.distribution
                assert there.work.scv == pytest.approx(step.work.scv, rel=0.25)
    for broker, one in back.brokers.items():
        true = system.brokers[broker].ack
        n = min(fit["n"] for fit in found.fits)
        error = z * math.sqrt(true.variance_ms2 / n)
        assert one.ack.mean_ms == pytest.approx(true.mean_ms, abs=error)


def test_what_was_imported_can_be_used_like_any_system(tmp_path):
    traces, file = tmp_path / "shop.jsonl.gz", tmp_path / "shop.yml"
    words = ["run", "shop", "--stage", "asynchronous", "--requests", 1500]
    plain = decouple(*words)
    result = decouple(*words, "--traces", traces)
    assert result.stdout == plain.stdout
    assert re.search(r"shop\.jsonl\.gz written, [\d,]+ spans", result.stderr)
    result = decouple("import", "traces", traces, "-o", file)
    assert result.exit_code == 0
    assert "spans read (OTLP), 1,500 requests used" in result.stderr
    assert result.stdout == ""
    assert sorted(one.name for one in tmp_path.iterdir()) == ["shop.jsonl.gz", "shop.yml"]
    text = file.read_text()
    assert "team: to be filled in" in text
    assert "deferrable" in text.split("name:")[0]
    assert System.load(file) == import_traces(traces).system
    assert decouple("check", file).exit_code == 0
    for stage in ("synchronous", "asynchronous"):
        done = decouple("run", file, "--stage", stage, "--requests", 500, "--overload")
        assert done.exit_code == 0, done.output
    asked = decouple("run", file, "--stage", "separated", "--requests", 500, "--overload")
    assert asked.exit_code == 2 and "team" in asked.output
    owned = System.load(file)
    owned = owned.with_({f"services.{name}.team": System.load("shop").services[name].team
                         for name in owned.services})  # fmt: skip
    owned = owned.with_({f"services.{name}.workers": "unlimited" for name in owned.services})
    file.write_text(owned.to_yaml())
    assert decouple("run", file, "--stage", "separated", "--requests", 500).exit_code == 0


def test_two_infrastructures_and_their_distance_come_back(tmp_path):
    system = stages.at(System.load("shop"), "separated")
    record(system, 2500, tmp_path / "t.json", seed=2)
    found = import_traces(tmp_path / "t.json")
    assert {name: one.infrastructure for name, one in found.system.services.items()} == {
        name: one.infrastructure for name, one in system.services.items()
    }
    true = {frozenset(link.ends): link.rtt_ms for link in system.network.between}
    assert {frozenset(link.ends) for link in found.system.network.between} == set(true)
    # From messages: what the fastest 5 % take, of trips with a cv of 0.1 and queues behind them.
    for link in found.system.network.between:
        assert link.rtt_ms == pytest.approx(true[frozenset(link.ends)], rel=0.25)
    assert any("if their clocks agree" in guess for guess in found.guesses)


def test_recording_changes_nothing_and_repeats_itself(tmp_path):
    shop = System.load("shop")
    for name in ("a.json", "b.json"):
        record(shop, 300, tmp_path / name, seed=5)
    record(shop, 300, tmp_path / "other.json", seed=6)
    first = (tmp_path / "a.json").read_bytes()
    assert first == (tmp_path / "b.json").read_bytes()
    assert first != (tmp_path / "other.json").read_bytes()
    run = simulate(shop, 300, seed=5, engine="simpy").requests
    spans = [span for line in first.splitlines() for span in samples.spans_of(json.loads(line))]
    roots = [span for span in spans if "parentSpanId" not in span]
    assert len(roots) == len(run)
    ends = sorted(int(span["endTimeUnixNano"]) - 1_735_689_600 * 10**9 for span in roots)
    assert np.allclose(sorted(run.replied_ms * 1e6), ends, atol=1)
    ids = {(span["traceId"], span["spanId"]) for span in spans}
    assert len(ids) == len(spans)
    assert all((span["traceId"], span["parentSpanId"]) in ids for span in spans
               if "parentSpanId" in span)  # fmt: skip


@pytest.mark.parametrize("over", ["retries", "outage", "lane"])
def test_traces_of_everything_that_can_happen_are_whole(over, tmp_path):
    shop = stages.at(System.load("shop"), "asynchronous")
    changes = {
        "retries": {
            "flows.place_order.root.then[1].timeout_ms": 30,
            "flows.place_order.root.then[1].retry": {"attempts": 2},
        },
        "outage": {"outages": [{"services": ["stock"], "from_ms": 300, "for_ms": 400}]},
        "lane": {"flows.place_order.root.then[2].errors": 0.2},
    }[over]
    system = shop.with_(changes)
    record(system, 600, tmp_path / "t.json")
    found = import_traces(tmp_path / "t.json")
    assert not found.dropped
    assert set(found.system.services) == set(system.services)
    assert shape(found.system.flows["browse"].root) == shape(system.flows["browse"].root)
    assert shape(found.system.flows["place_order"].root) == shape(system.flows["place_order"].root)
    assert any(what.startswith(("visits beyond", "calls that failed", "spans outside"))
               for what in found.notes)  # fmt: skip


# The real library's spans


@pytest.fixture(scope="module")
def ended():
    return samples.spans()


FORMS = {
    "OTLP, ids in hex": lambda ended: samples.otlp_json(ended),
    "protobuf's JSON, ids in base64": lambda ended: samples.protobuf_json(ended),
    "over many lines": lambda ended: json.dumps(samples.otlp_json(ended), indent=2),
    "a document a line": lambda ended: samples.lines(samples.otlp_json(ended)),
    "behind its spans": lambda ended: {
        "resourceSpans": [dict(reversed(one.items()))
                          for one in samples.otlp_json(ended)["resourceSpans"]]},
    "gzip": lambda ended: gzip.compress(json.dumps(samples.otlp_json(ended)).encode()),
    "Jaeger": lambda ended: samples.jaeger_json(ended),
    "Jaeger, gzip": lambda ended: gzip.compress(json.dumps(samples.jaeger_json(ended)).encode()),
}  # fmt: skip


def check_sample(found, requests=400):
    """Whether the system of the sample was found; Jaeger's times are in whole microseconds."""
    system = found.system
    assert set(system.services) == {"gateway", "orders", "mailer", "postgresql"}
    assert {one.infrastructure for one in system.services.values()} == {"north"}
    assert system.services["postgresql"].workers == "unlimited"
    assert system.network.within_ms == pytest.approx(samples.RTT_MS, abs=0.002)
    flow = system.flows["GET orders"]
    assert list(system.flows) == ["GET orders"]
    assert flow.rate_per_s == pytest.approx(samples.RATE_PER_S, rel=3 / math.sqrt(requests))
    gateway = flow.root
    (orders,) = gateway.then
    database, mail = orders.then
    assert (gateway.service, orders.service, database.service, mail.service) == (
        "gateway", "orders", "postgresql", "mailer")  # fmt: skip
    assert (orders.name, database.name, mail.name) == ("create", "SELECT", "process mail")
    assert (database.via, mail.via) == (None, "kafka")
    assert mail.deferrable and not orders.deferrable
    for step, mean_ms, cv in (
        (gateway, samples.GATEWAY_MS, 1),
        (orders, samples.ORDERS_MS, 0.5),
        (mail, samples.MAILER_MS, 1),
    ):
        assert step.work.mean_ms == pytest.approx(mean_ms, rel=3 * cv / math.sqrt(0.9 * requests))
    assert database.work.mean_ms == pytest.approx(samples.DATABASE_MS, abs=0.01)
    assert (orders.work.distribution, orders.work.phases) == ("erlang", 4)
    assert abs(orders.fails - samples.FAILS) < 3 * math.sqrt(samples.FAILS / requests)
    assert gateway.fails == mail.fails == 0
    ack = system.brokers["kafka"].ack
    assert ack.mean_ms == pytest.approx(samples.SEND_MS - samples.RTT_MS, abs=0.01)


@pytest.mark.parametrize("form", FORMS)
def test_the_sdks_spans_are_read(form, ended, tmp_path):
    found = import_traces(written(tmp_path, FORMS[form](ended)))
    check_sample(found)
    assert not found.dropped
    assert found.spans == len(ended)
    assert found.requests == 400
    assert found.format == ("Jaeger" if "Jaeger" in form else "OTLP")


@pytest.mark.parametrize("form", FORMS)
def test_it_does_not_matter_where_a_file_is_cut_into_pieces(form, tmp_path, monkeypatch):
    path = written(tmp_path, FORMS[form](samples.spans(15)))
    whole = import_traces(path)
    for size in (7, 500, 4096):
        monkeypatch.setattr(reading, "CHUNK", size)
        found = import_traces(path)
        assert (found.system, found.report()) == (whole.system, whole.report())


def test_a_message_by_its_parent_is_the_same_as_by_its_link(tmp_path):
    found = import_traces(written(tmp_path, samples.otlp_json(samples.spans(links=False))))
    check_sample(found)
    assert "reached by a link" not in found.notes


def test_clocks_that_differ_falsify_nothing_and_are_reported(tmp_path):
    found = import_traces(
        written(tmp_path, samples.otlp_json(samples.spans(skew_ms=(0, -5000, 9000))))
    )
    check_sample(found)
    said = "spans outside the span of their caller (clocks differ, or a time limit)"
    assert found.notes[said] == 400


def test_rates_of_sampled_traces(tmp_path):
    sampler = composite_sampler(composable_traceid_ratio_based(0.25))
    state = random.getstate()
    random.seed(11)  # the SDK draws its ids from it
    data = samples.otlp_json(samples.spans(1600, sampler=sampler, links=False))
    random.setstate(state)
    assert "ot=th:c" in json.dumps(data)
    found = import_traces(written(tmp_path, data))
    assert 300 < found.requests < 500
    # Binomial: how many of 1,600 were taken.
    error = 3 * math.sqrt(0.25 * 0.75 / 1600) / 0.25 + 3 / math.sqrt(1600)
    rate = found.system.flows["GET orders"].rate_per_s
    assert rate == pytest.approx(samples.RATE_PER_S, rel=error)
    for span in samples.spans_of(data):
        del span["traceState"]
    path = written(tmp_path, data)
    bare = import_traces(path)
    assert bare.system.flows["GET orders"].rate_per_s == pytest.approx(rate / 4, rel=1e-3)
    assert any("all requests were traced" in guess for guess in bare.guesses)
    said = import_traces(path, sampled=0.25)
    assert said.system.flows["GET orders"].rate_per_s == pytest.approx(rate, rel=1e-3)
    for span in samples.spans_of(data):
        value = {"key": "sampling.probability", "value": {"doubleValue": 0.25}}
        span.setdefault("attributes", []).append(value)
    again = import_traces(written(tmp_path, data))
    assert again.system.flows["GET orders"].rate_per_s == pytest.approx(rate, rel=1e-3)


def test_too_few_workers_in_sampled_traces_are_raised(tmp_path):
    record(System.load("shop"), 1000, tmp_path / "t.json")
    found = import_traces(tmp_path / "t.json", sampled=0.05)
    assert not found.system.overloads()
    assert any("so that it can keep up" in guess for guess in found.guesses)
    assert decouple("check", written(tmp_path, found.to_yaml(), "t.yml")).exit_code == 0


def test_shapes_become_flows_of_their_own(tmp_path):
    """A cache that is missed in a third of the requests."""
    data = samples.otlp_json(samples.spans(300))
    hit = {span["traceId"] for number, span in enumerate(samples.spans_of(data)) if number % 3 == 0}
    hit = set(sorted({span["traceId"] for span in samples.spans_of(data)})[::3]) & hit
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [span for span in scope["spans"]
                              if span["name"] != "SELECT" or span["traceId"] not in hit]  # fmt: skip
    found = import_traces(written(tmp_path, data))
    flows = found.system.flows
    assert set(flows) == {"GET orders", "GET orders variant 2"}
    services = {name: [child.service for child in flow.root.then[0].then]
                for name, flow in flows.items()}  # fmt: skip
    assert services == {"GET orders": ["postgresql", "mailer"], "GET orders variant 2": ["mailer"]}
    total = sum(flow.rate_per_s for flow in flows.values())
    assert total == pytest.approx(samples.RATE_PER_S, rel=3 / math.sqrt(300))


def test_a_shape_seen_a_few_times_becomes_no_flow(tmp_path):
    """Nine requests without the database, as where single spans were lost."""
    data = samples.otlp_json(samples.spans(100))
    few = {span["traceId"] for span in [one for one in samples.spans_of(data)
                                        if one["name"] == "SELECT"][:9]}  # fmt: skip
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [span for span in scope["spans"]
                              if span["name"] != "SELECT" or span["traceId"] not in few]  # fmt: skip
    found = import_traces(written(tmp_path, data))
    assert set(found.system.flows) == {"GET orders"}
    assert any("9 requests of 'GET /orders/*' have rare shapes" in guess for guess in found.guesses)


# Orders: who is seen from one side only, and messages that are fetched and taken together


def test_who_is_seen_from_one_side_now_and_then_has_its_own_time(tmp_path):
    found = import_traces(written(tmp_path, samples.otlp_json(samples.orders())))
    (flow,) = found.system.flows.values()
    stock, bank, packer = flow.root.then
    assert (stock.service, bank.service, packer.service) == ("stock", "bank example", "packer")
    assert stock.work.mean_ms == pytest.approx(samples.STOCK_MS, abs=1e-4)
    assert bank.work.mean_ms == pytest.approx(samples.BANK_MS, abs=1e-4)
    said = " ".join(found.to_yaml().replace("#", "").split())
    assert "10 of them seen from the caller alone" in said


def test_calls_that_fail_where_nothing_was_instrumented_fail_there(tmp_path):
    found = import_traces(written(tmp_path, samples.otlp_json(samples.orders())))
    (flow,) = found.system.flows.values()
    assert (flow.root.fails, [step.fails for step in flow.root.then]) == (0, [0, 0.05, 0])
    assert not any("failed" in note for note in found.notes)


@pytest.mark.parametrize("form", [samples.otlp_json, samples.jaeger_json])
def test_the_same_name_in_another_namespace_is_another_service(form, tmp_path):
    ended = samples.spans(60, names={"orders": ("app", "sales"), "mailer": ("app", "post")})
    found = import_traces(written(tmp_path, form(ended)))
    services = set(found.system.services)
    assert services in ({"gateway", "app", "post app", "postgresql"},
                        {"gateway", "app", "sales app", "postgresql"})  # fmt: skip


def test_calls_that_are_made_again_or_not_waited_for_are_said(tmp_path):
    found = import_traces(written(tmp_path, samples.otlp_json(samples.orders(restless=True))))
    (flow,) = found.system.flows.values()
    (stock,) = flow.root.then
    assert (stock.fails, flow.root.fails, stock.deferrable) == (0, 0, True)
    assert stock.work.mean_ms == pytest.approx(samples.STOCK_MS, abs=1e-4)
    (again,) = [count for note, count in found.notes.items() if "called again" in note]
    assert again == 10
    assert any("does not wait for it" in guess for guess in found.guesses)


@pytest.mark.parametrize("form", [samples.otlp_json, samples.jaeger_json])
@pytest.mark.parametrize("batch", [1, 5])
def test_fetching_messages_is_no_flow_and_batches_are_said(batch, form, tmp_path):
    found = import_traces(written(tmp_path, form(samples.orders(batch=batch))))
    assert {flow.root.service for flow in found.system.flows.values()} == {"shop"}
    assert found.dropped == {"that only fetched messages (receive)": 95 // batch}
    together = [count for note, count in found.notes.items() if "together with another" in note]
    assert together == ([76] if batch == 5 else [])
    rates = [flow.rate_per_s for flow in found.system.flows.values() if len(flow.root.then) == 3]
    assert sum(rates) == pytest.approx(50 * (1 if batch == 1 else 0.2), rel=0.05)


# What is wrong with single spans is counted and said


def altered(data, change):
    """The sample with every tenth trace changed: `change(spans of the trace)`."""
    by_trace = {}
    for span in samples.spans_of(data):
        by_trace.setdefault(span["traceId"], []).append(span)
    whole = [trace for trace in by_trace.values() if len(trace) > 2]
    for trace in whole[::10]:
        change({span["name"]: span for span in trace})
    return len(whole[::10])


def loop(trace):
    trace["create"]["parentSpanId"] = trace["validate"]["spanId"]


def backwards(trace):
    one = trace["validate"]
    one["startTimeUnixNano"], one["endTimeUnixNano"] = one["endTimeUnixNano"], "5"


def orphan(trace):
    trace["create"]["parentSpanId"] = "00f067aa0ba902b7"


def collide(trace):
    trace["validate"]["spanId"] = trace["create"]["spanId"]


def no_id(trace):
    trace["validate"]["spanId"] = "not an id"


def no_time(trace):
    trace["validate"]["startTimeUnixNano"] = "soon"


def wrong_type(trace):
    trace["validate"]["status"] = [7]


@pytest.mark.parametrize(
    "change, why",
    [
        (loop, "in a loop of parents"),
        (backwards, "that end before they begin"),
        (orphan, "in traces with parents missing"),
        (collide, "with the id of another span"),
        (no_id, "without a valid id"),
        (no_time, "without a time"),
        (wrong_type, "not as the format says"),
    ],
)
def test_faults_of_single_spans_are_counted(change, why, ended, tmp_path):
    data = samples.otlp_json(ended)
    count = altered(data, change)
    found = import_traces(written(tmp_path, data))
    assert found.dropped[why] >= count
    assert found.requests <= 400
    assert any(why in line for line in found.lines())
    rate = found.system.flows["GET orders"].rate_per_s
    assert rate == pytest.approx(samples.RATE_PER_S, rel=3 / math.sqrt(400))


def test_spans_without_a_service_and_twice_the_same_are_counted(ended, tmp_path):
    data = samples.otlp_json(ended)
    nameless = json.loads(json.dumps(data["resourceSpans"][0]))
    nameless["resource"] = {}
    for span in nameless["scopeSpans"][0]["spans"]:
        span["traceId"] = span["traceId"][::-1]
    twice = data["resourceSpans"][1]
    data["resourceSpans"] += [twice, nameless]
    found = import_traces(written(tmp_path, data))
    check_sample(found)
    assert found.dropped == {
        "without a service name": len(nameless["scopeSpans"][0]["spans"]),
        "exported twice": len(twice["scopeSpans"][0]["spans"]),
    }


def test_a_caller_that_was_not_traced_is_no_loss(ended, tmp_path):
    data = samples.otlp_json(ended)
    data["resourceSpans"] = [
        one for one in data["resourceSpans"] if "gateway" not in json.dumps(one["resource"])
    ]
    found = import_traces(written(tmp_path, data))
    assert found.notes["traces whose caller is not in the file"] == 400
    assert found.system.flows["create"].root.service == "orders"
    assert found.requests == 400


@pytest.mark.parametrize("lost", [["GET /orders/*"], ["GET /orders/*", "orders"]])
def test_a_caller_that_was_lost_begins_no_flow(lost, ended, tmp_path):
    """The top of every tenth trace is missing: what was below it has a caller elsewhere."""
    data = samples.otlp_json(ended)
    gone = {span["traceId"] for span in samples.spans_of(data) if span["traceId"] < "2"}
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [span for span in scope["spans"] if span["traceId"] not in gone
                              or span["name"].replace("1234", "*") not in lost]  # fmt: skip
    found = import_traces(written(tmp_path, data))
    assert set(found.system.flows) == {"GET orders"}
    assert found.dropped["in traces with parents missing"] > 0
    assert "traces whose caller is not in the file" not in found.notes


def test_messages_whose_sender_was_not_sampled_are_said(ended, tmp_path):
    data = samples.otlp_json(ended)
    data["resourceSpans"] = [one for one in data["resourceSpans"]
                             if "mailer" in json.dumps(one["resource"])]  # fmt: skip
    found = import_traces(written(tmp_path, data))
    assert found.notes["messages whose sender is not in the file (a flow of their own)"] > 300
    assert {flow.root.service for flow in found.system.flows.values()} == {"mailer"}


@pytest.mark.parametrize("count, said", [(2, "+- 139 %"), (4, "+- 98 %"), (100, "+- 20 %")])
def test_how_sure_a_rate_is_has_no_powers_of_ten(count, said, tmp_path):
    found = import_traces(written(tmp_path, samples.otlp_json(samples.orders(count))))
    assert said in found.to_yaml()


# What cannot be used at all is refused in one sentence

DOCUMENT = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": []}]}]}).encode()
NESTED = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":' + b"[" * 100_000
BOMB = gzip.compress(b'{"a":"' + b" " * 20_000_000)
BAD = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n ", "nothing but blanks was found"),
    "binary": (bytes(range(128, 256)) * 10, "a file that begins with"),
    "text": (b"hello", "a file that begins with b'hello'"),
    "no traces": (b'{"name": "shop"}', "no span was found"),
    "no span": (DOCUMENT, "no span was found"),
    "a list": (b"[1, 2, 3]", "no span was found"),
    "cut off": (DOCUMENT[:-4], "an end in the middle"),
    "cut off in a string": (DOCUMENT[:10], "an end in the middle"),
    "two brackets too many": (DOCUMENT + b"]}", "a closing bracket without its opening one"),
    "wrong bracket": (b'{"resourceSpans": [}', "a closing bracket without its opening one"),
    "no comma": (DOCUMENT.replace(b"[]", b"[{} {}]"), "no JSON"),
    "no object": (DOCUMENT.replace(b"[]", b"[3]"), "no span was found"),
    "a comma too many": (DOCUMENT.replace(b"[]", b"[{},]"), "no span was found"),
    "no JSON around": (b'{"resourceSpans": [x]}', "no JSON"),
    "no JSON in a resource": (b'{"resourceSpans":[{"resource":x,"scopeSpans":[{"spans":[]}]}]}',
                              "no resource or trace"),
    "nested": (NESTED + b"]" * 100_000 + b"}]}]}]}", "no JSON"),
    "nested and cut off": (NESTED, "an end in the middle"),
    "nested around": (b"[" * 100_000, "more than 32 levels"),
    "gzip of nothing": (gzip.compress(b""), "the file is empty"),
    "gzip of text": (gzip.compress(b"hello"), "no JSON was found in this gzip file"),
    "gzip cut off": (gzip.compress(DOCUMENT * 99)[:-9], "the gzip file ends too early"),
    "gzip corrupt": (gzip.compress(DOCUMENT)[:10] + b"\xff" * 40, "corrupt gzip"),
    "gzip bomb": (BOMB, "more than 300 times its size"),
    "unnamed": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"' + b"a" * 32
                + b'","spanId":"' + b"b" * 16
                + b'","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}',
                "no whole request was found (1 without a service name)"),
    "both formats": (b'{"data":[{"spans":[{"traceID":"1","spanID":"2","startTime":1,"duration":1}],'
                     b'"scopeSpans":[{"spans":[]}]}]}', "both OTLP and Jaeger inside each other"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_sentence(kind, tmp_path):
    content, expected = BAD[kind]
    path, out = written(tmp_path, content, "bad"), tmp_path / "out.yml"
    result = decouple("import", "traces", path, "-o", out)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert expected in result.output
    assert result.output.count("\n") == 1
    assert result.output.startswith(str(path))
    assert "; expected " in result.output
    assert not out.exists()


def test_traces_from_the_standard_input(ended, tmp_path):
    text = samples.lines(samples.otlp_json(ended))
    found = CliRunner().invoke(main, ["import", "traces", "-", "--name", "a"], input=text)
    path = written(tmp_path, text, "-")
    assert found.exit_code == 0
    same = decouple("import", "traces", path, "--name", "a")
    assert (found.stdout, found.stderr) == (same.stdout, same.stderr)


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    filled_in = written(tmp_path, "name: Filled in", "mine.yml")
    result = decouple("import", "traces", tmp_path / "not even read", "-o", filled_in)
    assert result.exit_code == 2 and "is there already; expected a new name" in result.output
    assert filled_in.read_text() == "name: Filled in"


def test_a_directory_and_nothing_are_refused(tmp_path):
    for path, expected in ((tmp_path, "this is a directory"), (tmp_path / "x", "No such file")):
        result = decouple("import", "traces", path)
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert expected in result.output
    for words, expected in (
        (["--sampled", 0], "--sampled: '0' was found; expected a share above 0"),
        (["--sampled", 2], "--sampled: '2' was found; expected a number from 0 to 1"),
    ):
        result = decouple("import", "traces", tmp_path / "x", *words)
        assert (result.exit_code, result.output.strip()[: len(expected)]) == (2, expected)


def test_where_it_is_broken_is_said(ended, tmp_path):
    text = json.dumps(samples.otlp_json(ended))
    at = text.index(": ", len(text) // 2)
    path = written(tmp_path, text[:at] + "@" + text[at + 1 :])
    with pytest.raises(InvalidTraces, match="near byte ([0-9,]+): no JSON") as caught:
        import_traces(path)
    place = int(re.search("near byte ([0-9,]+)", str(caught.value))[1].replace(",", ""))
    assert place <= at < place + reading.CHUNK


# The command


def test_the_report_as_json(ended, tmp_path):
    path = written(tmp_path, samples.otlp_json(ended))
    found = json.loads(decouple("import", "traces", path, "--json", "--name", "Mine").stdout)
    assert found["system"]["name"] == "Mine"
    assert System.model_validate(found["system"]).flows.keys() == {"GET orders"}
    assert found["spans_read"] == len(ended)
    assert {fit["service"]: fit["distribution"] for fit in found["fits"]}["orders"] == "erlang"
    for fit in found["fits"]:
        assert fit["ks_distance"] is None or 0 < fit["ks_distance"] < 0.1
    assert found["dropped"] == {}
    assert any("seen at once" in bound for bound in found["bounds"])
    printed = decouple("import", "traces", path).stdout
    assert System.load(written(tmp_path, printed, "printed.yml")).network.within_ms == 2


def test_traces_are_written_whole_or_not_at_all(tmp_path):
    result = decouple("run", "shop", "--requests", 50, "--traces", tmp_path / "no" / "t.json")
    assert (result.exit_code, "cannot be written" in result.output) == (2, True)
    result = decouple("run", "shop", "--requests", 10**8, "--traces", tmp_path / "t.json")
    assert (result.exit_code, "expected at most 10,000,000" in result.output) == (2, True)
    assert list(tmp_path.iterdir()) == []


# Size


def document(path, copies):
    """One document in one line: a resource with one list of so many spans."""
    span = (
        '{"traceId":"%032x","spanId":"%016x","name":"work","kind":2,"startTimeUnixNano":"%d",'
        '"endTimeUnixNano":"%d","attributes":[{"key":"http.route","value":{"stringValue":"/a\\"}]"}}]}'
    )
    with path.open("w") as file:
        file.write('{"resourceSpans":[{"scopeSpans":[{"spans":[')
        for number in range(1, copies + 1):
            begun = 10**18 + number * 10**6
            file.write("," * (number > 1) + span % (number, number, begun, begun + 10**6))
        file.write(']}],"resource":{"attributes":[{"key":"service.name",'
                   '"value":{"stringValue":"only"}}]}}]}')  # fmt: skip


PEAK = """
import resource, sys
from models.traces import read
found = read(sys.argv[1])
assert found.requests == int(sys.argv[2]), found.requests
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_huge_document_is_never_in_memory_as_a_whole(tmp_path):
    peaks = {}
    for count in (1000, 50_000):
        path = tmp_path / f"{count}.json"
        document(path, count)
        done = subprocess.run([sys.executable, "-c", PEAK, path, str(count)],
                              capture_output=True, text=True, check=True)  # fmt: skip
        peaks[count] = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    # Some hundred bytes a span: a row, its id and what is sorted; its text is 260 bytes, and as
    # Python's objects it has 2,000.
    assert (peaks[50_000] - peaks[1000]) / 49_000 < 1000


# Fuzzing


@pytest.fixture(scope="module")
def small():
    few = samples.spans(12)
    return [json.dumps(samples.otlp_json(few)).encode(), json.dumps(samples.jaeger_json(few)).encode(),
            samples.lines(samples.otlp_json(few)).encode()]  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_a_sample_it_is_read_or_refused(data, small, tmp_path):
    text = bytearray(data.draw(st.sampled_from(small)))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        upto = data.draw(st.integers(at, min(len(text), at + 400)))
        how = data.draw(st.sampled_from(["cut", "copy", "set", "swap"]))
        if how == "cut":
            del text[at:upto]
        elif how == "copy":
            text[at:at] = text[at:upto]
        elif how == "set":
            text[at:at] = data.draw(st.sampled_from([
                b'"', b"{", b"}", b"[", b"]", b",", b"\\", b"null", b"-1", b"1e400", b"0", b'""',
                b'"spans":[', b'"scopeSpans":[', b"\xff", b"\x00"]))  # fmt: skip
        elif found := [match.span() for match in re.finditer(rb'"[0-9a-f]{16,32}"', text)]:
            one, other = data.draw(st.sampled_from(found)), data.draw(st.sampled_from(found))
            text[slice(*one)] = text[slice(*other)]
        if not text:
            break
    path = tmp_path / "fuzzed.json"
    path.write_bytes(bytes(text))
    try:
        found = import_traces(path)
    except InvalidTraces as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        System.model_validate(found.system.to_dict())
        assert sum(found.dropped.values()) <= found.spans


if find_spec("atheris"):  # it has wheels for Linux on x86-64 alone

    def test_atheris_finds_nothing_in_a_bounded_time(small, tmp_path):
        corpus = {}
        for number, text in enumerate(small):
            corpus[str(number)] = text[:4000] if number else text
            corpus[f"{number}.gz"] = gzip.compress(text, mtime=0)
        fuzz("traces", corpus, tmp_path, 8, 100, "-timeout=20", "-rss_limit_mb=2048")


# Details


@pytest.mark.parametrize(
    "text, size, number",
    [
        ("00000000000000ff", 8, 255),
        ("ff", 8, 255),  # Jaeger leaves out leading zeros
        ("AAAAAAAAAP8=", 8, 255),
        ("000000000000000000000000000000FF", 16, 255),
        ("AAAAAAAAAAAAAAAAAAAA/w==", 16, 255),
    ],
)
def test_ids(text, size, number):
    assert reading._id(text, size) == number


@pytest.mark.parametrize(
    "text", ["", "0000000000000000", "xyz", "-1", "0x12", "1_0", "é", "A" * 40]
)
def test_no_ids(text):
    with pytest.raises(reading.Malformed):
        reading._id(text, 8)


@pytest.mark.parametrize(
    "state, share",
    [
        ("ot=th:0", 1),
        ("ot=th:8", 0.5),
        ("a=b,ot=rv:1;th:c;x:y", 0.25),
        ("ot=th:fd70a3d70a3d71", 0.01),
    ],
)
def test_sampling_in_the_trace_state(state, share):
    """Examples of OpenTelemetry's specification, "TraceState: Probability Sampling"."""
    assert reading._from_state(state, math.nan) == pytest.approx(share)


def test_steps_inside_a_service_are_part_of_it(tmp_path):
    system = System.load("social-network")
    assert any(step.mode == LOCAL for step in system.plan().steps)
    record(system, 200, tmp_path / "t.json")
    found = import_traces(tmp_path / "t.json").system
    assert sum(entry.mode == "local" for entry in found.steps()) == sum(
        entry.mode == "local" for entry in system.steps()
    )


def test_what_no_system_can_be_is_refused(tmp_path):
    """Nested deeper than a system may be, and longer than any time in one."""

    def spans(count, length_ns):
        return [{"traceId": "1" * 32, "spanId": f"{number:016x}", "name": "n", "kind": 2,
                 **({"parentSpanId": f"{number - 1:016x}"} if number > 1 else {}),
                 "startTimeUnixNano": 5, "endTimeUnixNano": 5 + length_ns}
                for number in range(1, count + 1)]  # fmt: skip

    for count, length_ns, expected in (
        (150, 10**6, "steps nest too deeply"),
        (1000, 10**6, "1,000 nested too deeply"),
        (1, 2**61, "expected a time in ms"),
    ):
        data = {"resourceSpans": [
            {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]},
             "scopeSpans": [{"spans": spans(count, length_ns)[first::2]}]}
            for first, name in enumerate("ab")]}  # fmt: skip
        result = decouple("import", "traces", written(tmp_path, data))
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert expected in result.output


def test_services_that_call_each_other_do_not_lock_up(tmp_path):
    system = System.model_validate({
        "name": "Circle", "infrastructures": {"a": {}},
        "services": {"one": {"infrastructure": "a"}, "two": {"infrastructure": "a"}},
        "flows": {"f": {"rate_per_s": 20, "root": {
            "service": "one", "work": {"mean_ms": 5}, "then": [
                {"service": "two", "work": {"mean_ms": 5}, "then": [
                    {"service": "one", "name": "again", "work": {"mean_ms": 5}}]}]}}},
    })  # fmt: skip
    record(system, 300, tmp_path / "t.json")
    found = import_traces(tmp_path / "t.json")
    assert found.system.services["one"].workers == "unlimited"
    assert not found.system.warnings()
    assert shape(found.system.flows["f"].root) == shape(system.flows["f"].root)
    assert isinstance(found.system.flows["f"].root.work, Distribution)
