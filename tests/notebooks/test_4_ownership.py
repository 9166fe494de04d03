"""Chapter 4's notebook: its sliders are the model's, other parameters move it the right way."""

import json
import re

import golden
import numpy as np
import pytest
from papermill.exceptions import PapermillExecutionError

from models import ownership, publish

NAME = "4-ownership"
QUICK = {
    "replications": 2,
    "requests": 4000,
    "incidents": 2000,
}


def drawn(notebook, key, setting):
    """What a chart says with its sliders set so, in full digits, and where they stand."""
    chart = publish.outputs(notebook)["chart", key][publish.MIME]
    in_full = json.dumps(chart["spec"]).replace("',.1f'", "'.10f'").replace("',.0f'", "'.10f'")
    spec = json.loads(in_full)
    for slider in spec["params"]:
        slider["value"] = setting.get(slider["name"], slider["value"])
    shown = list(golden.texts(spec))
    return shown, {slider["name"]: slider["value"] for slider in spec["params"]}


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"r": 10, "u": 15, "w": 4, "p": 7},
        {"r": 10, "u": 10.5, "w": 8, "p": 2},
        {"r": 3, "u": 2, "w": 1, "p": 1},
        {"r": 3, "u": 40, "w": 0, "p": 1},
    ],
)
def test_the_window_sliders_say_what_the_model_says(as_in_the_book, setting):
    shown, at = drawn(as_in_the_book(NAME), "window-sliders", setting)
    partner = ownership.Partner(at["r"], at["u"], at["w"], 24 * at["p"])
    said = next(text for text in shown if text.startswith("one window"))
    held, when = re.match(r"one window: ([\d.]+) messages,\|(.+)", said).groups()
    assert float(held) == pytest.approx(partner.peak)
    if partner.peak == 0:
        assert when == "nothing to take"
    elif partner.left_over > 0:
        assert when == "never taken: one window runs into the next"
    else:
        assert float(when.split()[2]) == pytest.approx(partner.drain_hours)


@pytest.mark.parametrize(
    "setting",
    [{}, {"n": 10, "h": 6, "q": 50}, {"n": 20, "h": 8, "q": 3}, {"n": 20, "h": 24, "q": 0}],
)
def test_the_handoff_sliders_say_what_the_model_says(as_in_the_book, setting):
    shown, at = drawn(as_in_the_book(NAME), "handoffs", setting)
    teams = ownership.Teams((at["n"],) * 4, at["q"] / 100, at["h"], at["h"])
    if np.isfinite(teams.overall_hours):
        said = next(text for text in shown if re.fullmatch(r"[\d.]+ h", text))
        assert float(said.split()[0]) == pytest.approx(teams.overall_hours)
    else:
        assert "an endless queue" in shown


def test_the_rows_under_the_sliders_are_the_models(as_in_the_book):
    found = publish.read(as_in_the_book(NAME))["charts"]
    for hours, held in found["window-sliders"]["tables"][0]["rows"]:
        partner = ownership.Partner(0.5, 0.75, 12.0, 168.0)
        assert held == pytest.approx(partner.backlog(np.array(hours)))
    for share, hours in found["handoffs"]["tables"][0]["rows"]:
        assert hours == pytest.approx(3 / (1 - share - 6 * 3 / 168))


def test_simulation_and_formula_agree_in_the_book(as_in_the_book):
    found = publish.read(as_in_the_book(NAME))
    values = found["values"]
    for key in ("peak", "drain", "direct", "handed"):
        measured = values[key]
        exact = values[f"{key}-formula"]["value"]
        assert measured["value"] == pytest.approx(exact, abs=2.5 * measured["half_width"])
    for flow in ("main", "other"):  # the answer does not notice the distance
        assert abs(values[f"{flow}-flat"]["value"]) <= 0.2
    rows = found["charts"]["line-lag"]["tables"][0]
    at = {name: number for number, name in enumerate(rows["columns"])}
    for row in rows["rows"]:
        assert row[at["lag_hours"]] == pytest.approx(row[at["fluid"]], abs=0.15)


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    book = golden.values(golden.golden(NAME))
    found = golden.run(
        NAME,
        tmp_path,
        far_ms=150.0,
        team_per_year=3.0,
        infrastructure_price=30.0,
        longest_hours=24.0,
        release_days=14.0,
        line_per_year=6.0,
        line_common=0.3,
        real_hours=2.0,
        p_reassigned=0.5,
        per_service_week=6.0,
        **QUICK,
    )
    other = golden.values(found)
    assert other["completion-far"] < book["completion-far"]
    assert other["completion-formula"] == pytest.approx((150 - 0.5) / 2)
    assert abs(other["main-flat"]) < 1
    gain = {name: values["lost-together"] - values["lost-apart"]
            for name, values in (("book", book), ("other", other))}  # fmt: skip
    assert gain["other"] > 2 * gain["book"]  # more of it is other people's changes
    prices = [row[-1] for row in found["tables"]["fate"]["table"]["rows"]]
    assert prices[1] - prices[0] > 60
    assert other["peak-formula"] == pytest.approx(2 * book["peak-formula"])  # twice as long
    assert other["drain-formula"] == pytest.approx(2 * book["drain-formula"])
    assert other["release-wait"] == 7
    assert other["read-lost"] == pytest.approx(3 * book["read-lost"], rel=0.01)
    assert other["two-lost"] > 8 * book["two-lost"]
    assert other["longest-lag"] == pytest.approx(2.0, abs=0.05)
    assert other["ratio"] > book["ratio"] and other["factor"] > book["factor"]
    assert other["fits"] == book["fits"] // 2
    assert other["load-direct"] == pytest.approx(2 * book["load-direct"])


