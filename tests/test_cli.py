"""The command: what it prints, and that mistakes end with one sentence and exit code 2."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from xml.etree import ElementTree

import pandas as pd
import pytest
from click.testing import CliRunner

from models import System, incidents, roadmap, soak, stages
from models.cli import main
from models.commands.common import STAGES
from models.commands.gate import SEVERITIES


def decouple(*words):
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="decouple")


@pytest.mark.parametrize(
    "words", [[], ["check"], ["run"], ["draw"], ["presets"], ["gate"], ["road"], ["import"]]
)
def test_help(words):
    result = decouple(*words, "--help")
    assert result.exit_code == 0
    assert "Usage: decouple" in result.output


def test_help_loads_nothing_heavy():
    code = "import sys, models.cli; print(*{'pandas', 'numba', 'scipy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_stages_are_those_of_the_road():
    assert tuple(stages.ROAD) == STAGES


def test_severities_are_those_of_a_log():
    assert incidents.SEVERITIES == SEVERITIES


def test_check():
    result = decouple("check", "shop")
    assert result.exit_code == 0
    assert "Online shop" in result.output
    assert (
        "stock         shop     warehouse        2    400.0     60 %         60 %" in result.output
    )
    assert "No warnings." in result.output
    later = decouple("check", "shop", "--stage", "separated")
    assert "message via events" in later.output


def test_check_json_and_warnings(tmp_path):
    path = tmp_path / "slow.yml"
    path.write_text(System.load("shop").with_("services.price.workers", "unlimited").to_yaml())
    found = json.loads(decouple("check", path, "--json").output)
    assert found["services"]["price"]["utilisation"] is None
    assert found["services"]["stock"]["utilisation"] == pytest.approx(0.6)
    path.write_text(System.load("shop").with_("services.stock.workers", 1).to_yaml())
    assert "warning: services.stock.workers: 1 worker" in decouple("check", path).output


def test_check_asks_for_owners_once_services_run_apart(tmp_path):
    path = tmp_path / "system.yml"
    shop = System.load("shop").with_("services.price.team", None)
    path.write_text(shop.to_yaml())
    assert "No warnings." in decouple("check", path).output
    named = shop.with_("services.price.team", "shopfront")
    apart = stages.separated(stages.asynchronous(named)).with_("services.price.team", None)
    path.write_text(apart.to_yaml())
    said = "services.price.team: nothing was found; expected the team that owns it"
    assert f"warning: {said}" in decouple("check", path).output
    assert json.loads(decouple("check", path, "--json").output)["warnings"] == [said]


def test_check_says_how_long_a_service_is_up(tmp_path):
    path = tmp_path / "breaking.yml"
    outage = {"services": ["stock"], "up": {"mean_ms": 9000}, "down": {"mean_ms": 1000}}
    path.write_text(System.load("shop").with_("outages", [outage]).to_yaml())
    lines = decouple("check", path).output.splitlines()
    assert lines[2].split()[-2:] == ["utilisation", "up"]
    assert next(line for line in lines if line.startswith("stock")).split()[-2:] == ["90", "%"]
    found = json.loads(decouple("check", path, "--json").output)["services"]
    assert (found["stock"]["up"], found["price"]["up"]) == (0.9, 1)
    assert "up" not in decouple("check", "shop").output.splitlines()[2].split()


def test_run_in_three_forms():
    plain = decouple("run", "shop", "--requests", 2000, "--seed", 5)
    assert plain.exit_code == 0
    assert "1 run of 2,000 requests, seed 5, engine compiled" in plain.output
    assert "response_p99_ms" in plain.output
    data = json.loads(decouple("run", "shop", "--requests", 2000, "--seed", 5, "--json").output)
    table = pd.read_csv(
        io.StringIO(decouple("run", "shop", "--requests", 2000, "--seed", 5, "--csv").output)
    )
    assert data["seed"] == 5
    assert len(data["results"]) == len(table)
    assert data["results"][0]["value"] == pytest.approx(table.value[0])
    assert {"flow", "metric", "value", "half_width", "n", "unit", "seed"} <= set(table)
    assert set(table.requests) == {data["requests"]} == {2000}
    assert set(table.replications) == {data["replications"]} == {1}
    assert set(table.confidence) == {data["confidence"]} == {0.95}
    assert decouple("run", "shop", "--requests", "2e3", "--seed", 5).output == plain.output


def test_what_does_not_exist_is_a_dash():
    lines = decouple("run", "shop", "--requests", 1).output.splitlines()
    assert ["place_order", "response_mean_ms", "-", "-", "ms"] in map(str.split, lines)
    assert "1 run of 1 request, seed 1, engine compiled, 95 % intervals" in lines
    rows = json.loads(decouple("run", "shop", "--requests", 1, "--json").output)["results"]
    assert rows[0]["value"] is None


def test_run_with_stage_engine_and_replications():
    words = ["run", "shop", "--requests", 600, "--stage", "asynchronous", "--json"]
    simpy = json.loads(decouple(*words, "--engine", "simpy").output)["results"]
    compiled = json.loads(decouple(*words).output)["results"]
    mean = [row["value"] for row in (simpy[0], compiled[0])]
    assert mean[0] == pytest.approx(mean[1])
    several = decouple("run", "shop", "--requests", 600, "--replications", 3)
    assert several.exit_code == 0
    assert "3 runs of 600 requests" in several.output


def test_draw(tmp_path):
    path = tmp_path / "shop.svg"
    assert decouple("draw", "shop", "-o", path).exit_code == 0
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert [one.name for one in tmp_path.iterdir()] == ["shop.svg"]
    assert decouple("draw", "shop").output.startswith("<svg")


SOAK = ["gate", "invented", "--from", "2025-02-03", "--to", "2025-05-04"]


def test_gate():
    result = decouple(*SOAK)
    expected = soak.gate(soak.Step(), incidents.read("invented", "2025-02-03", "2025-05-04"))
    assert result.exit_code == 0
    assert result.output.startswith(f"{expected.answer.upper()}\n\n{expected.reason}\n\n")
    assert "2025-02-03 to 2025-05-04: 3 incidents from major on, 5 milder not counted" in (
        result.output
    )
    rows = [line.rsplit("  ", 1) for line in result.output.splitlines() if "rate" in line[:36]]
    assert ["break-even rate", "one in 70 days"] in [[one.strip() for one in row] for row in rows]


def test_gate_json_says_what_is_assumed():
    words = {
        "--defects": 4, "--defects-cv": 0.5, "--rate-per-day": 0.03, "--rate-cv": 0,
        "--undo-shared": 1, "--undo-apart": 50, "--gain-per-day": 0.1, "--horizon-days": 800,
        "--counts-from": "minor",
    }  # fmt: skip
    result = decouple(*SOAK, "--json", *(word for pair in words.items() for word in pair))
    found = json.loads(result.output)
    assert list(found["assumed"].values()) == [4, 0.5, 0.03, 0, 1, 50, 0.1, 800]
    assert (found["from"], found["to"], found["days"]) == ("2025-02-03", "2025-05-04", 91)
    assert (found["found"], found["not_counted"], found["answer"]) == (8, 0, "wait")
    assert found["break_even_per_day"] == pytest.approx(0.1 / 49)
    cheap = json.loads(decouple(*SOAK, "--json", "--undo-apart", 1).output)
    assert cheap["answer"] == "go" and cheap["break_even_per_day"] is None


def test_gate_without_an_end_ends_today(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("date,severity\n")
    found = json.loads(decouple("gate", path, "--from", date.today(), "--json").output)
    assert (found["days"], found["found"], found["answer"]) == (1, 0, "wait")
    assert found["clean_days"] > 0
    plain = decouple("gate", path, "--from", date.today()).output
    assert "In 1 day no defect came to light." in plain and "not counted" not in plain


def test_gate_waits_where_the_log_refutes_what_is_believed():
    result = decouple(*SOAK, "--counts-from", "minor", "--defects", 0.2)
    assert result.output.startswith("WAIT\n")
    assert "Believe in more, then ask again." in result.output
    lines = [line.split("  ") for line in result.output.splitlines()]
    assert ["more days without a defect until go", "-"] in [[ln[0], ln[-1].strip()] for ln in lines]


def test_every_line_of_a_log_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("date,severity\n2025-02-30,major\n2025-02-11,mayor\n2025-02-12,major\n")
    result = decouple("gate", path, "--from", "2025-02-03", "--to", "2025-05-04")
    assert result.exit_code == 2
    assert result.output == (
        f"{path}, line 2: date: '2025-02-30' was found; expected a day that exists, as YYYY-MM-DD\n"
        f"{path}, line 3: severity: 'mayor' was found; expected one of minor, major, critical; "
        "did you mean 'major'?\n"
    )


@pytest.fixture
def slow(tmp_path):
    path = tmp_path / "slow.yml"
    path.write_text(System.load("shop").with_("services.stock.workers", 1).to_yaml())
    return path


def test_overload_is_refused_unless_asked_for(slow):
    refused = decouple("run", slow, "--requests", 500)
    assert refused.exit_code == 2
    assert "--overload runs it anyway" in refused.output
    assert decouple("run", slow, "--requests", 500, "--overload").exit_code == 0


def test_a_growing_queue_is_said_although_no_mean_load_shows_it(tmp_path):
    """Two workers that each hold a call to one: 0.8 a ms is the most (hold-cap-2), not 1."""
    work = {"mean_ms": 1}
    held = {
        "name": "held",
        "infrastructures": {"here": None},
        "network": {"within_ms": 0},
        "services": {
            "caller": {"infrastructure": "here", "workers": 2},
            "callee": {"infrastructure": "here", "workers": 1},
        },
        "flows": {
            "only": {
                "rate_per_s": 900,
                "root": {
                    "service": "caller",
                    "work": work,
                    "then": [{"service": "callee", "work": work}],
                },
            }
        },
    }
    path = tmp_path / "held.yml"
    path.write_text(System.model_validate(held).to_yaml())
    assert "No warnings." in decouple("check", path).output
    for more in ([], ["--replications", 2]):
        result = decouple("run", path, "--requests", 50_000, *more)
        assert result.exit_code == 0
        assert "warning: flows.only: " in result.stderr
        assert "end well of 900 that should; a queue grows" in result.stderr
    held["flows"]["only"]["rate_per_s"] = 700
    path.write_text(System.model_validate(held).to_yaml())
    assert decouple("run", path, "--requests", 50_000).stderr == ""


def test_what_can_lock_up_is_refused(tmp_path):
    data = System.load("shop").to_dict()
    data["flows"]["back"] = {
        "rate_per_s": 1,
        "root": {"service": "price", "then": [{"service": "catalogue"}]},
    }
    path = tmp_path / "loop.yml"
    path.write_text(System.model_validate(data).to_yaml())
    refused = decouple("run", path, "--requests", 500)
    assert refused.exit_code == 2
    assert "can be held for ever" in refused.output


def as_process(*words, **options):
    code = "from models.cli import main; main(prog_name='decouple')"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("words", [["check", "shop"], ["draw", "shop"], ["run", "--help"]])
def test_output_that_cannot_be_written(words):
    with open("/dev/full", "w") as full:
        process = as_process(*words, stdout=full)
        _, said = process.communicate()
    assert process.returncode == 2
    assert said == "output: cannot be written: No space left on device\n"


def test_a_closed_pipe_is_no_fault_to_talk_about():
    read, write = os.pipe()
    os.close(read)
    process = as_process("draw", "shop", stdout=write)
    os.close(write)
    assert process.communicate()[1] == ""
    assert process.returncode == 1


QUICK = ["--runs", 2, "--requests", 2000, "--years", 5]


def test_the_road_of_a_system():
    result = decouple("road", "shop", *QUICK)
    assert result.exit_code == 0
    for words in (*roadmap.STAGES, "response, mean (ms)", "to governed", "gate to", "+-"):
        assert words in result.output
    data = json.loads(decouple("road", "shop", "--json", *QUICK).output)
    assert data["assumed"] == vars(roadmap.Terms())
    assert len(data["stages"]) == 5 * len(roadmap.MEASURES)
    assert f"advice: go as far as {data['advice']['stage']}" in result.output
    walked = roadmap.walk(System.load("shop"), runs=2, requests=2000, years=5)
    for row, expected in zip(data["stages"], walked.table().itertuples(), strict=True):
        assert row["value"] == pytest.approx(expected.value)


def test_the_road_ends_where_a_step_cannot_be_taken(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(System.load("shop").to_yaml().replace("deferrable: true", "deferrable: false"))
    result = decouple("road", path, *QUICK)
    assert result.exit_code == 0
    assert "advice: go as far as synchronous. asynchronous: no step is marked" in result.output
    path.write_text(System.load("shop").to_yaml().replace("team: customers", "team: null"))
    data = json.loads(decouple("road", path, "--json", *QUICK).output)
    assert data["advice"]["stage"] == "asynchronous"
    owners = [g for g in data["gates"] if g["condition"] == "services without an owner"]
    assert [(g["found"], g["passed"]) for g in owners] == [("2", False)]


def test_what_is_assumed_moves_the_advice():
    data = json.loads(decouple("road", "shop", "--json", "--assume", "soak_days=1", *QUICK).output)
    assert data["advice"]["stage"] == "asynchronous"
    assert data["assumed"]["soak_days"] == 1


@pytest.mark.parametrize(
    "kind, words",
    [
        (signal.SIGINT, ["run", "shop", "--requests", "1e9"]),
        (signal.SIGTERM, ["road", "shop", "--requests", "1e7"]),
    ],
)
def test_an_interrupted_run_says_so_and_prints_nothing(kind, words):
    process = as_process(*words, stdout=subprocess.PIPE)
    time.sleep(4)
    process.send_signal(kind)
    out, said = process.communicate()
    assert (out, said.strip(), process.returncode) == ("", "Aborted!", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "shpo"], "did you mean 'shop'?"),
        (["check", "."], "this is a directory"),
        (
            ["check", "shop", "--stage", "seperated"],
            "--stage: 'seperated' was found; expected one "
            "of synchronous, asynchronous, separated; did you mean 'separated'?",
        ),
        (["run", "shop", "--stage", "x"], "--stage: 'x' was found; expected one of synchronous"),
        (
            ["run", "shop", "--requests", "0"],
            "--requests: '0' was found; expected a whole number from 1 to 10,000,000,000",
        ),
        (["run", "shop", "--requests", "many"], "--requests: 'many' was found; expected a whole"),
        (["run", "shop", "--requests", "2.5"], "--requests: '2.5' was found; expected a whole"),
        (["run", "shop", "--requests", "nan"], "--requests: 'nan' was found; expected a whole"),
        (["run", "shop", "--requests", "1e99"], "--requests: '1e99' was found; expected a whole"),
        (["run", "shop", "--seed", "-1"], "--seed: '-1' was found; expected a whole number from 0"),
        (["run", "shop", "--replications", "0"], "--replications: '0' was found; expected"),
        (["run", "shop", "--engine", "simpi"], "did you mean 'simpy'?"),
        (["run", "shop", "--json", "--csv"], "expected one of them"),
        (["road", "shpo"], "did you mean 'shop'?"),
        (["road", "shop", "--assume", "soak"], "--assume: 'soak' was found; expected NAME=VALUE"),
        (["road", "shop", "--assume", "soak_day=3"], "did you mean 'soak_days'?"),
        (["road", "shop", "--assume", "waves=2.5"], "waves: '2.5' was given; expected a whole"),
        (["road", "shop", "--assume", "spill=2"], "spill: 2.0 was given; expected a number from 0"),
        (["road", "shop", "--assume", "preset=isto"], "preset: 'isto' was given; expected one of"),
        (["road", "shop", "--assume", "soak_days=2000"], "soak_days: 2000 was given; expected at"),
        (["road", "shop", "--runs", "1"], "--runs: '1' was found; expected a whole number from 2"),
        (["draw", "shop", "-o", "/nowhere/at/all.svg"], "'/nowhere/at/all.svg': cannot be written"),
        (["draw", "shop", "-o", ""], "'': cannot be written"),
        (["draw", "shop", "-o", "."], "'.': cannot be written"),
        (
            ["gate", "shop.csv", "--from", "2025-02-03"],
            "shop.csv: no such file; expected a CSV file",
        ),
        (["gate", "invented"], "Missing option '--from'"),
        (
            ["gate", "invented", "--from", "3 Feb"],
            "from: '3 Feb' was found; expected a day as YYYY",
        ),
        ([*SOAK[:4], "--to", "2999-01-01"], "to: 2999-01-01 was found, which is in the future"),
        ([*SOAK, "--counts-from", "majr"], "expected one of minor, major, critical; did you mean"),
        ([*SOAK, "--defects", "0"], "--defects: '0' was found; expected a number from 0.01 to 50"),
        ([*SOAK, "--rate-cv", "nan"], "--rate-cv: 'nan' was found; expected a number from 0 to 2"),
        ([*SOAK, "--undo-apart", "much"], "--undo-apart: 'much' was found; expected a number from"),
        ([*SOAK, "--horizon-days", "60"], "expected at most the horizon, 60 days; set the horizon"),
        (["chekc", "shop"], "No such command 'chekc'"),
    ],
)
def test_mistakes_end_with_a_sentence_and_code_2(words, said):
    result = decouple(*words)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    assert result.output.count("\n") == 1 or "Usage: " in result.output


@pytest.mark.parametrize("command", main.commands)
def test_every_command_ends_with_the_codes_that_are_documented(command, tmp_path, monkeypatch):
    """0 for its help, 2 for what it does not know; what it does when it is done, its own tests say."""
    monkeypatch.chdir(tmp_path)
    assert "2  something that you can put right" in decouple("--help").output
    assert decouple(command, "--help").exit_code == 0
    for words in ([command, "--no-such-option"], [command, "no/such/thing", "and", "more"]):
        result = decouple(*words)
        assert result.exit_code == 2
        assert "Traceback" not in result.output and result.output
    assert list(tmp_path.iterdir()) == []


def test_a_faulty_file_is_said_in_sentences_only(tmp_path):
    path = tmp_path / "bad.yml"
    path.write_text(System.load("shop").to_yaml().replace("service: payment", "service: paymnt"))
    for command in ("check", "run", "draw"):
        result = decouple(command, path)
        assert result.exit_code == 2
        assert result.output == (
            "flows.place_order.root.then[1].service: 'paymnt' is not a service; "
            "did you mean 'payment'?\n"
        )
