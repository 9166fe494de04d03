"""Running the book's notebooks side by side, and the whole book for a system of a reader's own.

The book itself is built the same way, with no parameters given: `book/_ext/execution.py`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import papermill
from joblib import Parallel, delayed
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

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
    longest_first = sorted(files, key=lambda file: -file.stat().st_size)  # about: more code, longer
    runs = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_run)(file, out / file.name, given or {}) for file in longest_first
    )
    bar = tqdm(runs, total=len(longest_first), unit=" notebooks", disable=not progress, leave=False)
    if failed := sorted(filter(None, bar)):
        raise EditionError("\n".join(failed))


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
            extra_arguments=["--log-level=ERROR"],  # of the kernel; a cell's error is raised here
        )
    except PapermillExecutionError as error:
        return f"{file.stem}: cell {error.cell_index}: {error.ename}: {error.evalue}"
    return ""
