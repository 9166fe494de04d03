"""Chapter 5's notebook: its sliders are the model's, other parameters move it the right way."""

import json
import re

import golden
import pytest
from papermill.exceptions import PapermillExecutionError

from models import incidents, publish, soak

NAME = "5-soak"
QUICK = {"simulated_futures": 2000}


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"m": 0.1, "r": 0.002, "d": 10, "g": 2},
        {"m": 12, "r": 0.1, "d": 100, "g": 0.05},
        {"m": 5, "r": 0.03, "d": 1, "g": 0.4},
        {"m": 1.5, "r": 0.05, "d": 60, "g": 0.6},
    ],
)
@pytest.mark.parametrize("rate_cv", [0.7, 0.0])
def test_the_sliders_say_what_the_model_says(as_in_the_book, other_book, setting, rate_cv):
    out = as_in_the_book(NAME) if rate_cv else other_book
    chart = publish.outputs(out)["chart", "soak-sliders"][publish.MIME]
    spec = json.loads(re.sub(r"',\.[01]f'", "'.10f'", json.dumps(chart["spec"])))
    for slider in spec["params"]:
        slider["value"] = setting.get(slider["name"], slider["value"])
    m, r, d, g = (slider["value"] for slider in spec["params"])
    step = soak.Step(m, 1.0, r, rate_cv, 2.0, d, g, 1095)
    shown = list(golden.texts(spec))
    said = next(text for text in shown if text.startswith("best"))
    best, lowest, at_once = said.split("|")
    if step.best_days > 0:
        assert float(re.search(r"[\d.]+", best)[0]) == pytest.approx(step.best_days, rel=1e-6)
    else:
        assert best == "best: at once"
    found = [float(re.search(r"[\d.]+", words)[0]) for words in (lowest, at_once)]
    assert found == pytest.approx(
        [step.cost_team_days(step.best_days), step.cost_team_days(0)], rel=1e-6
    )


@pytest.fixture(scope="module")
def other_book(tmp_path_factory):
    """The notebook with defects that are all alike."""
    return golden.execute(NAME, tmp_path_factory.mktemp("alike"), rate_cv=0.0, **QUICK)


def test_the_rows_under_the_sliders_are_the_models(as_in_the_book):
    table = publish.read(as_in_the_book(NAME))["charts"]["soak-sliders"]["tables"][0]
    for days, cost in table["rows"]:
        assert cost == pytest.approx(float(soak.Step().cost_team_days(days)))


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    book = golden.values(golden.golden(NAME))
    found = golden.run(
        NAME,
        tmp_path,
        defects=6.0,
        defects_cv=0.5,
        undo_apart_team_days=50.0,
        gain_team_days_per_day=0.2,
        habit_days=30,
        **QUICK,
    )
    other = golden.values(found)
    for key in ("best", "best-cost", "at-once-cost", "saving", "go-clean", "left-before"):
        assert other[key] > book[key], key
    assert other["at-once-cost"] == pytest.approx(book["at-once-cost"] * 2 * 5 / 3, rel=0.1)
    for key in ("clean-share", "needed-extra", "needed-defects", "shown-habit"):
        assert other[key] < book[key], key
    assert other["option-formula"] / other["best-formula"] < (
        book["option-formula"] / book["best-formula"]
    )  # less unsure
    assert other["jump-regret"] > book["jump-regret"]
    assert other["three-days"] == pytest.approx(book["three-days"] * 48 / 28 * 2)
    assert other["gate-left"] > book["gate-left"]
    assert other["gate-answer"] == "wait"
    assert "more without a defect would lead to go" in other["gate-next"]


