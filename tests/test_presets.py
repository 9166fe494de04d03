"""Presets: every value against where it was read, how they are overridden, and what they do."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from models import System, presets, simulate, theory
from models.cli import main
from models.resilience import Policy
from models.system import InvalidSystem

ENVOY = "envoyproxy/data-plane-api @84e84367"
ISTIO = "istio/api @b8f8791d"
LINKERD = "linkerd/website @93f00175, reference/circuit-breaking.md, tasks/configuring-retries.md"
RESILIENCE4J = "resilience4j/resilience4j @af9e7c97"
GRPC = "grpc/proposal A6-client-retries.md @1fd061ad"
BOTOCORE = "botocore 1.44.5, retries/standard.py and quota.py"
SRE = "Site Reliability Engineering, chapter 21"
OURS = "our way to say it, see the preset's notes"

# preset, path, value in its source (as there, then made ours), source
VALUES = [
    ("envoy", "bulkhead", 1024, f"{ENVOY}: max_connections, max_pending, max_requests"),
    *[(name, "timeout_ms", 1000 * 15, f"{ENVOY}: RouteAction.timeout 15 s")
      for name in ("envoy", "envoy-outlier")],
    *[row for name in ("envoy-outlier", "istio-outlier") for row in (
        (name, "breaker.window", 5, f"{ENVOY}: consecutive_5xx; {ISTIO} takes it over"),
        (name, "breaker.minimum", 5, f"{ENVOY}: consecutive_5xx"),
        (name, "breaker.share", 1.0, "all of them, since they are consecutive"),
        (name, "breaker.open_ms", 1000 * 30, f"{ENVOY}: base ejection 30 s; {ISTIO} the same"),
        (name, "breaker.trials", 1, OURS),
    )],
    ("envoy-outlier", "bulkhead", 1024, f"{ENVOY}: max_connections, max_pending, max_requests"),
    *[row for name in ("istio", "istio-outlier") for row in (
        (name, "retry.attempts", 1 + 2, f"{ISTIO}: 2 retries"),
        (name, "retry.base_ms", 25, f"{ISTIO}: retry base back-off 25 ms"),
        (name, "retry.cap_ms", 10 * 25, "Envoy, config.core.v3.BackoffStrategy: 10 times the base"),
        (name, "retry.backoff", "full_jitter", "the same: a jittered exponential back-off"),
    )],
    ("linkerd-annotated", "breaker.window", 7, f"{LINKERD}: 7 consecutive failures"),
    ("linkerd-annotated", "breaker.minimum", 7, f"{LINKERD}: 7 consecutive failures"),
    ("linkerd-annotated", "breaker.share", 1.0, "all of them, since they are consecutive"),
    ("linkerd-annotated", "breaker.open_ms", 1000 * 1, f"{LINKERD}: least penalty 1 s"),
    ("linkerd-annotated", "breaker.trials", 1, OURS),
    ("linkerd-annotated", "retry.attempts", 1 + 1, "linkerd 2.16, reference/retries.md: limit 1"),
    ("linkerd-profile", "retry.attempts", 100, OURS),
    ("linkerd-profile", "retry.budget.per_call", 0.2, f"{LINKERD}: retry budget ratio 0.2"),
    ("linkerd-profile", "retry.budget.per_s", 10, f"{LINKERD}: at least 10 retries/s"),
    ("linkerd-profile", "retry.budget.tokens", 10 * 10, f"{LINKERD}: 10/s over 10 s"),
    ("resilience4j", "breaker.share", 50 / 100, f"{RESILIENCE4J}: failure rate threshold 50 %"),
    ("resilience4j", "breaker.window", 100, f"{RESILIENCE4J}: sliding window of 100 calls"),
    ("resilience4j", "breaker.minimum", 100, f"{RESILIENCE4J}: minimum 100 calls"),
    ("resilience4j", "breaker.open_ms", 1000 * 60, f"{RESILIENCE4J}: wait in open 60 s"),
    ("resilience4j", "breaker.trials", 10, f"{RESILIENCE4J}: 10 half-open calls"),
    ("resilience4j", "retry.attempts", 3, f"{RESILIENCE4J}: 3 attempts"),
    ("resilience4j", "retry.base_ms", 500, f"{RESILIENCE4J}: wait 500 ms"),
    ("resilience4j", "retry.cap_ms", 500, f"{RESILIENCE4J}: wait 500 ms, each time"),
    ("resilience4j", "retry.factor", 1, f"{RESILIENCE4J}: wait 500 ms, each time"),
    ("resilience4j", "retry.backoff", "exponential", OURS),
    ("resilience4j", "bulkhead", 25, f"{RESILIENCE4J}: bulkhead 25 concurrent, wait 0"),
    ("resilience4j", "timeout_ms", 1000 * 1, f"{RESILIENCE4J}: time limiter 1 s"),
    ("grpc", "retry.attempts", 4, f"{GRPC}: example maxAttempts 4, capped at 5"),
    ("grpc", "retry.base_ms", 1000 * 0.1, f"{GRPC}: example initialBackoff 0.1 s"),
    ("grpc", "retry.cap_ms", 1000 * 1, f"{GRPC}: example maxBackoff 1 s"),
    ("grpc", "retry.factor", 2, f"{GRPC}: example backoffMultiplier 2"),
    ("grpc", "retry.backoff", "exponential", OURS),
    ("grpc", "retry.budget.tokens", 10 - 10 / 2, f"{GRPC}: maxTokens 10, none at maxTokens/2"),
    ("grpc", "retry.budget.per_call", 0.1, f"{GRPC}: tokenRatio 0.1"),
    ("aws-sdk", "retry.attempts", 3, f"{BOTOCORE}: 3 attempts"),
    ("aws-sdk", "retry.base_ms", 1000 * 0.05, f"{BOTOCORE}: base 0.05 s"),
    ("aws-sdk", "retry.cap_ms", 1000 * 20, f"{BOTOCORE}: cap 20 s"),
    ("aws-sdk", "retry.factor", 2, f"{BOTOCORE}: rand(0, 1) * min(0.05 * 2^i, 20 s)"),
    ("aws-sdk", "retry.backoff", "full_jitter", f"{BOTOCORE}: rand(0, 1) * min(...)"),
    ("aws-sdk", "retry.budget.tokens", 500 / 14, f"{BOTOCORE}: bucket 500, a retry costs 14"),
    ("aws-sdk", "retry.budget.per_call", 1 / 14, f"{BOTOCORE}: _NO_RETRY_INCREMENT 1"),
    ("google-sre", "retry.attempts", 3, f"{SRE}: at most 3 attempts a request"),
    ("google-sre", "retry.budget.per_call", 10 / 100, f"{SRE}: retries below 10 %"),
    ("google-sre", "retry.budget.tokens", 10, OURS),
    ("google-sre", "throttle.multiplier", 2, f"{SRE}: K = 2"),
    ("google-sre", "throttle.window_ms", 1000 * 60 * 2, f"{SRE}: two minutes"),
]  # fmt: skip


def leaves(values, path=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        elif key != "on":  # a translation of each tool's words
            yield f"{path}{key}", value


@pytest.mark.parametrize(("name", "path", "value", "source"), VALUES)
def test_value_is_that_of_its_source(name, path, value, source):
    part = presets.PRESETS[name].policy
    for key in path.split("."):
        part = getattr(part, key)
    assert part == pytest.approx(value) if isinstance(value, float) else part == value
    cited = source.split(" @")
    if len(cited) > 1:  # the same commit is named for the reader
        owner, commit = cited[0].split()[0], cited[1][:8]
        assert owner in presets.PRESETS[name].source or name == "istio-outlier"
        assert commit in presets.PRESETS[name].source or name == "istio-outlier"


def test_no_value_is_without_a_source():
    said = {(n, path) for n, p in presets.PRESETS.items() for path, _ in leaves(p.values)}
    assert said == {(name, path) for name, path, _, _ in VALUES}
    assert all(p.source and p.title and p.translated for p in presets.PRESETS.values())


def test_as_they_come_linkerd_does_nothing_and_istio_has_no_breaker():
    """Linkerd: off unless annotated. Istio: pool limits of 2^32-1, no breaker unless set."""
    assert presets.PRESETS["linkerd"].policy.policy == {}
    assert set(presets.PRESETS["istio"].policy.policy) == {"retry"}


# Overriding


def test_what_is_said_overrides_part_by_part():
    policy = Policy.model_validate(
        {"preset": "aws-sdk", "timeout_ms": 500, "retry": {"attempts": 5, "budget": {"tokens": 9}}}
    )
    assert (policy.timeout_ms, policy.retry.attempts, policy.retry.budget.tokens) == (500, 5, 9)
    assert (policy.retry.base_ms, policy.retry.budget.per_call) == (50, pytest.approx(1 / 14))
    plain = Policy.model_validate({"preset": "aws-sdk"})
    assert plain.policy == presets.PRESETS["aws-sdk"].policy.policy
    assert Policy(preset="resilience4j", bulkhead=None).bulkhead is None
    assert "retry" not in Policy(preset="resilience4j", retry=None).policy
    assert Policy(preset="istio", retry={"on": ["failed"]}).retry.on == ("failed",)
    patient = Policy(preset="resilience4j", patience={"mean_ms": 300}).policy
    assert "timeout_ms" not in patient and patient["patience"].mean_ms == 300


def shop(mesh):
    return System.model_validate(System.load("shop").to_dict() | {"mesh": mesh})


def test_in_a_system_it_is_written_back_as_it_was_said_and_can_be_changed():
    said = {"preset": "resilience4j", "timeout_ms": 500, "retry": {"attempts": 5}}
    system = shop(said)
    assert system.to_dict()["mesh"] == said | {"timeout_ms": 500.0}
    assert System.model_validate(system.to_dict()) == system
    other = system.with_("mesh.preset", "aws-sdk").mesh
    assert (other.retry.attempts, other.retry.base_ms, other.bulkhead) == (5, 50, None)
    deeper = system.with_("mesh.breaker.share", 0.9).mesh
    assert (deeper.breaker.share, deeper.breaker.window) == (0.9, 100)


def test_a_step_overrides_the_mesh():
    path = "flows.place_order.root.then[1]"
    system = shop({"preset": "resilience4j"}).with_(f"{path}.preset", "istio")
    entry = next(e for e in system.steps() if e.path == path)
    policy = system.policy_of(entry)
    assert policy["retry"] == presets.PRESETS["istio"].policy.retry
    assert policy["bulkhead"] == 25  # of which Istio says nothing
    assert system.plan() != shop({"preset": "resilience4j"}).plan()


@pytest.mark.parametrize(("mesh", "sentence"), [
    ({"preset": "isto"}, r"^mesh\.preset: 'isto' was found; expected one of envoy, .*; "
                         r"did you mean 'istio'\?$"),
    ({"preset": 5}, r"^mesh\.preset: 5 was found; expected one of envoy, "),
    ({"preset": ["istio"]}, r"^mesh\.preset: a list of 1 was found; expected one of envoy, "),
    ({"preset": "grpc", "retry": {"atempts": 4}},
     r"^mesh\.retry: 'atempts' is not a key here; did you mean 'attempts'\?$"),
    ({"preset": "grpc", "retry": 4}, r"^mesh\.retry: 4 was found; expected a mapping with "),
    ({"preset": "resilience4j", "breaker": {"window": 20}},
     r"^mesh\.breaker\.minimum: 100 was found; expected at most the window, which is 20$"),
    ({"presets": "grpc"}, r"^mesh: 'presets' is not a key here; did you mean 'preset'\?$"),
])  # fmt: skip
def test_bad_ones_are_refused_in_one_sentence(mesh, sentence):
    with pytest.raises(InvalidSystem, match=sentence):
        shop(mesh)


def test_a_preset_inside_one_service_is_refused_by_its_name():
    step = [{"service": "payment", "preset": "linkerd"}]
    with pytest.raises(InvalidSystem, match=r"then\[0\]\.preset: this was found on a step"):
        System.load("shop").with_("flows.place_order.root.then[1].then", step)


def test_a_policy_is_said_on_the_step_itself():
    with pytest.raises(InvalidSystem, match="'policy' is not a key here; write what is in it on"):
        System.load("shop").with_(
            "flows.place_order.root.then", [{"service": "payment", "policy": {"preset": "grpc"}}]
        )


def test_the_command_lists_them():
    plain = CliRunner().invoke(main, ["presets"])
    assert plain.exit_code == 0
    data = json.loads(CliRunner().invoke(main, ["presets", "--json"]).output)
    assert list(data) == list(presets.PRESETS)
    for name, preset in presets.PRESETS.items():
        assert f"{name}: {preset.title}" in plain.output
        assert f"source: {preset.source}" in plain.output
        assert data[name]["values"] == preset.values
        assert data[name]["translated"] == list(preset.translated)
    assert "    retry:\n      attempts: 3\n" in plain.output


# What they do


def target(preset, per_s=100.0, step=None, service=None, **more):
    """A client that calls one service by the preset, at constant intervals."""
    call = {"service": "target", "preset": preset} | (step or {})
    flow = {"rate_per_s": per_s, "arrivals": "deterministic"}
    return System.model_validate(
        {
            "name": "preset",
            "infrastructures": {"here": {}},
            "network": {"within_ms": 0},
            "services": {
                "client": {"infrastructure": "here"},
                "target": {"infrastructure": "here"} | (service or {}),
            },
            "flows": {"only": flow | {"root": {"service": "client", "then": [call]}}},
            **more,
        }
    )


def of_target(system, requests, seed=1):
    run = simulate(system, requests, seed, warmup=0.0)
    return run.steps.set_index("step").loc["target"]


def test_linkerd_as_it_comes_is_no_policy_to_the_bit():
    flaky = {"errors": 0.3, "work": {"mean_ms": 5}}
    plain, linkerd = (
        simulate(target(name, step=flaky), 5000, 1, warmup=0.0).requests
        for name in (None, "linkerd")
    )
    assert np.array_equal(plain.replied_ms, linkerd.replied_ms)


@pytest.mark.parametrize(("name", "most"), [("istio", 3), ("aws-sdk", 3), ("grpc", 4)])
def test_rare_errors_cost_the_mean_number_of_attempts(name, most):
    """(1 - p^n) / (1 - p) tries a call, within three standard errors; no budget is in the way."""
    p, calls = 0.03, 100_000
    found = of_target(target(name, step={"errors": p}), calls)
    mean = theory.mean_attempts(p, most)
    tries = np.arange(1, most + 1)
    weights = np.append((1 - p) * p ** (tries[:-1] - 1), p ** (most - 1))
    error = np.sqrt((weights @ tries**2 - mean**2) / calls)
    assert error < 0.001 * mean
    assert abs(found.tried / calls - mean) < 3 * error


def test_istio_never_opens_and_multiplies_what_is_asked_of_something_broken():
    found = of_target(target("istio", step={"errors": 1}), 10_000)
    assert (found.tried, found.handled, found.broken) == (30_000, 30_000, 0)


@pytest.mark.parametrize(("name", "before"), [
    ("envoy-outlier", 5), ("istio-outlier", 5), ("linkerd-annotated", 7), ("resilience4j", 100),
])  # fmt: skip
def test_a_breaker_opens_after_as_many_failures_as_it_says(name, before):
    """Nothing succeeds: so many calls reach the service, and until it tries again none does."""
    policy = presets.PRESETS[name].policy
    per_s = 2000.0  # of which the first ones open it
    calls = int(per_s * policy.breaker.open_ms / 1000 * 0.9)
    found = of_target(target(name, per_s, step={"errors": 1}), calls)
    assert found.handled == before
    assert found.broken == found.tried - before > 0


def test_resilience4j_opens_at_half_of_a_hundred_and_not_at_a_fifth():
    few, many = (of_target(target("resilience4j", step={"errors": p}), 20_000) for p in (0.2, 0.55))
    assert few.broken == 0 and many.broken > 0.5 * many.tried


def test_resilience4j_waits_a_second_at_most_and_for_25_at_once():
    slow = {"work": {"mean_ms": 2500, "distribution": "deterministic"}}
    found = of_target(target("resilience4j", 10.0, slow | {"retry": None}), 200)
    assert found.timed_out == found.tried - found.broken > 0
    crowd = {"work": {"mean_ms": 900, "distribution": "deterministic"}, "retry": None}
    found = of_target(target("resilience4j", 1e5, crowd | {"breaker": None}), 60)
    assert (found.handled, found.broken) == (25, 35)


def test_envoy_as_it_comes_refuses_what_is_beyond_1024_at_once():
    slow = {"work": {"mean_ms": 1000, "distribution": "deterministic"}}
    found = of_target(target("envoy", 1e5, slow), 2000)
    assert (found.handled, found.broken) == (1024, 976)


@pytest.mark.parametrize(("name", "full", "per_call", "per_s"), [
    ("aws-sdk", 500 / 14, 1 / 14, 0), ("grpc", 5, 0.1, 0), ("linkerd-profile", 100, 0.2, 10),
])  # fmt: skip
def test_a_budget_bounds_the_retries_of_something_broken(name, full, per_call, per_s):
    """What the bucket holds at first, and what the calls and the time bring in."""
    calls, arrivals = 20_000, 100.0
    found = of_target(target(name, arrivals, step={"errors": 1}), calls)
    bound = full + per_call * calls + per_s * calls / arrivals
    assert bound - 3 < found.tried - calls < bound + 1


def test_google_sre_spares_what_is_broken():
    """Of n calls, none accepted, 1/1 + ... + 1/n get through, times the tries of each."""
    calls = 5000
    found = of_target(target("google-sre", 1000.0, step={"errors": 1}), calls)
    assert found.handled < 3 * theory.harmonic(calls)
    fine = of_target(target("google-sre", 1000.0), calls)
    assert fine.broken == 0  # twice what is accepted may be sent
