"""Chapter 7's notebook: its sliders are the models', other parameters move it the right way."""

import json
import re
from dataclasses import replace

import golden
import pytest
from papermill.exceptions import PapermillExecutionError

from models import System, governance, mesh, publish, theory

NAME = "7-mesh"
QUICK = {"runs": 60, "replications": 3}


def shown(notebook, key, setting, forms):
    """What a chart says with its sliders set, and where they all stand; numbers in full."""
    spec = json.dumps(publish.outputs(notebook)["chart", key][publish.MIME]["spec"])
    for form in forms:
        assert form in spec
        spec = spec.replace(form, "'.14~g'")
    spec = json.loads(spec)
    for slider in spec["params"]:
        slider["value"] = setting.get(slider["name"], slider["value"])
    said = {}
    for text in golden.texts(spec):
        if found := re.fullmatch(r"([a-z ]+): ([\d.e+-]+) (%|h)", text):
            said[found[1]] = float(found[2])
    return said, {slider["name"]: slider["value"] for slider in spec["params"]}


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"n": 0, "f": 100, "w": 0},
        {"n": 12, "f": 0, "w": 120, "c": 5, "e": 90},
        {"n": 0.5, "f": 80, "w": 3, "c": 365, "e": 30},
    ],
)
def test_the_drift_under_the_sliders_is_the_models(as_in_the_book, setting):
    said, at = shown(as_in_the_book(NAME), "drift-sliders", setting, ["'.1f'"])
    nobody = governance.Regime(rule_changes_per_year=at["n"], corrected_days=at["c"])
    gate = replace(nobody, reviewed=1.0, finds=at["f"] / 100, gate_days=at["w"])
    machine = replace(nobody, enforced_days=at["e"])
    days = 36 * governance.MONTH_DAYS
    assert said == {
        "kept by nobody": pytest.approx(100 * nobody.keeping(days), rel=1e-9),
        "kept at a gate": pytest.approx(100 * gate.keeping(days), rel=1e-9),
        "enforced by a machine": pytest.approx(100 * machine.keeping(days), rel=1e-9),
    }


@pytest.mark.parametrize(
    "setting", [{}, {"g": 0.1, "k": 10, "w": 50, "a": 3}, {"g": 20, "k": 1.5, "w": 1, "a": -1.3}]
)
def test_the_canary_under_the_sliders_is_the_models(as_in_the_book, setting):
    said, at = shown(as_in_the_book(NAME), "decide", setting, ["',.3~r'"])
    good = at["g"] / 1000
    canary = mesh.Canary(10.0 ** at["a"], at["w"] / 100, good, good * at["k"])
    normal = theory.fixed_test_size(good, good * at["k"], canary.alpha, canary.beta)
    assert said == {
        "healthy": pytest.approx(canary.hours(canary.sequential.mean_size_good), rel=1e-9),
        "bad": pytest.approx(canary.hours(canary.sequential.mean_size_bad), rel=1e-9),
        "fixed size": pytest.approx(canary.hours(normal), rel=1e-9),
    }


def test_published_sizes_of_canaries(as_in_the_book):
    """Wald's mean sizes 8,622 and 6,851 against the fixed 15,703, at 0.1 % and 0.2 %."""
    values = golden.values(publish.read(as_in_the_book(NAME)))
    assert (values["size-good-formula"], values["size-bad-formula"]) == (8622, 6851)
    assert (values["size-fixed"], values["allowed"]) == (15703, 22)
    assert (values["clock-promote"], values["clock-rollback"]) == pytest.approx((10, 10))
    assert values["tower-istio"] == 81


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    book = golden.values(golden.golden(NAME))
    other = golden.values(
        golden.run(
            NAME,
            tmp_path,
            systems=20,
            rule_changes_per_year=4.0,
            gate_days=60.0,
            objective=0.995,
            coverage=0.8,
            sampling=0.1,
            adopt_days=600.0,
            work_ms=8.0,
            deep=6,
            life_hours=48.0,
            canary_per_s=400.0,
            weight=0.2,
            p_bad=0.004,
            layers=3,
            **QUICK,
        )
    )
    for name in ("nothing", "gate", "machine"):
        assert other[f"{name}-kept-formula"] < book[f"{name}-kept-formula"], name
        assert other[f"{name}-all"] < book[f"{name}-all"], name
    assert other["gate-kept-formula"] < other["nothing-kept-formula"]  # so long a wait does harm
    assert other["copies"] == 19 * 7 > book["copies"]
    assert other["even"] == book["even"]
    assert other["detected-formula"] > book["detected-formula"]  # a lax objective, a slow alarm
    assert other["partly"] - other["fully"] < book["partly"] - book["fully"]
    assert other["fully"] - other["detected-formula"] < book["fully"] - book["detected-formula"]
    assert other["hand-offs"] < book["hand-offs"]
    assert other["plain-teams"] > book["plain-teams"]
    assert other["sidecar-deep"] < book["sidecar-deep"] / 2  # services that do more in a call
    assert other["sidecar-added"] == pytest.approx(6 * other["sidecar-hop"], rel=0.02)
    assert other["slack"] == 2 * book["slack"]
    assert other["outlast-slack"] < book["outlast-slack"]
    assert other["size-good-formula"] < book["size-good-formula"] / 3
    assert other["size-fixed"] < book["size-fixed"] / 3
    assert other["clock-requests"] == 4 * book["clock-requests"]
    assert other["slowest-rate"] < book["slowest-rate"] / 6
    assert book["budget-used"] and not other["budget-used"]  # 0.1 % of 0.1 %, and of 0.5 %
    assert other["tower-istio"] == 27
    assert other["bare-bystanders"] == pytest.approx(book["bare-bystanders"], abs=2)


