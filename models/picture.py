"""The road of a system as a picture: a column a stage, where services run, how long a request takes.

Each column is two SVGs, so that a page can set them side by side or, on a phone, one below the
other; `row` makes one picture of them. Colours are those of the light scheme.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

from models import charts
from models.drawing import fitted
from models.system import System

MEASURES = {
    "response_mean_ms": "until the user has an answer",
    "completion_mean_ms": "until all is done",
}
WAYS = {"call": "called, the caller waits", "message": "reached by a message, nobody waits"}
COLUMN, BETWEEN, CHIP, HIGH, APART, LABEL, TOP = 268, 22, 119, 28, 10, 30, 62  # pixels
BARS, BAR = 50, 118  # between two bars, and the longest


@dataclass(frozen=True)
class Milestone:
    """A system at a stage, and for each of MEASURES the mean in ms and how it is printed."""

    stage: str
    system: System
    times: Mapping[str, tuple[float, str]]


@dataclass(frozen=True)
class Part:
    """A piece of the picture, a column wide: what it says, its height in pixels, what is drawn."""

    title: str
    high: int
    inside: str

    @property
    def svg(self) -> str:
        return _svg((COLUMN + 8, self.high), self.title, self.inside)


def columns(milestones: Sequence[Milestone], flow: str) -> list[tuple[Part, Part]]:
    """For each stage where the services of a flow run, and beneath it the bars of its times."""
    means = [mean for each in milestones for mean, _ in each.times.values() if isfinite(mean)]
    longest = max(means, default=0.0) or 1.0
    return [
        (_boxes(each, _places(each.system, flow), flow), _bars(each, longest))
        for each in milestones
    ]


def row(found: Sequence[tuple[Part, Part]], title: str, below: str) -> str:
    """The columns side by side in one SVG, with what outlines mean and a line `below`."""
    top, bars = (max(pair[part].high for pair in found) for part in (0, 1))
    inside = []
    for place, (boxes, times) in enumerate(found):
        for part, y in ((boxes, 0), (times, top)):
            x = place * (COLUMN + BETWEEN)
            inside.append(f'<g transform="translate({x} {y})">{part.inside}</g>')
    high = top + bars
    for place, (way, words) in enumerate(WAYS.items()):
        x = place * (COLUMN + BETWEEN)
        inside.append(_box(x, high + 6, 26, 16, way) + _text(x + 34, high + 18, words))
    inside.append(_text(0, high + 44, below))
    wide = max(2, len(found)) * (COLUMN + BETWEEN) - BETWEEN + 8
    return _svg((wide, high + 54), title, "\n".join(inside))


def describe(each: Milestone) -> str:
    """A column in words."""
    said = "; ".join(f"{MEASURES[name]}: {shown}" for name, (_, shown) in each.times.items())
    return f"{each.stage}, {said}"


def _svg(size: tuple[int, int], title: str, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="-4 0 {size[0]} {size[1]}" '
        f'font-family="{escape(charts.FONT)}"><title>{escape(title)}</title>\n{inside}\n</svg>'
    )


def _boxes(each: Milestone, frames: dict[str, dict[str, str]], flow: str) -> Part:
    counted = _counted(each.system, flow, len(frames))
    parts = [
        _text(0, 22, each.stage.capitalize(), charts.COLOUR[each.stage], 19, 650),
        _text(0, 44, counted),
    ]
    y = TOP
    for label, chips in frames.items():
        parts.append(_frame(y, label, chips))
        y += _height(chips)
    return Part(f"{each.stage}: {counted}", y, "\n".join(parts))


def _bars(each: Milestone, longest: float) -> Part:
    parts = []
    y = 20
    for name, words in MEASURES.items():
        mean, shown = each.times[name]
        long = BAR * mean / longest if isfinite(mean) else 0.0
        parts.append(_text(0, y, words))
        parts.append(
            f'<rect x="0" y="{y + 8}" width="{long:.1f}" height="15" rx="2" '
            f'fill="{charts.COLOUR[each.stage]}"/>'
        )
        parts.append(_text(round(long) + 8, y + 20, shown, charts.INK_COLOUR, 13.5, 600))
        y += BARS
    return Part(describe(each), y, "\n".join(parts))


def _places(system: System, flow: str) -> dict[str, dict[str, str]]:
    """Infrastructure -> the services of the flow that run there, and how each is reached."""
    found: dict[str, dict[str, str]] = {}
    for entry in system.steps(flow):
        home = system.services[entry.step.service].infrastructure
        chips = found.setdefault(system.infrastructures[home].label or home, {})
        chips.setdefault(entry.step.service, entry.mode)
    return found


def _counted(system: System, flow: str, places: int) -> str:
    modes = [entry.mode for entry in system.steps(flow)]
    counts = {"call": modes.count("call"), "message": modes.count("message"), "place": places}
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts.items() if n)


def _height(chips: dict[str, str]) -> int:
    rows = (len(chips) + 1) // 2
    return LABEL + rows * (HIGH + APART) + APART


def _frame(y: int, label: str, chips: dict[str, str]) -> str:
    parts = [
        f'<rect x="0" y="{y}" width="{COLUMN}" height="{_height(chips) - APART}" rx="9" '
        f'fill="{charts.PANEL}" stroke="{charts.LINE}"/>',
        _text(APART, y + 20, fitted(label, COLUMN - 2 * APART, 13.5)),
    ]
    for place, (service, mode) in enumerate(chips.items()):
        left = APART + place % 2 * (CHIP + APART)
        top = y + LABEL + place // 2 * (HIGH + APART)
        name = fitted(service, CHIP - 14, 13, bold=True)
        parts.append(_box(left, top, CHIP, HIGH, mode))
        parts.append(_text(left + 10, top + 19, name, charts.INK_COLOUR, 13, 600))
    return "\n".join(parts)


def _box(x: int, y: int, width: int, high: int, mode: str) -> str:
    stroke = {"call": charts.COLOUR["synchronous"], "message": charts.COLOUR["asynchronous"]}
    dash = ' stroke-dasharray="5 3"' if mode == "message" else ""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{high}" rx="5" fill="{charts.PAPER}" '
        f'stroke="{stroke.get(mode, charts.SOFT)}" stroke-width="1.5"{dash}/>'
    )


def _text(x, y, words, colour=charts.SOFT, size=13.5, weight=400) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )
