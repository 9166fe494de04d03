"""What a notebook publishes is checked, formatted and can be read back."""

import base64
import math

import altair as alt
import nbformat
import nbformat.v4 as v4
import numpy as np
import pandas as pd
import pytest

from models import System, picture, publish, stages


@pytest.fixture
def shown(monkeypatch):
    """The outputs displayed so far, as the notebook would hold them."""
    bundles = []
    monkeypatch.setattr(publish, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def notebook(bundles):
    cell = v4.new_code_cell(outputs=[v4.new_output("display_data", data=b) for b in bundles])
    return v4.new_notebook(cells=[cell])


def read(bundles):
    return publish.read(notebook(bundles))


def line(slope=1):
    rows = pd.DataFrame({"x": [0, 1, 2], "y": [0, slope, 2 * slope]})
    return alt.Chart(rows).mark_line().encode(x="x:Q", y="y:Q")


@pytest.mark.parametrize(
    ("value", "unit", "half_width", "text"),
    [
        (1234567, "", None, "1,234,567"),
        (1234.567, "ms", None, "1,235\u00a0ms"),
        (12.345, "ms", None, "12.3\u00a0ms"),
        (0.01234, "", None, "0.0123"),
        (np.float64(99.96), "%", None, "100.0\u00a0%"),
        (-3.5, "ms", None, "−3.50\u00a0ms"),
        (12.3456, "ms", 0.214, "12.35 ± 0.21\u00a0ms"),
        (1234.5, "ms", 37.0, "1,234 ± 37\u00a0ms"),
        (np.int64(7), "workers", None, "7\u00a0workers"),
        (0.0, "", None, "0"),
        (-0.0, "ms", 0.0, "0 ± 0\u00a0ms"),
        (float("inf"), "ms", None, "∞\u00a0ms"),
        ("more", "", None, "more"),
    ],
)
def test_numbers_are_printed_as_a_reader_expects(value, unit, half_width, text):
    assert publish.number(value, unit, half_width) == text


def test_a_cell_shows_what_there_is():
    assert publish.cell(None) == publish.cell(math.nan) == ""
    assert publish.cell(2.55e-16) == publish.cell(-3.5e-15) == "0"
    assert publish.cell(2.5e-6) == "0.00000250"


def test_what_was_published_is_read_back(shown):
    publish.value("p99", np.float64(12.5), unit="ms", half_width=0.5)
    publish.chart("line", line(), alt="A line.")
    publish.table("rows", pd.DataFrame({"name": ["a"], "n": [np.int64(3)]}))
    publish.claim("soak-first", "holds", "Yes: 3.", "Cheap undo.")
    found = read(shown)
    assert found["values"]["p99"] == {
        "value": 12.5,
        "unit": "ms",
        "half_width": 0.5,
        "text": "12.50 ± 0.50\u00a0ms",
    }
    assert found["charts"]["line"]["tables"] == [
        {"columns": ["x", "y"], "rows": [[0, 0], [1, 1], [2, 2]]}
    ]
    assert found["tables"]["rows"]["table"]["rows"] == [["a", 3]]
    assert found["claims"]["soak-first"]["holds"] == "holds"


def test_the_hash_of_a_chart_tells_how_it_is_drawn_not_its_data(shown):
    publish.chart("one", line(), alt="A line.")
    publish.chart("other-data", line(slope=5), alt="A line.")
    publish.chart("other-mark", line().mark_bar(), alt="Bars.")
    charts = read(shown)["charts"]
    assert charts["one"]["drawn"] == charts["other-data"]["drawn"]
    assert charts["one"]["drawn"] != charts["other-mark"]["drawn"]
    assert charts["one"]["tables"] != charts["other-data"]["tables"]


def test_a_chart_becomes_a_picture_where_pages_hold_no_svg(shown):
    publish.chart("line", line(), alt="A line.")
    publish.value("n", 1)
    text = nbformat.writes(notebook(shown))
    chart, value = publish.outputs(nbformat.reads(publish.with_pictures(text), 4)).values()
    assert base64.b64decode(chart["image/png"]).startswith(b"\x89PNG")
    assert set(chart) == {*shown[0], "image/png"} and set(value) == set(shown[1])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: publish.value("No Key", 1), "no key"),
        (lambda: publish.chart("line", line(), alt=" "), "no alt text"),
        (
            lambda: publish.chart(
                "empty", alt.Chart(alt.sequence(3)).mark_point().encode(x="data:Q"), alt="Points."
            ),
            "hand the rows over",
        ),
        (lambda: publish.claim("soak-frist", "holds", "1", "2"), "did you mean 'soak-first'"),
        (lambda: publish.claim("soak-first", "maybe", "1", "2"), "no verdict"),
        (lambda: publish.claim("soak-first", "holds", "", "2"), "no evidence"),
        (lambda: publish.claim("soak-first", "holds", "1", " "), "no edge"),
    ],
)
def test_what_cannot_be_published_is_refused(shown, act, message):
    with pytest.raises(publish.PublishError, match=message):
        act()
    assert not shown


