"""A system as a picture, made from the data.

Infrastructures are boxes; the services and brokers in them stand in one column, in the order in
which requests first reach them. To the right of the column runs one line for each caller, with a
branch to each service that it reaches, so that no line ever crosses a box. Calls are solid,
messages are dashed and pass through their broker. The narrow shape fits a phone.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

import pandas as pd

from models import charts

CALL, MESSAGE, TIMES = "call", "message", "times"
_LEFT, _LANE, _PORT = 22, 18, 17  # pixels: margin, distance of lines, distance of their ends
_BOX, _WIDEST_BOX, _LABEL = 262, 400, 62  # at least; at most; at least beside an arrow's head
_FRAME_TOP, _GAP, _FRAME_GAP, _RADIUS = 40, 12, 18, 9
_WIDTH = 440


@dataclass
class _Node:
    title: str
    note: str
    shape: str  # request, service or broker
    infrastructure: str | None
    y: float = 0.0
    height: float = 0.0
    ports: list[tuple[float, int, str]] = field(default_factory=list)  # other end, number, role


@dataclass(frozen=True)
class _Edge:
    """From one node to another; `way` is CALL or MESSAGE, `rtt_ms` None inside a frame."""

    source: str
    target: str
    way: str
    rtt_ms: float | None


def draw(system: Any) -> str:
    """The system as an SVG that follows the page's colour scheme (pure: same data, same picture)."""
    nodes, edges = _graph(system)
    ports = _place(system, nodes, edges)
    lanes = _lanes(edges, ports)
    right = _LEFT + _box_width(system, nodes.values())
    beside = max([_LABEL, *(20 + _wide(_beside(*item), 12) for item in edges.items())])
    width = max(_WIDTH, right + beside + _LANE * (1 + max(lanes.values(), default=0)) + 24)
    parts: list[str] = []
    for name, part in system.infrastructures.items():
        inside = [node for node in nodes.values() if node.infrastructure == name]
        if inside:
            parts.append(_frame(part.label or name, _within(system), inside, right))
    ends = []
    drawn: set[tuple] = set()  # which way each trunk is there already
    for edge in sorted(edges, key=lambda edge: -abs(ports[edge][0] - ports[edge][1])):
        lane = right + beside + _LANE * lanes[_trunk(edge)]
        parts.append(_line(edge, ports[edge], lane, right, drawn))
        ends.append(_head(edge, edges[edge], ports[edge][1], right))
    parts += [_box(node, right) for node in nodes.values()] + ends
    bottom = max(node.y + node.height for node in nodes.values()) + 34
    inner = [edge.way for edge in edges if not edge.source.startswith("flow ")]
    marks = [way for way in (CALL, MESSAGE) if way in inner]
    marks += [TIMES] if max(edges.values()) > 1 else []
    for number, mark in enumerate(marks):
        parts.append(_legend(mark, bottom + 24 * number))
    height = bottom + 24 * len(marks)
    title = f"<title>{escape(system.name)}</title><desc>{escape(describe(system))}</desc>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="system" role="img" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{escape(charts.FONT)}" font-size="15">'
        f"{title}<style>{_alone()}</style>{charts.themed(''.join(parts))}</svg>"
    )


def plain(svg: str) -> str:
    """The drawing in fixed colours of the light scheme, on white, for printing."""
    svg = re.sub(r"var\(--[a-z-]+, (#[0-9a-f]{6})\)", r"\1", re.sub("<style>.*?</style>", "", svg))
    return re.sub(
        r"</desc>", '</desc><rect width="100%" height="100%" fill="#ffffff"/>', svg, count=1
    )


def describe(system: Any) -> str:
    """The drawing in words: who calls whom, who sends messages to whom, and where they run."""
    places = [
        f"{part.label or name} holds {_list([s for s, made in system.services.items() if made.infrastructure == name])}"
        for name, part in system.infrastructures.items()
        if any(made.infrastructure == name for made in system.services.values())
    ]
    ways: dict[tuple[str, str], list[str]] = {}
    for _, parent, step in _walk(system):
        if parent is not None and (step.via or step.service != parent.service):
            word = f"sends messages through {step.via} to" if step.via else "calls"
            reached = ways.setdefault((parent.service, word), [])
            if step.service not in reached:
                reached.append(step.service)
    said = [f"{source} {word} {_list(reached)}" for (source, word), reached in ways.items()]
    return ". ".join([f"{system.name}: {'; '.join(places)}", *said]) + "."


