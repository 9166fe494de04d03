"""What a broker and a mesh do beyond handing over: each mechanism alone, where arithmetic knows the answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import System, simulate
from models.engine import draws

FIXED = {"distribution": "deterministic"}


def system(broker=None, consumer=None, step=None, rtt_ms=0.0, per_s=100.0, work_ms=1.0, **more):
    """A producer without work that publishes to a consumer; arrivals and work at fixed times."""
    message = {"service": "consumer", "via": "log", "work": {**FIXED, "mean_ms": work_ms}}
    return System.model_validate(
        {
            "name": "one message",
            "infrastructures": {"here": {}, "there": {}},
            "network": {
                "within_ms": 0,
                "between": [{"ends": ["here", "there"], "rtt_ms": rtt_ms}],
            },
            "brokers": {"log": {"infrastructure": "here", **(broker or {})}},
            "services": {
                "producer": {"infrastructure": "here"},
                "consumer": {"infrastructure": "there", "workers": 4, **(consumer or {})},
            },
            "flows": {
                "only": {
                    "rate_per_s": per_s,
                    "arrivals": "deterministic",
                    "root": {"service": "producer", "then": [message | (step or {})]},
                }
            },
            **more,
        }
    )


def run(system, requests=2_000, **options):
    return simulate(system, requests, 1, warmup=0.0, **options)


def consumer(result, column):
    return result.steps.set_index("step").loc["consumer", column]


def responses(result):
    rows = result.requests
    return (rows.replied_ms - rows.arrived_ms).to_numpy()


def completions(result):
    rows = result.requests
    return (rows.completed_ms - rows.arrived_ms).to_numpy()


def test_a_producer_waits_for_the_copies_that_it_asks_for():
    def both(acks):
        slow = {"ack": {**FIXED, "mean_ms": 2}, "replication": {**FIXED, "mean_ms": 5}}
        result = run(system({"acks": acks, **slow}, rtt_ms=10))
        return responses(result).max(), completions(result).max()

    # acknowledged, copied, half of a round trip to the consumer, a unit of work
    assert both("all") == pytest.approx((7, 7 + 5 + 1))
    assert both("leader") == pytest.approx((2, 2 + 5 + 5 + 1))
    assert both("none") == pytest.approx((0, 2 + 5 + 5 + 1))


@pytest.mark.parametrize(("acks", "lost"), [("all", 0), ("leader", 5), ("none", 55)])
def test_what_is_not_copied_is_lost_with_the_broker(acks, lost):
    """100 messages a second for 0.5 s of outage; copies take 50 ms.

    A call to publish meanwhile gets an error, and so do the 5 that wait for all copies when the broker
    falls; who does not wait loses what it sends, and what was not copied yet when the broker fell.
    """
    down = {"brokers": ["log"], "from_ms": 5_005, "for_ms": 500}
    copies = {"acks": acks, "replication": {**FIXED, "mean_ms": 50}}
    result = run(system(copies, outages=[down]))
    assert consumer(result, "vanished") == lost
    outcome = result.requests.outcome
    assert (outcome == "unfinished").sum() == lost
    assert (outcome == "failed").sum() == {"none": 0, "leader": 50, "all": 55}[acks]


def test_a_buffer_hides_an_outage_until_it_is_full():
    """10 messages arrive in 100 ms; a buffer of 30 takes 300 ms of an outage of 500 ms."""
    down = {"brokers": ["log"], "from_ms": 5_005, "for_ms": 500}

    def slow(buffer):
        result = run(system({"producers": {"buffer": buffer}}, outages=[down]))
        assert (result.requests.outcome == "ok").all()
        return (responses(result) > 0).sum(), responses(result).max()

    assert slow(30) == (20, pytest.approx(195))  # the first that waits comes after 305 ms
    assert slow(50) == (0, 0.0)
    assert slow(None) == (0, 0.0)


def test_a_batch_leaves_when_it_is_full_or_has_lingered():
    waits = {"waits": True, "batch": 4, "linger_ms": 100.0}
    batches = responses(run(system({"producers": waits}))).reshape(-1, 4)
    assert np.allclose(batches, [30, 20, 10, 0])
    lingers = {"waits": True, "batch": 100, "linger_ms": 25.0}
    alone = responses(run(system({"producers": lingers}, per_s=25.0)))
    assert np.allclose(alone, 25)


def test_a_message_that_is_too_old_is_lost_and_takes_no_time():
    """One worker, twice as much as it can do: in the end every second message is lost."""
    kept = {"retention_ms": 1000.0}
    result = run(system(kept, {"workers": 1}, work_ms=20.0), 4_000)
    completed = completions(result)
    assert np.nanmax(completed) <= 1000 + 20
    # the oldest is t (1 - 1/2) old at t, so the first one is lost after 2 s: message 100 or so
    lost = np.flatnonzero(np.isnan(completed))
    assert 100 <= lost[0] <= 102
    assert np.isnan(completed[1_000:]).mean() == pytest.approx(0.5, abs=0.01)
    assert consumer(result, "vanished") == len(lost)
    assert (
        run(system({"retention_ms": 1e9}, {"workers": 1}, work_ms=20.0))
        .summary()
        .equals(run(system({}, {"workers": 1}, work_ms=20.0)).summary())
    )


def test_what_breaks_off_comes_again_and_is_set_aside_in_the_end():
    always = run(system({"max_deliveries": 3, "redelivery_ms": 40.0}, step={"errors": 1.0}))
    assert consumer(always, "handled") == 3 * len(always.requests)
    assert consumer(always, "dead") == len(always.requests)
    assert (always.requests.outcome == "failed").all()
    assert np.allclose(completions(always), 3 + 2 * 40)
    half = run(system({"max_deliveries": 3}, step={"errors": 0.5}), 20_000)
    deliveries = consumer(half, "handled") / 20_000
    assert deliveries == pytest.approx(1 + 0.5 + 0.25, abs=4 * 0.83 / np.sqrt(20_000))
    assert consumer(half, "dead") / 20_000 == pytest.approx(1 / 8, abs=4 * 0.33 / np.sqrt(20_000))


@pytest.mark.parametrize("idempotent", [False, True])
def test_work_that_comes_again_is_done_twice_unless_it_is_recognised(idempotent):
    """The consumer commits, then calls something that breaks off: the message comes again."""
    call = {"service": "other", "work": {**FIXED, "mean_ms": 1}, "errors": 0.3}
    again = {"then": [call], "undo": {**FIXED, "mean_ms": 1}, "idempotent": idempotent}
    base = system().to_dict()
    base["services"]["other"] = {"infrastructure": "there"}
    base["flows"]["only"]["root"]["then"][0] |= again
    base["brokers"]["log"]["max_deliveries"] = 2
    result = run(System.model_validate(base), 20_000)
    expected = 0.3 if not idempotent else 0.0
    assert consumer(result, "duplicates") / 20_000 == pytest.approx(expected, abs=0.015)
    assert consumer(result, "redelivered") / 20_000 == pytest.approx(0.3, abs=0.015)
    # a saga that is given up undoes what was committed, twice if it was done twice
    failed = result.requests[result.requests.outcome == "failed"]
    assert set(failed.undone) == {1 if idempotent else 2}


def test_a_mirror_costs_its_lag_and_spares_the_consumer_the_way():
    mirrored = {"mirrors": {"there": {"lag": {**FIXED, "mean_ms": 30}}}}
    assert np.allclose(completions(run(system(mirrored, rtt_ms=100))), 50 + 30 + 1)
    one_at_a_time = {"prefetch": 1}
    far, near = (
        run(system(one_at_a_time | copy, {"workers": 1}, rtt_ms=100, work_ms=4.0))
        for copy in ({}, mirrored)
    )
    assert far.services.utilisation[1] == pytest.approx(4 / 104, rel=0.01)
    assert near.services.utilisation[1] == pytest.approx(0.4, rel=0.01)


def test_when_the_line_is_down_a_mirror_goes_on_with_what_it_has():
    down = {"links": [["here", "there"]], "from_ms": 5_005, "for_ms": 1_000}
    slow = {"workers": 1}
    mirrored = {"mirrors": {"there": {}}, "prefetch": 1}
    rtt = {"rtt_ms": 2.0, "work_ms": 9.0}
    copied, direct = (
        run(system(broker, slow, outages=[down], **rtt)) for broker in (mirrored, {"prefetch": 1})
    )
    done = [
        rows.completed_ms[(rows.completed_ms > 5_006) & (rows.completed_ms < 6_005)].count()
        for rows in (copied.requests, direct.requests)
    ]
    assert done[0] >= done[1]


def test_a_rebalance_stops_everyone():
    pause = {"consumers": [["log", "consumer"]], "from_ms": 5_005, "for_ms": 1_000}
    partitioned = {"partitions": 12}
    result = run(system(partitioned, outages=[pause]), series_ms=10)
    rows = result.requests
    assert not rows.completed_ms.between(5_007, 6_004).any()
    waiting = result.service_series.query("service == 'consumer'").set_index("time_ms").backlog
    assert waiting[6_000] == pytest.approx(100, abs=5)  # 100 a second for a second
    assert consumer(result, "redelivered") == 0


def test_a_restart_rebalances_when_one_leaves_and_when_it_joins():
    restart = {"service": "consumer", "instances": 4, "from_ms": 5_005, "each_ms": 2_000,
               "pause_ms": 3_000}  # fmt: skip
    still = {"partitions": 12, "rebalance_ms": 500}
    rows = run(system(still, restarts=[restart])).requests
    for begins in (5_005, 7_005, 10_005, 12_005):
        assert not rows.completed_ms.between(begins + 2, begins + 499).any()
        assert rows.completed_ms.between(begins + 500, begins + 800).any()


def test_a_cooperative_rebalance_stops_only_whose_partitions_move():
    restart = {"service": "consumer", "instances": 4, "from_ms": 5_005, "each_ms": 2_000,
               "pause_ms": 3_000}  # fmt: skip
    still = {"partitions": 12, "rebalance_ms": 500, "rebalance": "cooperative"}
    result = run(system(still, restarts=[restart]))
    rows, late = result.requests, completions(result) > 10
    # A hundred a second for half a second: a quarter of them wait, within three standard errors.
    for begins in (5_005, 7_005, 10_005, 12_005):
        during = rows.arrived_ms.between(begins, begins + 489)
        assert 0.1 < late[during].mean() < 0.45
        assert rows.completed_ms[during & ~late].between(begins, begins + 500).all()
        assert rows.completed_ms[during & late].between(begins + 500, begins + 530).all()


def test_keys_that_are_used_unevenly_make_one_consumer_busier():
    def waits(skew):
        keyed = {"partitions": 4, "keys": {"count": 100, "skew": skew}}
        unlucky = system(keyed, per_s=200.0, work_ms=10.0)
        result = run(unlucky, 20_000)
        return consumer(result, "mean_wait_ms"), max(unlucky.brokers["log"].consumer_shares(4))

    even, uneven = waits(0.0), waits(0.7)
    assert uneven[0] > even[0] and uneven[1] > even[1] >= 0.25
    piled = system({"partitions": 4, "keys": {"count": 100, "skew": 2.0}}, per_s=200.0, work_ms=10)
    assert "the busiest consumer in 'consumer'" in piled.warnings()[0]


def test_partitions_get_the_shares_of_their_keys():
    keyed = system({"partitions": 3, "keys": {"count": 2, "skew": 1.0}})
    shares = np.diff((0.0, *keyed.brokers["log"].partition_shares()))
    assert shares.sum() == pytest.approx(1)
    assert set(np.round(shares, 9)) <= {0.0, round(1 / 3, 9), round(2 / 3, 9), 1.0}


# Who overtakes whom


def shaken(cv, down=(), broker=None, infrastructure="here", consumer=None, **more):
    """The same over a line with heavy jitter, lost segments and outages of (from, for) ms."""
    base = system(**more).to_dict()
    base["brokers"]["log"] |= {"infrastructure": infrastructure, **(broker or {})}
    base["services"]["consumer"] |= consumer or {}
    line = {"ends": ["here", "there"], "rtt_ms": 40.0, "jitter_cv": cv, "loss": 0.02}
    far = {"ends": ["there", "away"], "rtt_ms": 200_000.0}
    base["infrastructures"]["away"] = {}
    base["network"]["between"] = [line, far]
    base["outages"] = [
        {"links": [["here", "there"]], "from_ms": from_ms, "for_ms": for_ms}
        for from_ms, for_ms in down
    ]
    return System.model_validate(base)


outages = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([1, 300, 3_000])), max_size=3)


@settings(max_examples=40, deadline=None)
@given(cv=st.floats(0.1, 5.0), down=outages)
def test_a_message_on_its_way_to_a_partition_arrives_with_the_latest_before_it(cv, down):
    """The same draws without a partition say when each would arrive by itself."""
    one = {"partitions": 1}
    alone, together = (
        run(shaken(cv, down, broker, work_ms=0.0)).requests.completed_ms.to_numpy()
        for broker in ({}, one)
    )
    assert np.array_equal(together, np.maximum.accumulate(alone))


def test_messages_in_one_queue_for_all_consumers_may_overtake_each_other():
    assert (np.diff(run(shaken(2.0, work_ms=0.0)).requests.completed_ms) < 0).any()


SLOW = {"ack": {"mean_ms": 5}, "replication": {"mean_ms": 20}}  # exponential: they overtake, too


@settings(max_examples=60, deadline=None)
@given(
    cv=st.floats(0.1, 5.0),
    down=outages,
    acks=st.sampled_from(["leader", "all"]),
    mirrored=st.booleans(),
    batch=st.sampled_from([None, 1, 3]),
    far=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_partition_is_worked_on_in_the_order_of_publication(
    cv, down, acks, mirrored, batch, far, seed
):
    """That of the producer's buffer, or, where each is sent by itself, of the acknowledgements.

    The line is between broker and consumer, or between buffer and broker. Then the consumer is so
    far away that it works after the acknowledgement, whose way back would hide when.
    """
    broker = {"acks": acks, "partitions": 7, **SLOW}
    place, consumer = "here", "there"
    if batch:
        broker["producers"] = {"buffer": 50, "batch": batch, "linger_ms": 15.0}
        if far:
            place, consumer = "there", "away"
    if mirrored:
        broker["mirrors"] = {consumer: {"lag": {"mean_ms": 20}}}
    shaky = shaken(cv, down, broker, place, {"infrastructure": consumer}, work_ms=2.0)
    rows = simulate(shaky, 1_000, seed, warmup=0.0).requests
    rows = rows if batch else rows.sort_values("replied_ms", kind="stable")
    stream = shaky.plan().steps[1].stream
    partition = [
        int(7 * draws.uniforms(seed, stream, index, 0, draws.PARTITION, 0)[0])
        for index in rows["index"]
    ]
    assert (rows.outcome == "ok").all()
    for _, completed_ms in rows.completed_ms.groupby(partition):
        assert completed_ms.is_monotonic_increasing


@settings(max_examples=30, deadline=None)
@given(cv=st.floats(0.1, 5.0), down=outages, prefetch=st.integers(1, 20))
def test_what_is_handed_ahead_to_one_consumer_keeps_its_order(cv, down, prefetch):
    ahead = shaken(cv, down, {"prefetch": prefetch}, consumer={"workers": 1}, work_ms=2.0)
    assert run(ahead, 1_000).requests.completed_ms.is_monotonic_increasing


# What a mesh costs


def chain(mesh, depth=3, work_ms=5.0, rtt_ms=10.0):
    step = {"service": f"s{depth}", "work": {**FIXED, "mean_ms": work_ms}}
    for number in reversed(range(depth)):
        step = {"service": f"s{number}", "work": {**FIXED, "mean_ms": work_ms}, "then": [step]}
    return System.model_validate(
        {
            "name": "chain",
            "infrastructures": {"here": {}},
            "network": {"within_ms": rtt_ms},
            "services": {f"s{n}": {"infrastructure": "here"} for n in range(depth + 1)},
            "flows": {"only": {"rate_per_s": 10, "root": step}},
            **({"mesh": mesh} if mesh is not None else {}),
        }
    )


def test_each_hop_has_its_price():
    free = responses(run(chain(None))).mean()
    paid = responses(run(chain({"proxy": {"hop_ms": 0.7, "cpu_ms": 0.2}}))).mean()
    assert paid - free == pytest.approx(3 * 0.9)


def test_handshakes_cost_round_trips_where_no_session_is_left():
    free = responses(run(chain(None))).mean()
    every = {"mtls": {"session_reuse": 0.0, "round_trips": 2, "cpu_ms": 0.5}}
    assert responses(run(chain(every))).mean() - free == pytest.approx(3 * (2 * 10 + 0.5))
    few = {"mtls": {"session_reuse": 0.9, "round_trips": 2, "cpu_ms": 0.5}}
    cost = responses(run(chain(few), 20_000)).mean() - free
    assert cost == pytest.approx(3 * 0.1 * 20.5, abs=4 * 20.5 * np.sqrt(3 * 0.09 / 20_000))
    assert chain(few).mesh.call_ms(10.0) == pytest.approx(0.1 * 20.5)


def test_a_request_is_traced_as_a_whole_or_not_at_all():
    free = responses(run(chain(None))).mean()
    cost = responses(run(chain({"telemetry": {"sampling": 0.25, "span_ms": 1.0}}), 20_000)) - free
    assert set(np.round(cost, 6)) == {0.0, 3.0}
    assert (cost > 1).mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 20_000))


def test_a_mesh_that_costs_nothing_changes_nothing():
    nothing = {
        "proxy": {"hop_ms": 0, "cpu_ms": 0},
        "mtls": {"session_reuse": 1.0},
        "telemetry": {"sampling": 0.0, "span_ms": 5.0},
    }
    assert np.array_equal(responses(run(chain(None))), responses(run(chain(nothing))))


def test_the_work_of_proxies_is_in_the_loads():
    mesh = {"proxy": {"hop_ms": 1.0, "cpu_ms": 2.0}}
    loads = chain(mesh).loads()
    result = run(chain(mesh), 20_000)
    for name, busy in zip(result.services.service, result.services.mean_busy, strict=True):
        assert loads[name].held == pytest.approx(busy, rel=0.05)


# An overload ends with an answer


@pytest.mark.parametrize("engine", ["compiled", "simpy"])
def test_a_queue_without_end_ends_at_a_stated_limit(engine):
    endless = system({}, {"workers": 1}, work_ms=20.0)
    result = simulate(endless, 50_000, 1, engine, crowd=500)
    assert result.crowded
    assert 900 <= len(result.requests) <= 1_100  # half of what comes waits
    assert (result.requests.outcome == "ok").all()
    assert not simulate(endless, 500, 1, engine, crowd=500).crowded