def test_alt_text_is_required():
    with pytest.raises(TypeError):
        publish.chart("line", line())


def test_a_key_is_published_once(shown):
    publish.value("a", 1)
    publish.value("a", 2)
    with pytest.raises(publish.PublishError, match="twice"):
        read(shown)


def test_every_claim_is_there_once_with_its_chapter():
    claims = publish.claims()
    assert len(claims) == 23
    assert all(set(row) == {"chapter", "claim"} for row in claims.values())
    assert len({row["claim"] for row in claims.values()}) == 23


def test_what_a_system_does_not_have_is_said(shown):
    publish.absent("chart", "broker", "This system has no broker.")
    publish.absent("value", "lag", "This system has no broker.")
    found = read(shown)
    assert found["charts"]["broker"] == {"absent": "This system has no broker."}
    assert found["values"]["lag"]["value"] is None
    with pytest.raises(publish.PublishError, match="expected chart, table or value"):
        publish.absent("claim", "x", "none")
    with pytest.raises(publish.PublishError, match="without a reason"):
        publish.absent("chart", "x", " ")


def test_milestones_are_one_figure_of_several_pictures(shown):
    """Each in the colours of the page, with endless times said and not drawn."""
    shop = System.load("shop")
    times = {"response_mean_ms": (41.7, "41.7 ms"), "completion_mean_ms": (float("inf"), "∞ ms")}
    found = [picture.Milestone(stage, stages.at(shop, stage), times) for stage in stages.ROAD]
    publish.milestones("road", found, "place_order", alt="Three stages.")
    html = shown[0]["text/html"]
    assert html.count("<svg") == 6 and html.count("41.7 ms") == 6  # drawn, and in the title
    assert "var(--stage-separated" in html and 'width="0.0"' in html
    assert html.count("stroke-dasharray") == 2 * 5  # the five that messages reach, twice
    rows = read(shown)["charts"]["road"]["tables"][0]["rows"]
    assert len(rows) == 6 and rows[1] == ["synchronous", "until all is done", "∞ ms"]
    assert shown[0]["image/png"]


def test_long_names_are_cut_in_the_picture():
    here = {"infrastructure": "here"}
    data = {
        "name": "Long",
        "infrastructures": {"here": {}},
        "services": {"recommendations-of-the-week": here},
        "flows": {"ask": {"rate_per_s": 1, "root": {"service": "recommendations-of-the-week"}}},
    }
    times = dict.fromkeys(picture.MEASURES, (0.0, "0 ms"))
    milestone = picture.Milestone("synchronous", System.model_validate(data), times)
    ((boxes, _),) = picture.columns([milestone], "ask")
    assert "…" in boxes.svg and "recommendations-of-the-week" not in boxes.svg
