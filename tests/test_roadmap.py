"""Chapter 8's model: the road, what goes down on it, its gates and its advice, against theory."""

from dataclasses import replace
from math import exp, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import System, governance, mesh, outages, ownership, roadmap, soak, stages
from models.broker import mean_and_half_width
from models.resilience import Outage
from models.roadmap import STAGES, Terms, walk

QUICK = {"runs": 4, "requests": 4000, "years": 30}


@pytest.fixture(scope="module")
def shop():
    return walk(System.load("shop"), **QUICK)


# The road


def test_the_road_is_that_of_the_stages_and_then_a_mesh(shop):
    assert shop.stages == STAGES and not shop.stopped
    for name in ("synchronous", "asynchronous"):
        assert shop.systems[name] == stages.at(System.load("shop"), name)
    apart, meshed = shop.systems["separated"], shop.systems["meshed"]
    assert apart.mesh is None and meshed.mesh is not None and meshed.mesh.preset == "istio"
    assert meshed.model_copy(update={"mesh": None}) == apart
    assert shop.systems["governed"] == meshed


def test_a_mesh_of_ones_own_is_used_from_the_mesh_on_and_outages_are_left_out():
    data = System.load("shop").to_dict() | {
        "mesh": {"preset": "linkerd"},
        "outages": [{"services": ["order"], "from_ms": 5, "for_ms": 5}],
    }
    found, _ = roadmap.road(System.model_validate(data))
    assert [system.mesh is not None for system in found.values()] == [False] * 3 + [True] * 2
    assert found["governed"].mesh.preset == "linkerd"
    assert not any(system.outages for system in found.values())


def test_where_every_team_has_users_whole_teams_move():
    found, stopped = roadmap.road(outages.company())
    assert not stopped
    assert found["separated"] == outages.apart(found["asynchronous"], Terms().rtt_ms)


def test_the_road_stops_with_its_reason():
    shop = System.load("shop")
    data = shop.to_dict()
    data["services"]["loyalty"].pop("team")
    found, stopped = roadmap.road(System.model_validate(data))
    assert list(found) == ["synchronous", "asynchronous"] and "services.loyalty.team" in stopped


def test_requests_are_the_same_at_every_stage(shop):
    mean, half_width = shop.change("separated", "completion_mean_ms")
    own = shop.at("separated", "completion_mean_ms")[1]
    assert half_width < own / 5  # common random numbers
    assert mean == pytest.approx((20.0 - 0.5) / 2, abs=1.5)  # half of what the round trip grew by
    for name in roadmap.REQUESTS:
        assert shop.change("governed", name) == (0.0, 0.0)


# Outages


@pytest.mark.parametrize("stage", STAGES)
def test_hours_lost_and_restored_agree_with_the_formulas(shop, stage):
    system, terms = shop.systems[stage], Terms()
    played = outages.years(roadmap.exposed(system, stage, terms), 3000, 5)
    weight = played.rates_per_s / played.rates_per_s.sum()
    parts = np.array_split(np.arange(len(played.lengths_hours)), 20)
    runs = [
        8760 * (weight @ played.stopped[:, part] @ played.lengths_hours[part])
        / played.lengths_hours[part].sum()
        for part in parts
    ]  # fmt: skip
    mean, half_width = mean_and_half_width(runs)
    assert mean == pytest.approx(roadmap.lost_hours(system, stage, terms), abs=1.5 * half_width)
    lasted = played.outages.to_hours - played.outages.from_hours
    error = 3 * lasted.std() / len(lasted) ** 0.5
    assert lasted.mean() == pytest.approx(roadmap.restore_hours(system, stage, terms), abs=error)


def test_outages_are_counted_by_hand():
    system = System.load("shop")
    terms = Terms(
        service_per_year=2, spill=0.25, infrastructure_per_year=3, broker_per_year=5,
        shared_per_year=0.5, plane_per_year=7,
    )  # fmt: skip
    found = roadmap.exposed(stages.asynchronous(system), "meshed", terms).outages
    per_year = {o.name: 8760 * roadmap.HOUR_MS / o.up.mean_ms for o in found}
    assert per_year["service order"] == pytest.approx(1.5)
    assert per_year["infrastructure of order, by its fault"] == pytest.approx(0.5)
    assert per_year["infrastructure shop"] == pytest.approx(3)
    assert per_year["broker events"] == pytest.approx(5)
    assert per_year["shared cause"] == pytest.approx(0.5)
    assert per_year["policy plane, 1 of 1"] == pytest.approx(7)
    assert sum(per_year.values()) == pytest.approx(2 * 10 + 3 + 5 + 0.5 + 7)
    assert all(isinstance(o, Outage) for o in found)


