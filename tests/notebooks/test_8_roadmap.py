"""Chapter 8's notebook: its sliders are the model's, other parameters move it the right way."""

import json
import re

import golden
import pytest
from papermill.exceptions import PapermillExecutionError

from models import outages, publish

NAME = "8-roadmap"
QUICK = {"replications": 2, "requests": 2000, "years": 10.0, "futures": 200}


@pytest.mark.parametrize(
    "setting",
    [{}, {"p": 3, "h": 20, "w": 0, "d": 5}, {"w": 1, "d": 20}, {"p": 0}, {"w": 48, "d": 0.25}],
)
def test_the_sliders_say_what_the_model_says(as_in_the_book, setting):
    chart = publish.outputs(as_in_the_book(NAME))["chart", "waves-sliders"][publish.MIME]
    spec = json.loads(json.dumps(chart["spec"]).replace("',.1f'", "'.10f'"))
    for slider in spec["params"]:
        slider["value"] = setting.get(slider["name"], slider["value"])
    p, h, w, d = (slider["value"] for slider in spec["params"])
    shown = list(golden.texts(spec))
    said = next(text for text in shown if "at once" in text)
    numbers = [float(number) for number in re.findall(r"[\d.]+(?= h)", said)]
    expected = [p * h * outages.rollout_reach(waves, w, d) for waves in (1, 4)]
    assert numbers == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    base = golden.values(golden.run(NAME, tmp_path, **QUICK))
    changed = {"plane_per_year": 3.0, "cpu_ms": 0.8, "rtt_ms": 60.0, "coverage_apart": 0.2}
    other = golden.values(golden.run(NAME, tmp_path, **changed, **QUICK))
    assert other["governed-lost-formula"] > base["governed-lost-formula"]
    assert other["meshed-capacity"] < base["meshed-capacity"]
    for key in ("separated-completion-change", "meshed-response-change", "separated-find"):
        assert other[key] > base[key], key
    for key in ("synchronous-lost-formula", "separated-capacity", "regret-jump"):
        assert other[key] == base[key], key
    cheap = golden.run(NAME, tmp_path, undo_apart_team_days=2.0, soak_days=1, **QUICK)
    values = golden.values(cheap)
    assert values["regret-saved"] == 0
    assert "cost the same" in values["better"]


def test_the_verdict_follows_the_model(tmp_path):
    assert golden.golden(NAME)["claims"]["sos-governed"]["holds"] == "holds only if"
    slow = golden.run(NAME, tmp_path, response_target_ms=50.0, **QUICK)
    assert slow["claims"]["sos-governed"]["holds"] == "does not hold here"
    assert golden.values(slow)["told"] == "synchronous"
    drifting = golden.run(NAME, tmp_path, enforced_days=60.0, **QUICK)
    assert drifting["claims"]["sos-governed"]["holds"] == "does not hold here"
    assert golden.values(drifting)["told"] != "governed"


def test_the_road_of_another_system(tmp_path):
    """Nothing of the shop is left but the row in which bundled systems are compared."""
    found = golden.run(NAME, tmp_path, system="online-boutique", **QUICK)
    values = golden.values(found)
    assert (values["system"], values["flow"]) == ("Online Boutique", "checkout")
    assert values["messages"] == 2 and values["has-governed"] is True
    names = [row[0] for row in found["tables"]["advice"]["table"]["rows"]]
    assert names[0] == "Online Boutique" and sorted(names) == sorted({*names})
    assert "Online shop" in names


def test_a_system_whose_road_ends_at_once_says_why(tmp_path):
    file = tmp_path / "reads.yml"
    file.write_text(
        "name: Reads\ninfrastructures: {here: {}}\n"
        "services: {front: {infrastructure: here}, store: {infrastructure: here, workers: 2}}\n"
        "flows: {read: {rate_per_s: 10, root: {service: front, then: [{service: store}]}}}\n",
        "utf-8",
    )
    found = golden.run(NAME, tmp_path, system=str(file), **QUICK)
    assert golden.values(found)["reached"] == "synchronous"
    verdict = found["claims"]["sos-governed"]
    assert verdict["holds"] == "does not hold here"
    assert "no step is marked deferrable" in verdict["edge"]
    assert "no step is marked deferrable" in found["tables"]["steps"]["absent"]
    assert "ends before it has a mesh" in found["tables"]["plane"]["absent"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"spill": 2.0}, "spill: 2.0 was found; expected a number from 0 to 1"),
        ({"soak_days": 2000}, "soak_days: 2000 was found; expected a whole number from 1 to 1095"),
        ({"system": "shpo"}, "shpo.*did you mean 'shop'"),
        ({"preset": "isto"}, "preset: 'isto' was given; expected one of"),
    ],
)
def test_impossible_values_raise(tmp_path, wrong, message):
    with pytest.raises(PapermillExecutionError, match=message):
        golden.execute(NAME, tmp_path, **wrong)
