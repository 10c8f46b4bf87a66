"""Files are there as a whole, whoever else writes them and however full the disk is."""

import threading
from pathlib import Path

import pytest

from mainspring.platforms.whole_file import write_whole


def test_of_two_writers_at_once_neither_takes_away_what_the_other_wrote(tmp_path, monkeypatch):
    file, replace = tmp_path / "latest.json", Path.replace

    def overtaken(part, path):
        monkeypatch.undo()
        other = threading.Thread(target=write_whole, args=(file, b"other"))
        other.start()
        other.join()
        assert file.read_bytes() == b"other"
        return replace(part, path)

    monkeypatch.setattr(Path, "replace", overtaken)
    write_whole(file, b"own")
    assert file.read_bytes() == b"own"
    assert [one.name for one in tmp_path.iterdir()] == ["latest.json"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "latest.json"
    write_whole(file, b"before")

    def full(part, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b"after")
    assert file.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["latest.json"]
