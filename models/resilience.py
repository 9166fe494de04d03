"""What goes wrong apart from the business, and what a caller does about it: the parts of a system.

Outages and restarts take services, infrastructures, brokers or links down. A policy belongs to an
edge, the way from a caller to a step: time limit, retries, breaker, throttle, bulkhead. What they
do is in `models.engine.reference` and `models.engine.policies`; `models.presets` has the defaults
of known tools.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from models.checks import (
    Flag,
    Ms,
    Name,
    Part,
    Share,
    a_count,
    a_list,
    a_number,
    an_option,
    fault,
    listed,
    or_nothing,
)
from models.distributions import Distribution
from models.presets import PRESETS, merged

Positive = Annotated[float, a_number("a number above 0", above=True)]
PositiveMs = Annotated[float, a_number("a time in ms, above 0", above=True)]
Count = Annotated[int, a_count("a whole number of at least 1", 1)]

RESULTS = ("failed", "rejected", "timed_out", "unavailable", "broken")
BACKOFFS = ("none", "drawn", "exponential", "full_jitter", "equal_jitter", "decorrelated")


class Budget(Part):
    """A token bucket: every retry takes a token; what brings tokens in limits the retries."""

    tokens: Positive = 10.0
    """How many it holds; it is full at the start."""
    per_call: Annotated[float, a_number("a number of tokens, 0 or more")] = 0.2
    """Tokens that each first try brings in."""
    per_s: Annotated[float, a_number("a number of tokens, 0 or more")] = 0.0
    """Tokens that come in per second."""


class Concurrent(Part):
    """How many retries may be under way at once, the pauses before them included.

    The default is the limit of Envoy's circuit breakers, `max_retries` (envoyproxy/data-plane-api
    @84e84367). Its retry budget is a share of 0.2, and at least 3.
    """

    at_least: Annotated[int, a_count("0 or more retries", 0)] = 3
    """So many may be under way, however few tries are."""
    share: Share = 0.0
    """As many as this share of the tries under way, if that is more."""


class Retry(Part):
    """Trying again after a try that did not succeed."""

    example = "{attempts: 3}"
    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required"))
    attempts: Annotated[int, a_count("a number of tries of at least 1", 1)]
    """How many tries there are at most, the first included; needed unless a preset says it."""
    on: Annotated[
        tuple[Annotated[str, an_option(*RESULTS)], ...],
        a_list(f"results, of {', '.join(RESULTS)}", empty=False),
    ] = ("rejected", "timed_out", "unavailable")
    """Which results are tried again; a business failure (`failed`) is an answer."""
    backoff: Annotated[
        Literal["none", "drawn", "exponential", "full_jitter", "equal_jitter", "decorrelated"],
        an_option(*BACKOFFS),
    ] = "none"
    """How the pause before the next try is chosen."""
    pause: Distribution | None = None
    """The pause of the back-off `drawn`; a fixed pause is a deterministic one."""
    base_ms: PositiveMs = 25.0
    """The pause after the first try, or the most that it can be, in ms."""
    cap_ms: PositiveMs = 10_000.0
    """The most that a pause can be, in ms."""
    factor: Annotated[float, a_number("a factor of at least 1", 1)] = 2.0
    """What the pause is multiplied by after each further try."""
    budget: Budget | None = None
    """What limits the retries of all calls together; null: nothing."""
    concurrent: Concurrent | None = None
    """What limits the retries that are under way at once; null: nothing."""

    @model_validator(mode="after")
    def _complete(self):
        if self.backoff == "drawn" and self.pause is None:
            fault("nothing was found; expected the distribution of the pause", "pause")
        if self.backoff != "drawn" and self.pause is not None:
            fault(
                f"is not used by '{self.backoff}'; write backoff: drawn, or leave it out", "pause"
            )
        return self


class Breaker(Part):
    """A circuit breaker: opens when too large a share of the last results was bad."""

    window: Annotated[int, a_count("1 to 100,000 results", 1, 100_000)] = 100
    """How many results it looks back on."""
    share: Share = 0.5
    """The share of bad results at which it opens."""
    minimum: Count = 100
    """How many results it wants to see before it judges."""
    open_ms: Ms = 60_000.0
    """How long it stays open before it lets trials through, in ms."""
    trials: Count = 10
    """How many trials must succeed, one after the other, before it closes."""

    @model_validator(mode="after")
    def _complete(self):
        if self.minimum > self.window:
            fault(
                f"{self.minimum} was found; expected at most the window, which is {self.window}",
                "minimum",
            )
        if self.share == 0:
            fault("0 was found; expected a share above 0, since it would open at once", "share")
        return self


class Throttle(Part):
    """Client-side throttling: the more of the last requests were refused, the fewer are sent."""

    multiplier: Annotated[float, a_number("a number of at least 1", 1)] = 2.0
    """How many requests it sends for each one that is accepted."""
    window_ms: PositiveMs = 120_000.0
    """Over how many ms it counts, fading."""


class Policy(Part):
    """What a caller does about an edge; nothing of it is done unless it is said."""

    model_config = ConfigDict(
        json_schema_extra={  # what a preset says need not be said again
            "if": {"not": {"required": ["preset"]}},
            "then": {
                "properties": {
                    "retry": {"if": {"type": "object"}, "then": {"required": ["attempts"]}}
                }
            },
        }
    )

    preset: Annotated[str | None, or_nothing(an_option(*PRESETS))] = None
    """The tool whose defaults hold where nothing else is said; see `decouple presets`."""
    timeout_ms: Annotated[
        float | None, or_nothing(a_number("a time in ms, above 0", above=True))
    ] = None
    """How long the caller waits for one try, in ms; the callee goes on all the same."""
    patience: Distribution | None = None
    """How long the caller waits for one try, drawn anew for each."""
    passes_deadline: Flag = False
    """Whether the callee learns until when the caller waits; it passes on what it knows."""
    retry: Retry | None = None
    """How it tries again; null: it does not."""
    breaker: Breaker | None = None
    """The circuit breaker; null: none."""
    throttle: Throttle | None = None
    """Throttling on the caller's side; null: none."""
    bulkhead: Annotated[int | None, or_nothing(a_count("1 or more calls at once", 1))] = None
    """How many tries may be under way at once; null: any number."""

    @model_validator(mode="wrap")
    @classmethod
    def _from_preset(cls, data: Any, check):
        """Put the preset below what is said; what only it says does not count as said."""
        name = data.get("preset") if isinstance(data, Mapping) else None
        if not isinstance(name, str) or name not in PRESETS:
            return check(data)
        policy = check(merged(data))
        _unsay(policy, PRESETS[name].values, data)
        return policy

    @model_validator(mode="after")
    def _one_limit(self):
        if self.timeout_ms is not None and self.patience is not None:
            fault("was found beside timeout_ms; expected one of them; leave one out", "patience")
        return self

    @property
    def policy(self) -> dict:
        """What is said of the policy."""
        return {
            name: value
            for name in Policy.model_fields
            if name != "preset"
            and (value := getattr(self, name)) is not None
            and value is not False
        }