def steps(system: Any) -> pd.DataFrame:
    """The rows behind the drawing, one a step: how it is reached, over which round trip, its work."""
    rows = []
    for flow, parent, step in _walk(system):
        here = parent and system.services[parent.service].infrastructure
        there = system.services[step.service].infrastructure
        made = system.services[step.service]
        way = "request" if parent is None else f"message via {step.via}" if step.via else "call"
        between = system.brokers[step.via].infrastructure if step.via else there
        rows.append(
            {
                "flow": flow,
                "step": step.name or step.service,
                "service": step.service,
                "reached by": way,
                "from": parent.service if parent else "",
                "infrastructure": there,
                "round trip (ms)": _rtt_ms(system, here, between, there) if parent else None,
                "work, mean (ms)": step.work.mean_ms,
                "workers": made.workers,
            }
        )
    return pd.DataFrame(rows)


def _walk(system: Any):
    """Every step, depth first: flow, the step above or None, step."""

    def below(flow, parent, step):
        yield flow, parent, step
        for child in step.then:
            yield from below(flow, step, child)

    for name, flow in system.flows.items():
        yield from below(name, None, flow.root)


def _rtt_ms(system: Any, *stops: str) -> float:
    """Round trips of the links on the way, or that inside the one infrastructure."""
    links = {frozenset(link.ends): link.rtt_ms for link in system.network.between}
    legs = [frozenset(leg) for leg in pairwise(stops) if leg[0] != leg[1]]
    return sum(links[leg] for leg in legs) if legs else system.network.within_ms


def _graph(system: Any) -> tuple[dict[str, _Node], dict[_Edge, int]]:
    """The nodes in the order in which requests reach them, and how often each edge is used."""
    found: dict[str, _Node] = {}
    edges: dict[_Edge, int] = {}

    def reach_service(name):
        made = system.services[name]
        workers = (
            "unlimited workers" if made.workers == "unlimited" else _count(made.workers, "worker")
        )
        note = f"{made.team} · {workers}" if made.team else workers
        found.setdefault(f"service {name}", _Node(name, note, "service", made.infrastructure))
        return f"service {name}", made.infrastructure

    def reach_broker(name):
        made = system.brokers[name]
        note = (
            "broker, one shared queue"
            if made.partitions is None
            else f"broker, {_count(made.partitions, 'partition')}"
        )
        found.setdefault(f"broker {name}", _Node(name, note, "broker", made.infrastructure))
        return f"broker {name}", made.infrastructure

    def connect(source, target, way):
        (one, here), (other, there) = source, target
        apart = here is not None and here != there
        edge = _Edge(one, other, way, _rtt_ms(system, here, there) if apart else None)
        edges[edge] = edges.get(edge, 0) + 1

    for flow, parent, step in _walk(system):
        if parent is None:
            rate = (
                f"{system.flows[flow].rate_per_s:,g} requests/s"
                if system.flows[flow].rate_per_s
                else "requests"
            )
            found[f"flow {flow}"] = _Node(flow.replace("_", " "), rate, "request", None)
            connect((f"flow {flow}", None), reach_service(step.service), CALL)
        elif step.via:
            broker = reach_broker(step.via)
            connect(reach_service(parent.service), broker, MESSAGE)
            connect(broker, reach_service(step.service), MESSAGE)
        elif step.service != parent.service:
            connect(reach_service(parent.service), reach_service(step.service), CALL)
    for name in system.services:  # also what no flow reaches
        reach_service(name)
    order = {name: number for number, name in enumerate([None, *system.infrastructures])}
    ranked = sorted(found.items(), key=lambda item: order[item[1].infrastructure])
    return dict(ranked), edges


def _trunk(edge: _Edge) -> tuple[str, str]:
    """Edges of one trunk share a line: those from one caller, and all requests for one service."""
    return (edge.target, "requests") if edge.source.startswith("flow ") else (edge.source, edge.way)


