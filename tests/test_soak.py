"""Chapter 5: the cost of a soak, the best decision, what is known, the gate."""

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from models import incidents, soak, theory

NUMBER = 40_000
STEP = soak.Step()
KNOWN = replace(STEP, defects_cv=1e-3)  # the mean is known: nothing to learn


def agrees(values, exact):
    """The mean within three standard errors, which are small enough to mean something."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert error <= 0.02 * abs(exact)
    assert abs(np.mean(values) - exact) <= 3 * error


# When a defect comes to light


@pytest.mark.parametrize("rate_cv", [0.0, 0.3, 1.0, 2.0])
def test_when_a_defect_comes_to_light(rate_cv):
    """The mean of exp(-rate t) over gamma rates, by numerical integration."""
    step = replace(STEP, rate_cv=rate_cv)
    for days in (0.0, 10.0, 200.0):
        if rate_cv:
            rates = stats.gamma(rate_cv**-2, scale=rate_cv**2 * step.rate_per_day)
            quantiles = np.linspace(0, 1, 200_001)
            mean = np.exp(-rates.ppf((quantiles[1:] + quantiles[:-1]) / 2) * days).mean()
        else:
            mean = math.exp(-step.rate_per_day * days)
        assert step.hidden(days) == pytest.approx(mean, rel=1e-4)
        density = integrate.quad(step.shown_per_day, 0, days)[0]
        assert step.shown(days) == pytest.approx(density, abs=1e-9)
    assert step.shown_per_day(0) == step.rate_per_day


def test_rates_that_hardly_differ_are_all_the_same():
    same, nearly = (replace(STEP, rate_cv=cv) for cv in (0.0, 1e-4))
    assert nearly.best_days == pytest.approx(same.best_days, rel=1e-5)
    assert nearly.cost_team_days(50) == pytest.approx(same.cost_team_days(50), rel=1e-5)


# What a fixed soak costs


@pytest.mark.parametrize("rate_cv", [0.0, 0.7])
@pytest.mark.parametrize("days", [0, 30, 62, 365])
def test_simulated_cost_of_a_fixed_soak(days, rate_cv):
    step = replace(STEP, rate_cv=rate_cv)
    futures = soak.roads(step, NUMBER, seed=7)
    agrees(futures.fixed(days), step.cost_team_days(days))
    when, cost = futures.follow(soak.after(step, days))
    assert (when == days).all()
    assert (cost == futures.fixed(days)).all()


def test_the_parts_are_the_whole():
    assert sum(STEP.parts_team_days(40).values()) == STEP.cost_team_days(40)
    assert set(STEP.parts_team_days(0)) == {
        "undone while shared",
        "undone once separated",
        "not separated yet",
    }


steps = st.builds(
    soak.Step,
    defects=st.floats(0.05, 20),
    defects_cv=st.floats(0.2, 2),
    rate_per_day=st.floats(0.002, 0.2),
    rate_cv=st.one_of(st.just(0.0), st.floats(0.1, 2)),
    undo_shared_team_days=st.floats(0, 10),
    undo_apart_team_days=st.floats(0, 100),
    gain_team_days_per_day=st.floats(0.01, 5),
    horizon_days=st.integers(30, 1500),
)


@given(steps)
def test_no_soak_is_better_than_the_best(step):
    grid = np.linspace(0, step.horizon_days, 400)
    assert step.cost_team_days(step.best_days) <= step.cost_team_days(grid).min() * (1 + 1e-9)
    found = optimize.minimize_scalar(
        step.cost_team_days, bounds=(0, step.horizon_days), method="bounded"
    )
    assert step.cost_team_days(step.best_days) <= found.fun * (1 + 1e-9)
    whole = step.cost_team_days(np.arange(step.horizon_days + 1))
    assert step.cost_team_days(step.best_whole_days) == pytest.approx(whole.min(), rel=1e-12)


@given(steps)
def test_the_best_soak_moves_the_right_way(step):
    best = step.best_days
    assert replace(step, defects=2 * step.defects).best_days >= best
    assert replace(step, undo_apart_team_days=step.undo_apart_team_days + 9).best_days >= best
    gain = 2 * step.gain_team_days_per_day
    assert replace(step, gain_team_days_per_day=gain).best_days <= best
    if 0 < best < step.horizon_days:  # there defects come to light at the break-even rate
        rate = step.defects * step.shown_per_day(best)
        assert rate == pytest.approx(step.break_even_per_day)


@given(steps)
def test_the_boundary_is_where_a_soak_begins_to_pay(step):
    for days in (0.0, 20.0):
        extra = step.extra_needed_team_days(days)
        for factor, pays in ((0.99, False), (1.01, True)):
            at = replace(step, undo_apart_team_days=step.undo_shared_team_days + factor * extra)
            short = days or 1e-6
            assert (at.cost_team_days(short) < at.cost_team_days(0)) == pays or days == 0
            if days == 0:
                assert (at.best_days > 0) == pays


def test_where_nothing_is_saved_nobody_waits_and_where_nothing_is_gained_everybody():
    cheap = replace(STEP, undo_apart_team_days=STEP.undo_shared_team_days)
    assert cheap.best_days == 0 and cheap.break_even_per_day == math.inf
    assert soak.plan(cheap).go_most[0] == soak.ALWAYS
    assert (soak.myopic(cheap) == soak.ALWAYS).all() and (soak.certain(cheap) == soak.ALWAYS).all()
    idle = replace(STEP, gain_team_days_per_day=0.0)
    assert idle.best_days == STEP.horizon_days == idle.best_whole_days
    for rule in (soak.plan(idle).go_most, soak.myopic(idle), soak.certain(idle)):
        assert (rule[:-1] == -1).all() and rule[-1] == soak.ALWAYS


# What is known after having seen something


@pytest.mark.parametrize("found", [0, 2, 5])
def test_left_after_having_found_so_many(found):
    """Of all simulated futures, those in which just so many were found."""
    futures = soak.roads(STEP, 200_000, seed=3)
    days = 45
    seen = futures.found(days)
    agrees((futures.defects - seen)[seen == found], STEP.left(days, found))
    believed = STEP.found(days)
    assert abs((seen == found).mean() - believed.pmf(found)) <= 3 * math.sqrt(
        believed.pmf(found) / len(seen)
    )


@pytest.mark.parametrize("found", [0, 3])
def test_the_posterior_is_bayes_theorem(found):
    """Prior x likelihood of the mean number of defects, integrated numerically."""
    days, shape = 45.0, STEP.defects_cv**-2
    prior = stats.gamma(shape, scale=STEP.defects / shape)

    def joint(mean):
        return prior.pdf(mean) * stats.poisson.pmf(found, mean * STEP.shown(days))

    whole = integrate.quad(joint, 0, 200, limit=500)[0]
    mean = integrate.quad(lambda m: m * joint(m), 0, 200, limit=500)[0] / whole
    later = STEP.shown(STEP.horizon_days) - STEP.shown(days)
    assert STEP.left(days, found) == pytest.approx(mean * later, rel=1e-6)
    today = STEP.rate(days, found)
    assert today.mean() == pytest.approx(mean * STEP.shown_per_day(days), rel=1e-6)
    bound = today.ppf(0.95) / STEP.shown_per_day(days)
    assert integrate.quad(joint, 0, bound, limit=500)[0] / whole == pytest.approx(0.95, rel=1e-5)
    assert STEP.found(days).pmf(found) == pytest.approx(whole, rel=1e-6)


def test_the_posterior_is_right_as_often_as_it_says():
    """Of the simulated futures with just so many found, 95 % have a rate below the 95 % bound."""
    futures = soak.roads(STEP, 200_000, seed=6)
    for days, found in ((30, 0), (90, 2)):
        rates = futures.mean[futures.found(days) == found] * STEP.shown_per_day(days)
        covered = (rates <= STEP.rate(days, found).ppf(0.95)).mean()
        assert abs(covered - 0.95) <= 3 * math.sqrt(0.05 * 0.95 / len(rates)) < 0.01


def test_its_limit_is_the_rule_of_three():
    """Very many very rare defects, and hardly anything believed: then only the clean days count."""
    flat = soak.Step(defects=1e9, defects_cv=1.0, rate_per_day=1e-9 * 10, rate_cv=0.0)
    assert flat.rate(60, 0).ppf(0.95) * 60 == pytest.approx(2.9957, rel=0.01)
    assert flat.exposure_days(60) == pytest.approx(60.1, rel=1e-6)
    for found in (0, 1, 4):
        assert flat.rate(60, found).ppf(0.95) == pytest.approx(
            theory.poisson_bound(found, 60), rel=0.01
        )


# Deciding by what is seen


def test_who_has_nothing_to_learn_decides_beforehand():
    """A known mean: what has been found says nothing about what is left (Poisson)."""
    decided = soak.plan(KNOWN)
    assert decided.cost_team_days == pytest.approx(
        KNOWN.cost_team_days(KNOWN.best_whole_days), rel=1e-4
    )
    assert decided.go_most[KNOWN.best_whole_days - 2] == -1
    assert decided.go_most[KNOWN.best_whole_days + 2] > 5


@pytest.mark.parametrize("change", [{}, {"rate_cv": 0.0}, {"defects": 0.4}, {"defects_cv": 2.0}])
def test_the_plan_costs_what_it_says(change):
    step = replace(STEP, **change)
    decided = soak.plan(step)
    futures = soak.roads(step, 4 * NUMBER, seed=11)
    agrees(futures.follow(decided.go_most)[1], decided.cost_team_days)


@settings(max_examples=20)
@given(steps)
def test_the_plan_is_better_than_any_rule_and_worse_than_hindsight(step):
    decided = soak.plan(step)
    assert decided.cost_team_days <= step.cost_team_days(step.best_whole_days) * (1 + 1e-9)
    futures = soak.roads(step, 300, seed=5)
    for rule in (decided.go_most, soak.myopic(step), soak.certain(step), soak.after(step, 9)):
        when, cost = futures.follow(rule)
        assert (when >= 0).all() and (when <= step.horizon_days).all()
        assert (cost >= futures.hindsight - 1e-9).all()
    most = decided.go_most
    assert most[-1] == soak.ALWAYS


@pytest.mark.parametrize("rule", [soak.myopic, soak.certain])
def test_other_rules_cost_more(rule):
    futures = soak.roads(STEP, NUMBER, seed=2)
    gap = futures.follow(rule(STEP))[1] - futures.follow(soak.plan(STEP).go_most)[1]
    assert gap.mean() > -3 * gap.std() / math.sqrt(NUMBER)
    clean = rule(STEP).tolist().index(0)  # the first day on which a clean soak may end
    assert clean >= (soak.plan(STEP).go_most.tolist().index(0) if rule is soak.certain else 1)


def test_a_clean_log_alone_needs_three_times_the_break_even():
    first = soak.certain(STEP).tolist().index(0)
    assert first == math.ceil(-math.log(0.05) / STEP.break_even_per_day)


def test_who_is_unsure_may_wait_to_learn_where_no_fixed_soak_pays():
    unsure, sure = (replace(STEP, defects=0.68, defects_cv=cv) for cv in (2.0, 0.5))
    assert unsure.best_days == sure.best_days == 0
    assert soak.plan(unsure).go_most[0] == -1 < soak.plan(sure).go_most[0]
    assert soak.plan(unsure).cost_team_days < unsure.cost_team_days(0)


def test_certainty_from_the_log_alone_never_pays():
    """In every future in which it is reached before the horizon it costs more than none at all."""
    futures = soak.roads(STEP, 5000, seed=8)
    when, cost = futures.follow(soak.certain(STEP))
    reached = when < STEP.horizon_days
    assert reached.mean() > 0.5
    assert (cost > futures.fixed(0))[reached].all()


def test_what_is_found_makes_everybody_wait_longer():
    most = soak.plan(STEP).go_most
    firsts = [int(np.argmax(most >= found)) for found in range(12)]
    assert firsts == sorted(firsts) and firsts[0] < STEP.best_days < firsts[-1]


def test_the_best_day_in_hindsight_is_the_best_of_all_days():
    futures = soak.roads(replace(STEP, horizon_days=200), 60, seed=4)
    every = np.array([futures.fixed(day) for day in range(201)])
    assert futures.hindsight == pytest.approx(every.min(axis=0))


def test_same_seed_same_roads():
    one, same, other = (soak.roads(STEP, 100, seed) for seed in (1, 1, 2))
    assert (one.day == same.day).all() and (one.road == same.road).all()
    assert len(one.day) != len(other.day) or (one.day != other.day).any()


# The gate


def log_of(days, found_days, severity="major"):
    begins = date(2025, 1, 1)
    found = tuple(
        incidents.Incident(line, begins + timedelta(day - 1), severity)
        for line, day in enumerate(found_days, 2)
    )
    return incidents.Log(begins, begins + timedelta(days - 1), found)


def test_the_gate_answers_as_the_plan_does():
    decided = soak.plan(STEP)
    for days in (10, 20, 29, 30, 31, 91, 200):
        for found in range(4):
            got = soak.gate(STEP, log_of(days, [1] * found), decided=decided)
            assert got.answer == ("go" if found <= decided.go_most[days] else "wait")
            later = next(day for day in range(days, 1096) if decided.go_most[day] >= found)
            assert got.clean_days == later - days
            assert (got.go_team_days <= got.wait_team_days) == (got.answer == "go")
            assert got.rate_low_per_day < got.rate_per_day < got.rate_high_per_day


def test_the_gate_says_why():
    go = soak.gate(STEP, log_of(60, []))
    assert go.answer == "go" and go.clean_days == 0
    assert go.reason.startswith("In 60 days no defect came to light. Separating now is expected")
    assert "more. The next" in go.reason and "which is below the break-even of" in go.reason
    wait = soak.gate(STEP, log_of(10, [3]))
    assert wait.answer == "wait" and "In 10 days 1 defect came" in wait.reason
    assert "less. The next" in wait.reason and "which is above the break-even" in wait.reason
    learning = next(
        got
        for days in range(20, 40)
        if (got := soak.gate(STEP, log_of(days, []))).rate_per_day <= got.break_even_per_day
    )
    assert learning.answer == "wait" and "is worth more than they cost" in learning.reason
    cheap = replace(STEP, undo_apart_team_days=1.0)
    got = soak.gate(cheap, log_of(1, [1, 1, 1]))
    assert got.answer == "go" and "undoing the step later costs no more" in got.reason
    short = replace(STEP, horizon_days=30)
    assert "nothing that comes later is looked at" in soak.gate(short, log_of(30, [])).reason


def test_the_gate_counts_from_a_severity_and_says_what_it_leaves_out():
    log = incidents.read("invented", "2025-02-03", "2025-05-04")
    found = [
        (got.found, got.not_counted)
        for least in incidents.SEVERITIES
        if (got := soak.gate(STEP, log, least))
    ]
    assert found == [(8, 0), (3, 5), (1, 7)]
    with pytest.raises(ValueError, match="counts_from: 'sev1' was given; expected one of minor"):
        soak.gate(STEP, log, "sev1")


def test_where_more_is_seen_than_could_be_believed_nobody_goes():
    few, many, far_too_many = (soak.gate(STEP, log_of(400, [1] * n)) for n in (1, 20, 500))
    assert few.as_many_share > 0.5 and few.answer == "go"
    assert many.as_many_share < soak.UNLIKELY and many.go_team_days < many.wait_team_days
    for got in (many, far_too_many):
        assert got.answer == "wait" and got.clean_days is None
        assert got.reason.endswith("Believe in more, then ask again.")
    assert "where 3 are believed in, so many come to light in 0.26 %" in many.reason
    more = soak.gate(replace(STEP, defects=12.0), log_of(400, [1] * 20))
    assert more.answer == "go"


def test_the_gate_refuses_what_it_cannot_judge():
    with pytest.raises(incidents.InvalidLog, match="at most the horizon, 60 days"):
        soak.gate(replace(STEP, horizon_days=60), log_of(61, []))


@pytest.mark.parametrize(
    ("rate", "words"),
    [(1 / 70, "one in 70 days"), (1 / 1234, "one in 1,234 days"), (2.5, "one in 0.4 days"),
     (1.0, "one a day"), (0.0, "none at all"), (math.inf, "any rate")],
)  # fmt: skip
def test_a_rate_in_words(rate, words):
    assert soak.per(rate) == words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defects": 0}, "defects: 0 was given; expected above 0"),
        ({"defects_cv": math.inf}, "defects_cv: inf"),
        ({"rate_per_day": math.nan}, "rate_per_day: nan"),
        ({"rate_cv": -1}, "rate_cv: -1 was given; expected at least 0"),
        ({"undo_apart_team_days": -1}, "undo_apart_team_days: -1"),
        ({"horizon_days": 0}, "horizon_days: 0 was given; expected a whole number from 1 on"),
        ({"horizon_days": 9.5}, "horizon_days: 9.5"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(STEP, **change)


def test_each_message_brings_defects_and_none_those_of_the_book():
    assert soak.believed_defects(5, 0.6) == soak.Step().defects
    assert soak.believed_defects(1, 0.6) == 0.6
    assert soak.believed_defects(0, 0.6) == soak.believed_defects(5, 0.6)
    assert soak.believed_defects(10_000, 0.6) == 50.0
