"""The picture in the README: one flow of a bundled system at each stage of the road, measured.

`make picture` writes it for both colour schemes. The same model gives the same picture, to the byte.
"""

import re
from html import escape
from pathlib import Path

from models import System, charts, replicate, stages
from models.publish import number

SYSTEM, FLOW = "shop", "place_order"
RUNS, REQUESTS, SEED = 20, 50_000, 1
MEASURES = {
    "response_mean_ms": "until the user has an answer",
    "completion_mean_ms": "until all is done",
}
WAYS = {"call": "called, the caller waits", "message": "reached by a message, nobody waits"}
COLUMN, BETWEEN, CHIP, HIGH, APART, LABEL, TOP = 268, 22, 119, 28, 10, 30, 62  # pixels


def pictures() -> dict[str, str]:
    """The SVG of each colour scheme."""
    road = {stage: stages.at(System.load(SYSTEM), stage) for stage in stages.ROAD}
    measured = {
        stage: replicate(system, RUNS, REQUESTS, SEED, list(MEASURES)).set_index(["flow", "metric"])
        for stage, system in road.items()
    }
    light = picture(road, measured)
    darker = {light: dark for light, dark in [*charts.INK.values(), *charts.STAGES.values()]}
    return {
        "light": light,
        "dark": re.sub("#[0-9a-f]{6}", lambda colour: darker[colour[0]], light),
    }


def picture(road, measured) -> str:
    boxes = {stage: places(system) for stage, system in road.items()}
    bars = TOP + max(sum(map(height, frames.values())) for frames in boxes.values())
    longest = max(table["mean"].max() for table in measured.values())
    parts, said = [], []
    for place, (stage, system) in enumerate(road.items()):
        x = place * (COLUMN + BETWEEN)
        parts.append(text(x, 22, stage.capitalize(), charts.COLOUR[stage], 19, 650))
        parts.append(text(x, 44, counted(system, boxes[stage])))
        y = TOP
        for label, chips in boxes[stage].items():
            parts.append(frame(x, y, label, chips))
            y += height(chips)
        y = bars + 26
        for metric, words in MEASURES.items():
            mean, half_width = measured[stage].loc[(FLOW, metric), ["mean", "half_width"]]
            long = 118 * mean / longest
            shown = number(mean, "ms", half_width)
            parts.append(text(x, y, words))
            parts.append(
                f'<rect x="{x}" y="{y + 8}" width="{long:.1f}" height="15" rx="2" '
                f'fill="{charts.COLOUR[stage]}"/>'
            )
            parts.append(text(x + round(long) + 8, y + 20, shown, charts.INK_COLOUR, 13.5, 600))
            said.append(f"{stage}, {words}: {shown}")
            y += 50
    y += 2
    for x, (way, words) in zip((0, COLUMN + BETWEEN), WAYS.items(), strict=True):
        parts.append(box(x, y - 12, 26, 16, way) + text(x + 34, y, words))
    name = f"{road['synchronous'].name}, {FLOW.replace('_', ' ')}"
    runs = f"{name}: mean of {RUNS} runs of {REQUESTS:,} requests, 95 % interval, seed {SEED}"
    parts.append(text(0, y + 26, runs))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="-4 0 {3 * COLUMN + 2 * BETWEEN + 8} {y + 36}" '
        f'font-family="{escape(charts.FONT)}">\n'
        f"<title>{escape(name)}</title>\n<desc>{escape('; '.join(said))}</desc>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def places(system) -> dict[str, dict[str, str]]:
    """Infrastructure -> the services of the flow that run there, and how each is reached."""
    found: dict[str, dict[str, str]] = {}
    for entry in system.steps(FLOW):
        home = system.services[entry.step.service].infrastructure
        chips = found.setdefault(system.infrastructures[home].label or home, {})
        chips.setdefault(entry.step.service, entry.mode)
    return found


def counted(system, boxes) -> str:
    modes = [entry.mode for entry in system.steps(FLOW)]
    counts = {"call": modes.count("call"), "message": modes.count("message"), "place": len(boxes)}
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts.items() if n)


def height(chips) -> int:
    rows = (len(chips) + 1) // 2
    return LABEL + rows * (HIGH + APART) + APART


def frame(x, y, label, chips) -> str:
    parts = [
        f'<rect x="{x}" y="{y}" width="{COLUMN}" height="{height(chips) - APART}" rx="9" '
        f'fill="{charts.PANEL}" stroke="{charts.LINE}"/>',
        text(x + APART, y + 20, label),
    ]
    for place, (service, mode) in enumerate(chips.items()):
        left = x + APART + place % 2 * (CHIP + APART)
        top = y + LABEL + place // 2 * (HIGH + APART)
        parts.append(box(left, top, CHIP, HIGH, mode))
        parts.append(text(left + 10, top + 19, service, charts.INK_COLOUR, 14, 600))
    return "\n".join(parts)


def box(x, y, width, high, mode) -> str:
    stroke = {"call": charts.COLOUR["synchronous"], "message": charts.COLOUR["asynchronous"]}
    dash = ' stroke-dasharray="5 3"' if mode == "message" else ""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{high}" rx="5" fill="{charts.PAPER}" '
        f'stroke="{stroke.get(mode, charts.SOFT)}" stroke-width="1.5"{dash}/>'
    )


def text(x, y, words, colour=charts.SOFT, size=13.5, weight=400) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )


def file(scheme) -> Path:
    return Path(__file__).with_name(f"road-{scheme}.svg")


if __name__ == "__main__":
    for scheme, svg in pictures().items():
        file(scheme).write_text(svg, "utf-8")
        print(f"{file(scheme)} written")