def test_without_spill_shared_causes_and_a_plane_a_mesh_only_restores_sooner(shop):
    terms = Terms(spill=0.0, shared_per_year=0.0, plane_per_year=0.0)
    lost = [roadmap.lost_hours(shop.systems[s], s, terms) for s in ("separated", "meshed")]
    assert lost[1] < lost[0]
    same = replace(terms, coverage_apart=1.0)
    lost = [roadmap.lost_hours(shop.systems[s], s, same) for s in ("separated", "meshed")]
    assert lost[0] == pytest.approx(lost[1])


@given(plane=st.floats(0.1, 5), hours=st.floats(0.1, 48), more=st.floats(1.1, 5))
def test_a_plane_that_fails_more_often_loses_more(plane, hours, more):
    system, _ = roadmap.road(System.load("shop"))
    terms = Terms(plane_per_year=plane, plane_hours=hours)
    worse = replace(terms, plane_per_year=more * plane)
    for stage in ("meshed", "governed"):
        assert roadmap.lost_hours(system[stage], stage, worse) > roadmap.lost_hours(
            system[stage], stage, terms
        )
    assert roadmap.lost_hours(system["separated"], "separated", worse) == roadmap.lost_hours(
        system["separated"], "separated", terms
    )
    once, waves = (roadmap.lost_hours(system[s], s, terms) for s in ("meshed", "governed"))
    assert waves < once


def test_one_wave_is_all_at_once(shop):
    terms = Terms(waves=1)
    for formula in (roadmap.lost_hours, roadmap.restore_hours):
        assert formula(shop.systems["governed"], "governed", terms) == formula(
            shop.systems["meshed"], "meshed", terms
        )
    assert roadmap.drift(4, "governed", terms) == roadmap.drift(4, "meshed", terms)
    assert roadmap.with_waves(shop, 1) == pytest.approx(
        roadmap.lost_hours(shop.systems["meshed"], "meshed", Terms())
    )


# Rules


def test_drift_in_waves_agrees_with_events():
    terms = Terms(waves=5, wave_hours=24 * 6.0, enforced_days=20.0)
    rng, n, total = np.random.default_rng(3), 4, 400_000.0

    def times(per_year):
        count = rng.poisson(per_year * total / 365.25)
        return np.sort(rng.uniform(0, total, count))

    own = times(n * terms.changes_per_year * terms.breaks)
    rules = times(terms.rule_changes_per_year)
    at = rng.uniform(1000, total, 40_000)
    visit = np.floor(at / terms.enforced_days) * terms.enforced_days
    delay = terms.rollout_hours / 24

    def between(events, low, high):
        return np.searchsorted(events, high) > np.searchsorted(events, low)

    broken = between(own, visit, at) | between(rules, visit - delay, at)
    # One every 20 days is independent of the last: three standard errors of 20,000 are 0.011.
    assert broken.mean() == pytest.approx(roadmap.drift(n, "governed", terms), abs=0.011)


def test_drift_by_stage_is_chapter_sevens(shop):
    terms = Terms()
    for stage, n in (("synchronous", 1), ("separated", 4), ("meshed", 4)):
        kept = roadmap.regime(stage, terms).all_keeping(n)
        assert shop.at(stage, "drift")[0] == pytest.approx(100 * (1 - kept))
    waves = exp(-2 * terms.rollout_hours / 24 / governance.YEAR_DAYS)
    assert 1 - roadmap.drift(4, "governed", terms) == pytest.approx(
        waves * roadmap.regime("governed", terms).all_keeping(4)
    )
    apart, common = governance.platform_days(4, len(governance.PARTS), 20.0, 10.0, 200.0)
    assert apart == 4 * 7 * 20
    assert shop.at("separated", "platform_days")[0] == apart
    assert shop.at("governed", "platform_days")[0] == common


def test_proxies_take_as_long_as_chapter_sevens():
    """Their processor time is a part of it, as it was measured, and is not charged on top."""
    assert Terms().hop_ms == round(mesh.PROXIES["sidecar"].mean_ms, 2)
    for cpu_ms, way_ms in ((0.0, 0.44), (0.4, 0.04), (2.0, 0.0)):
        charged = Terms(cpu_ms=cpu_ms).mesh["proxy"]
        assert charged == {"hop_ms": pytest.approx(way_ms), "cpu_ms": cpu_ms}
    per_1000 = mesh.PROXIES["sidecar"].vcpu_per_1000_per_s  # is also ms of a processor for a call
    assert Terms().cpu_ms == pytest.approx(per_1000)


def test_price_and_capacity_are_those_of_the_earlier_chapters(shop):
    for stage in STAGES:
        system = shop.systems[stage]
        assert shop.at(stage, "price")[0] == ownership.Prices().a_month(system)
        most = max(load.utilisation for load in system.loads().values())
        assert shop.at(stage, "capacity")[0] == pytest.approx(1 / most)


