"""The eight saga patterns: built alike, undone by the closed forms, ordered against the ratings."""

import itertools
import math

import odd
import pandas as pd
import pytest

from models import System, saga, simulate


def built(name, people=None, **options):
    choices = saga.PATTERNS[name]
    return System.model_validate(saga.pattern(*choices, people or saga.participants(), **options))


def test_closed_forms_give_the_published_values():
    assert saga.commit_probability([0.02] * 5) == pytest.approx(0.9039207968, abs=1e-10)
    assert saga.undone_sequential([0.02] * 5) == pytest.approx(0.1882769728, abs=1e-10)
    assert saga.undone_parallel([0.02] * 5) == pytest.approx(0.380396016, abs=1e-9)


@pytest.mark.parametrize("fails", [[0.3], [0.3, 0.3], [0.3, 0.0, 0.5, 0.1]])
def test_closed_forms_against_every_possible_outcome(fails):
    sequential = parallel = 0.0
    for committed in itertools.product([True, False], repeat=len(fails)):
        chance = math.prod(1 - p if ok else p for ok, p in zip(committed, fails, strict=True))
        if not all(committed):
            sequential += chance * committed.index(False)
            parallel += chance * sum(committed)
    assert saga.undone_sequential(fails) == pytest.approx(sequential)
    assert saga.undone_parallel(fails) == pytest.approx(parallel)


@pytest.mark.parametrize("name", saga.PATTERNS)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_pattern_has_the_same_participants_and_undoes_what_it_should(name, n):
    people = saga.participants(n, fails=0.1)
    system = built(name, people, rate_per_s=20)
    assert {p.name for p in people} <= set(system.services)
    rows = simulate(system, requests=20_000, seed=3).requests
    failed = (rows.outcome != "ok").mean()
    expected = 1 - saga.commit_probability([0.1] * n)
    assert failed == pytest.approx(expected, abs=3 * (expected * (1 - expected) / 20_000) ** 0.5)
    at_once = name in ("Parallel", "Fantasy Fiction")
    mean = (saga.undone_parallel if at_once else saga.undone_sequential)([0.1] * n)
    tolerance = 3 * rows.undone.std() / 20_000**0.5
    assert rows.undone.mean() == pytest.approx(mean, abs=max(tolerance, 1e-12))


def test_a_step_that_commits_after_the_saga_was_given_up_on_is_undone_too():
    quick = saga.Participant("quick", work_ms=1, fails=1.0)
    late = saga.Participant("late", work_ms=500, fails=0.0)
    rows = simulate(built("Parallel", [quick, late], rate_per_s=1), requests=500, warmup=0).requests
    assert (rows.undone == 1).all()


def test_records_are_held_from_their_commit_to_the_end_of_the_saga():
    people = saga.participants(3, work_ms=30.0, fails=0.0)
    system = built("Fairy Tale", people, rate_per_s=0.01, rtt_ms=2.0)
    rows = saga.records(system, 3000)
    # Work of the two later ones and the round trips: 2 + 1 times (30 + 2), and half a trip each.
    assert rows.held_ms.mean() == pytest.approx(3 * 32 + 3 * 1, rel=0.06)
    assert (rows.held_ms >= rows.half_done_ms).all()


def test_capacity_is_workers_over_held_time():
    people = saga.participants(fails=0.0)
    capacity, half_width, tightest = saga.capacity_per_s(built("Fairy Tale", people), 5, 40_000)
    assert tightest == "coordinator"
    formula = saga.fairy_tale_capacity_per_s(people, 2, 16, 1)
    assert abs(capacity - formula) <= 2 * half_width < 0.02 * formula


def test_an_atomic_saga_locks_its_records_longer_than_an_eventual_one():
    people = saga.participants()
    held = {name: saga.records(built(name, people), 1500).held_ms.mean() for name in saga.PATTERNS}
    for atomic, eventual in (("Epic", "Fairy Tale"), ("Phone Tag", "Time Travel")):
        assert held[atomic] > held[eventual]
        assert saga.one_record_per_s(atomic, people, held[atomic]) < saga.one_record_per_s(
            eventual, people, held[eventual]
        )


