"""The command: what it prints, and that mistakes end with one sentence and exit code 2."""

import io
import json
import subprocess
import sys
from xml.etree import ElementTree

import pandas as pd
import pytest
from click.testing import CliRunner

from models import System, stages
from models.cli import STAGES, main


def decouple(*words):
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="decouple")


@pytest.mark.parametrize("words", [[], ["check"], ["run"], ["draw"]])
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
    assert decouple("draw", "shop").output.startswith("<svg")


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "shpo"], "did you mean 'shop'?"),
        (["check", "."], "this is a directory"),
        (["check", "shop", "--stage", "seperated"], "'seperated' is not one of"),
        (["run", "shop", "--requests", "0"], "requests: 0 was given"),
        (["run", "shop", "--requests", "many"], "'many' is not a valid integer"),
        (["run", "shop", "--seed", "-1"], "seed: -1 was given"),
        (["run", "shop", "--replications", "0", "--requests", "10"], "replications: 0 was given"),
        (["run", "shop", "--json", "--csv"], "expected one of them"),
        (["draw", "shop", "-o", "/nowhere/at/all.svg"], "cannot be written"),
        (["chekc", "shop"], "No such command 'chekc'"),
    ],
)
def test_mistakes_end_with_a_sentence_and_code_2(words, said):
    result = decouple(*words)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


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
