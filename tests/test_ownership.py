"""Chapter 4: together or apart, three kinds of separate system, incidents in a network of teams."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import System, ownership, simulate, stages, theory
from models.broker import through_a_burst
from models.ownership import HOUR_MS, YEAR_HOURS, Faults, Hybrid, Line, Partner, Prices, Teams

SHOP = stages.asynchronous(System.load("shop"))
APART = stages.separated(SHOP, rtt_ms=20)
RUNS = 20


def agrees(values, exact, precision=0.03):
    """Within three standard errors of independent runs, which are small enough to mean something."""
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert error <= precision * abs(exact)
    assert abs(np.mean(values) - exact) <= 3 * error, (np.mean(values), error, exact)


# Who owns what


def test_owners():
    table = ownership.owners(APART).set_index("service")
    assert list(table.index) == list(APART.services)
    assert tuple(table.loc["fraud"]) == ("payments", "payments", "by messages", "place_order")
    assert tuple(table.loc["stock"]) == ("shop", "warehouse", "by calls", "place_order, browse")
    assert table.loc["order", "reached"] == "from outside"
    nobody = ownership.owners(SHOP.with_("services.price.team", None)).set_index("service")
    assert nobody.loc["price", "team"] == "nobody"
    assert ownership.owned(SHOP) == {
        "payments": 3, "warehouse": 2, "customers": 2, "shopfront": 2, "checkout": 1
    }  # fmt: skip


# One system together and apart


def spread():
    """Two infrastructures and two brokers from the start, an outage, a mesh, and a rare flow."""
    mail = {"service": "mail", "via": "log", "idempotent": True, "work": {"mean_ms": 9}}
    audit = {"service": "audit", "deferrable": True, "work": {"mean_ms": 3}}
    return System.model_validate(
        {
            "name": "Spread",
            "infrastructures": {"east": {}, "west": {}},
            "network": {"between": [{"ends": ["east", "west"], "rtt_ms": 12}]},
            "mesh": {"timeout_ms": 500, "retry": {"attempts": 2}},
            "brokers": {name: {"infrastructure": "east"} for name in ("bus", "log")},
            "outages": [
                {"name": "night", "infrastructures": ["west"], "from_ms": 1000, "for_ms": 500}
            ],
            "services": {
                "web": {"infrastructure": "east", "team": "one", "workers": 8},
                "db": {"infrastructure": "west", "team": "two", "workers": 4},
                "mail": {"infrastructure": "west", "team": "three", "workers": "unlimited"},
                "audit": {"infrastructure": "west", "team": "three", "workers": 2},
            },
            "flows": {
                "buy": {
                    "rate_per_s": 40,
                    "root": {"service": "web", "then": [{"service": "db"}, mail, audit]},
                },
                "look": {"rate_per_s": 60, "root": {"service": "web"}},
                "rare": {"rate_per_s": 0.001, "root": {"service": "db", "then": [mail] * 4}},
            },
        }
    )


def test_a_system_on_one_infrastructure_is_taken_apart():
    near, apart, why = ownership.sides(System.load("shop"), 20)
    assert (near, apart, why) == (SHOP, APART, "")
    assert ownership.distance(apart) == "20\u00a0ms"
    assert ownership.at_distance(apart, 300) == stages.separated(SHOP, rtt_ms=300)


def test_a_system_that_is_apart_already_is_brought_together():
    given = spread()
    near, apart, why = ownership.sides(given, 20)
    assert why == "" and apart.services == given.services and apart.outages == ()
    assert set(near.infrastructures) == {"west"} and near.network.between == ()
    assert {part.infrastructure for part in (*near.services.values(), *near.brokers.values())} == {
        "west"
    }
    assert near.mesh == apart.mesh == given.mesh
    # a new message goes to the broker that carries the most
    assert list(ownership.handed_over(apart).service) == ["mail", "audit"] + ["mail"] * 4
    assert {entry.step.via for entry in apart.steps() if entry.step.via} == {"log"}
    assert ownership.distance(apart) == "12\u00a0ms"
    assert ownership.watched(apart) == ("buy", "look")  # rare has more to hand over, and is rare


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"services.price.team": None}, "services.price.team: nothing was found"),
        (
            {f"flows.place_order.root.then[{n}].deferrable": False for n in range(2, 7)},
            "nothing can move",
        ),
    ],
)
def test_what_cannot_be_taken_apart_says_why(change, why):
    near, apart, said = ownership.sides(System.load("shop").with_(change), 20)
    assert apart is None and said.startswith(why)
    assert len(near.infrastructures) == 1


def test_a_flow_of_recorded_times_is_watched_only_where_there_is_no_other():
    data = System.load("shop").to_dict()
    data["flows"]["place_order"] |= {
        "arrivals": {"process": "timestamps", "times_ms": [0.0, 5.0, 9.0]}
    }
    del data["flows"]["place_order"]["rate_per_s"]
    assert ownership.watched(System.model_validate(data)) == ("browse", None)
    del data["flows"]["browse"]
    assert ownership.watched(System.model_validate(data)) == ("place_order", None)


def test_enough_people_keep_each_team_half_free():
    assert ownership.enough_responders((9.0, 3.0), 3.0) == 1
    many = ownership.enough_responders((210.0, 3.0), 3.0)
    assert Teams((210.0, 3.0), responders=many, restore_hours=3.0).loads.max() <= 0.5
    assert Teams((210.0, 3.0), responders=many - 1, restore_hours=3.0).loads.max() > 0.5


# What a flow needs


def link(*ends):
    return frozenset(ends)


def test_the_answer_needs_what_is_called_and_the_broker_and_completion_the_rest():
    assert ownership.needs(SHOP, "place_order") == {"shop"}
    assert ownership.needs(APART, "place_order") == {"shop"}
    assert ownership.needs(APART, "browse", "completion") == {"shop"}
    assert ownership.needs(APART, "place_order", "completion") == {
        "shop", "payments", "warehouse", "customers",
        link("shop", "payments"), link("shop", "warehouse"), link("shop", "customers"),
    }  # fmt: skip
    called = stages.separated(stages.synchronous(SHOP), allow_calls=True)
    assert ownership.needs(called, "browse") == {
        "shopfront", "warehouse", link("shopfront", "warehouse")
    }  # fmt: skip
    with pytest.raises(ValueError, match="until: 'end' was given; expected 'answer' or"):
        ownership.needs(SHOP, "browse", "end")


def test_a_broker_left_behind_is_needed_for_the_answer():
    own = ownership.own_cluster(SHOP, ["order", "stock", "payment"])
    assert ownership.needs(own, "place_order") == {"critical", "shop", link("critical", "shop")}
    assert len(ownership.crossing_calls(own, "place_order")) == 5  # the messages it hands over
    whole = ownership.own_cluster(SHOP, ["order", "stock", "payment"], ["events"])
    assert ownership.needs(whole, "place_order") == {"critical"}
    assert ownership.crossing_calls(whole, "place_order") == ()
    assert [entry.key for entry in ownership.crossing_calls(whole, "browse")] == ["stock"]


def test_what_the_user_of_a_flow_waits_for():
    assert ownership.awaited_services(SHOP, "place_order") == ("order", "stock", "payment")
    assert ownership.awaited_services(SHOP, "browse") == ("catalogue", "stock", "price")
    assert ownership.published_to(SHOP, "place_order") == ("events",)
    assert ownership.published_to(SHOP, "browse") == ()
    social = System.load("social-network")  # what a message starts is not waited for
    assert "home-timeline-writer" not in ownership.awaited_services(social, "compose_post")


def test_own_cluster_moves_what_it_is_told_and_nothing_else():
    own = ownership.own_cluster(SHOP, ["order"], ["events"], "vip", 3.0)
    moved = {name for name, s in own.services.items() if s.infrastructure == "vip"}
    assert moved == {"order"}
    assert own.brokers["events"].infrastructure == "vip"
    assert own.round_trip("vip", "shop") == (3.0, 0.0)
    assert ownership.own_cluster(own, ["stock"], (), "vip").round_trip("vip", "shop")[0] == 3.0
    again = ownership.own_cluster(ownership.own_cluster(SHOP, ["order"]), ["stock"])
    assert again.services["stock"].infrastructure == "critical too"
    with pytest.raises(ValueError, match="services: 'odrer' was given; expected some of order"):
        ownership.own_cluster(SHOP, ["odrer"])
    with pytest.raises(ValueError, match="brokers: 'log' was given; expected some of events"):
        ownership.own_cluster(SHOP, ["order"], ["log"])


# Outages


def test_availability_by_hand():
    faults = Faults(own_per_year=1, team_per_year=2, hours=10, link_per_year=3, link_hours=5)
    assert ownership.tenants(APART) == {"shop": 4, "payments": 1, "warehouse": 1, "customers": 1}
    shop = YEAR_HOURS / (YEAR_HOURS + 9 * 10)
    team = YEAR_HOURS / (YEAR_HOURS + 3 * 10)
    line = YEAR_HOURS / (YEAR_HOURS + 3 * 5)
    assert faults.availability(APART, "place_order") == pytest.approx(shop)
    assert faults.availability(APART, "place_order", "completion") == pytest.approx(
        shop * team**3 * line**3
    )
    assert faults.availability(SHOP, "place_order") == pytest.approx(
        YEAR_HOURS / (YEAR_HOURS + 11 * 10)
    )
    assert faults.of(SHOP) == {"shop": 11}
    assert sorted(faults.of(APART).values()) == [3, 3, 3, 3, 3, 3, 9]  # teams, lines, the rest
    assert faults.hurt(SHOP) == 1.0
    assert faults.hurt(APART) == pytest.approx(9 / (9 + 3 * 3 + 3 * 3))
    assert Faults(0, 0, 1, 0, 1).hurt(SHOP) == 0.0


@pytest.mark.parametrize(("system", "flow"), [(SHOP, "browse"), (APART, "browse")])
def test_availability_by_simulation(system, flow):
    """Hours that last a second, and few requests: the share that finds its infrastructure up."""
    faults = Faults(own_per_year=20, team_per_year=20, hours=20, link_per_year=20, link_hours=20)
    thin = system.with_({"flows.browse.rate_per_s": 3.0, "flows.place_order.rate_per_s": 1.0})
    falling = System.model_validate(
        thin.to_dict() | {"outages": faults.outages(system, hour_ms=1000.0)}
    )
    lost = []
    for run in range(RUNS):
        table = simulate(falling, 40_000, 1 + (run << 32), keep="summary", warmup=0.0).summary()
        lost.append(table.set_index(["flow", "metric"]).value[flow, "failed_share"])
    agrees(lost, 1 - faults.availability(system, flow), 0.06)


def test_messages_keep_the_answer_up_while_a_consumers_place_is_down():
    window = {"from_ms": 1000, "for_ms": 2000, "infrastructures": ["payments"]}
    down = System.model_validate(APART.to_dict() | {"outages": [window]})
    calm, fallen = (
        simulate(system, 4000, 1, warmup=0.0).requests.set_index(["flow", "index"])
        for system in (APART, down)
    )
    assert (fallen.answer == calm.answer).mean() > 0.999
    orders = (fallen.completed_ms - fallen.arrived_ms)["place_order"]
    assert orders.max() > 2000 > (calm.completed_ms - calm.arrived_ms)["place_order"].max()


def test_a_common_cause_decides_what_a_second_part_is_worth():
    assert theory.common_cause(0.01, 0.0, 2) == pytest.approx(1e-4)
    assert theory.common_cause(0.01, 0.1, 2) == pytest.approx(0.001 + 0.009**2)
    assert theory.common_cause(0.01, 1.0, 5) == pytest.approx(0.01)
    assert theory.common_cause(0.01, 0.1, 1) == pytest.approx(0.01)
    assert theory.common_cause(1.0, 0.5, 2) <= 1.0


# Price and neighbours


def test_price_by_hand():
    prices = Prices(infrastructure=7, worker=2, million_crossings=3)
    workers = sum(service.workers for service in SHOP.services.values())
    assert prices.a_month(SHOP) == 7 + 2 * workers
    assert ownership.crossings_per_s(SHOP) == 0
    assert ownership.crossings_per_s(APART) == 5 * 100  # five messages of each order
    assert prices.a_month(APART) == pytest.approx(
        7 * 4 + 2 * workers + 3 * 500 * 30 * 24 * 3600 / 1e6
    )
    free = SHOP.with_("services.price.workers", "unlimited")  # 0.6 busy: one
    assert prices.a_month(free) == prices.a_month(SHOP)


def test_slowed_work_is_longer_and_nothing_else():
    slow = ownership.slowed(APART, "payments", 1.5)
    fast = {entry.key: entry.step for entry in APART.steps("place_order")}
    for entry in slow.steps("place_order"):
        factor = 1.5 if entry.step.service in ("fraud", "invoice") else 1.0
        assert entry.step.work.mean_ms == pytest.approx(factor * fast[entry.key].work.mean_ms)
        assert entry.step.work.scv == pytest.approx(fast[entry.key].work.scv)
        if entry.step.undo:
            assert entry.step.undo.mean_ms == pytest.approx(factor * fast[entry.key].undo.mean_ms)
    drawn = SHOP.with_("flows.browse.root.work", {"distribution": "empirical",
                                                  "values_ms": [1, 3]})  # fmt: skip
    assert ownership.slowed(drawn, "shop", 2).flows["browse"].root.work.values_ms == (2, 6)
    with pytest.raises(ValueError, match="infrastructure: 'cloud' was given; expected one of shop"):
        ownership.slowed(SHOP, "cloud", 2)
    with pytest.raises(ValueError, match="factor: 0 was given"):
        ownership.slowed(SHOP, "shop", 0)


def test_a_neighbour_elsewhere_is_not_heard():
    quiet, noisy = (
        simulate(system, 20_000, 1, keep="summary").summary().set_index(["flow", "metric"]).value
        for system in (APART, ownership.slowed(APART, "customers", 1.4))
    )
    assert noisy["browse", "response_mean_ms"] == pytest.approx(
        quiet["browse", "response_mean_ms"], rel=0.01
    )
    assert noisy["place_order", "completion_mean_ms"] > quiet["place_order", "completion_mean_ms"]


# Another division


def test_partner_by_hand():
    partner = Partner(rate_per_s=10, limit_per_s=15, window_hours=4, between_hours=168)
    assert partner.peak == 10 * 4 * 3600
    assert partner.drain_hours == pytest.approx(8.0)  # 10 x 4 / (15 - 10)
    assert partner.peak_gb == pytest.approx(0.288)
    assert partner.closed_share == pytest.approx(4 / 168)
    assert partner.late_share(0) == pytest.approx(12 / 168)  # closed and draining
    assert partner.late_share(4) == 0
    assert partner.late_share(2) == pytest.approx(2 / (1 - 10 / 15) / 168)
    assert partner.release_wait_days == 14
    assert replace(partner, release_scv=1.0).release_wait_days == 28
    assert replace(partner, window_hours=0.0).drain_hours == 0
    assert replace(partner, limit_per_s=10.0).drain_hours == math.inf
    assert replace(partner, limit_per_s=10.0).late_share(1) == math.inf


def test_the_least_limit_is_where_one_window_runs_into_the_next():
    partner = Partner(window_hours=40)
    at = replace(partner, limit_per_s=partner.least_limit_per_s)
    assert at.left_over == pytest.approx(0, abs=1e-6)
    assert at.drain_hours == pytest.approx(at.between_hours - at.window_hours)
    less = replace(partner, limit_per_s=0.99 * partner.least_limit_per_s)
    assert less.left_over > 0
    weeks = less.backlog(168.0 * np.arange(5))
    assert np.diff(weeks) == pytest.approx([less.left_over] * 4)


@given(st.floats(1, 30), st.floats(1, 40), st.floats(0, 24), st.floats(25, 400))
def test_the_backlog_is_continuous_and_never_negative(rate, limit, window, between):
    partner = Partner(rate, limit, window, between)
    hours = np.linspace(-1, 3 * between, 4000)
    held = partner.backlog(hours)
    step = 3600 * max(rate, limit) * (hours[1] - hours[0])
    assert (held >= 0).all()
    assert np.abs(np.diff(held)).max() <= step * (1 + 1e-9) + 1e-6


def test_a_window_by_simulation():
    """What the broker holds, and who waits how long, against the fluid formulas."""
    partner = Partner(rate_per_s=2, limit_per_s=3, window_hours=2, between_hours=8)
    system, lead = partner.system("message", 0.5), 0.5
    peaks, late = [], []
    for run in range(10):
        seed = run << 32
        path = through_a_burst(system, 3600 * 7.5, 60_000, seed, 1800.0)
        peaks.append(path[path.time_s == 3600 * (lead + 2)].backlog.iloc[0])
        rows = simulate(system, 60_000, seed, warmup=0.0).requests
        rows = rows[rows.arrived_ms < HOUR_MS * (lead + 8)]
        wait = (rows.completed_ms - rows.arrived_ms) / HOUR_MS
        late.append((wait > 1.0).sum() / (2 * 3600 * 8))
    agrees(peaks, partner.peak)
    agrees(late, partner.late_share(1.0))


def test_a_call_to_a_closed_division_fails():
    partner = Partner(window_hours=1, between_hours=10)
    rows = simulate(partner.system("call", 0.5), 60_000, 1, warmup=0.0).requests
    inside = rows.arrived_ms.between(0.5 * HOUR_MS, 1.5 * HOUR_MS)
    assert (rows.answer[inside] != "ok").mean() > 0.999
    assert (rows.answer[~inside] == "ok").mean() > 0.999
    message = simulate(partner.system("message", 0.5), 20_000, 1, warmup=0.0).requests
    assert (message.answer == "ok").all()
    assert partner.system().outages == ()


def test_the_wait_for_a_release_is_a_residual_life():
    """A change comes at random among releases at irregular intervals: Cox 1962, section 5.2."""
    for scv, draw in (
        (1.0, lambda rng, n: rng.exponential(28, n)),
        (0.25, lambda rng, n: rng.gamma(4, 7, n)),
    ):
        waits = []
        for run in range(RUNS):
            rng = np.random.default_rng(run)
            releases = np.cumsum(draw(rng, 20_000))
            changes = rng.uniform(0, releases[-1], 20_000)
            waits.append((releases[np.searchsorted(releases, changes)] - changes).mean())
        agrees(waits, Partner(release_days=28, release_scv=scv).release_wait_days)


# The line


def test_line_by_hand():
    line = Line(per_year=2, hours=4, common=0.1)
    down = 8 / (YEAR_HOURS + 8)
    assert 1 - line.availability() == pytest.approx(down)
    assert 1 - line.availability(2) == pytest.approx(0.1 * down + (0.9 * down) ** 2)
    assert line.late_share(0, 0.5) == pytest.approx(2 * down)  # down, and draining as long
    assert Line(per_year=0).late_share(1, 0.5) == 0
    assert Line(hours=0).late_share(1, 0.5) == 0
    hybrid = Hybrid(line, write_per_s=2, core_ms=250)
    assert hybrid.core_per_s == 4 and hybrid.load == 0.5


def test_late_writes_by_numbers():
    """Outages of exponential length, one by one: a fluid queue behind each of them."""
    line, load, after = Line(per_year=2, hours=4), 0.6, 3.0
    shares = []
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        down = rng.exponential(line.hours, 20_000)
        up = rng.exponential(YEAR_HOURS / line.per_year, 20_000)
        sent = np.maximum(down - after, 0) / (1 - load)
        shares.append(sent.sum() / (down.sum() + up.sum()))
    agrees(shares, line.late_share(after, load))


def test_the_order_of_writes_through_an_outage():
    """Without jitter the log keeps its order: lag = outage - time x (1 - load), as in the fluid."""
    hybrid = Hybrid(Line(jitter_cv=0.0), read_per_s=1, write_per_s=2, core_ms=250)
    rows = simulate(hybrid.system((0.5, 1.0)), 40_000, 3, warmup=0.0).requests
    writes, reads = rows[rows.flow == "write"], rows[rows.flow == "read"]
    assert (writes.answer == "ok").all()
    down = reads.arrived_ms.between(0.5 * HOUR_MS, 1.5 * HOUR_MS - 100)
    assert (reads.answer[down] != "ok").all() and (reads.answer[~down] == "ok").mean() > 0.999
    since = writes.arrived_ms / HOUR_MS - 0.5
    lag = ((writes.completed_ms - writes.arrived_ms) / HOUR_MS)[since.between(0, 2)]
    fluid = 1.0 - since[since.between(0, 2)] * (1 - hybrid.load)
    assert np.abs(lag - fluid).max() < 0.06  # chance: some ten messages in a thousand
    assert lag.iloc[0] == pytest.approx(1.0, abs=0.01)


# Teams


def restored(teams, incidents=10_000, first=1):
    return [
        ownership.simulate_incidents(teams, incidents, seed).restore_hours.mean()
        for seed in range(first, first + RUNS)
    ]


@pytest.mark.parametrize("responders", [1, 3])
@pytest.mark.parametrize("q", [0.0, 0.3, 0.6])
def test_teams_that_look_as_long_as_they_restore_are_a_jackson_network(responders, q):
    """Jackson 1957, by the traffic equations of `theory.jackson`; simulated within three errors."""
    teams = Teams((6.0,) * 4, q, 4.0, 4.0, responders)
    routing = np.full((4, 4), q / 3)
    np.fill_diagonal(routing, 0)
    exact = theory.jackson([6 / 168] * 4, [0.25] * 4, [responders] * 4, routing)
    assert teams.loads == pytest.approx(exact.utilisations)
    assert teams.overall_hours == pytest.approx(exact.mean_response)
    agrees(restored(teams), exact.mean_response)


def test_one_team_is_one_queue():
    """M/M/1 and its exponential sojourn: the quantiles of the time to restore, not its mean alone."""
    teams = Teams((14.0,), restore_hours=6.0)  # load 0.5
    assert teams.overall_hours == pytest.approx(6 / (1 - 0.5))
    runs = [ownership.simulate_incidents(teams, 20_000, seed).restore_hours for seed in range(RUNS)]
    for share in (0.5, 0.9):
        exact = float(theory.mmc_sojourn_quantile(share, 14 / 168, 1 / 6))
        assert exact == pytest.approx(-math.log(1 - share) * 12)
        agrees([run.quantile(share) for run in runs], exact)


def test_unequal_teams():
    teams = Teams((9.0, 3.0, 12.0), 0.4, 4.0, 4.0)
    runs = [ownership.simulate_incidents(teams, 20_000, seed) for seed in range(RUNS)]
    for team, exact in enumerate(teams.mean_hours):
        agrees([run[run.team == team].restore_hours.mean() for run in runs], exact)


def test_published_factor_of_wrong_routing():
    """V16: a share of 0.3 that takes 10 times as long makes 3.7 (Chen et al. 2019, inputs)."""
    teams = Teams((1.0,) * 5, 0.3, 1.0, 9 * 0.7, responders=50)  # nobody waits
    assert teams.factor == pytest.approx(10.0)
    assert teams.overall_hours == pytest.approx(3.7)
    assert theory.routing_factor(0.3, 10) == pytest.approx(3.7)
    agrees(restored(teams), 3.7)


def test_a_short_look_is_close_to_the_approximation():
    """Looks and repairs of different length: within 5 % (Allen and Cunneen; arrivals not Poisson)."""
    for look_hours in (1.0, 10.0):
        teams = Teams((9.0, 6.0, 6.0, 3.0), 0.3, 5.0, look_hours)
        found = np.mean(restored(teams))
        assert found == pytest.approx(teams.overall_hours, rel=0.05)


def test_handoffs_and_common_random_numbers():
    direct = Teams((5.0, 7.0, 9.0), 0.0, 4.0, 2.0, responders=100)
    handed = replace(direct, p_reassigned=0.4)
    a, b = (ownership.simulate_incidents(teams, 20_000, 7) for teams in (direct, handed))
    assert (a.arrived_hours == b.arrived_hours).all() and (a.team == b.team).all()
    assert (a.handoffs == 0).all()
    assert b.handoffs.mean() == pytest.approx(0.4 / 0.6, rel=0.05)
    same = b.handoffs == 0
    assert b.restore_hours[same].to_numpy() == pytest.approx(a.restore_hours[same].to_numpy())
    more = ownership.simulate_incidents(replace(direct, p_reassigned=0.6), 20_000, 7)
    assert (more.handoffs >= b.handoffs).all()
    assert a.team.value_counts(normalize=True)[2] == pytest.approx(9 / 21, abs=0.02)


def test_the_office_clock():
    assert [ownership.office_time(hours) for hours in (0, 4, 8, 20, 24, 25, 120, 168, 170)] == [
        0, 4, 8, 8, 8, 9, 40, 40, 42
    ]  # fmt: skip
    assert ownership.office_end(0, 8) == 8  # done as the office closes
    assert ownership.office_end(0, 8.5) == 24.5
    assert ownership.office_end(20, 1) == 25  # begun at night, done in the morning
    assert ownership.office_end(97, 8) == 169  # Friday at ten: seven hours, and one on Monday
    assert ownership.office_end(130, 40) == 168 + 104  # over the weekend, until Friday at five
    for start in np.linspace(0, 400, 97):
        for work in (0.5, 7.9, 8.0, 41.3):
            end = ownership.office_end(float(start), work)
            assert ownership.office_time(end) - ownership.office_time(start) == pytest.approx(work)


def test_in_office_hours_incidents_wait_for_the_morning():
    """With little to do and nobody waiting: the mean time until the office is open again.

    Sum of gap squared over twice the week: four nights of 16 h and a weekend of 64 h.
    """
    exact = (4 * 16**2 + 64**2) / (2 * 168)
    teams = Teams((5.0,), restore_hours=0.001, responders=100, office_hours=True)
    agrees(restored(teams, 5000), exact)
    with pytest.raises(ValueError, match="wait_hours: expected teams that work round the clock"):
        teams.overall_hours  # noqa: B018


def test_too_much_to_own():
    team = Teams((3.0,), restore_hours=6.0)
    most = ownership.most_owned(team, 3.0, 20.0)
    assert most == 6  # 6 h / (1 - 18 x 6 / 168) is 16.8 h; with seven it is 24 h
    at = replace(team, per_week=(3.0 * most,)).overall_hours
    over = replace(team, per_week=(3.0 * (most + 1),)).overall_hours
    assert at == pytest.approx(16.8) and over == pytest.approx(24.0)
    assert replace(team, per_week=(28.0,)).overall_hours == math.inf
    assert ownership.most_owned(replace(team, responders=3), 3.0, 20.0) > 3 * most


def test_the_times_to_restore_fit_into_a_system_file():
    times = ownership.simulate_incidents(Teams((6.0, 6.0), 0.3), 5000, 1).restore_hours
    given = ownership.restore_distribution(times)
    assert np.mean(given["values_ms"]) == pytest.approx(HOUR_MS * times.mean())
    assert np.median(given["values_ms"]) == pytest.approx(HOUR_MS * times.median(), rel=0.02)
    outage = {"infrastructures": ["shop"], "up": {"mean_ms": 1e9}, "down": given}
    system = System.model_validate(SHOP.to_dict() | {"outages": [outage]})
    assert system.outages[0].down.mean_ms == pytest.approx(HOUR_MS * times.mean())
    assert len(ownership.restore_distribution([1.0, 2.0])["values_ms"]) == 2


@given(
    st.lists(st.floats(0.5, 6), min_size=2, max_size=6),
    st.floats(0, 0.4),
    st.floats(0.5, 4),
    st.floats(0.5, 4),
    st.integers(1, 4),
)
def test_wrong_routing_only_costs_and_people_only_help(rates, q, restore, look, responders):
    teams = Teams(tuple(rates), q, restore, look, responders)
    worse = replace(teams, p_reassigned=q + 0.1)
    assert (worse.mean_hours >= teams.mean_hours).all()
    assert (worse.loads > teams.loads).all()
    more = replace(teams, responders=responders + 1)
    assert (more.mean_hours <= teams.mean_hours * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Faults(hours=-1), "hours: -1 was given; expected a number of at least 0"),
        (lambda: Prices(worker=math.nan), "worker: nan"),
        (lambda: Partner(rate_per_s=0), "rate_per_s: 0 was given; expected a number above 0"),
        (lambda: Partner(window_hours=-1), "window_hours: -1"),
        (lambda: Partner(window_hours=200), "window_hours: 200 .* less than between_hours, 168"),
        (lambda: Partner().system("fax"), "edge: 'fax' was given; expected 'message' or 'call'"),
        (lambda: Line(common=1.5), "common: 1.5 was given; expected a share from 0 to 1"),
        (lambda: Line(rtt_ms=0), "rtt_ms: 0"),
        (lambda: Hybrid(core_workers=0), "core_workers: 0"),
        (lambda: Hybrid(core_ms=0), "core_ms: 0"),
        (lambda: Teams(()), r"per_week: \(\) was given; expected a number for each team"),
        (lambda: Teams((1.0, 0.0)), r"per_week\[1\]: 0.0 was given; expected a number above 0"),
        (lambda: Teams((1.0, 1.0), 1.0), "p_reassigned: 1.0 .* a share from 0 to below 1"),
        (lambda: Teams((1.0,), 0.1), "p_reassigned: 0.1 .* expected 0, since there is no other"),
        (lambda: Teams((1.0,), responders=0), "responders: 0"),
        (
            lambda: ownership.simulate_incidents(Teams((1.0,)), 5),
            "incidents: 5 was given; expected a whole number from 10 on",
        ),
        (lambda: ownership.most_owned(Teams((1.0,)), 0.0, 1.0), "per_service: 0.0"),
        (lambda: ownership.most_owned(Teams((1.0,)), 1.0, math.inf), "target_hours: inf"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
