"""Rules that drift: closed forms against the simulated events, limits, and bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import governance
from models.governance import Regime, drift, platform_days, worth_it_from

DAYS = np.array([0.0, 20.0, 90.0, 365.0, 1095.0])
NOTHING = Regime()
GATE = Regime(reviewed=0.7, finds=0.5, gate_days=15.0)
DAILY = Regime(enforced_days=1.0)
YEARLY = Regime(enforced_days=365.0)
REGIMES = {"nothing": NOTHING, "gate": GATE, "daily": DAILY, "yearly": YEARLY}


@pytest.mark.parametrize("regime", REGIMES.values(), ids=REGIMES)
@pytest.mark.parametrize("at_first", [True, False])
def test_the_share_that_keeps_a_rule(regime, at_first):
    """Systems of a run share the changes of the rule, so the error comes from independent runs."""
    keeps = drift(regime, 10, DAYS, 3000, 1, at_first=at_first).mean(axis=1)
    error = np.maximum(keeps.std(axis=0, ddof=1) / math.sqrt(len(keeps)), 1e-9)
    exact = np.array([regime.keeping(day, at_first) for day in DAYS])
    assert exact[0] == at_first
    assert (error < 0.01).all()
    assert (abs(keeps.mean(axis=0) - exact) <= 3 * error).all()


@pytest.mark.parametrize("rule_changes", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("regime", [NOTHING, DAILY, YEARLY], ids=["nothing", "daily", "yearly"])
def test_the_chance_that_all_keep_it(regime, rule_changes):
    regime = replace(regime, rule_changes_per_year=rule_changes, corrected_days=60.0)
    late = np.array([2000.0, 4000.0])
    keeps = drift(regime, 4, late, 4000, 2, together=True).all(axis=1)
    exact = regime.all_keeping(4)
    error = math.sqrt(exact * (1 - exact) / len(keeps))
    assert (abs(keeps.mean(axis=0) - exact) <= 3 * error).all()


def test_two_states_settle_where_up_time_over_all_time_says():
    """Alternating renewal: mean time kept over mean time kept and behind (Barlow, Proschan)."""
    regime = Regime(changes_per_year=365.25, breaks=0.01, rule_changes_per_year=0)
    kept_days, behind_days = 100.0, 180.0
    assert regime.keeping() == pytest.approx(kept_days / (kept_days + behind_days))
    assert regime.keeping(1e6) == pytest.approx(regime.keeping())
    assert regime.all_keeping(1) == pytest.approx(regime.keeping())
    assert regime.all_keeping(5) == pytest.approx(regime.keeping() ** 5)
    assert regime.at_best == 1


def test_a_perfect_gate_without_delay_is_the_best_that_a_gate_can_be():
    perfect = Regime(reviewed=1.0, finds=1.0)
    assert perfect.keeping() == pytest.approx(NOTHING.at_best)
    assert NOTHING.keeping() < GATE.keeping() < perfect.keeping() < DAILY.keeping()
    assert replace(GATE, gate_days=400.0).keeping() < NOTHING.keeping()  # corrections wait too


def test_rules_that_change_hit_all_at_once():
    """The mean is the same, the chance that all keep a rule is not."""
    own = Regime(changes_per_year=100, breaks=0.02, rule_changes_per_year=0, corrected_days=30)
    common = replace(own, breaks=0.0, rule_changes_per_year=2.0)
    assert own.keeping() == pytest.approx(common.keeping())
    assert common.all_keeping(20) > own.all_keeping(20)


def test_nothing_breaks_a_rule_that_nobody_changes():
    still = Regime(breaks=0.0, rule_changes_per_year=0.0)
    for regime in (still, replace(still, enforced_days=7.0)):
        assert regime.keeping(100.0) == regime.keeping() == regime.all_keeping(50) == 1
        assert drift(regime, 3, DAYS, 10, 1).all()


@given(
    st.floats(0, 200), st.floats(0, 1), st.floats(0, 12), st.floats(1, 1000), st.floats(0.01, 1000)
)
def test_shares_are_shares_and_enforcing_more_often_is_never_worse(
    changes, breaks, rules, corrected, enforced
):
    regime = Regime(changes, breaks, rules, corrected_days=corrected)
    often, seldom = (replace(regime, enforced_days=enforced * part) for part in (0.5, 1.0))
    for case in (regime, often, seldom):
        assert 0 <= case.keeping() <= 1
        assert 0 <= case.all_keeping(7) <= case.keeping() + 1e-9
        assert case.keeping(10, at_first=False) <= case.keeping(10) + 1e-12
    assert often.keeping() >= seldom.keeping() - 1e-12


def test_regimes_of_one_seed_see_the_same_changes():
    """A gate holds changes up and makes none: with no correction, what it keeps is never less."""
    never = Regime(corrected_days=1e9, rule_changes_per_year=0.0)
    found = replace(never, reviewed=1.0, finds=0.5)
    open_, gated = (drift(regime, 20, DAYS, 50, 3) for regime in (never, found))
    assert (gated >= open_).all() and gated.sum() > open_.sum()


def test_platform_parts():
    apart, common = platform_days(systems=8, parts=7, part_days=20, join_days=10, common_days=200)
    assert (apart, common) == (8 * 7 * 20, 7 * 20 + 200 + 8 * 10)
    even = worth_it_from(parts=7, part_days=20, join_days=10, common_days=200)
    assert even == pytest.approx(340 / 130)
    for systems, cheaper in ((2, "apart"), (3, "common")):
        apart, common = platform_days(systems, 7, 20, 10, 200)
        assert (apart < common) == (cheaper == "apart")
    assert worth_it_from(1, 5, 10, 100) == math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regime(breaks=1.5), "breaks: 1.5 was given; expected a number from 0 to 1"),
        (lambda: Regime(changes_per_year=-1), "changes_per_year: -1 .* of at least 0"),
        (
            lambda: Regime(corrected_days=0),
            "corrected_days: 0 was given; expected a number above 0",
        ),
        (lambda: Regime(enforced_days=math.nan), "enforced_days: nan"),
        (lambda: Regime().keeping(-1), "days: -1"),
        (lambda: Regime().all_keeping(0), "systems: 0 .* whole number from 1 on"),
        (lambda: drift(Regime(), 2, np.array([-1.0]), 2, 1), "days: expected a list"),
        (lambda: drift(Regime(), 2, np.array([]), 2, 1), "days: expected a list"),
        (lambda: drift(Regime(), 2, DAYS, 0, 1), "runs: 0"),
        (lambda: platform_days(2, 0, 1, 1, 1), "parts: 0"),
        (lambda: platform_days(2, 1, -1, 1, 1), "part_days: -1"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_events_are_drawn_until_the_last_day():
    """However few were drawn at first, the last event lies beyond the end."""
    times = governance._poisson(np.random.default_rng(1), 0.001, 5000.0, (200, 50))
    assert times[..., -1].min() > 5000
    counts = (times <= 5000).sum(axis=-1)
    assert counts.mean() == pytest.approx(5, abs=3 * math.sqrt(5 / counts.size))
    assert counts.var() == pytest.approx(5, rel=0.06)


def test_the_rule_of_silos():
    assert governance.siloed(0.4, 0.1, 0.9) == "holds"
    assert governance.siloed(0.95, 0.5, 0.9) == "holds only if"  # each, but not all at once
    assert governance.siloed(0.99, 0.95, 0.9) == "does not hold here"
