"""The notebooks as the book runs them, each once for all tests."""

import golden
import pytest


@pytest.fixture(scope="session")
def as_in_the_book(tmp_path_factory):
    """Name -> the notebook, run with the book's parameters."""
    done = {}

    def executed(name):
        if name not in done:
            done[name] = golden.execute(name, tmp_path_factory.mktemp(name))
        return done[name]

    return executed
