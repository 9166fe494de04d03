"""The colours can be told apart and read; a chart for a page needs nothing from elsewhere."""

import itertools
import json
import re

import altair as alt
import numpy as np
import pandas as pd
import pytest

from models import charts

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def linear(colour):
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB, white D65."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.clip(matrix @ rgb, 0, None) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    """WCAG 2 contrast ratio."""
    light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_stages_can_be_told_apart(deficiency, scheme):
    seen = {
        stage: lab(np.clip(np.array(DEFICIENCIES[deficiency]) @ linear(both[scheme]), 0, 1))
        for stage, both in charts.STAGES.items()
    }
    gaps = {
        pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]])
        for pair in itertools.combinations(seen, 2)
    }
    closest = min(gaps, key=gaps.get)
    assert gaps[closest] > 10, (closest, gaps[closest])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_are_readable_on_the_page(scheme):
    for surface in ("paper", "panel"):
        ground = charts.INK[surface][scheme]
        for name in ("ink", "soft"):
            assert contrast(charts.INK[name][scheme], ground) >= 4.5, (name, surface)
        for stage, both in charts.STAGES.items():
            assert contrast(both[scheme], ground) >= 4.5, (stage, surface)


def lines():
    rows = pd.DataFrame(
        {
            "x": [1.0, 2.0, 1.0, 2.0],
            "y": [1.0, 2.0, 3.0, 4.0],
            "half": [0.1] * 4,
            "stage": ["soak", "soak", "meshed", "meshed"],
        }
    )
    colour = charts.stage_colour(stages=["soak", "meshed"])
    line = (
        alt.Chart(rows)
        .mark_line()
        .encode(
            x=alt.X("x:Q", title="Distance (ms)"), y=alt.Y("y:Q", title="Time (ms)"), color=colour
        )
    )
    band = charts.interval(rows, "x", "y", "half", colour)
    return band + line + charts.direct_labels(rows, "x", "y", "stage", colour)


def test_stages_have_their_colours_and_names_at_the_lines():
    picture = charts.svg(lines().to_dict())
    for stage in ("soak", "meshed"):
        assert f"var(--stage-{stage}, {charts.COLOUR[stage]})" in picture
        assert picture.count(f">{stage}<") == 1
    assert "Distance (ms)" in picture and ">Time (ms)<" in picture


def test_an_interval_is_drawn_from_low_to_high():
    rows = pd.DataFrame({"x": [1.0], "y": [5.0], "half": [2.0]})
    spec = charts.interval(rows, "x", "y", "half", alt.value("black"), band=False).to_dict()
    (drawn,) = next(iter(spec["datasets"].values()))
    assert (drawn["low"], drawn["high"]) == (3.0, 7.0)


def test_a_chart_for_a_page_is_described_escaped_and_alone():
    page = charts.html(lines().to_dict(), 'Two "lines" & </script>', "key")
    assert 'aria-label="Two &quot;lines&quot; &amp; &lt;/script&gt;"' in page
    assert not re.search(r"(?:href|src)=", page)
    spec = json.loads(
        re.search(r"<script[^>]*>(.*?)</script>", page, re.S)[1].replace("<\\/", "</")
    )
    assert spec["width"] == "container" and "$schema" not in spec


def test_two_charts_of_a_page_share_no_id():
    clipped = alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_line(clip=True).encode(x="x:Q", y="x:Q")
    pages = [charts.html(clipped.to_dict(), "Lines.", key) for key in ("one", "two")]
    one, two = (set(re.findall(r'\sid="([^"]+)"', page)) for page in pages)
    assert one and not one & two


def test_both_schemes_define_every_colour():
    sheet = charts.stylesheet()
    for name, (light, dark) in charts.STAGES.items():
        assert f"--stage-{name}:{light};" in sheet and sheet.count(f"--stage-{name}:{dark};") == 2
