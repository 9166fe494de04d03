"""Chapter 6's notebook: its sliders are the model's, other parameters move it the right way."""

import re

import golden
import pytest
from papermill.exceptions import PapermillExecutionError

from models import outages, publish

NAME = "6-outages"
QUICK = {
    "replications": 4,
    "span": 40.0,
    "window_runs": 2,
    "storm_runs": 4,
    "storm_after_s": 120.0,
}


def shown(notebook, chart, setting):
    """The texts of a chart at this setting of its sliders."""

    spec = publish.outputs(notebook)["chart", chart][publish.MIME]["spec"]
    for slider in spec["params"]:
        slider["value"] = setting.get(slider["name"], slider["value"])
    found = {slider["name"]: slider["value"] for slider in spec["params"]}
    return list(golden.texts(spec)), found


@pytest.mark.parametrize(
    "setting", [{}, {"u": 20, "n": 2, "t": 0.5}, {"u": 150, "n": 3, "t": 8}, {"u": 5, "n": 4}]
)
def test_the_beta_sliders_say_what_the_model_says(as_in_the_book, setting):
    said, at = shown(as_in_the_book(NAME), "beta-sliders", setting)
    words = next(text for text in said if text.startswith("β at most"))
    shown_beta = float(re.fullmatch(r"β at most ([\d.]+)%", words)[1]) / 100
    year = outages.YEAR_HOURS
    exact = outages.largest_beta(1, at["n"], year - at["u"], at["u"], at["t"] / year)
    assert shown_beta == pytest.approx(exact, rel=0.06)  # two digits, and a grid of 2 %


def test_the_beta_sliders_know_when_no_beta_is_small_enough(as_in_the_book):
    said, _ = shown(as_in_the_book(NAME), "beta-sliders", {"u": 200, "n": 2, "t": 0.1})
    assert any(text.startswith("not even") for text in said)


@pytest.mark.parametrize("setting", [{}, {"w": 1}, {"w": 8, "d": 12, "g": 3}, {"g": 0}])
def test_the_roll_out_sliders_say_what_the_model_says(as_in_the_book, setting):
    said, at = shown(as_in_the_book(NAME), "roll-out", setting)
    words = next(text for text in said if "reached" in text)
    reach, price = re.match(r"([\d.]+) % reached,.*after ([\d.]+) h", words).groups()
    exact = 100 * outages.rollout_reach(at["w"], at["g"], at["d"])
    assert float(reach) == pytest.approx(exact, abs=0.06)
    assert float(price) == pytest.approx((at["w"] - 1) * at["g"])


def test_other_parameters_move_the_right_things_the_right_way(tmp_path):
    book = golden.values(golden.golden(NAME))
    other = golden.values(
        golden.run(
            NAME,
            tmp_path,
            infrastructure_hours=12.0,
            beta=0.5,
            wave_hours=8.0,
            workers=16,
            parts=12,
            target_hours=4.0,
            storm_per_s=12.0,
            service="notification",
            **QUICK,
        )
    )
    for key in (
        "last-stopped",  # more in common
        "escape-shared",
        "escape-hours",
        "everything-given",
        "pair-given",
        "pair-factor",
        "beta-words",  # a higher target allows more
        "last-flow-hours",  # restored later
        "calls-flow-hours",
        "at-once-everything",
        "staged-price",
        "one-crew-restore",  # more parts for one crew
    ):
        assert other[key] > book[key], key
    for key in ("staged-reach", "staged-all", "plain-lost", "shuffled-lost", "recover-two"):
        assert other[key] < book[key], key
    for key in ("escape-alone", "message-others", "single-hours", "storm-vulnerable"):
        assert other[key] == book[key], key


def verdicts(tmp_path, **parameters):
    claims = golden.run(NAME, tmp_path, **parameters, **QUICK)["claims"]
    return {id: claim["holds"] for id, claim in claims.items()}


def test_verdicts_change_where_they_should(tmp_path):
    book = {id: claim["holds"] for id, claim in golden.golden(NAME)["claims"].items()}
    assert book == {
        "shared-fate": "holds",
        "separation-contains": "holds only if",
        "async-isolates-faults": "holds",
    }
    nothing_shared = {"beta": 0.0, "identity_per_year": 0.0, "policy_per_year": 0.0}
    assert verdicts(tmp_path, **nothing_shared) == book | {"separation-contains": "holds"}
    one_broker_and_calls = {"broker_each": False, "service": "stock"}
    assert verdicts(tmp_path, **one_broker_and_calls) == book | {
        "separation-contains": "does not hold here",
        "async-isolates-faults": "does not hold here",  # the customer waits for it
    }


def test_another_system_in_the_same_chapter(tmp_path):
    found = golden.run(NAME, tmp_path, system="online-boutique", **QUICK)
    values = golden.values(found)
    assert (values["system"], values["service"]) == ("Online Boutique", "email")
    assert (values["flows"], values["teams"]) == (6, 6)
    assert values["message-others"] == 0.0  # nobody waits for an email
    assert values["call-during-users"] > 90  # unless it is called: then who checks out does
    designs = {row[0] for row in found["charts"]["lost-hours"]["tables"][0]["rows"]}
    assert designs == {"together", "apart, with calls", "apart, one broker", "apart, a broker each"}
    claims = {id: claim["holds"] for id, claim in found["claims"].items()}
    assert claims["async-isolates-faults"] == "holds"
    assert claims["separation-contains"] == "not decided"  # every flow begins at the frontend
    assert "All of them begin on" in found["claims"]["separation-contains"]["evidence"]


def test_what_a_system_does_not_have_is_said(tmp_path):
    path = tmp_path / "tiny.yml"
    path.write_text(
        "name: Tiny\ninfrastructures: {here: {}}\nservices: {a: {infrastructure: here}}\n"
        "flows: {f: {rate_per_s: 5, root: {service: a, work: {mean_ms: 3}}}}\n"
    )
    found = golden.run(NAME, tmp_path, system=str(path), **QUICK)
    values = golden.values(found)
    absent = ("has-apart", "has-calls-apart", "has-brokers-apart", "has-messages", "has-others")
    assert not any(values[key] for key in absent)
    assert found["values"]["not-apart"]["text"].startswith("Tiny cannot be taken apart this way")
    undecided = {id for id, claim in found["claims"].items() if claim["holds"] == "not decided"}
    assert undecided == {"separation-contains", "async-isolates-faults"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beta": 1.5}, "beta: 1.5 was found; expected a number from 0 to 1"),
        ({"service": "loyality"}, "service: 'loyality' was given; expected one of order, stock"),
        ({"shard": 9}, "shard: 9 was given; expected a whole number from 1 to 8"),
        ({"waves": 0}, "waves: 0 was found; expected a whole number from 1 to 4"),
        ({"storm_per_s": 25.0}, "storm_per_s: 25.0 was found; expected a number from 0.5 to 19"),
    ],
)
def test_impossible_values_raise(tmp_path, wrong, message):
    with pytest.raises(PapermillExecutionError, match=message):
        golden.execute(NAME, tmp_path, **wrong)