def test_owners_are_found_by_chapter_sevens_search(shop):
    system, terms = shop.systems["separated"], Terms()
    rate = sum(flow.mean_rate_per_s for flow in system.flows.values())
    expected = mesh.Search(0.5, failed_per_s=0.05 * rate, sampling=0.01).minutes(system)
    assert roadmap.search(system, "separated", terms).minutes(system) == pytest.approx(expected)


def test_incidents_that_stop_nothing_do_not_make_the_others_smaller(shop):
    runs = [np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.25, 0.0]), np.array([0.0])]
    other = replace(shop, incidents={"separated": runs, "meshed": runs[1:], "governed": []})
    assert other.blast_if_any("separated") == mean_and_half_width([75.0, 25.0])
    assert other.blast_if_any("meshed") == other.blast_if_any("governed") == (0.0, 0.0)
    for stage in STAGES:
        assert shop.blast_if_any(stage)[0] >= shop.at(stage, "blast")[0] - 1e-9


# What was gained and lost


def made_up(**values):
    systems, _ = roadmap.road(System.load("shop"))
    base = {name: np.array([1.0]) for name in roadmap.MEASURES}
    after = base | {name: np.array(value) for name, value in values.items()}
    before = base | {name: np.ones(len(value)) for name, value in values.items()}
    return roadmap.Walk(
        Terms(), dict(list(systems.items())[:2]), "", "place_order",
        {"synchronous": before, "asynchronous": after}, {}, (3, 1000, 1.0, 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "after", "effect"),
    [
        ("lost_hours", [0.8, 0.81, 0.79], "gained"),
        ("lost_hours", [1.2, 1.21, 1.19], "lost"),
        ("lost_hours", [0.5, 1.6, 0.9], "same"),  # within the interval
        ("lost_hours", [0.995, 0.9951, 0.9949], "same"),  # not noticeable
        ("capacity", [1.2], "gained"),
        ("capacity", [0.8], "lost"),
        ("response_mean_ms", [inf, inf, inf], "lost"),
    ],
)
def test_what_is_gained_is_beyond_the_interval_and_noticeable(measure, after, effect):
    assert made_up(**{measure: after}).effect("asynchronous", measure) == effect


def test_a_stage_that_cannot_keep_up_has_no_times_and_passes_no_gate():
    data = System.load("shop").to_dict()
    data["flows"]["place_order"]["rate_per_s"] = 170
    data["services"]["order"]["workers"] = 8
    found = walk(System.model_validate(data), **QUICK)
    assert found.at("synchronous", "response_mean_ms")[0] == inf
    assert found.effect("asynchronous", "response_mean_ms") == "gained"
    late = replace(found, values={"synchronous": found.values["synchronous"]} | {
        stage: found.values["synchronous"] for stage in found.stages[1:]
    })  # fmt: skip
    assert not any(gate.passed for gate in roadmap.gates(late) if gate.stage == "asynchronous")


# Gates and advice


def test_every_gate_can_close(shop):
    stricter = {
        "asynchronous": {"response_target_ms": 1.0},
        "separated": {"soak_days": 1},
        "meshed": {"mesh_days": 5000.0},
        "governed": {"reach_limit": 0.1},
    }
    assert all(gate.passed for gate in roadmap.gates(shop))
    assert roadmap.advice(shop).stage == "governed"
    for number, (stage, change) in enumerate(stricter.items()):
        other = replace(shop, terms=replace(Terms(), **change))
        closed = {gate.stage for gate in roadmap.gates(other) if not gate.passed}
        assert stage in closed
        advice = roadmap.advice(other)
        assert advice.stage == STAGES[number] and advice.reason.startswith(f"{stage}: ")
    for change in (
        {"completion_target_ms": 1.0}, {"blast_limit": 0.01}, {"headroom": 9.0}, {"drift_limit": 0.0},
    ):  # fmt: skip
        other = replace(shop, terms=replace(Terms(), **change))
        assert not all(gate.passed for gate in roadmap.gates(other)), change


def test_the_gate_of_the_soak_is_chapter_fives(shop):
    for days, found in ((1, 0), (60, 0), (60, 8), (400, 3)):
        other = replace(shop, terms=replace(Terms(), soak_days=days, found=found))
        said = roadmap.soak_gate(other)
        go_most = soak.plan(soak.Step()).go_most[days]  # five messages of 0.6 defects: its default
        if said.as_many_share >= soak.UNLIKELY:
            assert said.answer == ("go" if found <= go_most else "wait")
        else:
            assert said.answer == "wait"


