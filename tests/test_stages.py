"""Stages: pure, shape-keeping, and refused with a reason where they cannot be applied."""

import pytest

from models import System, stages
from models.stages import StageError
from models.system import bundled


def modes(system):
    return {(e.flow, e.key): e.mode for e in system.steps()}


def places(system):
    return {name: service.infrastructure for name, service in system.services.items()}


@pytest.mark.parametrize("name", bundled())
@pytest.mark.parametrize("stage", stages.ROAD)
def test_every_stage_keeps_the_steps_and_leaves_its_argument_alone(name, stage):
    system = System.load(name)
    before = system.to_yaml()
    after = stages.at(system, stage)
    assert system.to_yaml() == before
    assert [(e.flow, e.key, e.path) for e in after.steps()] == [
        (e.flow, e.key, e.path) for e in system.steps()
    ]
    assert [s.stream for s in after.plan().steps] == [s.stream for s in system.plan().steps]


def test_synchronous_has_no_message_and_the_way_leads_back():
    social = System.load("social-network")
    called = stages.synchronous(social)
    assert "message" not in modes(called).values()
    assert modes(stages.asynchronous(called)) == modes(social)


def test_asynchronous_defers_what_may_be_deferred_and_nothing_else():
    shop = System.load("shop")
    after = stages.asynchronous(shop)
    for old, new in zip(shop.steps(), after.steps(), strict=True):
        assert (new.mode == "message") == old.step.deferrable
    assert stages.asynchronous(after) == after
    assert after.loads()["order"].held < shop.loads()["order"].held


def test_asynchronous_adds_a_broker_where_there_is_none():
    boutique = System.load("online-boutique")
    assert not boutique.brokers
    after = stages.asynchronous(boutique)
    assert after.brokers["events"].infrastructure == "cluster"
    assert list(stages.asynchronous(boutique, broker="log").brokers) == ["log"]


def test_asynchronous_says_why_not():
    shop = System.load("shop")
    with pytest.raises(StageError, match="'event' is not a broker; did you mean 'events'"):
        stages.asynchronous(shop, broker="event")
    waiting = shop
    for entry in shop.steps():
        if entry.step.deferrable:
            waiting = waiting.with_(f"{entry.path}.deferrable", False)
    with pytest.raises(StageError, match="no step is marked deferrable"):
        stages.asynchronous(waiting)


def test_separated_moves_only_what_messages_reach():
    shop = stages.asynchronous(System.load("shop"))
    after = stages.separated(shop, rtt_ms=40, jitter_cv=0.3)
    moved = {name: place for name, place in places(after).items() if place != "shop"}
    assert moved == {"fraud": "payments", "invoice": "payments", "shipping": "warehouse",
                     "loyalty": "customers", "notification": "customers"}  # fmt: skip
    for entry in after.steps():
        if entry.mode == "call":
            assert len(set(after.crossings(entry)[0])) == 1
    assert after.round_trip("customers", "shop") == (40, 0.3)
    assert len(after.network.between) == 3  # only the links that are used
    assert after.brokers["events"].infrastructure == "shop"


def test_separated_keeps_together_what_calls_each_other():
    after = stages.separated(System.load("social-network"))
    assert places(after)["home-timeline-writer"] == places(after)["social-graph"] == "timelines"


def test_separated_by_a_mapping():
    shop = stages.asynchronous(System.load("shop"))
    after = stages.separated(shop, by={"fraud": "cloud"})
    assert places(after) == {**places(shop), "fraud": "cloud"}
    with pytest.raises(StageError, match=r"then\[1\] would be called from 'shop' in 'cloud'"):
        stages.separated(shop, by={"payment": "cloud"})
    far = stages.separated(shop, by={"payment": "cloud"}, allow_calls=True)
    assert far.loads()["order"].held > shop.loads()["order"].held
    with pytest.raises(StageError, match="'fruad' is not a service; did you mean 'fraud'"):
        stages.separated(shop, by={"fruad": "cloud"})
    with pytest.raises(StageError, match="expected 'team' or a mapping"):
        stages.separated(shop, by="place")


def test_separated_says_why_not():
    shop = System.load("shop")
    with pytest.raises(StageError, match="nothing can move.*make it asynchronous first"):
        stages.separated(shop)
    nobody = stages.asynchronous(shop).with_("services.fraud.team", None)
    with pytest.raises(StageError, match=r"services.fraud.team: nothing was found.*name the owner"):
        stages.separated(nobody)
    for allow_calls in (False, True):
        with pytest.raises(StageError, match=r"separated: services.price.team: nothing was found"):
            stages.separated(  # also one that stays where it is
                stages.asynchronous(shop).with_("services.price.team", None),
                {"fraud": "cloud"},
                allow_calls=allow_calls,
            )
    assert stages.unowned(shop) == ()
    assert stages.unowned(nobody) == (
        "services.fraud.team: nothing was found; expected the team that owns it",
    )
    with pytest.raises(StageError, match="rtt_ms: -1 was found"):
        stages.separated(stages.asynchronous(shop), rtt_ms=-1)


def test_separated_with_calls_gives_every_team_its_own():
    shop = System.load("shop")
    after = stages.separated(shop, allow_calls=True)
    assert places(after) == {name: service.team for name, service in shop.services.items()}


def test_the_road():
    assert list(stages.ROAD)[:3] == ["synchronous", "asynchronous", "separated"]
    with pytest.raises(StageError, match="did you mean 'separated'"):
        stages.at(System.load("shop"), "seperated")


@pytest.mark.parametrize("stage", stages.ROAD.values())
def test_what_is_no_system_is_refused(stage):
    with pytest.raises(StageError, match="system: str was given; expected a System; load it with"):
        stage("shop")


def test_who_owns_what_is_no_system_is_refused_too():
    for nothing in ("shop", None, {"services": {}}):
        with pytest.raises(StageError, match="expected a System; load it with System.load"):
            stages.unowned(nothing)


def test_a_call_needs_not_know_that_it_came_before():
    social = System.load("social-network")
    (path,) = [entry.path for entry in social.steps() if entry.mode == "message"]
    told = stages.synchronous(social.with_(f"{path}.idempotent", True))
    assert told == stages.synchronous(social)