def test_services_needed_for_an_answer():
    assert {name: saga.needed(name, built(name)) for name in saga.PATTERNS} == {
        "Epic": 6,
        "Phone Tag": 5,
        "Fairy Tale": 6,
        "Time Travel": 5,
        "Fantasy Fiction": 7,
        "Horror Story": 6,
        "Parallel": 2,
        "Anthology": 2,
    }


def test_order_tells_agreement_from_contradiction():
    columns = {column for _, column, _ in saga.MEASURES}
    measured = pd.DataFrame(1.0, index=list(saga.PATTERNS), columns=list(columns))
    measured.loc["Parallel", "answer_ms"] = 0.1
    measured.loc["Anthology", "capacity_per_s"] = 0.1
    rows = saga.order(measured).set_index(["measure", "higher", "lower"]).result
    assert rows["answer_ms", "Parallel", "Fairy Tale"] == "agree"
    assert rows["capacity_per_s", "Anthology", "Parallel"] == "contrary"
    assert rows["needed", "Fairy Tale", "Parallel"] == "not separated"
    assert rows["answer_ms", "Parallel", "Anthology"] == "no order published"


def test_every_rating_is_a_level():
    assert set(saga.RATINGS) == set(saga.PATTERNS)
    for readings in itertools.chain(*saga.RATINGS.values()):
        assert set(readings) <= set(saga.LEVELS)


def test_impossible_choices_are_refused():
    with pytest.raises(ValueError, match="no such pattern"):
        saga.pattern("synchronous", "never", "orchestrated", saga.participants())
    with pytest.raises(ValueError, match="at least one"):
        saga.pattern("synchronous", "atomic", "orchestrated", [])


ASSUMED = saga.Participant("assumed", fails=0.2)


@pytest.mark.parametrize("name", odd.NAMES)
def test_the_saga_of_any_system_makes_all_eight_patterns(name):
    found = saga.from_system(odd.system(name), ASSUMED)
    if name not in ("saga", "shop", "online-boutique"):
        assert found is None  # nothing, or one step alone, can be undone
        return
    figures = {k: v for k, v in found.figures.items() if k != "participants"}
    for choices in saga.PATTERNS.values():
        data = saga.pattern(*choices, found.participants, **figures)
        rows = simulate(System.model_validate(data), requests=300, seed=1).requests
        assert (rows.outcome == "failed").any()


def test_the_saga_of_a_system_by_hand():
    shop = saga.from_system(System.load("shop"), ASSUMED)
    assert (shop.flow, shop.coordinator.key) == ("place_order", "order")
    assert [p.name for p in shop.participants] == [
        "stock", "payment", "shipping", "invoice", "loyalty"
    ]  # fmt: skip
    assert shop.participants[0] == saga.Participant("stock", 6, 4, 5, 0.01, 2)
    assert shop.figures == {
        "participants": 5, "coordinator_ms": 4, "coordinator_workers": 16,
        "rtt_ms": 0.5, "rate_per_s": 100, "ack_ms": 1,
    }  # fmt: skip
    small = saga.from_system(odd.system("saga"), ASSUMED)
    assert [p.name for p in small.participants] == ["relay step", "twice", "twice 2"]
    boutique = saga.from_system(System.load("online-boutique"), ASSUMED)
    assert boutique.coordinator.step.service == "checkout"
    assert {p.fails for p in boutique.participants} == {0.2}  # the file says nothing of it


def test_without_a_limit_there_is_no_capacity_to_tell():
    people = saga.participants(2, workers="unlimited")
    free = built("Fairy Tale", people, coordinator_workers="unlimited")
    assert saga.capacity_per_s(free, 2, 1000) == (math.inf, 0.0, None)
    assert saga.fairy_tale_capacity_per_s(people, 2, "unlimited", 1) == math.inf