def test_verdicts_change_where_they_should(tmp_path, other_book):
    mature = golden.run(
        NAME,
        tmp_path,
        defects=0.4,
        undo_apart_team_days=10.0,
        cheap_undo_team_days=5.0,
        counts_from="minor",
        **QUICK,
    )
    holds = {id: claim["holds"] for id, claim in mature["claims"].items()}
    assert holds == {"soak-first": "does not hold here", "road-in-stages": "does not hold here"}
    assert golden.values(mature)["best"] == 0
    assert golden.values(mature)["gate-answer"] == "wait"  # eight found, 0.4 believed in
    assert golden.values(mature)["gate-next"].startswith("With these beliefs")
    everywhere = golden.run(NAME, tmp_path, mature_defects=2.0, cheap_undo_team_days=25.0, **QUICK)
    holds = {id: claim["holds"] for id, claim in everywhere["claims"].items()}
    assert holds == {"soak-first": "holds", "road-in-stages": "holds"}
    alike = golden.published(other_book)["claims"]
    assert {claim["holds"] for claim in alike.values()} == {"holds only if"}


def test_the_messages_of_another_system_set_its_defects(tmp_path):
    found = golden.run(NAME, tmp_path, system="social-network", **QUICK)
    values = golden.values(found)
    assert (values["messages"], values["defects"], values["mature-defects"]) == (1, 0.6, 0.06)
    assert values["best"] == soak.Step(defects=0.6).best_whole_days == 0
    assert found["claims"]["soak-first"]["holds"] == "does not hold here"


def test_a_system_without_messages_has_nothing_that_could_soak(tmp_path):
    path = tmp_path / "tiny.yml"
    path.write_text(
        "name: Tiny\ninfrastructures: {here: {}}\nservices: {a: {infrastructure: here}}\n"
        "flows: {f: {rate_per_s: 5, root: {service: a, work: {mean_ms: 3}}}}\n"
    )
    found = golden.run(NAME, tmp_path, system=str(path), **QUICK)
    assert golden.values(found)["has-messages"] is False
    assert {claim["holds"] for claim in found["claims"].values()} == {"not decided"}
    assert all(claim["evidence"].startswith("In Tiny no") for claim in found["claims"].values())


def test_a_log_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("date;severity\n2024-03-01;critical\n2024-03-09;minor\n")
    found = golden.run(
        NAME,
        tmp_path,
        incident_log=str(path),
        soak_from="2024-02-01",
        soak_to="2024-03-15",
        counts_from="critical",
        **QUICK,
    )
    values = golden.values(found)
    log = incidents.read(path, "2024-02-01", "2024-03-15")
    gate = soak.gate(soak.Step(), log, "critical")
    assert values["gate-answer"] == gate.answer == "wait"
    assert values["gate-reason"] == gate.reason
    assert values["gate-invented"] == "It is a log of your own."
    assert (values["gate-days"], values["gate-found"], values["gate-ignored"]) == (44, 1, 1)
    assert values["gate-next"].startswith(f"{gate.clean_days} days more")
    rows = found["tables"]["gate-incidents"]["table"]["rows"]
    assert rows == [[2, "2024-03-01", "critical", "yes"], [3, "2024-03-09", "minor", "no"]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"defects": -1.0}, "defects: -1.0 was found; expected a number from 0 to 50"),
        ({"mature_defects": 4.0}, "mature_defects: 4.0 was given; expected less than defects, 3.0"),
        ({"cheap_undo_team_days": 40.0}, "cheap_undo_team_days: 40.0 .* less than undo_apart"),
        ({"habit_days": 2000}, "habit_days: 2000 was given; expected less than horizon_days, 1095"),
        ({"incident_log": "gone.csv"}, "InvalidLog: gone.csv: no such file; expected a CSV file"),
        ({"soak_from": "2025-03-01"}, "line 5: date: 2025-02-27 .* before the soak began"),
        ({"counts_from": "sev1"}, "counts_from: 'sev1' was given; expected one of minor, major"),
        ({"horizon_days": 80}, "from: the soak has lasted 91 days; expected at most the horizon"),
    ],
)
def test_impossible_values_raise(tmp_path, wrong, message):
    with pytest.raises(PapermillExecutionError, match=message):
        golden.execute(NAME, tmp_path, **wrong)
