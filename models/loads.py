"""How often each step of a system is done, and for how long: from mean times and shares alone.

Nothing waits, is turned away, given up or undone here, and no breaker or throttle is in the way. But
what breaks off or fails is tried again as its policy says, which costs the services below more
work and the callers above more time.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from models.engine import policies
from models.engine.plan import PolicyPlan

if TYPE_CHECKING:
    from models.system import Located, System

MOST_PASSES = 50
NO_POLICY = PolicyPlan()


class Outcomes(NamedTuple):
    """The chances that a step ends well, that it fails as a matter of business, and the rest."""

    ok: float
    failed: float
    unavailable: float


def visits(system: "System") -> Iterator[tuple["Located", float, float]]:
    """Every step with how often it is done per second, and how long a try takes in ms.

    The time is that of its own work and of the calls below, with their repetitions and pauses.
    """
    edges = {
        (entry.flow, entry.key): planned.policy or NO_POLICY
        for entry, planned in zip(system.steps(), system.plan().steps, strict=True)
    }
    for name, flow in system.flows.items():
        entries = system.steps(name)
        own = {entry.key: edges[name, entry.key] for entry in entries}
        allowed = {key: policy.earns for key, policy in own.items()}
        for _ in range(MOST_PASSES):
            calls, tries, took = _flow(system, entries, own, allowed, flow.mean_rate_per_s)
            before, allowed = allowed, {key: _brings(own[key], calls[key]) for key in own}
            if all(math.isclose(allowed[key], before[key], rel_tol=1e-9) for key in own):
                break
        for entry in entries:
            yield entry, calls[entry.key] * tries[entry.key], took[entry.key]


def enough_workers(system: "System", service: str, busy: float) -> int:
    """The workers of a service; where they are unlimited, as many as `busy` ones keep half busy."""
    workers = system.services[service].workers
    return math.ceil(2 * busy) + 1 if workers == "unlimited" else workers


def _brings(policy, calls_per_s):
    """Retries a call that the budget of an edge brings in."""
    if not policy.earns_per_ms:
        return policy.earns
    by_time = 1000 * policy.earns_per_ms / calls_per_s if calls_per_s else math.inf
    return policy.earns + by_time


def _flow(
    system: "System",
    entries: tuple["Located", ...],
    own: dict[str, PolicyPlan],
    allowed: dict[str, float],
    rate_per_s: float,
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Calls per second, tries a call and ms a try of each step of one flow.

    From the leaves up: how each step ends and how long it takes. From the root down: how often.
    """
    children: dict[str, list] = {entry.key: [] for entry in entries}
    for entry in entries:
        if above := entry.parent:
            children[above.key].append(entry)
    ends: dict[str, Outcomes] = {}  # of a call, after its last try
    tries: dict[str, float] = {}
    took: dict[str, float] = {}
    pauses_ms: dict[str, float] = {}
    reached: dict[str, float] = {}  # given that the parent's own work succeeded
    for entry in reversed(entries):
        step, times_ms, called = entry.step, [], []
        below = Outcomes(1.0, 0.0, 0.0)
        for child in children[entry.key]:
            reached[child.key] = 1.0 if step.in_parallel else below.ok
            published = child.mode == "message"  # once, however often it is delivered
            waits_ms = system._asked_ms(child, took[child.key])
            waits_ms *= 1.0 if published else tries[child.key]
            times_ms.append(reached[child.key] * (waits_ms + pauses_ms[child.key]))
            if child.mode != "message":
                called.append(ends[child.key])
                below = _and(below, ends[child.key])
        if step.in_parallel and called:
            below = _together(called)
        works = (1 - step.errors) * (1 - step.fails)
        below_ms = max(times_ms, default=0.0) if step.in_parallel else sum(times_ms)
        took[entry.key] = system.work_ms(entry) + works * below_ms
        one = Outcomes(
            works * below.ok,
            (1 - step.errors) * step.fails + works * below.failed,
            step.errors + works * below.unavailable,
        )
        policy = own[entry.key]
        if step.via is not None:  # it is not published again but delivered again
            policy = PolicyPlan(
                attempts=system.brokers[step.via].max_deliveries,
                retry_on=1 << policies.UNAVAILABLE,
            )
        again = _goes_on(policy, one, allowed[entry.key])
        tries[entry.key] = mean_tries(again, policy.attempts)
        ends[entry.key] = _after(policy, one, tries[entry.key])
        retry = system.policy_of(entry).get("retry")
        drawn_ms = retry.pause.mean_ms if retry and retry.pause else 0.0
        pauses_ms[entry.key] = _pauses_ms(policy, again, drawn_ms)
    calls = {entries[0].key: rate_per_s}
    for entry in entries:
        if above := entry.parent:
            works = (1 - above.step.errors) * (1 - above.step.fails)
            calls[entry.key] = calls[above.key] * tries[above.key] * works * reached[entry.key]
    return calls, tries, took


