"""Named resilience policies: the defaults of tools that many systems run, each with its source.

A system file uses one by name, `mesh: {preset: istio}` or `{service: payment, preset: grpc}`, and
may override any part of it: keys are merged mapping by mapping, so that `retry: {attempts: 5}`
keeps the preset's back-off, null takes a part out, and anything else takes the place of what was
there. In Python, `PRESETS["istio"].policy` is the policy itself.

A tool's bare name is what it does unless somebody configures it; a name with an addition is what
one gets by turning a feature on and leaving its settings alone. Our policies belong to an edge,
that of a tool often to one host behind it: what that changes is said in each `translated`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.resilience import Policy

ENVOY = "envoyproxy/data-plane-api @84e84367"
ISTIO = "istio/api @b8f8791d"
LINKERD = (
    "linkerd/website @93f00175, reference/circuit-breaking.md and tasks/configuring-retries.md"
)


@dataclass(frozen=True)
class Preset:
    """The defaults of one tool.

    `values` are written as in a system file; `source` is where they were read; `translated` says
    what our model of a policy cannot express, and what stands in its place.
    """

    title: str
    values: Mapping[str, Any]
    source: str
    translated: tuple[str, ...]

    @property
    def policy(self) -> "Policy":
        """The policy itself, complete and valid."""
        from models.resilience import Policy

        return Policy.model_validate(self.values)


_EJECTS_AFTER_FIVE = {"window": 5, "share": 1.0, "minimum": 5, "open_ms": 30_000, "trials": 1}
_TWO_RETRIES = {
    "attempts": 3,
    "on": ["rejected", "unavailable"],
    "backoff": "full_jitter",
    "base_ms": 25,
    "cap_ms": 250,
}
_EJECTION = (
    "outlier detection ejects one host, here the whole edge opens: five bad results one after the "
    "other are a window of 5 of which all are bad",
    "the first ejection of 30 s is used every time; it grows with each one, up to 300 s",
    "the check every 10 s is left out: it opens at once",
    "at most 10 % of the hosts are ejected, which with few hosts is one; the ejection by success "
    "rate or by failure percentage needs several hosts to compare and is left out",
)

PRESETS: dict[str, Preset] = {
    "envoy": Preset(
        "Envoy as it comes: limits on what is under way, 15 s of patience, no retries, no outlier "
        "detection",
        {"bulkhead": 1024, "timeout_ms": 15_000},
        ENVOY + ", cluster circuit breakers and the time limit of a route",
        (
            "1024 connections, 1024 pending and 1024 running requests are one limit of 1024 tries",
            "what is beyond it is refused at once and does not wait",
            "the limit of 3 retries under way is left out, since nothing is retried unless a route "
            "says so: then it is `concurrent: {}` beside the attempts, and Envoy's retry budget is "
            "`concurrent: {share: 0.2, at_least: 3}`",
        ),
    ),
    "envoy-outlier": Preset(
        "Envoy with outlier detection turned on, all its settings left alone",
        {"bulkhead": 1024, "timeout_ms": 15_000, "breaker": _EJECTS_AFTER_FIVE},
        ENVOY + ", cluster circuit breakers, outlier detection and the time limit of a route",
        _EJECTION,
    ),
    "istio": Preset(
        "Istio as it comes: two retries on every call, and limits so high that no breaker opens",
        {"retry": _TWO_RETRIES},
        ISTIO + ", virtual_service.proto and destination_rule.proto; cap: Envoy's back-off, "
        "10 times the base",
        (
            "retries on connect-failure, refused-stream, unavailable, cancelled and status 503: "
            "here whatever is refused or comes back unavailable, technical errors included",
            "the limits of the connection pools are 2^32-1: no breaker unless set, so none here",
            "a retry goes to another host if there is one; here an edge has one service",
        ),
    ),
    "istio-outlier": Preset(
        "Istio with an empty outlierDetection: the retries, and a breaker",
        {"retry": _TWO_RETRIES, "breaker": _EJECTS_AFTER_FIVE},
        ISTIO + ", virtual_service.proto and destination_rule.proto",
        _EJECTION,
    ),
    "linkerd": Preset(
        "Linkerd as it comes: nothing, since breaker and retries are off unless annotated",
        {},
        LINKERD,
        ("its load balancing by latency is not part of a policy",),
    ),
    "linkerd-annotated": Preset(
        "Linkerd with the annotations for consecutive failures and for retries, nothing else said",
        {
            "retry": {"attempts": 2, "on": ["rejected", "unavailable"]},
            "breaker": {"window": 7, "share": 1.0, "minimum": 7, "open_ms": 1000, "trials": 1},
        },
        LINKERD + "; the limit of one retry: reference/retries.md of version 2.16",
        (
            "seven failures one after the other are a window of 7 of which all are bad",
            "the penalty of 1 s is used every time; it doubles up to 60 s, with a jitter of 0.5",
            "one host is left out, here the whole edge opens",
            "the unified mode (success below 80 % over 10 s, at least 5 requests) is left out",
        ),
    ),
    "linkerd-profile": Preset(
        "Linkerd with retries from a service profile: no number of tries, but a budget",
        {
            "retry": {
                "attempts": 100,
                "on": ["rejected", "unavailable"],
                "budget": {"tokens": 100, "per_call": 0.2, "per_s": 10},
            }
        },
        LINKERD,
        (
            "a profile gives no number of tries; 100 stand for no limit",
            "the budget counts the last 10 s; here a bucket holds what 10/s bring in 10 s",
        ),
    ),
    "resilience4j": Preset(
        "resilience4j, all decorators with their defaults",
        {
            "timeout_ms": 1000,
            "retry": {
                "attempts": 3,
                "on": ["rejected", "timed_out", "unavailable", "broken"],
                "backoff": "exponential",
                "base_ms": 500,
                "cap_ms": 500,
                "factor": 1,
            },
            "breaker": {
                "window": 100,
                "share": 0.5,
                "minimum": 100,
                "open_ms": 60_000,
                "trials": 10,
            },
            "bulkhead": 25,
        },
        "resilience4j/resilience4j @af9e7c97",
        (
            "the wait of 500 ms is fixed: an exponential back-off with factor 1; where one asks "
            "for a growing one, the factor is 1.5 and the jitter 0.5",
            "every exception is retried, also that of an open breaker; a business failure is taken "
            "for an answer and not for an exception",
            "of 10 half-open calls fewer than half may fail; here all must succeed",
            "a slow call is one above 60 s, which the time limit of 1 s never lets happen",
            "the rate limiter (50 calls every 500 ns) limits nothing and is left out",
        ),
    ),
    "grpc": Preset(
        "gRPC with the retry policy and the throttling that its proposal A6 gives as example",
        {
            "retry": {
                "attempts": 4,
                "on": ["unavailable"],
                "backoff": "exponential",
                "base_ms": 100,
                "cap_ms": 1000,
                "factor": 2,
                "budget": {"tokens": 5, "per_call": 0.1},
            }
        },
        "grpc/proposal A6-client-retries.md @1fd061ad",
        (
            "nothing is retried unless a service configuration says so; it may say at most 5 tries",
            "a failure takes a token of 10 and a success gives 0.1 back, with no retry at 5 or "
            "fewer: here 5 tokens, one for each retry, 0.1 for each call",
            "the jitter of plus or minus 20 % is left out: the pause is its mean",
            "transparent retries of what was never sent are left out",
        ),
    ),
    "aws-sdk": Preset(
        "AWS SDK for Python, retry mode standard",
        {
            "retry": {
                "attempts": 3,
                "on": ["rejected", "timed_out", "unavailable"],
                "backoff": "full_jitter",
                "base_ms": 50,
                "cap_ms": 20_000,
                "factor": 2,
                "budget": {"tokens": 500 / 14, "per_call": 1 / 14},
            }
        },
        "botocore 1.44.5, retries/standard.py and retries/quota.py",
        (
            "a bucket of 500 of which a retry takes 14, and into which a call that needs none "
            "puts 1: here 500/14 tokens, one for each retry, 1/14 for each call",
            "a retry that succeeds gives its 14 back; here it does not",
            "throttling errors (a base of 1 s, a price of 5) are treated like all others",
        ),
    ),
    "google-sre": Preset(
        "Client-side throttling and retry budget of Google's Site Reliability Engineering",
        {
            "retry": {
                "attempts": 3,
                "on": ["rejected", "timed_out", "unavailable"],
                "budget": {"tokens": 10, "per_call": 0.1},
            },
            "throttle": {"multiplier": 2, "window_ms": 120_000},
        },
        "Beyer et al., Site Reliability Engineering, 2016, chapter 21, equation 21-1 (quoted from "
        "second-hand accounts)",
        (
            "the two minutes are a window that fades, not one that ends",
            "retries are at most a tenth of the calls; the book says not over how long: here a "
            "bucket of 10, as many as 100 calls bring in",
            "back-off is asked for but no values are given: none here",
        ),
    ),
}


def merged(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a policy, on top of the preset that it names; KeyError if there is none."""
    values = dict(PRESETS[said["preset"]].values)
    if said.get("patience") is not None:  # the other way to say a time limit
        values.pop("timeout_ms", None)
    return _over(values, said)


def _over(values: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _over(values[key], new)
        for key, new in said.items()
        if isinstance(new, Mapping) and isinstance(values.get(key), Mapping)
    }
    return {**values, **said, **both}