def _place(system: Any, nodes: dict[str, _Node], edges: dict[_Edge, int]):
    """Set each node's y and height; returns the y of both ends of each edge."""
    rank = {name: number for number, name in enumerate(nodes)}
    sides: dict[str, dict[tuple, None]] = {name: {} for name in nodes}
    for edge in edges:
        # A caller's branches leave from one port; each trunk that arrives has its own.
        sides[edge.source][1, "out", edge.way] = None
        side = 0 if rank[edge.source] < rank[edge.target] else 2
        sides[edge.target][side, rank[_trunk(edge)[0]], _trunk(edge)[1]] = None
    y, last = 8.0, None
    port_y: dict[tuple, float] = {}
    for name, node in nodes.items():
        if node.infrastructure != last:
            y += (_FRAME_GAP if last else 0) + _FRAME_TOP + 12
            last = node.infrastructure
        ports = sorted(sides[name], key=lambda port: (port[0], str(port[1]).zfill(4), port[2]))
        node.y, node.height = y, max(50.0, _PORT * (len(ports) + 1))
        for number, port in enumerate(ports, 1):
            port_y[name, port[1], port[2]] = y + node.height * number / (len(ports) + 1)
        y += node.height + _GAP
    return {
        edge: (
            port_y[edge.source, "out", edge.way],
            port_y[edge.target, rank[_trunk(edge)[0]], _trunk(edge)[1]],
        )
        for edge in edges
    }


def _lanes(edges: dict[_Edge, int], ports) -> dict[tuple[str, str], int]:
    """The vertical line of each caller: short ones inside, none over another."""
    spans: dict[tuple[str, str], tuple[float, float]] = {}
    for edge in edges:
        low, high = spans.get(_trunk(edge), (float("inf"), 0.0))
        spans[_trunk(edge)] = (min(low, *ports[edge]), max(high, *ports[edge]))
    lanes: dict[tuple[str, str], int] = {}
    for name, (low, high) in sorted(spans.items(), key=lambda item: item[1][1] - item[1][0]):
        taken = {
            lanes[other]
            for other in lanes
            if spans[other][0] <= high + _PORT and low <= spans[other][1] + _PORT
        }
        lanes[name] = next(lane for lane in range(len(spans)) if lane not in taken)
    return lanes


def _wide(text: str, size: float, bold: bool = False) -> float:
    """About how many pixels a text takes: fonts differ from machine to machine."""
    units = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return units * size * (0.65 if bold else 0.57)


def fitted(text: str, pixels: float, size: float, bold: bool = False) -> str:
    """The text, shortened where it does not fit."""
    if _wide(text, size, bold) <= pixels:
        return text
    while text and _wide(text + "…", size, bold) > pixels:
        text = text[:-1]
    return text.rstrip() + "…"


def _inset(node: _Node) -> int:
    return 14 if node.shape == "service" else 26


def _within(system: Any) -> str:
    return f"round trip {system.network.within_ms:g} ms"


def _box_width(system: Any, nodes: Any) -> float:
    titles = [
        _inset(node) + 10 + max(_wide(node.title, 15, True), _wide(node.note, 12.5))
        for node in nodes
    ]
    note = _wide(_within(system), 12.5)
    frames = [_wide(part.label or name, 15, True) for name, part in system.infrastructures.items()]
    return min(max(_BOX, *titles, *(wide + note - 4 for wide in frames)), _WIDEST_BOX)


def _frame(label: str, note: str, inside: list[_Node], right: float) -> str:
    top = inside[0].y - _FRAME_TOP
    height = inside[-1].y + inside[-1].height + 12 - top
    shown = fitted(label, right - _LEFT + 4 - _wide(note, 12.5), 15, True)
    return (
        f'<rect x="8" y="{top:g}" width="{right + 10:g}" height="{height:g}" rx="12" '
        f'fill="{charts.PANEL}" stroke="{charts.LINE}"><title>{escape(label)}</title></rect>'
        f'<text x="{_LEFT}" y="{top + 25:g}" font-weight="600" fill="{charts.INK_COLOUR}">'
        f'{escape(shown)}<tspan dx="8" font-size="12.5" font-weight="400" fill="{charts.SOFT}">'
        f"{note}</tspan></text>"
    )


