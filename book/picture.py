"""The picture in the README: one flow of a bundled system at each stage of the road, measured.

`make picture` writes it for both colour schemes. The same model gives the same picture, to the byte.
"""

import re
from pathlib import Path

from models import System, charts, picture, replicate, stages
from models.publish import number

SYSTEM, FLOW = "shop", "place_order"
RUNS, REQUESTS, SEED = 20, 50_000, 1


def pictures() -> dict[str, str]:
    """The SVG of each colour scheme."""
    found = []
    for stage in stages.ROAD:
        system = stages.at(System.load(SYSTEM), stage)
        table = replicate(system, RUNS, REQUESTS, SEED, list(picture.MEASURES))
        rows = table[table.flow == FLOW].set_index("metric")
        times = {
            name: (rows["mean"][name], number(rows["mean"][name], "ms", rows.half_width[name]))
            for name in picture.MEASURES
        }
        found.append(picture.Milestone(stage, system, times))
    name = f"{found[0].system.name}, {FLOW.replace('_', ' ')}"
    runs = f"{name}: mean of {RUNS} runs of {REQUESTS:,} requests, 95 % interval, seed {SEED}"
    light = picture.row(picture.columns(found, FLOW), name, runs)
    darker = {light: dark for light, dark in [*charts.INK.values(), *charts.STAGES.values()]}
    return {
        "light": light,
        "dark": re.sub("#[0-9a-f]{6}", lambda colour: darker[colour[0]], light),
    }


def file(scheme) -> Path:
    return Path(__file__).with_name(f"road-{scheme}.svg")


if __name__ == "__main__":
    for scheme, svg in pictures().items():
        file(scheme).write_text(svg, "utf-8")
        print(f"{file(scheme)} written")
