"""The systems that are measured. Times in milliseconds."""

from typing import Any

from models import System

GAP_MS, WORK_MS = 1 / 1.4, 1.0  # a request every so often, mean of each step's work
STATIONS, WORKERS = 3, 2  # three M/M/2, each at utilisation 0.7
CHAIN_WORKERS, CHAIN_RTT_MS = (16, 8, 2), 0.5


def tandem() -> System:
    """Three M/M/2 stations in a row, handed on by messages, without any time on the network."""
    return _row([WORKERS] * STATIONS, 0.0, {"via": "log"})


def chain() -> System:
    """Three services, each calling the next: a worker is held until the call has come back."""
    return _row(CHAIN_WORKERS, CHAIN_RTT_MS, {})


def shop() -> System:
    """The book's running example."""
    return System.load("shop")


def _row(workers, rtt_ms, way) -> System:
    here = {"infrastructure": "here"}
    then: list[Any] = []
    for number in reversed(range(len(workers))):
        step = {"service": f"s{number}", "work": {"mean_ms": WORK_MS}, "then": then}
        then = [step | (way if number else {})]
    return System.model_validate(
        {
            "name": "measured",
            "infrastructures": {"here": {}},
            "network": {"within_ms": rtt_ms},
            "brokers": {"log": here},
            "services": {f"s{i}": here | {"workers": count} for i, count in enumerate(workers)},
            "flows": {"only": {"rate_per_s": 1000 / GAP_MS, "root": then[0]}},
        }
    )
