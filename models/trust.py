"""What is known from elsewhere, and what the models of this book make of it.

Each row is a system that a formula or a publication knows the answer for, and how that answer is
read off one run. Times are in units of the mean work (a millisecond in the system), unless said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any, Literal

import numpy as np
import pandas as pd

from models import governance, mesh, outages, ownership, roadmap, soak, theory
from models.broker import mean_and_half_width
from models.experiment import Run, simulate
from models.system import System

HERE = {"infrastructure": "here"}
ENGINES: tuple[Literal["compiled"], Literal["simpy"]] = ("compiled", "simpy")
ALWAYS = 1_000_000  # attempts: whoever calls never gives up


@dataclass(frozen=True)
class Known:
    """Something known: its value, who says so, and `one(seed)`, what one run makes of it.

    Where the source prints a number, that is the value; `rounding` is what its last digit hides.
    """

    what: str
    quantity: str
    exact: float
    source: str
    one: Callable[[int], float]
    rounding: float = 0.0  # half a digit of what the source prints; 0: calculated by its formula


def system(root: dict, services: dict, per_ms: float, **more: Any) -> System:
    """One flow of Poisson arrivals; nothing is lost on the way unless `more` says so."""
    return System.model_validate(
        {
            "name": "known",
            "infrastructures": {"here": {}},
            "network": {"within_ms": 0},
            "services": {name: HERE | service for name, service in services.items()},
            "flows": {"only": {"rate_per_s": 1000 * per_ms, "root": root}},
            **more,
        }
    )


def metric(run: Run, name: str) -> float:
    table = run.summary()
    return float(table[(table.flow == "all") & (table.metric == name)].value.iloc[0])


def _simulated(
    of: System, measure: Callable[[Run], float], requests: int, **options: Any
) -> Callable[[int], float]:
    said: dict[str, Any] = {"keep": "summary", "intervals": False} | options

    def one(seed: int) -> float:
        return float(measure(simulate(of, requests, seed, **said)))

    return one


def _response(run: Run) -> float:
    return metric(run, "response_mean_ms")


def _completion(run: Run) -> float:
    return metric(run, "completion_mean_ms")


def _wait(run: Run) -> float:
    return float(run.services.mean_wait_ms.iloc[0])


def _queue(per_ms: float, workers: int = 1, **work: Any) -> System:
    root = {"service": "queue", "work": {"mean_ms": 1, **work}}
    return system(root, {"queue": {"workers": workers}}, per_ms)


def _held(per_ms: float, workers: int) -> System:
    callee = {"service": "callee", "work": {"mean_ms": 1}}
    root = {"service": "caller", "work": {"mean_ms": 1}, "then": [callee]}
    return system(root, {"caller": {"workers": workers}, "callee": {"workers": 1}}, per_ms)


def _fan(per_ms: float, branches: int, root_workers: int | str) -> System:
    parts = {f"branch{number}": {"workers": 1} for number in range(branches)}
    then = [{"service": name, "work": {"mean_ms": 1}} for name in parts]
    root = {"service": "root", "in_parallel": True, "then": then}
    return system(root, {"root": {"workers": root_workers}} | parts, per_ms)


def _impatient() -> System:
    root = {
        "service": "agents",
        "work": {"mean_ms": 1},
        "patience": {"mean_ms": 2},
        "passes_deadline": True,
    }
    return system(root, {"agents": {"workers": 50, "sheds_late": True}}, 48)


def _left_waiting(run: Run) -> float:
    return float(run.steps[run.steps.step == "agents"].rejected.iloc[0]) / run.counted


def _retrying() -> System:
    retry = {
        "attempts": ALWAYS,
        "on": ["rejected"],
        "backoff": "drawn",
        "pause": {"mean_ms": 2},
    }
    root = {"service": "line", "work": {"mean_ms": 1}, "retry": retry}
    return system(root, {"line": {"workers": 1, "queue_limit": 0}}, 0.7)


def _breaking() -> System:
    message = {"service": "server", "work": {"mean_ms": 1}, "via": "log"}
    return system(
        {"service": "producer", "then": [message]},
        {"producer": {}, "server": {"workers": 1}},
        0.5,
        brokers={"log": HERE},
        outages=[{"services": ["server"], "up": {"mean_ms": 20}, "down": {"mean_ms": 5}}],
    )


def _flaky() -> System:
    return system({"service": "flaky", "errors": 0.1, "retry": {"attempts": 3}}, {"flaky": {}}, 1)


def _tried(run: Run) -> float:
    return float(run.steps[run.steps.step == "flaky"].tried.iloc[0]) / run.counted


def _far_consumer() -> System:
    """Always more to do, one message in hand at a time, 50 ms each way, 4 ms of work."""
    fixed = {"mean_ms": 4, "distribution": "deterministic"}
    message = {"service": "consumer", "via": "log", "work": fixed}
    return System.model_validate(
        {
            "name": "known",
            "infrastructures": {"here": {}, "there": {}},
            "network": {"within_ms": 0, "between": [{"ends": ["here", "there"], "rtt_ms": 100}]},
            "brokers": {"log": {"infrastructure": "here", "prefetch": 1}},
            "services": {
                "producer": HERE,
                "consumer": {"infrastructure": "there", "workers": 1},
            },
            "flows": {
                "only": {"rate_per_s": 300, "root": {"service": "producer", "then": [message]}}
            },
        }
    )


def _unavailable(of: System, years: float, down: int = 0, crews: int | None = None):
    """Share of the time in which more than `down` parts are down."""
    return lambda seed: 1 - outages.years(of, years, seed, crews).at_most(down)


def _regions(n: int, up_hours: float, down_hours: float) -> System:
    per_year = outages.YEAR_HOURS / up_hours
    faults = outages.Faults(infrastructure_per_year=per_year, infrastructure_hours=down_hours)
    return faults.on(outages.regions(n))


def _disks(runs: int) -> Callable[[int], float]:
    return lambda seed: outages.all_lost(2, 0.017, 0.08, 1, runs, seed) / runs


_ALIKE = soak.Step(rate_cv=0.0)
_UNLIKE = soak.Step()
_RULE = governance.Regime()
_MONTHLY = replace(_RULE, enforced_days=30.0)
_TERMS = roadmap.Terms()
_APART = roadmap.road(System.load("shop"), _TERMS)[0]["separated"]


def _ringing(rate_per_s: float, failing: float, runs: int, seed: int) -> float:
    """Share of 30 days that the fastest alert rings, after its first window."""
    steps = np.full(60 * 721, failing)
    fastest = mesh.ALERTS[:1]
    return float(
        mesh.ringing(rate_per_s, steps, 60.0, 0.999, runs, seed, fastest)[0, :, 60:].mean()
    )


def _without_answer(years: float, seed: int) -> float:
    played = outages.years(roadmap.exposed(_APART, "separated", _TERMS), years, seed)
    return float(played.rates_per_s @ played.stopped @ played.lengths_hours) / (
        played.rates_per_s.sum() * years
    )


def _all_keeping(runs: int, seed: int) -> float:
    """Looked at on days that have nothing to do with the machine's rhythm."""
    days = 3650.0 + np.random.default_rng([seed, 1]).random(20) * 30
    kept = governance.drift(_MONTHLY, 4, np.sort(days), runs, seed, together=True)
    return float(kept.all(axis=1).mean())


