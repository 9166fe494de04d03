"""Running the book's notebooks side by side, and the whole book for a system of a reader's own.

The book itself is built the same way, with no parameters given: `book/_ext/execution.py`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import papermill
import yaml
from joblib import delayed
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from models import parameters
from models.checks import did_you_mean
from models.processes import pool
from models.system import System, bundled

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
CELL_S = 1200  # time limit of a cell


class EditionError(ValueError):
    """What cannot be run or built, in sentences."""


def execute(
    files: Iterable[Path],
    out: Path,
    given: dict[str, Any] | None = None,
    jobs: int = -1,
    progress: bool = False,
) -> None:
    """Run notebooks, each in a kernel of its own, `jobs` of them (-1: a core each) at a time.

    What is executed is written to the folder `out`, under the same names. Each notebook gets those
    of the parameters `given` that it declares. Raises EditionError for those that fail, all of them
    together; the last cell that ran is in the file that was written.
    """
    out.mkdir(parents=True, exist_ok=True)
    first, *others = sorted(files)  # chapter 1 needs only the part of the kernel that is soon there
    others.sort(key=lambda file: (file.stem[0].isdigit(), -file.stat().st_size))  # longest first
    tasks = [delayed(_run)(file, out / file.name, given or {}) for file in [first, *others]]
    if others:
        tasks[:0] = [delayed(_compile)(outage) for outage in (True, False)]
    workers = pool(jobs if others else 1, return_as="generator_unordered")
    failed = []
    with tqdm(total=1 + len(others), unit=" notebooks", disable=not progress, leave=False) as bar:
        for problem in workers(tasks):
            bar.update(problem is not None)
            failed += [problem] if problem else []
    if failed:
        raise EditionError("\n".join(sorted(failed)))


def _compile(outage: bool) -> None:
    """Have the engine's kernel in its cache, with what can fail or without, before it is needed.

    Notebooks that begin at the same time would each compile it (up to a minute).
    """
    from models.experiment import simulate  # what builds one page needs no engine

    shop = System.load("shop")
    down = {"services": ["payment"], "from_ms": 0, "for_ms": 1}
    simulate(shop.with_("outages", [down]) if outage else shop, requests=100, keep="summary")


def _run(file: Path, out: Path, given: dict[str, Any]) -> str:
    """Run one notebook; what went wrong, or nothing."""
    names = papermill.inspect_notebook(str(file))
    own = {name: value for name, value in given.items() if name in names}
    try:
        papermill.execute_notebook(
            file,
            out,
            own,
            cwd=file.parent.parent,
            progress_bar=False,
            request_save_on_cell_execute=False,
            execution_timeout=CELL_S,
            extra_arguments=[
                "--log-level=CRITICAL"
            ],  # of the kernel; a cell's error is raised here
        )
    except PapermillExecutionError as error:
        return f"{file.stem}: cell {error.cell_index}: {error.ename}: {error.evalue}"
    return ""


def build(
    file: str,
    out: Path,
    given: dict[str, Any] | None = None,
    jobs: int = -1,
    progress: bool = False,
) -> str:
    """Build the book for the system in `file` (or a bundled one's name) as a website in `out`.

    `given` are parameters for every notebook that declares them. `out` appears only when all is
    done; it must not exist yet, or be empty. Returns what Sphinx warned of. Raises InvalidSystem
    and EditionError.
    """
    system = System.load(file)
    _check_place(out)
    source = file if file in bundled() else str(Path(file).resolve())
    given = {**(given or {}), "system": source}
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as folder:
        work = Path(folder)
        execute(NOTEBOOKS, work / "executed", given, jobs, progress)
        config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
        config["title"] = f"{system.name}: {config['title']}"
        for name, place in config["sphinx"]["local_extensions"].items():  # relative to this file
            config["sphinx"]["local_extensions"][name] = str(ROOT / place)
        config["sphinx"]["config"] |= {
            "executed_notebooks": str(work / "executed"),
            "edition": {"name": system.name, **given},
        }
        (work / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
        said = _site(work, progress)
        site = work / "_build" / "html"
        for notebook in (work / "executed").iterdir():
            shutil.copy(notebook, site / "notebooks")
        (site / "system.yml").write_text(system.to_yaml(), "utf-8")
        site.replace(out)
    return said


def _check_place(out: Path) -> None:
    """Refuse a place where nothing can be put, before anything is computed."""
    if not (ROOT / "_toc.yml").exists() or not importlib.util.find_spec("jupyter_book"):
        raise EditionError(
            f"{ROOT}: the book's sources or jupyter-book were not found; expected this command to "
            "be that of the book's repository; run `make book` there once, then .venv/bin/decouple"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EditionError(
            f"{out}: something was found there already; expected a new or an empty folder; "
            "give another name, or delete it first"
        )
    if not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK):
        raise EditionError(
            f"{out}: cannot be made, since {out.absolute().parent} is no folder that can be written"
        )


def _site(work: Path, progress: bool) -> str:
    """Build the pages in `work`; what Sphinx warned of."""
    if progress:
        print("Building the pages ...", file=sys.stderr)
    command: list[str | Path] = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT]
    command += ["-n", "--keep-going", "--quiet"]
    command += ["--config", work / "_config.yml", "--path-output", work]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise EditionError(f"the pages could not be built:\n{done.stderr.strip()}")
    return "\n".join(line for line in done.stderr.splitlines() if "WARNING" in line)


def typed(words: dict[str, str], files: Iterable[Path] = NOTEBOOKS) -> dict[str, Any]:
    """Parameters as they are typed, as the notebooks take them. Raises EditionError.

    A name must be one that some notebook declares, and its value of the type that it says there.
    """
    kinds: dict[str, str] = {}
    for file in files:
        for name, about in papermill.inspect_notebook(str(file)).items():
            kinds.setdefault(name, about["inferred_type_name"])
    kinds.pop("system", None)
    found, faults = {}, []
    for name, word in words.items():
        if name not in kinds:
            faults.append(f"-p {name}: no notebook has it; {did_you_mean(name, kinds)}")
            continue
        value = parameters.value_of(word, kinds[name])
        if fault := parameters.fault(value, kinds[name]):
            faults.append(f"-p {name}: {fault}")
        found[name] = value
    if faults:
        raise EditionError("\n".join(faults))
    return found
