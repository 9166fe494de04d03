"""What goes wrong, in systems so small that every time can be followed by hand, in both engines."""

import pytest

from models import System, simulate

HERE = {"infrastructure": "here"}


def fixed(ms):
    return {"mean_ms": ms, "distribution": "deterministic"}


def at(*times_ms):
    return {"process": "timestamps", "times_ms": list(times_ms)}


def run(engine, services, flows, rtt_ms=0, **more):
    """A run; `flows`: the root and the arrival times of each."""
    system = System.model_validate({
        "name": "by hand",
        "infrastructures": {"here": {}, "there": {}},
        "network": {"within_ms": 0, "between": [{"ends": ["here", "there"], "rtt_ms": rtt_ms}]},
        "services": {name: HERE | service for name, service in services.items()},
        "flows": {name: {"root": root, "arrivals": at(*times_ms)}
                  for name, (root, *times_ms) in flows.items()},
        **more,
    })  # fmt: skip
    requests = sum(len(times_ms) for _, *times_ms in flows.values())
    return simulate(system, requests, 1, warmup=0.0, engine=engine)


def answers(*args, **more):
    """When each request is answered, and how, by the names of their flows."""
    rows = run(*args, **more).requests
    return {
        name: [(row.replied_ms, row.answer) for row in rows[rows.flow == name].itertuples()]
        for name in rows.flow.unique()
    }


pytestmark = pytest.mark.parametrize("engine", ["compiled", "simpy"])


@pytest.mark.parametrize(("work_ms", "found"), [
    (500, [(0, 500, "ok"), (480, 1000, "ok"), (900, 1500, "ok"), (950, 1500, "rejected")]),
    (50, [(0, 50, "ok"), (10, 100, "ok"), (40, 150, "ok"), (90, 150, "rejected")]),
])  # fmt: skip
def test_a_queue_stands_that_has_not_been_empty_for_long(engine, work_ms, found):
    """Maurer 2015: a call may wait for 5 ms if the queue was last empty over 100 ms ago, else 100.

    Whoever comes to an empty queue waits alone at first, so that 20 and 100 ms are allowed above.
    Below, the queue is not empty from 10 on: 60 ms are allowed at 100, and no more at 150.
    """
    api = {"workers": 1, "max_wait_ms": 100, "max_standing_wait_ms": 5}
    root = {"service": "api", "work": fixed(work_ms)}
    times_ms = [arrived_ms for arrived_ms, *_ in found]
    assert answers(engine, {"api": api}, {"only": (root, *times_ms)})["only"] == [
        tuple(rest) for _, *rest in found
    ]


@pytest.mark.parametrize(("long", "short", "answered"), [
    ("hang", "error", 1000), ("error", "hang", 500), ("hang", "hang", 1000),
])  # fmt: skip
def test_an_outage_within_another_does_not_change_it(engine, long, short, answered):
    """A call at 500 meets the outage that lasts from 0 to 1,000 ms."""
    outages = [{"services": ["api"], "from_ms": 0, "for_ms": 1000, "calls": long},
               {"services": ["api"], "from_ms": 100, "for_ms": 100, "calls": short}]  # fmt: skip
    found = answers(engine, {"api": {}}, {"only": ({"service": "api"}, 500)}, outages=outages)
    assert found["only"] == [(answered, "failed")]


def test_while_one_outage_gives_no_error_there_is_none(engine):
    """From 100 to 200 ms nothing answers; who called then hears an error when that is over."""
    outages = [{"services": ["api"], "from_ms": 0, "for_ms": 1000},
               {"services": ["api"], "from_ms": 100, "for_ms": 100, "calls": "hang"}]  # fmt: skip
    found = answers(
        engine, {"api": {}}, {"only": ({"service": "api"}, 50, 150, 250)}, outages=outages
    )
    assert found["only"] == [(50, "failed"), (200, "failed"), (250, "failed")]


@pytest.mark.parametrize("policy", [{}, {"bulkhead": 10}, {"timeout_ms": 1e6}])
def test_a_deadline_goes_on_through_an_edge_that_sets_none(engine, policy):
    """The turn of the second comes at 150, when nobody has waited for it since 100."""
    services = {"entry": {}, "front": {}, "back": {"workers": 1, "sheds_late": True}}
    back = {"service": "back", "work": fixed(150), **policy}
    front = {"service": "front", "then": [back], "timeout_ms": 100, "passes_deadline": True}
    found = run(engine, services, {"only": ({"service": "entry", "then": [front]}, 0, 0)})
    assert list(found.requests.replied_ms) == [100, 100]
    counts = found.steps.set_index("step").loc["back"]
    assert (counts.handled, counts.rejected) == (1, 1)