def known(requests: int = 100_000) -> list[Known]:
    """Everything that is compared. `requests`: how long a run is."""
    teams = ownership.Teams((12.0,) * 4, 0.3, 3.0, 3.0)
    return [
        Known(
            "one worker",
            "mean response",
            theory.mm1(0.8, 1).mean_sojourn,
            "M/M/1, Gross and Harris 1998",
            _simulated(_queue(0.8), _response, 2 * requests),
        ),
        Known(
            "8 workers at load 0.9",
            "mean wait",
            theory.mmc(7.2, 1, 8).mean_wait,
            "Erlang 1917",
            _simulated(_queue(7.2, 8), _wait, 2 * requests),
        ),
        Known(
            "50 agents",
            "mean wait",
            20.8 / 60,
            "Garnett, Mandelbaum and Reiman 2002, table 1 (20.8 s for work of 60 s)",
            _simulated(_queue(48, 50), _wait, 4 * requests),
            rounding=0.05 / 60,
        ),
        Known(
            "constant work",
            "mean wait",
            theory.md1(0.8, 1).mean_wait,
            "Pollaczek and Khinchine",
            _simulated(_queue(0.8, distribution="deterministic"), _wait, requests),
        ),
        Known(
            "uneven work",
            "mean wait",
            theory.mg1(0.6, 1, 2.25).mean_wait,
            "Pollaczek and Khinchine",
            _simulated(_queue(0.6, distribution="lognormal", cv=1.5), _wait, 2 * requests),
        ),
        Known(
            "three workers held by calls",
            "mean response",
            theory.hold_response(0.7, 3),
            "method of Neuts 1981",
            _simulated(_held(0.7, 3), _response, 2 * requests),
        ),
        Known(
            "two calls at once",
            "mean response",
            float(theory.fork_join_two(0.5, 1)),
            "Flatto and Hahn 1984",
            _simulated(_fan(0.5, 2, "unlimited"), _response, requests),
        ),
        Known(
            "four calls at once, one worker held",
            "mean response",
            theory.split_merge(4, 0.3).mean_sojourn,
            "Thomasian 2014",
            _simulated(_fan(0.3, 4, 1), _response, requests),
        ),
        Known(
            "callers that give up",
            "share that does",
            0.031,
            "Garnett, Mandelbaum and Reiman 2002, table 1 (3.1 %)",
            _simulated(_impatient(), _left_waiting, 2 * requests),
            rounding=0.0005,
        ),
        Known(
            "callers that try again",
            "mean response",
            (theory.retrial_orbit(0.7, 1, 0.5) + 0.7) / 0.7,
            "Falin and Templeton 1997",
            _simulated(_retrying(), _response, requests),
        ),
        Known(
            "a server that breaks down",
            "mean time until done",
            theory.breakdowns_any_time(0.5, 1, 0.05, 0.2).mean_sojourn,
            "White and Christie 1958",
            _simulated(_breaking(), _completion, requests),
        ),
        Known(
            "three attempts, one in ten fails",
            "mean attempts",
            float(theory.mean_attempts(0.1, 3)),
            "sum of a geometric series",
            _simulated(_flaky(), _tried, requests),
        ),
        Known(
            "one message in hand, 50 ms away",
            "share of time that works",
            0.038,
            "Sackman 2012, RabbitMQ blog (3.8 %)",
            _simulated(
                _far_consumer(),
                lambda run: run.services.utilisation.iloc[1],
                5_000,
                keep="requests",
            ),
            rounding=0.0005,
        ),
        Known(
            "two services at 99.9 % in a row",
            "share of time down",
            1 - 0.998001,
            "Richardson, Microservices Patterns, 2nd edition, 4.4.1",
            _unavailable(outages.series([0.999] * 2), 200),
            rounding=0.0000005,
        ),
        Known(
            "two of three at 99 %",
            "share of time down",
            float(1 - theory.k_of_n_availability(2, 3, 0.99)),
            "k of n",
            _unavailable(_regions(3, 99, 1), 100, 1),
        ),
        Known(
            "two machines, one mechanic",
            "share of time that one is down",
            1 - 0.3103,
            "Hillier and Lieberman (0.3103 both up)",
            _unavailable(_regions(2, 12, 8), 10, 0, 1),
            rounding=0.00005,
        ),
        Known(
            "a pair of disks",
            "chance that both are lost",
            0.0016,
            "ReliaSoft HotWire 115 (0.0016)",
            _disks(2 * requests),
            rounding=0.00005,
        ),
        Known(
            "incidents passed between teams",
            "mean time to restore, hours",
            teams.overall_hours,
            "Jackson 1957",
            lambda seed: float(
                ownership.simulate_incidents(teams, requests // 5, seed).restore_hours.mean()
            ),
        ),
        Known(
            "defects found in 60 days, all alike",
            "mean number",
            _ALIKE.defects * (1 - exp(-_ALIKE.rate_per_day * 60)),
            "Goel and Okumoto 1979",
            lambda seed: float(soak.roads(_ALIKE, requests // 2, seed).found(60).mean()),
        ),
        Known(
            "60 days of soak",
            "chance that nothing is found",
            float(_UNLIKE.found(60).pmf(0)),
            "Littlewood 1981, with an unknown number of defects",
            lambda seed: float((soak.roads(_UNLIKE, requests // 2, seed).found(60) == 0).mean()),
        ),
        Known(
            "a rule that nobody sees to",
            "share that keeps it after a year",
            _RULE.keeping(governance.YEAR_DAYS),
            "Ross 1996, chain of two states",
            lambda seed: float(
                governance.drift(
                    _RULE, 10, np.array([governance.YEAR_DAYS]), requests // 50, seed
                ).mean()
            ),
        ),
        Known(
            "errors at five times the budget, 180 requests an hour",
            "share of time that the alert at 14.4 times rings",
            mesh.ALERTS[0].ringing_share(0.05, 0.005, 0.999),
            "Poisson failures in two windows",
            lambda seed: _ringing(0.05, 0.005, requests // 2_000, seed),
        ),
        Known(
            "three tries in each of five layers",
            "tries at the bottom",
            243.0,
            "Brooker 2019, Amazon Builders' Library (243)",
            lambda seed: mesh.tries_at_the_bottom(
                simulate(mesh.tower(5, {"retry": {"attempts": 3}}), 100, seed, keep="summary")
            ),
            rounding=0.5,
        ),
        Known(
            "the shop, taken apart",
            "hours a year without answer",
            roadmap.lost_hours(_APART, "separated", _TERMS),
            "alternating renewal, Barlow and Proschan 1965",
            lambda seed: _without_answer(400, seed),
        ),
        Known(
            "four systems under one rule, a machine every 30 days",
            "share of time that all keep it",
            _MONTHLY.all_keeping(4),
            "inspection at fixed times, Barlow and Proschan 1965",
            lambda seed: _all_keeping(requests // 50, seed),
        ),
    ]


def compared(rows: Sequence[Known], replications: int, seed: int) -> pd.DataFrame:
    """A row each: what, quantity, exact, mean, half_width (95 %), ratio to exact with its own.

    Columns `inside` (is the exact value in the interval?), `source` and `printed` besides.
    """
    found = []
    for row in rows:
        runs = [row.one(seed + (run << 32)) for run in range(replications)]
        mean, half_width = mean_and_half_width(runs)
        found.append(
            {
                "what": row.what,
                "quantity": row.quantity,
                "exact": row.exact,
                "mean": mean,
                "half_width": half_width,
                "ratio": mean / row.exact,
                "ratio_half_width": half_width / row.exact,
                "inside": abs(mean - row.exact) <= half_width + row.rounding,
                "source": row.source,
                "printed": row.rounding > 0,
            }
        )
    return pd.DataFrame(found)


def engines(systems: dict[str, System], requests: int, seed: int) -> pd.DataFrame:
    """Both engines on the same systems: requests, and of how many all times are the same."""
    rows = []
    for name, each in systems.items():
        fast, read = (_times(each, requests, seed, engine) for engine in ENGINES)
        same = ((fast == read) | (np.isnan(fast) & np.isnan(read))).all(axis=1)
        rows.append({"system": name, "requests": len(read), "same": int(same.sum())})
    return pd.DataFrame(rows)


def _times(
    of: System, requests: int, seed: int, engine: Literal["compiled", "simpy"]
) -> np.ndarray:
    """Arrival, answer and completion of each request (ms), in the order of flows and arrivals."""
    found = simulate(of, requests, seed, engine, warmup=0.0).requests
    assert found is not None
    columns = ["arrived_ms", "replied_ms", "completed_ms"]
    return found.sort_values(["flow", "arrived_ms"])[columns].to_numpy(float)


# The shape of call graphs


# Huye et al., "Lifting the veil on Meta's microservice architecture", USENIX ATC 2023, read off its
# figure of trace depths: the share of the traces of three services at most so deep, from depth 1 on.
META_DEPTHS = {
    "Ads": (0.26, 0.64, 0.69, 0.86, 0.965, 0.995),
    "RaaS": (0.13, 0.70, 0.93, 0.99),
    "Fetch": (0.08, 0.13, 0.42, 0.70, 0.87, 0.99),
}
# Luo et al., "Characterizing microservice dependency and performance", SoCC 2021 (as told in slides).
ALIBABA_DEPTH = {"mean": 4.27, "sd": 3.25, "mode": 3}
ALIBABA_CALLS_MANY, ALIBABA_MESSAGES = (
    0.10,
    0.23,
)  # services that call 5 or more; of calls, messages


def of_depths(shares: Sequence[float], rate_per_s: float = 10.0) -> System:
    """Chains of calls: of the requests, `shares[d - 1]` go through d services in a row."""
    flows = {}
    for depth, share in enumerate(shares, 1):
        if share > 0:
            step: dict[str, Any] = {"service": f"s{depth}", "work": {"mean_ms": 1}}
            for layer in range(depth - 1, 0, -1):
                step = {"service": f"s{layer}", "work": {"mean_ms": 1}, "then": [step]}
            flows[f"d{depth}"] = {"rate_per_s": share * rate_per_s, "root": step}
    return System.model_validate(
        {
            "name": "Depths",
            "infrastructures": {"here": {}},
            "services": {f"s{layer}": HERE for layer in range(1, len(shares) + 1)},
            "flows": flows,
        }
    )


def depths(of: System) -> dict[int, float]:
    """Depth -> share of the requests whose longest chain of calls and messages has so many services."""
    deepest: dict[str, int] = {}
    for entry in of.steps():
        depth, at = 1, entry
        while at.parent is not None:
            depth += at.mode != "local"
            at = at.parent
        deepest[entry.flow] = max(depth, deepest.get(entry.flow, 1))
    rates = {name: flow.mean_rate_per_s for name, flow in of.flows.items()}
    found: dict[int, float] = {}
    for flow, depth in sorted(deepest.items(), key=lambda item: item[1]):
        found[depth] = found.get(depth, 0.0) + rates[flow] / sum(rates.values())
    return found


def spread(shares: dict[int, float]) -> tuple[float, float]:
    """Mean and standard deviation of a depth."""
    mean = sum(depth * share for depth, share in shares.items())
    return mean, sum(share * (depth - mean) ** 2 for depth, share in shares.items()) ** 0.5


def calling(of: System, least: int = 5) -> float:
    """Share of the services that call, or send messages to, at least so many others."""
    below: dict[str, set[str]] = {name: set() for name in of.services}
    for entry in of.steps():
        if entry.parent is not None and entry.mode != "local":
            below[entry.parent.step.service].add(entry.step.service)
    return sum(len(others) >= least for others in below.values()) / len(below)


def messages(of: System) -> float:
    """Of all calls and messages between services, the share of messages; 0 where there are none."""
    modes = [
        (of.flows[entry.flow].mean_rate_per_s, entry.mode)
        for entry in of.steps()
        if entry.mode in ("call", "message")
    ]
    total = sum(rate for rate, _ in modes)
    return sum(rate for rate, mode in modes if mode == "message") / total if total else 0.0