def _goes_on(policy: PolicyPlan, one: Outcomes, allowed: float) -> float:
    """The chance that a try is followed by another, as long as there are any left.

    It is that of an end that is tried again; with a budget no more than makes `allowed` retries a
    call, which is what the budget brings in, in the long run. The truth is a little below, since a
    bucket that is full loses tokens.
    """
    again = _retried(policy, one.failed, policies.FAILED) + _retried(
        policy, one.unavailable, policies.UNAVAILABLE
    )
    if policy.budget == math.inf or mean_tries(again, policy.attempts) <= 1 + allowed:
        return again
    low, high = 0.0, again
    for _ in range(60):
        middle = (low + high) / 2
        if mean_tries(middle, policy.attempts) <= 1 + allowed:
            low = middle
        else:
            high = middle
    return low


def mean_tries(again: float, most: int) -> float:
    """Mean tries a call, `most` at most, each followed by another with chance q: (1-q^n)/(1-q)."""
    return float(most) if again >= 1 else (1 - again**most) / (1 - again)


def _retried(policy, chance, result):
    return chance if policy.retry_on >> result & 1 else 0.0


def _after(policy, one, tries):
    """How a call ends: each try ends well with the same chance, so calls do with `tries` times it."""
    ok = tries * one.ok
    failed_again = _retried(policy, one.failed, policies.FAILED)
    lost_again = _retried(policy, one.unavailable, policies.UNAVAILABLE)
    failed = tries * (one.failed - failed_again)
    unavailable = tries * (one.unavailable - lost_again)
    if again := failed_again + lost_again:  # the last try ended in one of these all the same
        rest = max(1 - ok - failed - unavailable, 0.0)
        failed += rest * failed_again / again
        unavailable += rest * lost_again / again
    return Outcomes(ok, failed, unavailable)


def _and(first, then):
    """One after the other, until one does not end well."""
    return Outcomes(
        first.ok * then.ok,
        first.failed + first.ok * then.failed,
        first.unavailable + first.ok * then.unavailable,
    )


def _together(branches):
    """All at once; one that fails as a matter of business decides."""
    ok = not_failed = 1.0
    for branch in branches:
        ok *= branch.ok
        not_failed *= 1 - branch.failed
    return Outcomes(ok, 1 - not_failed, not_failed - ok)


def _pauses_ms(policy, again, drawn_ms):
    """All pauses of a call, on average; `drawn_ms` is the mean of the back-off `drawn`.

    A pause is a straight line in its random number, so that one half gives its mean; decorrelated
    ones that reach their cap are a little shorter.
    """
    mean_ms = total_ms = 0.0
    chance = again
    for tried in range(1, policy.attempts):
        if chance < 1e-12:
            break
        mean_ms = policies.pause_ms(policy, tried, mean_ms, 0.5, drawn_ms)
        total_ms += chance * mean_ms
        chance *= again
    return total_ms
