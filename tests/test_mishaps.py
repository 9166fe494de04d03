"""Each mechanism: switched off it changes nothing, to the bit; made stronger it moves the right way."""

import numpy as np
import pytest

from models import System, simulate

SHOP = System.load("shop").to_dict()


def shop(step=None, **more):
    """The shop, its payment step with more said about it, and more of a system."""
    root = SHOP["flows"]["place_order"]["root"]
    then = [s | (step or {}) if s["service"] == "payment" else s for s in root["then"]]
    flow = SHOP["flows"]["place_order"] | {"root": root | {"then": then}}
    return System.model_validate(SHOP | {"flows": SHOP["flows"] | {"place_order": flow}} | more)


def run(system, requests=20_000, **options):
    return simulate(system, requests, 3, warmup=0.0, **options)


def payment(result, column):
    return result.steps.set_index("step").loc["payment", column]


def ok_share(result):
    rows = result.requests
    return (rows.answer[rows.flow == "place_order"] == "ok").mean()


DOWN = {"outages": [{"services": ["payment"], "from_ms": 10_200, "for_ms": 20_000}]}
LATER = {"outages": [{"services": ["payment"], "from_ms": 1e9, "for_ms": 1}]}
PATIENT = {"timeout_ms": 1e9, "passes_deadline": True, "retry": {"attempts": 3}}
WIDE = {"bulkhead": 10**6, "breaker": {"window": 100}, "throttle": {"multiplier": 1000}}
SHEDDING = {"services": SHOP["services"] | {"payment": SHOP["services"]["payment"] | {
    "sheds_late": True, "max_wait_ms": 1e9, "max_standing_wait_ms": 1e8}}}  # fmt: skip


@pytest.mark.parametrize("off", [
    shop(PATIENT), shop(WIDE), shop(**SHEDDING), shop(**LATER), shop({"errors": 0.0}),
    shop(mesh={"timeout_ms": 1e9}),
], ids=["patient", "wide", "shedding", "later", "errors", "mesh"])  # fmt: skip
def test_switched_off_it_changes_nothing(off):
    columns = ["arrived_ms", "replied_ms", "completed_ms"]
    before, after = (run(system).requests[columns].to_numpy() for system in (shop(), off))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("mesh", [
    {"proxy": {"hop_ms": 0, "cpu_ms": 0}},
    {"mtls": {"session_reuse": 1}},
    {"mtls": {"round_trips": 0, "cpu_ms": 0}},
    {"telemetry": {"sampling": 1, "span_ms": 0}},
    {"telemetry": {"sampling": 0, "span_ms": 1}},
])  # fmt: skip
def test_a_mesh_that_costs_nothing_is_not_in_the_plan(mesh):
    assert shop(mesh=mesh).plan() == shop().plan()


def test_a_longer_outage_hurts_more_and_only_while_it_lasts():
    def hurt(seconds):
        down = {"services": ["payment"], "from_ms": 10_000, "for_ms": 1000 * seconds}
        rows = run(shop(outages=[down])).requests
        orders = rows[rows.flow == "place_order"]
        during = orders.arrived_ms.between(10_000, 10_000 + 1000 * seconds)
        return (orders.answer != "ok").mean(), (orders[during].answer == "ok").mean()

    short, long = hurt(5), hurt(20)
    assert long[0] > 2 * short[0] > 0
    assert max(short[1], long[1]) < 0.02  # nothing is answered while it is down


def test_behind_a_broker_an_outage_costs_time_and_no_orders():
    by_message = shop({"via": "events"}, **DOWN)
    result = run(by_message, series_ms=1000)
    calm = run(shop({"via": "events"}))
    assert ok_share(result) == ok_share(calm)
    assert result.steps.redelivered.sum() > 0
    queue = result.service_series.query("service == 'payment'").set_index("time_ms").backlog
    rate_per_s = payment(result, "handled") / (result.window_ms[1] / 1000)
    # what arrives in 19.8 s waits; Poisson, so within four standard deviations
    assert abs(queue[30_000] - 19.8 * rate_per_s) < 4 * np.sqrt(20 * rate_per_s)


def test_calls_that_hang_hold_their_callers():
    hang = {"services": ["payment"], "from_ms": 10_000, "for_ms": 5_000, "calls": "hang"}
    errors, hangs = (
        run(shop(outages=[hang | {"calls": calls}]), series_ms=1000).service_series
        for calls in ("error", "hang")
    )
    busy = [s[s.service == "order"].set_index("time_ms").busy[14_000] for s in (errors, hangs)]
    assert busy[1] == 16 > busy[0]  # all of them


def test_a_time_limit_frees_the_caller_and_wastes_the_work():
    """Later answers are not waited for; the work is done all the same, and undone."""
    limited = run(shop({"timeout_ms": 20}))
    free = run(shop())
    assert payment(limited, "timed_out") > 0.2 * payment(limited, "tried")
    assert ok_share(limited) < ok_share(free)
    assert payment(limited, "undone") > payment(free, "undone")
    assert abs(payment(limited, "handled") / payment(free, "handled") - 1) < 0.02


def test_retries_help_against_errors_and_more_of_them_more():
    shares = [
        ok_share(run(shop({"errors": 0.2, "retry": {"attempts": attempts}})))
        for attempts in (1, 2, 4)
    ]
    assert shares[0] < shares[1] - 0.1 < shares[2] - 0.1


def test_a_smaller_budget_means_fewer_tries():
    def tried(tokens, per_call):
        budget = {"tokens": tokens, "per_call": per_call}
        step = {"errors": 0.5, "retry": {"attempts": 4, "budget": budget}}
        return payment(run(shop(step)), "tried")

    assert tried(1, 0.05) < tried(1, 0.2) < tried(10_000, 1)


