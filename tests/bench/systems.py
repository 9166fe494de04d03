"""The systems that are measured. Times in milliseconds."""

from typing import Any

from models import System, stages

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


def idle() -> System:
    """The running example beside a service that nobody calls and that sheds load: the kernel with
    every mechanism compiled in runs, and none is used.
    """
    shop = System.load("shop").to_dict()
    here = next(iter(shop["infrastructures"]))
    spare = {"infrastructure": here, "workers": 1, "sheds_late": True}
    return System.model_validate(shop | {"services": {**shop["services"], "spare": spare}})


def everything() -> System:
    """The running example, asynchronous, with every mechanism of the engine at work."""
    shop = stages.asynchronous(System.load("shop")).to_dict()
    shop["network"] = {**shop["network"], "loss": 0.001}
    shop["mesh"] = {
        "timeout_ms": 500,
        "passes_deadline": True,
        "retry": {"attempts": 3, "backoff": "full_jitter", "budget": {}},
        "breaker": {},
        "throttle": {},
        "bulkhead": 50,
        "proxy": {},
        "mtls": {},
        "telemetry": {"sampling": 0.1, "span_ms": 0.05},
    }
    for broker in shop["brokers"].values():
        broker |= {
            "acks": "leader",
            "replication": {"mean_ms": 1},
            "keys": {"count": 1000, "skew": 0.5},
            "rebalance_ms": 500,
            "retention_ms": 3_600_000,
            "redelivery_ms": 10,
            "producers": {"buffer": 1000, "batch": 16, "linger_ms": 1},
        }
    for name, service in shop["services"].items():
        if service.get("workers", "unlimited") == "unlimited":
            service["workers"] = 64
        service |= {"sheds_late": True, "max_wait_ms": 500, "max_standing_wait_ms": 50}
        outage = {"name": name, "services": [name]}
        shop.setdefault("outages", []).append(
            outage | {"up": {"mean_ms": 600_000}, "down": {"mean_ms": 500}}
        )
    for flow in shop["flows"].values():
        for step in _below(flow["root"]):
            step["errors"] = 0.001
            if "via" in step:
                step["idempotent"] = True
    return System.model_validate(shop)


def _below(step):
    yield step
    for child in step.get("then", ()):
        yield from _below(child)


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