def test_answers_to_older_calls_are_no_trials_of_a_breaker(engine):
    """Calls at 1, 2 and 3 fail, since the way is down, and open it; that of 14 is its trial.

    The call of 0 comes back at 25 and says nothing about now: that of 30 is turned away. The trial
    finds the way back down at 39; the next one, at 50, closes the breaker.
    """
    breaker = {"window": 3, "minimum": 3, "share": 1, "open_ms": 10, "trials": 1}
    bank = {"service": "bank", "work": fixed(25), "breaker": breaker}
    outages = [{"links": [["here", "there"]], "from_ms": from_ms, "for_ms": for_ms}
               for from_ms, for_ms in ((0.5, 4), (38, 2))]  # fmt: skip
    found = answers(
        engine,
        {"shop": {}, "bank": {"infrastructure": "there"}},
        {"only": ({"service": "shop", "then": [bank]}, 0, 1, 2, 3, 14, 20, 30, 50)},
        outages=outages,
    )["only"]
    assert found == [(25, "ok"), (1, "failed"), (2, "failed"), (3, "failed"),
                     (39, "failed"), (20, "failed"), (30, "failed"), (75, "ok")]  # fmt: skip


def publishing(engine, published_ms, outage, **broker):
    """A message to a broker at the other end of a way of 20 ms there and back; worked on for 7 ms."""
    mail = {"service": "mail", "work": fixed(7), "via": "log"}
    found = run(
        engine,
        {"shop": {}, "mail": {"infrastructure": "there"}},
        {"only": ({"service": "shop", "then": [mail]}, published_ms)},
        rtt_ms=20,
        brokers={"log": {"infrastructure": "there", **broker}},
        outages=[outage],
    )
    row = found.requests.iloc[0]
    return row.answer, row.replied_ms, found.steps.set_index("step").loc["mail", "handled"]


@pytest.mark.parametrize(("from_ms", "answer", "replied_ms", "handled"), [
    (5, "failed", 10, 0),  # down when it sets out
    (15, "failed", 20, 0),  # down when it arrives
    (50, "failed", 120, 0),  # falls before it is stored
    (125, "ok", 130, 1),  # the acknowledgement is on its way
])  # fmt: skip
def test_a_broker_that_falls_acknowledges_nothing(engine, from_ms, answer, replied_ms, handled):
    """Sent at 10, there at 20, stored at 120, acknowledged at 130."""
    down = {"brokers": ["log"], "from_ms": from_ms, "for_ms": 1000}
    found = publishing(engine, 10, down, ack=fixed(100))
    assert found == (answer, replied_ms, handled)


@pytest.mark.parametrize(("from_ms", "answer", "replied_ms", "handled"), [
    (5, "failed", 10, 0), (50, "failed", 120, 1), (125, "ok", 130, 1),
])  # fmt: skip
def test_without_a_way_back_there_is_no_acknowledgement(
    engine, from_ms, answer, replied_ms, handled
):
    """The message has been stored all the same, and is worked on."""
    down = {"links": [["here", "there"]], "from_ms": from_ms, "for_ms": 1000}
    found = publishing(engine, 10, down, ack=fixed(100))
    assert found == (answer, replied_ms, handled)


@pytest.mark.parametrize(("part", "from_ms", "replied_ms"), [
    ({"brokers": ["log"]}, 15, 1015 + 10 + 100 + 10),
    ({"brokers": ["log"]}, 50, 1050 + 10 + 100 + 10),
    ({"links": [["here", "there"]]}, 50, 1050 + 10),
    ({"links": [["here", "there"]]}, 125, 130),
])  # fmt: skip
def test_a_producer_with_a_buffer_sends_until_it_is_acknowledged(engine, part, from_ms, replied_ms):
    down = {**part, "from_ms": from_ms, "for_ms": 1000}
    producers = {"buffer": 10, "batch": 1, "linger_ms": 0, "waits": True}
    found = publishing(engine, 10, down, ack=fixed(100), producers=producers)
    assert found == ("ok", replied_ms, 1)


@pytest.mark.parametrize(("from_ms", "handled"), [(15, 0), (50, 0), (125, 1)])
def test_who_does_not_wait_for_an_acknowledgement_loses_it_all(engine, from_ms, handled):
    down = {"brokers": ["log"], "from_ms": from_ms, "for_ms": 1000}
    found = publishing(engine, 10, down, ack=fixed(100), acks="none")
    assert found == ("ok", 10, handled)


def test_ties_at_full_workers_and_a_full_queue(engine):
    """Nine calls at one instant, some without work: what is released first is given first."""
    flows = {
        "f0": ({"service": "s1"}, 20, 20, 20, 20),
        "f1": ({"service": "s0", "then": [
            {"service": "s2", "bulkhead": 5},
            {"service": "s0", "name": "local", "then": [{"service": "s1", "work": fixed(5)}]},
        ]}, 20, 20, 20),
        "g": ({"service": "s1", "work": fixed(30)}, 16.5, 17.5, 1000),
    }  # fmt: skip
    services = {"s0": {}, "s1": {"workers": 4, "queue_limit": 3}, "s2": {}}
    found = answers(engine, services, flows)
    assert found["f0"] == [(20, "ok")] * 3 + [(25, "ok")]
    assert found["f1"] == [(25, "ok"), (25, "ok"), (30, "ok")]