def test_a_tighter_limit_on_the_retries_under_way_means_fewer_tries():
    def found(**retry):
        return run(shop({"errors": 0.5, "retry": {"attempts": 4, **retry}}))

    tried = [payment(found(concurrent={"at_least": n}), "tried") for n in (0, 1, 3)]
    columns = ["arrived_ms", "replied_ms", "completed_ms"]
    free, wide = (found(**more).requests[columns].to_numpy()
                  for more in ({}, {"concurrent": {"at_least": 10**9}}))  # fmt: skip
    assert tried[0] == payment(run(shop({"errors": 0.5})), "handled")
    assert tried[0] < tried[1] < tried[2]
    assert np.array_equal(free, wide)


def failing(down=(), **policy):
    """100 calls a second to a service that works for a second and breaks off."""
    here = {"infrastructure": "here", "workers": 1000}
    work = {"mean_ms": 1000, "distribution": "deterministic"}
    step = {"service": "bank", "work": work, "errors": 1, **policy}
    return System.model_validate(
        {
            "name": "failing",
            "infrastructures": {"here": {}},
            "network": {"within_ms": 0},
            "services": {"till": here, "bank": here},
            "flows": {
                "pay": {
                    "rate_per_s": 100,
                    "arrivals": "deterministic",
                    "root": {"service": "till", "then": [step]},
                }
            },
            "outages": [{"services": [name], "from_ms": 5_005, "for_ms": 100} for name in down],
        }
    )


def at_the_bank(system, column="busy"):
    series = run(system, 1_000, series_ms=7).service_series
    bank = series[(series.service == "bank") & series.time_ms.between(3_000, 10_000)]
    return bank[column].to_numpy()


@pytest.mark.parametrize("backoff", [{}, {"backoff": "exponential", "base_ms": 100}])
def test_no_more_retries_are_under_way_than_may_be(backoff):
    """First tries are the same with and without retries, since none of them waits."""
    first = at_the_bank(failing())
    retry = {"attempts": 1_000, "concurrent": {}, **backoff}
    under_way = at_the_bank(failing(retry=retry)) - first
    assert under_way.max() == 3  # Envoy's max_retries
    assert backoff or under_way.min() == 3
    retry["concurrent"] = {"share": 0.2, "at_least": 3}  # its retry budget
    shared = at_the_bank(failing(retry=retry)) - first
    assert (shared <= 0.2 * (first + shared)).all()
    assert backoff or shared.min() > 0.2 * first.min() - 1


@pytest.mark.parametrize(
    "policy", [{"bulkhead": 10}, {"retry": {"attempts": 1_000, "concurrent": {}}}]
)
def test_a_caller_that_has_fallen_takes_no_place_any_more(policy):
    """An outage of the caller's service ends its calls, and frees their places on the edge."""
    calm, fallen = (at_the_bank(failing(down, **policy))[-100:] for down in ((), ["till"]))
    assert np.array_equal(calm, fallen)


def test_a_breaker_spares_what_is_down():
    breaker = {"breaker": {"window": 20, "minimum": 20, "open_ms": 2000, "trials": 2}}
    without, with_breaker = run(shop(**DOWN)), run(shop(breaker, **DOWN))
    assert payment(with_breaker, "lost") < 0.1 * payment(without, "lost")
    assert payment(with_breaker, "broken") > 0.8 * payment(without, "lost")


def test_a_throttle_spares_what_is_down():
    throttled = run(shop({"throttle": {"multiplier": 1.1, "window_ms": 5000}}, **DOWN))
    assert payment(throttled, "broken") > 0.5 * payment(run(shop(**DOWN)), "lost")


def test_a_narrower_bulkhead_refuses_more():
    broken = [payment(run(shop({"bulkhead": limit})), "broken") for limit in (1, 3, 6)]
    assert broken[0] > broken[1] > broken[2] > 0


def test_work_that_comes_too_late_is_not_begun():
    """With deadlines passed on, an overloaded service answers more in time."""

    def overloaded(sheds):
        api = {"infrastructure": "here", "workers": 1, "sheds_late": sheds}
        root = {"service": "api", "work": {"mean_ms": 10}, "timeout_ms": 100,
                "passes_deadline": True}  # fmt: skip
        return System.model_validate(
            {
                "name": "overloaded",
                "infrastructures": {"here": {}},
                "services": {"api": api},
                "flows": {"only": {"rate_per_s": 120, "root": root}},
            }
        )

    served, shed = (run(overloaded(sheds)).requests.answer for sheds in (False, True))
    assert (shed == "ok").mean() > 0.6 > 0.1 > (served == "ok").mean()


def test_a_standing_queue_is_cut_shorter():
    def waits(**limits):
        services = SHOP["services"] | {"payment": SHOP["services"]["payment"] | limits}
        return payment(run(shop(services=services)), "rejected")

    assert waits() == 0 < waits(max_wait_ms=20) < waits(max_wait_ms=20, max_standing_wait_ms=2)


def test_restarts_take_less_with_draining():
    restart = {"service": "payment", "instances": 4, "from_ms": 5_000, "each_ms": 3_000}
    drained, stopped = (
        run(shop(restarts=[restart | {"drains": drains}])) for drains in (True, False)
    )
    assert payment(drained, "lost") == 0 < payment(stopped, "lost")


def test_more_loss_costs_more_time():
    means = []
    for loss in (0.0, 0.01, 0.05):
        rows = run(shop(network=SHOP["network"] | {"loss": loss})).requests
        means.append((rows.replied_ms - rows.arrived_ms).mean())
    assert means[0] < means[1] < means[2]