def _unsay(part: BaseModel, values: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Leave `said` alone as said, so that the part is written back as it was written."""
    for name, value in values.items():
        if name not in said:
            part.model_fields_set.discard(name)
        elif isinstance(value, Mapping) and isinstance(said[name], Mapping):
            _unsay(getattr(part, name), value, said[name])


class Proxy(Part):
    """The proxies that every call goes through.

    The defaults are those of Istio's sidecars, on the cautious side: of the added latency measured
    for two of them the 90th percentile, and on top of it 0.2 ms of processor time a request in each
    (Istio 1.24 documentation). Chapters 7 and 8 take the mean, with the processor time in it.
    """

    hop_ms: Ms = 0.63
    """How much longer a call takes in the proxies of both sides together, in ms."""
    cpu_ms: Ms = 0.4
    """Processor time of a call in the proxies, in ms; it keeps the callee's worker busy."""


class Mtls(Part):
    """Encryption between the proxies.

    A new session takes two round trips (TLS 1.3 with TCP); the default for its computation is a
    signature, a verification and two key exchanges on elliptic curves, as measured.
    """

    session_reuse: Share = 0.99
    """The share of calls that go on with a session which is there already."""
    round_trips: Annotated[float, a_number("a number of round trips, 0 or more")] = 2.0
    """How many round trips a handshake takes."""
    cpu_ms: Ms = 0.185
    """How long the computation of a handshake takes, in ms."""


class Telemetry(Part):
    """Traces of requests."""

    sampling: Share = 1.0
    """The share of requests that are traced, decided once for all their steps."""
    span_ms: Ms = 0.0
    """How long the callee's worker is busy with the trace, in ms for each step."""


class Mesh(Policy):
    """A service mesh: one policy for all calls, and what it costs."""

    own_first = False
    proxy: Proxy | None = None
    """The proxies; null: none, the policy is in a library."""
    mtls: Mtls | None = None
    """Encryption; null: none."""
    telemetry: Telemetry | None = None
    """Traces; null: none."""

    def call_ms(self, rtt_ms: float) -> float:
        """How much longer a call takes on average over this round trip, the callee's work aside."""
        hop_ms = self.proxy.hop_ms if self.proxy else 0.0
        if self.mtls is None:
            return hop_ms
        handshake_ms = self.mtls.round_trips * rtt_ms + self.mtls.cpu_ms
        return hop_ms + (1 - self.mtls.session_reuse) * handshake_ms

    @property
    def work_ms(self) -> float:
        """How much longer a callee works on average."""
        traced = self.telemetry.sampling * self.telemetry.span_ms if self.telemetry else 0.0
        return traced + (self.proxy.cpu_ms if self.proxy else 0.0)


class Outage(Part):
    """Parts that go down together: a shared cause may hit several infrastructures at once."""

    example = "{services: [NAME], from_ms: 60000, for_ms: 30000}"
    name: Name = "outage"
    """What to call it; it labels its random numbers."""
    services: Annotated[tuple[Name, ...], a_list("names of services")] = ()
    """Services that go down."""
    infrastructures: Annotated[tuple[Name, ...], a_list("names of infrastructures")] = ()
    """Infrastructures that go down with all their services and brokers."""
    brokers: Annotated[tuple[Name, ...], a_list("names of brokers")] = ()
    """Brokers that go down; what they hold is kept, but for what is not copied yet."""
    links: Annotated[
        tuple[Annotated[tuple[Name, ...], a_list("two infrastructures")], ...],
        a_list("pairs of infrastructures"),
    ] = ()
    """Links that go down, each by its two ends."""
    consumers: Annotated[
        tuple[Annotated[tuple[Name, ...], a_list("a broker and a service")], ...],
        a_list("pairs of a broker and a service"),
    ] = ()
    """Consumers that stand still, as in a rebalance, each group by its broker and its service."""
    from_ms: Annotated[float | None, or_nothing(a_number("a time in ms, 0 or more"))] = None
    """When it begins, in ms; a run may start in the middle of it."""
    for_ms: Annotated[float | None, or_nothing(a_number("a time in ms, above 0", above=True))] = (
        None
    )
    """How long it lasts, in ms."""
    up: Distribution | None = None
    """The time between the end of one and the next: its mean is the mean time between failures."""
    down: Distribution | None = None
    """How long each lasts: its mean is the mean time to restore."""
    calls: Annotated[Literal["error", "hang"], an_option("error", "hang")] = "error"
    """What a call gets: an error at once, or one when it is over, whatever other outages say meanwhile."""

    @model_validator(mode="after")
    def _complete(self):
        kinds = ("services", "infrastructures", "brokers", "links", "consumers")
        if not any(getattr(self, kind) for kind in kinds):
            fault(f"nothing that goes down was found; expected {listed(kinds, 'or')}")
        given = [name for name in ("from_ms", "for_ms", "up", "down") if getattr(self, name)
                 is not None]  # fmt: skip
        if given not in (["from_ms", "for_ms"], ["up", "down"]):
            found = ", ".join(given) or "neither"
            fault(f"{found} was found; expected from_ms and for_ms, or up and down")
        if self.up is not None and self.down is not None and self.up.mean_ms == 0:
            fault("a mean of 0 was found; expected a time above 0", "up")
        return self


class Restart(Part):
    """A rolling restart: one instance of a service after the other is down for a while."""

    example = "{service: NAME, instances: 4, from_ms: 60000, each_ms: 5000}"
    service: Name
    """The service that is restarted."""
    instances: Annotated[int, a_count("2 or more instances", 2)]
    """How many there are; they share its workers evenly and are dealt its requests in turn."""
    from_ms: Ms
    """When the first one stops, in ms."""
    each_ms: PositiveMs
    """How long each one is down, in ms."""
    pause_ms: Ms = 0.0
    """From the start of one to the stop of the next, in ms."""
    drains: Flag = True
    """Whether an instance ends what it has begun; else that is lost."""
