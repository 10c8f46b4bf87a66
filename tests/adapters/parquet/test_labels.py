"""Added labels on the disk: a file once, whole or not at all, whoever writes and whenever he is killed."""

import errno
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from mainspring.adapters.parquet import labels as module
from mainspring.adapters.parquet.labels import MOST_FILES, ParquetLabels
from mainspring.domain.added_labels import AddedLabels
from mainspring.domain.errors import DataError, MainspringError
from mainspring.labels.statements import UTC_TIME, none, together

AT = datetime(2026, 3, 1, tzinfo=UTC)


def rows(*ids):
    known = pa.array([AT] * len(ids), UTC_TIME)
    return together([pa.table({"request_id": list(ids), "label": ["1"] * len(ids), "known_at": known})])


def adding(digest, *ids, place=0):
    record = AddedLabels(digest, f"{digest}.csv", "eva", AT + timedelta(minutes=place), len(ids), len(ids), 0, 0)
    return lambda recorded: (rows(*ids) if ids else none(), record)


def ids(store):
    return store.statements().column("request_id").to_pylist()


def test_a_file_is_added_once(tmp_path):
    store = ParquetLabels(tmp_path / "labels")
    assert (ids(store), store.added()) == ([], [])
    record, written = store.add("one", adding("one", "a", "b"))
    assert (record.new, written) == (2, True)
    again, written = store.add("one", adding("one", "a", "b", place=9))
    assert (again, written) == (record, False)
    store.add("two", adding("two", place=1))
    assert ids(store) == ids(ParquetLabels(tmp_path / "labels")) == ["a", "b"]
    assert [one.digest for one in store.added()] == ["one", "two"]


def test_what_is_there_is_what_an_add_sees(tmp_path):
    store = ParquetLabels(tmp_path)
    store.add("one", adding("one", "a"))
    seen = []

    def look(recorded):
        seen.extend(recorded.column("request_id").to_pylist())
        return adding("two", "b")(recorded)

    ParquetLabels(tmp_path).add("two", look)
    assert (seen, ids(store)) == (["a"], ["a", "b"])


def test_many_files_become_one_and_nothing_is_lost_or_doubled(tmp_path):
    store = ParquetLabels(tmp_path)
    names = [f"f{place:03}" for place in range(2 * MOST_FILES + 5)]
    for place, name in enumerate(names):
        store.add(name, adding(name, f"{name}-a", place=place))
    assert len(list(tmp_path.glob("*.parquet"))) <= MOST_FILES
    assert ids(store) == [f"{name}-a" for name in names]
    assert [one.digest for one in store.added()] == names
    assert store.add(names[0], adding(names[0], "again"))[1] is False


def test_killed_while_files_become_one_leaves_each_row_once(tmp_path, monkeypatch):
    store = ParquetLabels(tmp_path)
    for place in range(MOST_FILES):
        store.add(f"f{place:03}", adding(f"f{place:03}", f"r{place}", place=place))

    def killed(self, missing_ok=False):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        store.add("last", adding("last", "z", place=MOST_FILES))
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.parquet"))) == MOST_FILES + 1
    fresh = ParquetLabels(tmp_path)
    assert sorted(ids(fresh)) == sorted([*(f"r{place}" for place in range(MOST_FILES)), "z"])
    fresh.add("more", adding("more", "y", place=99))
    assert len(ids(ParquetLabels(tmp_path))) == MOST_FILES + 2


def test_a_full_disk_leaves_nothing_half(tmp_path, monkeypatch):
    store = ParquetLabels(tmp_path)
    store.add("one", adding("one", "a"))

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(MainspringError, match="none was: No space left on device"):
        store.add("two", adding("two", "b"))
    monkeypatch.undo()
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.name != ".lock") == [".parquet"]
    assert (ids(store), len(store.added())) == (["a"], 1)
    assert store.add("two", adding("two", "b"))[1] is True


_ADDS = """
import sys
from pathlib import Path
from tests.adapters.parquet.test_labels import adding
from mainspring.adapters.parquet.labels import ParquetLabels
folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for place in range(count):
    for own in (f"{name}-{place}", f"both-{place}"):
        ParquetLabels(folder).add(own, adding(own, *(f"{own}-{row}" for row in range(50)), place=place))
    if place == 0:
        print("ready", flush=True)
"""


def adds(folder, name, count):
    """Adds one file after the other, in a process of its own."""
    root = str(Path(__file__).parents[3])
    return subprocess.Popen(
        [sys.executable, "-c", _ADDS, str(folder), name, str(count)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )


def test_two_writers_at_once_lose_and_double_nothing(tmp_path):
    both = [adds(tmp_path, name, 15) for name in "ab"]
    for one in both:
        assert one.communicate(timeout=120) == (b"ready\n", None)
        assert one.returncode == 0
    expected = [f"{name}-{place}-{row}" for name in ("a", "b", "both") for place in range(15) for row in range(50)]
    assert sorted(ids(ParquetLabels(tmp_path))) == sorted(expected)


@pytest.mark.slow
def test_killed_at_any_instant_each_file_is_whole_or_not_there(tmp_path):
    store = ParquetLabels(tmp_path)
    for number in range(6):
        child = adds(tmp_path, str(number), 100_000)
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.1 + number * 0.043)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        found = ids(store)
        assert len(found) == len(set(found)) == 50 * len(store.added())
    assert len(store.added()) > 6
    store.add("after", adding("after", "after"))
    assert not list(tmp_path.glob("*.part"))


def test_a_damaged_file_is_named(tmp_path):
    store = ParquetLabels(tmp_path)
    store.add("one", adding("one", "a"))
    next(tmp_path.glob("*.parquet")).write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="added labels cannot be read"):
        ParquetLabels(tmp_path).statements()
