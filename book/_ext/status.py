"""What the status page shows: versions, notebooks and their parameters, the engines' speed.

All of it is read while the book is built: from the installed packages, from the notebooks, from the
execution that made this book, and from the last `make bench`.
"""

import json
import platform
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import execution
import nbformat
import papermill
import published
from packaging.requirements import Requirement
from sphinx.application import Sphinx

import models
from models import experiment, publish

PACKAGE = "decoupling-in-stages"
EXTRAS = {"book": "the book", "lab": "reading notebooks", "test": "tests"}


def records(app: Sphinx) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, key) -> what a notebook would have published under that name."""
    notebooks = sorted(name for name in app.env.found_docs if name.startswith("notebooks/"))
    inside = {name: used(app, name) for name in notebooks}
    bench = json.loads((Path(app.srcdir) / "book" / "benchmarks.json").read_text("utf-8"))
    now = experiment.fingerprint(Path(models.__file__).parent / "engine")
    met = [row["met"] for row in bench["targets"]]
    values = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "bench-date": bench["date"],
        "bench-rounds": bench["rounds"],
        "bench-machine": ", ".join(
            item if name in ("processor", "system") else f"{name} {item}"
            for name, item in bench["machine"].items()
        ),
        "bench-engine": "has not changed" if bench["engine"] == now else "has changed",
        "bench-met": sum(met),
        "bench-targets": len(met),
    }
    tables = {
        "versions": versions(),
        "notebooks": [ran(app, name, parameters) for name, parameters in inside.items()],
        "parameters": [
            row for name, parameters in inside.items() for row in described(name, parameters)
        ],
        "targets": [asked(row) for row in bench["targets"]],
        "speeds": [
            {
                "System": row["system"],
                "Program": row["program"],
                "Requests/s": int(float(f"{row['per_s']:.2e}")),
                "Range": f"{rounded(row['low'])} to {rounded(row['high'])}",
            }
            for row in bench["speeds"]
        ],
        "sweeps": [
            {
                "Where": row["where"],
                "Points/s": float(f"{row['points_per_s']:.2e}"),
                "Range": f"{rounded(row['low'])} to {rounded(row['high'])}",
            }
            for row in bench["sweeps"]
        ],
    }
    found = {
        ("value", key): {"value": item, "text": publish.number(item)}
        for key, item in values.items()
    }
    found |= {("table", key): {"table": rows(table), "digits": 3} for key, table in tables.items()}
    return {name: {publish.MIME: record} for name, record in found.items()}


def rows(table: list[dict]) -> dict[str, list]:
    return {"columns": list(table[0]), "rows": [list(row.values()) for row in table]}


def versions() -> list[dict]:
    """What is installed of everything that the package and its extras ask for."""
    found: dict[str, str] = {}
    for text in requires(PACKAGE) or []:
        asked_for = Requirement(text)
        marker = str(asked_for.marker or "")
        part = next((part for part in EXTRAS if f'"{part}"' in marker), None)
        if not marker or part:
            found.setdefault(asked_for.name, EXTRAS[part] if part else "models and notebooks")
    return [{"Package": name, "Version": version(name), "For": use} for name, use in found.items()]


def used(app: Sphinx, name: str) -> dict:
    """The parameters of a notebook, with the values that this build gave them."""
    parameters = papermill.inspect_notebook(str(Path(app.srcdir) / f"{name}.ipynb"))
    for key, value in executed(app, name).metadata.papermill.parameters.items():
        parameters[key]["default"] = repr(value)
    return parameters


def executed(app: Sphinx, name: str) -> nbformat.NotebookNode:
    return nbformat.read(execution.folder(app) / f"{Path(name).name}.ipynb", as_version=4)


def ran(app: Sphinx, name: str, parameters: dict) -> dict:
    """How a notebook was run in this very build."""
    given = {key: parameter["default"] for key, parameter in parameters.items()}
    return {
        "Notebook": Path(name).name,
        "Seed": given.get("seed", "none"),
        "Runs": whole(given.get("replications") or given.get("simulated_futures")),
        "Requests a run": whole(given.get("requests")),
        "Run time (s)": executed(app, name).metadata.papermill.duration,
    }


def whole(text: str | None) -> int | None:
    """A parameter that counts something, if the notebook has it."""
    return None if text is None else int(text)


def described(name: str, parameters: dict) -> list[dict]:
    return [
        {
            "Notebook": Path(name).name,
            "Parameter": key,
            "Value": parameter["default"],
            "Meaning": parameter["help"],
        }
        for key, parameter in parameters.items()
    ]


def asked(row: dict) -> dict:
    """One target of the engine: what was measured, over the rounds, and what is asked for."""
    unit = row["unit"] and f"\u00a0{row['unit']}"
    low, high = rounded(row["low"]), rounded(row["high"])
    return {
        "What": row["what"],
        "Measured": rounded(row["measured"]) + unit,
        "Range": f"{low} to {high}" if low != high else "",
        "Target": f"{row['bound']} {row['target']:,.10g}{unit}",
        "Met": "yes" if row["met"] else "no",
    }


def rounded(number: float) -> str:
    """With three significant digits, whatever its size."""
    return publish.number(float(f"{number:.2e}"))


def setup(app: Sphinx) -> dict:
    published.SOURCES["status"] = records
    return {"parallel_read_safe": True, "parallel_write_safe": True}