def test_a_step_that_gains_nothing_of_what_it_is_for_is_not_advised(shop):
    values = dict(shop.values) | {"separated": shop.values["asynchronous"]}
    advice = roadmap.advice(replace(shop, values=values))
    assert advice.stage == "asynchronous" and "nothing is gained" in advice.reason


@pytest.mark.parametrize(
    "change",
    [
        {"mesh_days": 900.0},  # nothing is measured anew
        {"waves": 1},  # the outages of the last stage
        {"cpu_ms": 1.0},  # the requests of the mesh
        {"coverage_meshed": 0.2, "rtt_ms": 40.0},
    ],
)
def test_what_is_known_from_another_walk_is_what_would_be_measured(shop, change):
    here = System.load("shop")
    again, anew = (walk(here, Terms(**change), **QUICK, known=known) for known in (shop, None))
    for stage in STAGES:
        for name in roadmap.MEASURES:
            assert (again.values[stage][name] == anew.values[stage][name]).all(), (stage, name)
        assert all(map(np.array_equal, again.incidents[stage], anew.incidents[stage]))


def test_the_verdict_turns_where_it_should(shop):
    here = System.load("shop")
    assert roadmap.verdict(shop) == "holds only if"  # only with policies that go out in waves
    seldom = Terms(plane_per_year=0.0, response_target_ms=500.0)
    assert roadmap.advice(walk(here, seldom, **QUICK)).stage != "governed"
    assert roadmap.verdict(walk(here, seldom, **QUICK)) == "holds only if"  # one should stop before
    for change in ({"response_target_ms": 5.0}, {"drift_limit": 0.0}, {"headroom": 9.0}):
        other = walk(here, Terms(**change), **QUICK, known=shop)
        assert roadmap.verdict(other) == "does not hold here", change
    data = here.to_dict()
    for service in data["services"].values():
        service.pop("team")
    assert roadmap.verdict(walk(System.model_validate(data), **QUICK)) == "not decided"


def test_regret_is_never_negative_and_walking_pays_where_undoing_is_dear():
    found = roadmap.regrets(soak.Step(), 2000, 1)
    assert all((regret >= -1e-9).all() for regret in found.values())
    assert found["walk"].mean() < found["jump"].mean()
    cheap = roadmap.regrets(soak.Step(undo_apart_team_days=2.0), 2000, 1)
    assert cheap["walk"] == pytest.approx(cheap["jump"])  # no reason to wait


# A System of Systems


def test_maiers_properties_counted_by_hand(shop):
    first = roadmap.independence(shop.systems["synchronous"])
    assert first == dict.fromkeys(first, 0.0)
    last = roadmap.independence(shop.systems["governed"])
    assert last["operational"] == 1.0  # no answer needs another infrastructure
    assert last["managerial"] == 0.5  # five of ten services have moved to their teams
    assert last["geographic"] == pytest.approx(5 * 100 / (7 * 100 + 2 * 300))
    assert last["emergent"] == pytest.approx(100 / 400)
    assert last["evolutionary"] == 0.5


@pytest.mark.parametrize(
    ("stage", "enforced", "agreed", "kind"),
    [
        ("asynchronous", True, True, "one system"),
        ("separated", True, True, "acknowledged"),
        ("separated", False, True, "collaborative"),
        ("separated", False, False, "virtual"),
    ],
)
def test_kinds_of_systems_of_systems(shop, stage, enforced, agreed, kind):
    assert roadmap.kind(shop.systems[stage], enforced, agreed) == kind


def test_one_team_for_all_makes_it_directed(shop):
    data = shop.systems["separated"].to_dict()
    for service in data["services"].values():
        service["team"] = "everybody"
    assert roadmap.kind(System.model_validate(data), True) == "directed"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"spill": 1.5}, "spill: 1.5 was given; expected a number from 0 to 1"),
        ({"waves": 0}, "waves: 0 was given; expected a whole number from 1 on"),
        ({"rtt_ms": 0.0}, "rtt_ms: 0.0 was given; expected a number above 0"),
        ({"sampling": 1.5}, "sampling: 1.5 was given; expected a number from 0 to 1"),
        ({"soak_days": 1096}, "soak_days: 1096 was given; expected at most 1,095"),
        ({"preset": "isto"}, "preset: 'isto' was given; expected one of"),
        ({"plane_per_year": -1.0}, "plane_per_year: -1.0 was given; expected a number of at least"),
    ],
)
def test_impossible_terms_are_refused_in_a_sentence(wrong, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        Terms(**wrong)


def test_terms_from_text():
    assert roadmap.assume({"waves": "2", "preset": "linkerd", "spill": "0.3"}) == Terms(
        waves=2, preset="linkerd", spill=0.3
    )
