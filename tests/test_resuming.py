"""Long jobs go on where they were, take nothing over that no longer holds, and leave no rubbish."""

import math
from multiprocessing import get_context

import pytest

from models.resuming import Parts, parts_of, write


def test_what_was_put_is_there_for_the_same_content_only(tmp_path):
    parts = parts_of(tmp_path / "out.csv")
    assert parts.folder == tmp_path / "out.csv.parts"
    assert parts.get({"seed": 1}) is None and not parts.folder.exists()
    result = [1.1, math.inf, None, "words", {"mean": 0.1 + 0.2}]
    parts.put({"seed": 1, "path": "a"}, result)
    assert Parts(parts.folder).get({"path": "a", "seed": 1}) == result
    assert parts.get({"seed": 2, "path": "a"}) is None
    assert len(list(parts.folder.iterdir())) == 1


def test_what_cannot_be_read_counts_as_not_there(tmp_path):
    parts = Parts(tmp_path / "parts")
    parts.put(1, "result")
    (kept,) = parts.folder.iterdir()
    for broken in (b"", b'{"content": 1, "res', b"[]", b"\xff\xfe", b"3"):
        kept.write_bytes(broken)
        assert parts.get(1) is None
    parts.put(1, "again")
    assert parts.get(1) == "again"


def test_only_its_own_files_are_removed(tmp_path):
    parts = Parts(tmp_path / "parts")
    parts.done()  # nothing there yet
    parts.put(1, 1)
    parts.put(2, 2)
    (parts.folder / "notes.txt").write_text("mine")
    parts.done()
    assert [path.name for path in parts.folder.iterdir()] == ["notes.txt"]
    (parts.folder / "notes.txt").unlink()
    parts.put(1, 1)
    (parts.folder / f"{'0' * 32}.json.77.part").write_text("of a process that was killed")
    parts.done()
    assert not parts.folder.exists()


def _put(folder):
    parts = Parts(folder)
    for number in range(50):
        parts.put("the same", [number] * 1000)


def test_two_processes_may_write_the_same_point(tmp_path):
    context = get_context("spawn")
    writers = [context.Process(target=_put, args=(tmp_path / "parts",)) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        result = Parts(tmp_path / "parts").get("the same")
        seen += result is not None
        assert result is None or len(set(result)) == 1 and len(result) == 1000
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen and Parts(tmp_path / "parts").get("the same") == [49] * 1000
    assert len(list((tmp_path / "parts").iterdir())) == 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    write(path, "before")

    def full(self, raw):
        with open(self, "wb") as file:
            file.write(raw[:2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(OSError):
            write(path, "after all")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write(path, "after all")
    assert path.read_text() == "after all"