def test_verdicts_change_where_they_should(tmp_path):
    easy = golden.run(
        NAME,
        tmp_path,
        slow_factor=1.01,
        team_per_year=0.0,
        tolerated_share=1.0,
        line_per_year=0.1,
        p_reassigned=0.01,
        **QUICK,
    )
    holds = {id: claim["holds"] for id, claim in easy["claims"].items()}
    assert holds == {
        "async-same-infra-ok": "holds",  # hardly any noise, nobody takes others down
        "async-permits-separation": "holds only if",  # reads stay, whatever the numbers
        "separate-other-division": "holds only if",  # the broker always has to hold something
        "separate-hybrid": "holds",  # the line hardly ever fails
        "separate-critical": "does not hold here",  # all clusters fall equally often
        "owner-known": "does not hold here",  # hardly anything is misrouted
    }
    hard = golden.run(
        NAME,
        tmp_path,
        target_ms=150.0,
        longest_hours=60.0,
        line_per_year=100.0,
        per_service_week=8.0,
        restore_target_hours=4.0,
        **QUICK | {"replications": 3},
    )
    holds = {id: claim["holds"] for id, claim in hard["claims"].items()}
    assert holds == {
        "async-same-infra-ok": "holds only if",
        "async-permits-separation": "does not hold here",  # too far for that target
        "separate-other-division": "does not hold here",  # one window runs into the next
        "separate-hybrid": "does not hold here",  # too many writes are late
        "separate-critical": "holds only if",
        "owner-known": "holds only if",  # known, but owns too much
    }


def test_another_system_in_the_same_chapter(tmp_path):
    found = golden.run(NAME, tmp_path, system="online-boutique", **QUICK)
    values = golden.values(found)
    assert values["system"] == "Online Boutique"
    assert (values["flow"], values["other-flow"]) == ("checkout", "product")
    assert values["moved-names"] == "email"  # called by nobody, and may be done later
    assert (values["services"], values["stay"]) == (10, 9)
    assert values["main-flat"] == 0.0  # no answer can notice how far away the email is
    assert values["all-services"] == 10 and values["most-services"] == 3
    assert values["lost-apart"] == values["lost-together"]  # the marketing team has not left
    division = found["tables"]["division"]["table"]["rows"]
    assert [row[1] for row in division] == ["cart", "email"]
    assert [row[2] for row in division] == [5.0, 5.0]
    assert found["tables"]["choice"]["table"]["rows"][0][0] == "Online Boutique"


def test_what_a_system_does_not_have_is_said(tmp_path):
    path = tmp_path / "tiny.yml"
    path.write_text(
        "name: Tiny\ninfrastructures: {here: {}}\nservices: {a: {infrastructure: here}}\n"
        "flows: {f: {rate_per_s: 5, root: {service: a, work: {mean_ms: 3}}}}\n"
    )
    found = golden.run(NAME, tmp_path, system=str(path), **QUICK)
    absent = {key for kind in ("charts", "tables") for key, record in found[kind].items()
              if "absent" in record}  # fmt: skip
    assert absent == {"apart", "reach", "division", "critical-system", "routing", "restore"}
    undecided = {id for id, claim in found["claims"].items() if claim["holds"] == "not decided"}
    assert undecided == {
        "async-same-infra-ok", "async-permits-separation", "separate-critical", "owner-known"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"slow_factor": 3.0}, "slow_factor: 3.0 was found; expected a number from 1.01 to 1.6"),
        ({"window_hours": 20.0}, "window_hours: 20.0 was given; expected less than longest_hours"),
        ({"limit_per_s": 0.4}, "partner_per_s: 0.5 was given; expected less than limit_per_s, 0.4"),
        (
            {"per_service_week": 60.0, "responders": 1},
            "load_of_the_busiest_team: .* expected less than one, 1.0",
        ),
        ({"critical_flow": "brows"}, "critical_flow: 'brows' was found; did you mean 'browse'"),
        ({"system": "shp"}, "shp: no such file.*; did you mean 'shop'"),
        ({"line_common": 2.0}, "line_common: 2.0 was found; expected a number from 0 to 1"),
    ],
)
def test_impossible_values_raise(tmp_path, wrong, message):
    with pytest.raises(PapermillExecutionError, match=message):
        golden.execute(NAME, tmp_path, **QUICK, **wrong)
