"""Small and odd systems, all of them valid: what a reader's own file may be like."""

from typing import Any

from models import System


def _one(**more: Any) -> dict[str, Any]:
    return {
        "name": "One service",
        "infrastructures": {"a": {}},
        "services": {"only": {"infrastructure": "a", "workers": 2}},
        "flows": {"ask": {"rate_per_s": 20, "root": {"service": "only", "work": {"mean_ms": 10}}}},
        **more,
    }


def _two(step: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A front and a back service in one place; `step` is what the back does."""
    return {
        "name": "Two services",
        "infrastructures": {"a": {}},
        "services": {
            "front": {"infrastructure": "a", "workers": 4},
            "back": {"infrastructure": "a", "workers": 2},
        },
        "flows": {
            "ask": {
                "rate_per_s": 30,
                "root": {
                    "service": "front",
                    "work": {"mean_ms": 5},
                    "then": [{"service": "back", "work": {"mean_ms": 20}, **(step or {})}],
                },
            }
        },
        **more,
    }


LATER = {"deferrable": True}
BROKER = {"log": {"infrastructure": "a", "partitions": 3}}


ODD: dict[str, dict[str, Any]] = {
    "one service": _one(),
    "no work at all": _one(flows={"ask": {"rate_per_s": 1, "root": {"service": "only"}}}),
    "calls only": _two(),
    "may be later": _two(LATER),
    "unlimited": _two(
        LATER, services={"front": {"infrastructure": "a"}, "back": {"infrastructure": "a"}}
    ),
    "overloaded": _two({**LATER, "work": {"mean_ms": 200}}),
    "overloaded front": _two({"work": {"mean_ms": 1}}, services={
        "front": {"infrastructure": "a", "workers": 1}, "back": {"infrastructure": "a"}})
    | {"flows": {"ask": {"rate_per_s": 400, "root": {"service": "front", "work": {"mean_ms": 5},
                 "then": [{"service": "back", "work": {"mean_ms": 1}}]}}}},
    "idempotent message": _two({"via": "log", "idempotent": True}, brokers=BROKER),
    "one team": _two(LATER, services={
        "front": {"infrastructure": "a", "workers": 4, "team": "t"},
        "back": {"infrastructure": "a", "workers": 2, "team": "t"}}),
    "apart already": _two(
        {**LATER, "undo": {"mean_ms": 3}, "fails": 0.1},
        infrastructures={"a": {}, "b": {}},
        network={"between": [{"ends": ["a", "b"], "rtt_ms": 15, "jitter_cv": 0.2}]},
        services={
            "front": {"infrastructure": "a", "workers": 4, "team": "b"},
            "back": {"infrastructure": "b", "workers": 2, "team": "a"},
        },
    ),
    "everything said": _two(
        {
            "via": "log",
            "errors": 0.05,
            "undo": {"mean_ms": 3},
            "work": {"mean_ms": 20, "distribution": "lognormal", "cv": 3},
        },
        brokers={
            "log": {
                "infrastructure": "a",
                "partitions": 2,
                "keys": {"count": 50, "skew": 1},
                "retention_ms": 3_600_000,
                "max_deliveries": 4,
                "replication": {"mean_ms": 5},
                "producers": {"buffer": 100, "batch": 5, "linger_ms": 2},
                "mirrors": {},
            },
            "other": {"infrastructure": "a"},
        },
        mesh={"timeout_ms": 500, "retry": {"attempts": 2}},
        outages=[{"services": ["back"], "from_ms": 1000, "for_ms": 500}],
        restarts=[{"service": "back", "instances": 2, "from_ms": 5000, "each_ms": 1000}],
    ),
    "times": _two(LATER) | {
        "flows": {
            "recorded": {
                "arrivals": {"process": "timestamps", "times_ms": [0, 5, 9, 30]},
                "root": {"service": "front", "work": {"mean_ms": 5},
                         "then": [{"service": "back", "work": {"mean_ms": 5}}]},
            },
            "once": {
                "arrivals": {"process": "timestamps", "times_ms": [7]},
                "root": {"service": "back", "work": {"mean_ms": 5}},
            },
            "by day": {
                "rate_per_s": 10,
                "arrivals": {
                    "process": "profile",
                    "period_ms": 1000,
                    "steps": [{"from_ms": 0, "factor": 1}, {"from_ms": 500, "factor": 0}],
                },
                "root": {"service": "front", "work": {"mean_ms": 5},
                         "then": [{"service": "back", "work": {"mean_ms": 5}, **LATER}]},
            },
            "rare": {
                "rate_per_s": 0.001,
                "root": {"service": "back", "undo": {"mean_ms": 1}, "work": {"mean_ms": 1}},
            },
        },
    },
    "saga": {
        "name": "Saga",
        "infrastructures": {"a": {}},
        "services": {
            "coordinator": {"infrastructure": "a"},
            "relay": {"infrastructure": "a", "workers": 3},
            "twice": {"infrastructure": "a", "workers": 2},
        },
        "flows": {
            "book": {
                "rate_per_s": 10,
                "root": {
                    "service": "coordinator",
                    "then": [
                        {"service": "relay", "work": {"mean_ms": 10}, "undo": {"mean_ms": 5},
                         "fails": 0.1, "then": [{"service": "twice", "undo": {"mean_ms": 1},
                                                 "work": {"mean_ms": 4}}]},
                        {"service": "twice", "undo": {"mean_ms": 1}},
                    ],
                },
            }
        },
    },
    "slow and rare": _two(LATER) | {
        "flows": {"ask": {"rate_per_s": 0.002, "root": {"service": "front", "work": {"mean_ms": 9000},
                  "then": [{"service": "back", "work": {"mean_ms": 60000}, **LATER}]}}},
    },
}  # fmt: skip


def system(name: str) -> System:
    """An odd system by its name, or a bundled one."""
    return System.model_validate(ODD[name]) if name in ODD else System.load(name)


NAMES = [*ODD, "shop", "online-boutique", "social-network"]
