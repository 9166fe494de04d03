"""How every chart of the book looks, and how it is shown without any other host.

One theme, one colour a stage, direct labels, intervals drawn. The colours are names for the page's
own colours: in HTML each becomes a CSS variable that follows the light or dark scheme, in pictures
it stays the light scheme's colour.
"""

import hashlib
import html as markup
import json
import re
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

# One colour a stage: light scheme, dark scheme. Told apart by the colour-blind (tests/test_charts).
STAGES = {
    "synchronous": ("#b02400", "#fa835e"),
    "asynchronous": ("#0a6cb5", "#3dd5ff"),
    "soak": ("#b03b81", "#f55cb1"),
    "separated": ("#006b48", "#84fbc4"),
    "meshed": ("#7d6220", "#f7c316"),
    "governed": ("#4537a6", "#937dff"),
}
INK = {
    "ink": ("#23272f", "#e6e8ec"),
    "soft": ("#5a6371", "#a7b0bd"),
    "line": ("#d5dae1", "#3d4450"),
    "paper": ("#fefefe", "#14181e"),
    "panel": ("#f4f6f9", "#1e242d"),
}
INK_COLOUR, SOFT, LINE, PAPER, PANEL = (light for light, _ in INK.values())
COLOUR = {stage: light for stage, (light, _) in STAGES.items()}
WIDTH, HEIGHT = 640, 320
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_VARIABLES = {
    **{light: f"var(--{name}, {light})" for name, (light, _) in INK.items()},
    **{light: f"var(--stage-{name}, {light})" for name, (light, _) in STAGES.items()},
}
_SENTINEL = re.compile("|".join(_VARIABLES))


@alt.theme.register("decoupling", enable=True)
def theme() -> alt.theme.ThemeConfig:
    """Calm: thin lines, a light grid, titles to the left, colours of the page."""
    label: Any = {"labelColor": SOFT, "titleColor": SOFT, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "config": {
            "background": "transparent",
            "font": FONT,
            "view": {
                "stroke": None,
                "continuousWidth": WIDTH,
                "discreteWidth": WIDTH,
                "continuousHeight": HEIGHT,
            },
            "axis": {
                **label,
                "titleFontWeight": "normal",
                "titlePadding": 10,
                "labelPadding": 6,
                "domainColor": LINE,
                "tickColor": LINE,
                "gridColor": LINE,
                "gridOpacity": 0.6,
                "labelOverlap": True,
            },
            "axisX": {"grid": False, "tickCount": 7, "titleAnchor": "end"},
            "axisY": {
                "domain": False,
                "ticks": False,
                "tickCount": 5,
                "titleAngle": 0,
                "titleAlign": "left",
                "titleAnchor": "end",
                "titleX": 0,
                "titleY": -14,
            },
            "legend": {**label, "orient": "top", "title": None, "symbolType": "stroke"},
            "header": {**label, "titleFontWeight": "normal"},
            "title": {"color": INK_COLOUR, "anchor": "start", "fontSize": 14, "offset": 12},
            "line": {"strokeWidth": 2.25, "stroke": COLOUR["asynchronous"]},
            "point": {"filled": True, "size": 45, "fill": COLOUR["asynchronous"]},
            "rule": {"color": SOFT},
            "bar": {"fill": COLOUR["asynchronous"]},
            "area": {"fill": COLOUR["asynchronous"]},
            "text": {"color": INK_COLOUR, "fontSize": 12},
            "tick": {"color": SOFT},
            "range": {"category": list(COLOUR.values())},
        }
    }


def stage_colour(
    field: str = "stage", stages: list[str] | None = None, **options: Any
) -> alt.Color:
    """The colour channel of a column that holds names of stages, without a legend by default."""
    names = list(COLOUR) if stages is None else stages
    scale = alt.Scale(domain=names, range=[COLOUR[name] for name in names])
    return alt.Color(f"{field}:N", scale=scale, **{"legend": None, **options})