def _box(node: _Node, right: float) -> str:
    corner = 7 if node.shape == "service" else 25
    stroke = {
        "service": charts.SOFT,
        "broker": charts.COLOUR["asynchronous"],
        "request": charts.LINE,
    }
    x, middle = _LEFT + _inset(node), node.y + node.height / 2
    space = right - x - 10
    return (
        f'<rect x="{_LEFT}" y="{node.y:g}" width="{right - _LEFT:g}" height="{node.height:g}" '
        f'rx="{corner:g}" fill="{charts.PAPER}" stroke="{stroke[node.shape]}" '
        f'stroke-width="1.25"><title>{escape(f"{node.title}: {node.note}")}</title></rect>'
        f'<text x="{x}" y="{middle - 3:g}" font-weight="600" '
        f'fill="{charts.INK_COLOUR}">{escape(fitted(node.title, space, 15, True))}</text>'
        f'<text x="{x}" y="{middle + 15:g}" font-size="12.5" '
        f'fill="{charts.SOFT}">{escape(fitted(node.note, space, 12.5))}</text>'
    )


def _line(edge: _Edge, ends: tuple[float, float], lane: float, right: float, drawn: set) -> str:
    """The line, without what an earlier (longer) line of the same trunk has drawn already."""
    start, end = ends
    way = 1 if end > start else -1
    turn = min(_RADIUS, abs(end - start) / 2)
    out = f"H{lane - turn:g}Q{lane:g} {start:g} {lane:g} {start + way * turn:g}"
    back = f"Q{lane:g} {end:g} {lane - turn:g} {end:g}H{right + 8:g}"
    whole = f"M{right:g} {start:g}{out}V{end - way * turn:g}{back}"
    branch = f"M{lane:g} {end - way * turn:g}{back}"
    trunk = _trunk(edge)
    if (trunk, way) not in drawn:
        path = whole
    else:  # many requests share the end of their trunk, the branches of one caller its start
        path = f"M{right:g} {start:g}{out}" if trunk[1] == "requests" else branch
    drawn.add((trunk, way))
    return (
        f'<path d="{path}" fill="none" stroke="{_colour(edge)}" '
        f'stroke-width="1.75"{_dash(edge.way)}/>'
    )


def _beside(edge: _Edge, count: int) -> str:
    """What stands beside an arrow's head."""
    notes = [f"{edge.rtt_ms:g} ms"] if edge.rtt_ms is not None else []
    notes += [f"×{count}"] if count > 1 else []
    return " ".join(notes)


def _head(edge: _Edge, count: int, y: float, right: float) -> str:
    head = f'<path d="M{right + 1:g} {y:g}l9 -4.5v9z" fill="{_colour(edge)}"/>'
    if notes := _beside(edge, count):
        head += (
            f'<text x="{right + 13:g}" y="{y - 4:g}" font-size="12" fill="{charts.SOFT}">'
            f"{notes}</text>"
        )
    return head


def _legend(mark: str, y: float) -> str:
    words = {
        CALL: "call: the caller waits for the answer",
        MESSAGE: "message: through the broker, nobody waits",
        TIMES: "n steps of the flows go this way",
    }
    small = f'font-size="12.5" fill="{charts.SOFT}"'
    text = f'<text x="{_LEFT + 54}" y="{y:g}" {small}>{words[mark]}</text>'
    if mark == TIMES:
        return f'<text x="{_LEFT + 16}" y="{y:g}" {small}>×n</text>{text}'
    colour = charts.COLOUR["synchronous" if mark == CALL else "asynchronous"]
    return (
        f'<path d="M{_LEFT} {y - 5:g}h34" stroke="{colour}" stroke-width="1.75"{_dash(mark)}/>'
        f'<path d="M{_LEFT + 42} {y - 5:g}l-9 -4.5v9z" fill="{colour}"/>{text}'
    )


def _colour(edge: _Edge) -> str:
    if edge.source.startswith("flow "):
        return charts.SOFT
    return charts.COLOUR["synchronous" if edge.way == CALL else "asynchronous"]


def _dash(way: str) -> str:
    return ' stroke-dasharray="6 4"' if way == MESSAGE else ""


def _alone() -> str:
    """The dark scheme for a drawing that is a document of its own; in a page, the page's holds."""
    pairs = [(f"--{name}", dark) for name, (_, dark) in charts.INK.items()]
    pairs += [(f"--stage-{name}", dark) for name, (_, dark) in charts.STAGES.items()]
    dark = "".join(f"{name}:{colour};" for name, colour in pairs)
    return f"@media (prefers-color-scheme:dark){{svg.system:root{{{dark}background:{charts.INK['paper'][1]}}}}}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
