"""What a caller does about one edge: time limits, retries, budgets, breakers, bulkheads.

An *edge* is the way from a caller to one of its steps. Its policy is a row of `plan.PolicyPlan`,
what has happened on it so far an `Edge`. The functions need nothing but the standard library;
`compiled.py` compiles the very same source, where both are rows of tables.

Sources: the breaker follows M. T. Nygard, "Release It!", 2nd ed. 2018, chapter 5, with the window
of counted results of resilience4j; back-off and jitter follow M. Brooker, "Exponential Backoff and
Jitter", AWS Architecture Blog, 2015; client throttling follows B. Beyer et al., "Site Reliability
Engineering", 2016, chapter 21, equation for client request rejection; a retry budget is a token
bucket as in Finagle and Linkerd; a limit on the retries under way is that of Envoy's circuit
breakers.
"""

import math
from dataclasses import dataclass

from models.engine import draws
from models.engine.plan import (
    DECORRELATED,
    DRAWN,
    EQUAL_JITTER,
    FULL_JITTER,
    NO_PAUSE,
)

# What comes back from a step, to whoever called it.
# LOST: an outage took it in the middle; a caller hears that it is UNAVAILABLE.
# VANISHED: a message that nobody will ever process.
OK, FAILED, REJECTED, TIMED_OUT, UNAVAILABLE, BROKEN, LOST, VANISHED = range(8)

# A request is OK, FAILED, REJECTED, or UNFINISHED: it has no answer, or some of its work never ends,
# or one of its messages has vanished.
UNFINISHED = 3

CLOSED, OPEN, HALF_OPEN = range(3)


@dataclass
class Edge:
    """What has happened on one edge: tries in flight, tokens, fading counts, the breaker."""

    in_flight: int = 0
    retries: int = 0  # under way, their pauses included; counted where there is a limit
    tokens: float = 0.0
    earned_ms: float = 0.0
    requests: float = 0.0
    accepts: float = 0.0
    faded_ms: float = 0.0
    state: int = CLOSED
    turn: int = 0  # how often its state has changed
    opened_ms: float = 0.0
    begun: int = 0
    succeeded: int = 0
    seen: int = 0
    failures: int = 0


def passed_on(result):
    """What a step answers when one that it called did not succeed."""
    return FAILED if result == FAILED else UNAVAILABLE


def lets_through(edge, policy, now_ms, uniform):
    """Whether a try may begin; `uniform` decides for the throttle."""
    if policy.bulkhead > 0 and edge.in_flight >= policy.bulkhead:
        return False
    if policy.window > 0:
        if edge.state == OPEN and now_ms - edge.opened_ms >= policy.open_ms:
            edge.state = HALF_OPEN
            edge.turn += 1
            edge.begun = 0
            edge.succeeded = 0
        if edge.state == OPEN or (edge.state == HALF_OPEN and edge.begun >= policy.trials):
            return False
    if policy.throttle > 0.0:
        kept = draws.exp(-min((now_ms - edge.faded_ms) / policy.throttle_ms, 700.0))
        edge.requests *= kept
        edge.accepts *= kept
        edge.faded_ms = now_ms
        excess = edge.requests - policy.throttle * edge.accepts
        edge.requests += 1.0
        if uniform * edge.requests < excess:
            return False
    if edge.state == HALF_OPEN:
        edge.begun += 1
    edge.in_flight += 1
    return True


def answered(edge, policy, ring, first, result, now_ms, turn):
    """Take note of a result; `ring` has the breaker's window from place `first` on.

    The breaker counts it if its state is that in which the try began: if it has not changed since
    its `turn` then.
    """
    edge.in_flight -= 1
    broke = result > FAILED  # a business failure is an answer
    if policy.throttle > 0.0 and not broke:
        edge.accepts += 1.0
    if policy.window == 0 or edge.turn != turn:
        return
    if edge.state == HALF_OPEN:
        edge.succeeded += not broke
        if broke or edge.succeeded >= policy.trials:
            edge.state = OPEN if broke else CLOSED
            edge.turn += 1
            edge.opened_ms = now_ms
            edge.seen = 0
            edge.failures = 0
        return
    place = first + edge.seen % policy.window
    if edge.seen >= policy.window:
        edge.failures -= ring[place]
    ring[place] = broke
    edge.failures += broke
    edge.seen += 1
    counted = min(edge.seen, policy.window)
    if counted >= policy.minimum and edge.failures >= policy.share * counted:
        edge.state = OPEN
        edge.turn += 1
        edge.opened_ms = now_ms
        edge.seen = 0
        edge.failures = 0


def hangs_up(edge, policy, tries, asks, turn):
    """A caller has gone for ever after `tries` tries, in the middle of one more if it `asks`.

    That one began at this `turn` of the breaker.
    """
    edge.in_flight -= asks
    if policy.retries < math.inf and tries > 0:
        edge.retries -= 1
    if asks and edge.state == HALF_OPEN and edge.turn == turn:
        edge.begun -= 1


def earns(edge, policy, now_ms):
    """The first try of a call brings the edge's budget a part of a token."""
    filled = edge.tokens + policy.earns + policy.earns_per_ms * (now_ms - edge.earned_ms)
    edge.tokens = min(filled, policy.budget)
    edge.earned_ms = now_ms


def tries_again(edge, policy, result, tries, now_ms):
    """Whether to try again after `tries` tries; if so it is counted, and takes a token of the budget."""
    if policy.retries < math.inf and tries > 1:
        edge.retries -= 1
    if result == OK or tries >= policy.attempts or policy.retry_on >> result & 1 == 0:
        return False
    if policy.retries < math.inf and edge.retries >= max(
        policy.retries, math.floor(policy.retry_share * edge.in_flight)
    ):
        return False
    if policy.budget < math.inf:
        filled = edge.tokens + policy.earns_per_ms * (now_ms - edge.earned_ms)
        edge.tokens = min(filled, policy.budget)
        edge.earned_ms = now_ms
        if edge.tokens < 1.0:
            return False
        edge.tokens -= 1.0
    if policy.retries < math.inf:
        edge.retries += 1
    return True


def pause_ms(policy, tries, previous_ms, uniform, drawn_ms):
    """How long to pause after `tries` tries; `drawn_ms` is a draw of the policy's distribution."""
    if policy.backoff == NO_PAUSE:
        return 0.0
    if policy.backoff == DRAWN:
        return drawn_ms
    if policy.backoff == DECORRELATED:
        top = max(previous_ms, policy.base_ms) * 3.0
        return min(policy.base_ms + uniform * (top - policy.base_ms), policy.cap_ms)
    top = min(policy.base_ms, policy.cap_ms)
    for _ in range(tries - 1):
        top = min(top * policy.factor, policy.cap_ms)
        if top == policy.cap_ms:
            break
    if policy.backoff == FULL_JITTER:
        return uniform * top
    if policy.backoff == EQUAL_JITTER:
        return 0.5 * top + uniform * (0.5 * top)
    return top
