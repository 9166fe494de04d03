"""The notebooks as the book ran them: `make book` runs each through papermill."""

import golden
import pytest


@pytest.fixture(scope="session")
def as_in_the_book():
    """Name -> the notebook, run with the book's parameters."""

    def executed(name):
        done = golden.ROOT / "_build" / "executed" / f"{name}.ipynb"
        sources = [golden.notebook(name), *golden.ROOT.glob("models/**/*.*")]
        newest = max(file.stat().st_mtime for file in sources if "__pycache__" not in file.parts)
        if not done.exists() or done.stat().st_mtime < newest:
            pytest.fail(f"{done} is missing or older than its sources: run `make book`", False)
        return done

    return executed