def direct_labels(
    data: pd.DataFrame, x: str, y: str, label: str, colour: Any, where: str = "last"
) -> alt.Chart:
    """The names of the lines, written at their `last` (or `first`) point. Layer it over them."""
    ordered = data.sort_values(x).groupby(label, sort=False)
    ends = ordered.tail(1) if where == "last" else ordered.head(1)
    side: dict[str, Any] = (
        {"align": "left", "dx": 7} if where == "last" else {"align": "right", "dx": -7}
    )
    mark = alt.Chart(ends).mark_text(baseline="middle", fontWeight=600, clip=False, **side)
    return mark.encode(x=f"{x}:Q", y=f"{y}:Q", text=f"{label}:N", color=colour)


def interval(
    data: pd.DataFrame,
    x: str,
    mean: str,
    half_width: str,
    colour: Any,
    band: bool = True,
    lowest: float | None = None,
) -> alt.Chart:
    """The 95 % interval `mean ± half_width`, as a band along a line or as bars at points.

    It is cut off at `lowest`, for a logarithmic axis, which has no place for 0 and less.
    """
    ends = data.assign(low=data[mean] - data[half_width], high=data[mean] + data[half_width])
    ends["low"] = ends.low.clip(lower=lowest)
    base = alt.Chart(ends).encode(x=f"{x}:Q", y="low:Q", y2="high:Q", color=colour)
    return base.mark_area(opacity=0.2) if band else base.mark_rule(strokeWidth=2)


def slider(
    name: str, label: str, low: float, high: float, start: float, step: float
) -> alt.Parameter:
    """A slider beneath the chart. `label` names the quantity and its unit."""
    bind = alt.binding_range(min=low, max=high, step=step, name=f"{label} ")
    return alt.param(name=name, value=start, bind=bind)


def themed(text: str) -> str:
    """The theme's colours in a spec or an SVG become CSS variables that follow the scheme."""
    return _SENTINEL.sub(lambda found: _VARIABLES[found[0]], text)


def stylesheet() -> str:
    """The CSS variables of both schemes; the page's `data-theme` or the system chooses."""

    def block(scheme):
        pairs = [(f"--{name}", both[scheme]) for name, both in INK.items()]
        pairs += [(f"--stage-{name}", both[scheme]) for name, both in STAGES.items()]
        return "".join(f"{name}:{colour};" for name, colour in pairs)

    dark = block(1)
    return (
        f":root{{{block(0)}}}\n"
        f"@media screen and (prefers-color-scheme:dark)"
        f"{{:root:not([data-theme=light]){{{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}\n"
    )


def svg(spec: dict[str, Any]) -> str:
    """The chart as a static picture that scales with the page and follows its colour scheme."""
    return themed(vl_convert.vegalite_to_svg(spec))


def png(spec: dict[str, Any]) -> bytes:
    """The chart as a picture for print, on white."""
    return vl_convert.vegalite_to_png({**spec, "background": "white"}, scale=2)


def html(spec: dict[str, Any], alt: str, key: str) -> str:
    """The chart for a page: the static picture, and the spec that the page's script makes live."""
    picture = svg(spec).replace('id="', f'id="{key}-').replace("url(#", f"url(#{key}-")
    described = f'<svg role="img" aria-label="{markup.escape(alt)}" '
    picture = picture.replace("<svg ", described, 1)
    # `</` would end the script element early.
    live = themed(json.dumps(_fluid(spec), separators=(",", ":"))).replace("</", "<\\/")
    script = f'<script type="application/json">{live}</script>'
    return f'<div class="chart" data-alt="{markup.escape(alt)}">{picture}{script}</div>'


def _fluid(spec: dict[str, Any]) -> dict[str, Any]:
    """A single or layered chart without a width of its own takes the width of the page."""
    spec = {name: part for name, part in spec.items() if name != "$schema"}
    if ("mark" in spec or "layer" in spec) and "width" not in spec:
        spec |= {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    return spec


def _render(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What a notebook shows for a chart that is displayed without being published."""
    return {
        "text/html": html(
            spec, "Chart", "chart-" + hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:8]
        )
    }


alt.renderers.register("decoupling", _render)
alt.renderers.enable("decoupling")
