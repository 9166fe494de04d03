"""Known result: many clients write one row at once, and how they back off decides what it costs.

M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015, and its simulator,
awslabs/aws-arch-backoff-simulator @66cb1692. A client reads the version of the row, then writes;
who comes with an old version has to pause and begin again. One row that everybody writes is no
queue, so it cannot be said as a system: the row is written out here, and what is tested is the
engines' own back-off (`policies.pause_ms`) with their own draws.
"""

import heapq
from statistics import NormalDist

import numpy as np
import pytest

from models.engine import draws, policies
from models.engine.plan import BACKOFFS, PolicyPlan

DELAY_MS = NormalDist(10, 2)
RUNS, PUBLISHED_RUNS = 25, 100

# clients: {back-off: (ms until all have written, writes tried)}, mean of 100 runs.
PUBLISHED = {
    10: {"none": (379, 50), "exponential": (3478, 50), "full_jitter": (485, 39),
         "equal_jitter": (738, 42), "decorrelated": (441, 38)},
    40: {"none": (958, 468), "exponential": (29320, 433), "full_jitter": (2274, 249),
         "equal_jitter": (3513, 263), "decorrelated": (1672, 272)},
    100: {"none": (2030, 2424), "exponential": (63023, 1849), "full_jitter": (4950, 796),
          "equal_jitter": (6559, 811), "decorrelated": (4635, 1002)},
}  # fmt: skip


def policy(backoff):
    """Base 5 ms, cap 2 s; the simulator doubles the base before the first pause, unless it is
    decorrelated."""
    base_ms = 5.0 if backoff == "decorrelated" else 10.0
    return PolicyPlan(backoff=BACKOFFS[backoff], base_ms=base_ms, cap_ms=2000.0)


def contend(clients, policy, seed):
    """(ms until the last client has written, how many writes were tried)."""
    drawn = [0] * clients

    def uniform(client):
        drawn[client] += 1
        return draws.uniforms(seed, 0, client, drawn[client], draws.BACKOFF, 0)[0]

    def delay_ms(client):
        return abs(DELAY_MS.inv_cdf(uniform(client)))

    row = writes = 0
    tries, pause_ms = [0] * clients, [0.0] * clients
    events = [(delay_ms(client), client, "read", 0) for client in range(clients)]
    heapq.heapify(events)
    while events:
        now_ms, client, what, version = heapq.heappop(events)
        if what == "read":  # the version is read, and comes back with the write
            arrives_ms = now_ms + delay_ms(client) + delay_ms(client)
            heapq.heappush(events, (arrives_ms, client, "write", row))
        elif what == "write":
            writes += 1
            written = version == row
            row += written
            answer = "done" if written else "again"
            heapq.heappush(events, (now_ms + delay_ms(client), client, answer, 0))
        elif what == "again":
            tries[client] += 1
            pause_ms[client] = policies.pause_ms(
                policy, tries[client], pause_ms[client], uniform(client), 0.0
            )
            back_ms = now_ms + delay_ms(client) + pause_ms[client]
            heapq.heappush(events, (back_ms, client, "read", 0))
    return now_ms, writes


@pytest.fixture(scope="module")
def found():
    return {
        (clients, backoff): np.array(
            [contend(clients, policy(backoff), seed) for seed in range(RUNS)]
        )
        for clients, rows in PUBLISHED.items()
        for backoff in rows
    }


@pytest.mark.parametrize("clients", PUBLISHED)
@pytest.mark.parametrize("backoff", PUBLISHED[10])
def test_each_point(found, clients, backoff):
    """Within three standard errors of the difference of both means."""
    values = found[clients, backoff]
    error = values.std(axis=0, ddof=1) * np.sqrt(1 / RUNS + 1 / PUBLISHED_RUNS)
    assert (error < 0.1 * values.mean(axis=0)).all()
    rounding = 0.5  # they are printed as whole numbers
    gap = abs(values.mean(axis=0) - PUBLISHED[clients][backoff])
    assert (gap <= 3 * error + rounding).all(), (values.mean(axis=0), error)


@pytest.mark.parametrize("clients", [40, 100])
@pytest.mark.parametrize("measure", [0, 1], ids=["time", "writes"])
def test_the_order_of_the_algorithms(found, clients, measure):
    """As published, wherever the published means are further apart than the noise of both."""
    rows = PUBLISHED[clients]
    order = sorted(rows, key=lambda backoff: rows[backoff][measure])
    told_apart = 0
    for better, worse in zip(order, order[1:], strict=False):
        gap = found[clients, worse][:, measure] - found[clients, better][:, measure]
        error = gap.std(ddof=1) / np.sqrt(RUNS)
        if rows[worse][measure] - rows[better][measure] > 6 * error:
            assert gap.mean() > 3 * error
            told_apart += 1
    assert told_apart >= 3


def test_the_shape_over_the_number_of_clients(found):
    """Without back-off work grows with the square of the clients; with full jitter more slowly."""

    def grows(backoff, measure):
        small, large = (found[clients, backoff][:, measure].mean() for clients in (40, 100))
        return np.log(large / small) / np.log(100 / 40)

    def published(backoff, measure):
        small, large = (PUBLISHED[clients][backoff][measure] for clients in (40, 100))
        return np.log(large / small) / np.log(100 / 40)

    for backoff in PUBLISHED[10]:
        for measure in (0, 1):
            assert grows(backoff, measure) == pytest.approx(published(backoff, measure), abs=0.15)
    assert 1.7 < grows("none", 1) < 2.0 and grows("full_jitter", 1) < 1.4
