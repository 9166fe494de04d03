"""Known results about messages: batches of producers, prefetch windows, the drain after an outage.

Each is said as a system and simulated by the compiled engine; tests/test_engine.py shows that the
SimPy engine gives every request the same times. Tolerance: three standard errors.
"""

import numpy as np
import pytest

from models import System, simulate

FIXED = {"distribution": "deterministic"}


def system(per_s, broker, consumer, work, rtt_ms=0.0, **more):
    """A producer that only publishes, a broker beside it, a consumer `rtt_ms` away."""
    message = {"service": "consumer", "via": "log", "work": work}
    return System.model_validate(
        {
            "name": "known result",
            "infrastructures": {"here": {}, "there": {}},
            "network": {"within_ms": 0, "between": [{"ends": ["here", "there"], "rtt_ms": rtt_ms}]},
            "brokers": {"log": {"infrastructure": "here", **broker}},
            "services": {
                "producer": {"infrastructure": "here"},
                "consumer": {"infrastructure": "there", **consumer},
            },
            "flows": {
                "only": {"rate_per_s": per_s, "root": {"service": "producer", "then": [message]}}
            },
            **more,
        }
    )


@pytest.mark.parametrize(
    ("per_s", "most", "linger_ms", "size", "delay_ms"),
    [(100, 16, 100.0, 10.8965213203, 53.4459421), (20, 10, 100.0, 2.999943588, None)],
)
def test_batches_that_leave_when_full_or_after_a_time(per_s, most, linger_ms, size, delay_ms):
    """Send when N are buffered or T after the first; Poisson arrivals: truncated Poisson sums.

    The structure is that of M. Paolieri et al., MASCOTS 2025; values by the closed form. All
    messages of a batch are acknowledged together, so that the batches can be told apart.
    """
    waits = {"producers": {"waits": True, "batch": most, "linger_ms": linger_ms}}
    batching = system(per_s, waits, {}, {**FIXED, "mean_ms": 0})
    sizes, delays = [], []
    for seed in range(20):
        rows = simulate(batching, 20_000, 1 + seed, warmup=0.0).requests
        sizes.append(len(rows) / rows.replied_ms.nunique())
        delays.append((rows.replied_ms - rows.arrived_ms).mean())
    for found, exact in ((sizes, size), (delays, delay_ms)):
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        if exact is not None:
            assert error < 0.005 * exact
            assert abs(np.mean(found) - exact) <= 3 * error


@pytest.mark.parametrize(
    ("prefetch", "busy", "work_ms"),
    [(1, 4 / 104, 4), (13, 0.5, 4), (26, 1.0, 4), (51, 1.0, 4), (1, 40 / 140, 40)],
)
def test_a_prefetch_window_over_a_long_way(prefetch, busy, work_ms):
    """One way 50 ms, work 4 ms: busy 3.8 % with one message in hand, always from 26 on.

    M. Sackman, "Some queuing theory: throughput, latency and bandwidth", RabbitMQ blog, 2012. There
    is always more to do; whoever has at most `prefetch` messages in hand does so many every
    100 ms of travel and its work, or as many as it can.
    """
    window = {"prefetch": prefetch}
    endless = system(300, window, {"workers": 1}, {**FIXED, "mean_ms": work_ms}, rtt_ms=100)
    result = simulate(endless, 5_000, 1)
    assert result.services.utilisation[1] == pytest.approx(busy, rel=0.01)


@pytest.mark.parametrize(("prefetch", "work_ms", "wait_ms"), [(51, 4, 100), (26, 40, 900), (51, 40, 1900)])  # fmt: skip
def test_too_long_a_prefetch_window_is_a_queue_out_of_reach(prefetch, work_ms, wait_ms):
    """In the consumer's own memory they wait (prefetch - 1) x work less what the way takes.

    The article has 100 ms for 51 messages of 4 ms, and 880 and 1880 ms for 26 and 51 of 40 ms, where
    it counts half a round trip and a unit of work otherwise; by Little's law the time in hand is
    prefetch x work, of which 100 ms are travel and one unit is work.
    """
    window = {"prefetch": prefetch}
    endless = system(300, window, {"workers": 1}, {**FIXED, "mean_ms": work_ms}, rtt_ms=100)
    result = simulate(endless, 5_000, 1)
    done = result.requests.completed_ms.to_numpy()
    per_ms = (len(done) // 2) / (done[-1] - done[len(done) // 2 - 1])
    assert prefetch / per_ms - 100 - work_ms == pytest.approx(wait_ms, abs=work_ms)


def test_the_drain_after_an_outage_of_the_consumer():
    """80/s come, 100/s can be done, 600 s of outage: 48,000 wait, and 2,400 s pass until none does.

    Fluid limit, G. F. Newell, "Applications of Queueing Theory", 1982: rate x outage / spare
    capacity. The end of the drain is when the last of 192,000 more messages finds no one waiting.
    """
    down = {"services": ["consumer"], "from_ms": 100_000, "for_ms": 600_000}
    slow = system(80, {}, {"workers": 1}, {"mean_ms": 10}, outages=[down])
    peaks, drains = [], []
    for seed in range(10):
        run = simulate(slow, 330_000, 1 + seed, warmup=0.0, series_ms=1000)
        queue = run.service_series.query("service == 'consumer'").set_index("time_ms").backlog
        peaks.append(queue.loc[700_000])
        after = queue.loc[700_001:]
        drains.append((after.index[after <= 5][0] - 700_000) / 1000)
    for found, exact in ((peaks, 48_000), (drains, 2_400)):
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert error < 0.01 * exact
        assert abs(np.mean(found) - exact) <= 3 * error