def test_verdicts_change_where_they_should(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    easy = golden.run(
        NAME,
        tmp_path / "a",
        systems=2,
        breaks=0.001,
        rule_changes_per_year=0.1,
        corrected_days=10.0,
        coverage=1.0,
        find_minutes=120.0,
        work_ms=50.0,
        p_good=0.01,
        p_bad=0.1,
        small_per_s=1.0,
        served_share=0.0,
        **QUICK,
    )
    assert {id: claim["holds"] for id, claim in easy["claims"].items()} == {
        "separation-makes-silos": "does not hold here",  # who corrects fast needs no machine
        "mesh-observes": "holds",
        "mesh-mtls": "holds",  # services that do much in a call
        "mesh-canary": "holds",  # coarse errors
        "mesh-breaker": "holds",  # nobody asks for anything
    }
    hard = golden.run(
        NAME,
        tmp_path / "b",
        corrected_days=8.0,
        find_minutes=10.0,
        join_days=400.0,
        canary_per_s=0.5,
        small_per_s=0.1,
        timeout_ms=60_000.0,
        **QUICK,
    )
    assert {id: claim["holds"] for id, claim in hard["claims"].items()} == {
        "separation-makes-silos": "holds only if",  # each keeps the rule, but not all at once
        "mesh-observes": "does not hold here",  # the alert alone takes longer
        "mesh-mtls": "does not hold here",  # three years, and not all have joined
        "mesh-canary": "does not hold here",  # too little traffic
        "mesh-breaker": "does not hold here",  # a time limit beyond all patience
    }


def test_another_system_brings_its_own_figures(tmp_path):
    """Six teams, 14 edges, 115 requests a second, of which 5 are those of the main flow."""
    found = golden.run(NAME, tmp_path, system="online-boutique", **QUICK)
    values = golden.values(found)
    boutique = System.load("online-boutique")
    assert (values["system"], values["flow"]) == ("Online Boutique", "checkout")
    assert values["systems"] == len({s.team for s in boutique.services.values()}) == 6
    assert values["edges"] == len(mesh.edges(boutique)) == 14
    assert (values["look-rate"], values["canary-rate"]) == (115, 5)
    assert "Online Boutique" in found["claims"]["mesh-mtls"]["evidence"]
    assert values["own-added"] > values["sidecar-hop"]  # a checkout makes more than one call


def test_a_system_of_one_service_has_nothing_to_encrypt(tmp_path):
    file = tmp_path / "one.yml"
    file.write_text(
        "name: Alone\ninfrastructures: {here: {}}\nservices: {only: {infrastructure: here}}\n"
        "flows: {ask: {rate_per_s: 0.1, root: {service: only, work: {mean_ms: 3}}}}\n",
        "utf-8",
    )
    found = golden.run(NAME, tmp_path, system=str(file), **QUICK)
    values = golden.values(found)
    assert values["systems"] == mesh.SYSTEMS and values["has-teams"] is False
    assert values["edges"] == 0 and found["claims"]["mesh-mtls"]["holds"] == "not decided"
    assert "no service calls another" in found["charts"]["plain"]["absent"]
    assert values["hand-offs"] == 0  # whoever finds it owns it
    assert values["small-rate"] == pytest.approx(0.05)  # half of its own


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"systems": 1}, "systems: 1 was found; expected a whole number of at least 2"),
        ({"system": "shpo"}, "shpo.*did you mean 'shop'"),
        ({"sampling": 0.0}, "sampling: 0.0 was found; expected a number from 1e-06 to 1"),
        ({"p_good": 0.01}, "p_good: 0.01 was given; expected less than p_bad, 0.002"),
        ({"fault": 0.0005}, "error_budget: 0.001.* expected less than fault, 0.0005"),
        ({"layers": 9}, "layers: 9 was found; expected a whole number from 2 to 6"),
        ({"gatedays": 3.0}, "gatedays: .* did you mean 'gate_days'?"),
    ],
)
def test_impossible_values_raise(tmp_path, wrong, message):
    with pytest.raises(PapermillExecutionError, match=message):
        golden.execute(NAME, tmp_path, **wrong)
