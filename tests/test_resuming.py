"""Long jobs go on where they were, take nothing over that no longer holds, and leave no rubbish."""

import math
import os

import pytest

from models.commands.common import resumable
from models.resuming import Busy, Kept, key_of, unfinished, write

RESULT = [1.1, math.inf, None, "words", {"mean": 0.1 + 0.2}]


def test_a_key_is_of_all_that_is_said():
    assert key_of({"seed": 1, "path": "a"}) == key_of({"path": "a", "seed": 1})
    others = [{"seed": 2, "path": "a"}, {"seed": 1}, {"seed": 1.5, "path": "a"}, ["seed", 1], None]
    assert len({key_of({"seed": 1, "path": "a"}), *map(key_of, others)}) == 6


def test_what_was_put_is_there_the_next_time(tmp_path):
    path = unfinished(tmp_path / "out.csv")
    assert path == tmp_path / "out.csv.unfinished"
    with Kept(path) as kept:
        assert kept.found == {}
        kept.put({"a": RESULT, "b": 2})
        kept.put({"c": 3})
    with Kept(path) as kept:
        assert kept.found == {"a": RESULT, "b": 2, "c": 3}
        kept.put({"b": 4})
    with Kept(path) as kept:
        assert kept.found["b"] == 4
        kept.done()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_nothing_was_done(tmp_path):
    with pytest.raises(KeyboardInterrupt), Kept(tmp_path / "out.unfinished"):
        raise KeyboardInterrupt
    with Kept(None) as kept:
        kept.put({"a": 1})
        kept.done()
    assert kept.found == {"a": 1}
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_was_being_written_is_done_again(tmp_path):
    path = tmp_path / "out.unfinished"
    with Kept(path) as kept:
        kept.put({"a": 1, "b": 2})
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        with Kept(path) as kept:
            assert kept.found in ({}, {"a": 1}, {"a": 1, "b": 2})
            kept.put({"c": 3})
            before = dict(kept.found)
        with Kept(path) as kept:
            assert kept.found == before
    path.write_bytes(b"\xff\xfe\nnull\n[1]\n[[1], 2]\n" + whole)
    with Kept(path) as kept:
        assert kept.found == {"a": 1, "b": 2}


def test_one_process_at_a_time(tmp_path):
    with Kept(tmp_path / "out.unfinished") as kept:
        kept.put({"a": 1})
        with pytest.raises(Busy, match="another process writes to it now; expected one at a time"):
            Kept(tmp_path / "out.unfinished").__enter__()
    with Kept(tmp_path / "out.unfinished") as kept:
        assert kept.found == {"a": 1}


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    write(path, "before")

    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError):
            write(path, "after all")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write(path, "after all")
    assert path.read_text() == "after all"
    reader, writer = os.pipe()
    write(f"/dev/fd/{writer}", b"to a pipe")
    assert os.read(reader, 100) == b"to a pipe"


def test_what_was_interrupted_before_anything_was_finished_is_no_mistake_of_the_reader(
    tmp_path, capsys
):
    for kept, otherwise, said in (
        (tmp_path / "out.unfinished", "", "interrupted, before any piece was finished\n"),
        (None, "; with -o it could go on later", "interrupted; with -o it could go on later\n"),
    ):
        with pytest.raises(SystemExit, match="1"), resumable(kept, otherwise):
            raise KeyboardInterrupt
        assert capsys.readouterr().err == said
