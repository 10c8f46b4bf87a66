"""Rows that are to be forgotten are gone from every file, whatever happens meanwhile; all others are as they were."""

import multiprocessing
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from mainspring.adapters.parquet import forgetting as module
from mainspring.adapters.parquet.forgetting import LogForgetting
from mainspring.adapters.parquet.prediction_log import MOST_FILES, ParquetPredictionLog
from mainspring.domain.concealment import Concealment
from mainspring.domain.errors import NotFound
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.paths import ProjectPaths

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = SegmentHeader("1", "", ("temp", "user"), ("number", "text"), ("user", "town"), ())
KEY = b"k" * 32
CONCEALMENT = Concealment((), ("user",), KEY)


@pytest.fixture
def paths(tmp_path):
    return ProjectPaths(tmp_path)


@pytest.fixture
def log(paths):
    return ParquetPredictionLog(paths)


@pytest.fixture
def forgetting(paths, log):
    return LogForgetting(log, paths.predictions, paths.segments, CONCEALMENT)


def row(name, user, hour=0, town="Ulm"):
    at = microseconds(AT + timedelta(hours=hour))
    return LogRow(name, 0, 0, 0, at, 900, (0.5,), (1.5, user), (user, town), (), ())


def write(paths, *rows, close=True, **more):
    writer = SegmentWriter(paths.segments, HEADER, **more)
    writer.append(rows)
    if close:
        writer.rotate()
    return writer


def ids(log):
    return log.read().column("request_id").to_pylist()


def forget(forgetting, **values):
    asked = forgetting.ask(forgetting.hashed(values), actor="eva", why="")
    done = forgetting.carry_out(asked)
    forgetting.forget_request(done)
    return done


def test_rows_go_and_all_others_stay_as_they_were(paths, log, forgetting):
    write(paths, row("a", "eva"), row("b", "ida"), row("c", "eva", hour=2), row("d", "ida", hour=3))
    log.compact()
    before = log.read().filter([False, True, False, True]).to_pylist()
    done = forget(forgetting, user=["eva"])
    assert (done.total, len(done.rows)) == (2, 2)
    assert log.read().to_pylist() == before
    assert forget(forgetting, user=["eva"]).total == 0
    # An hour of which nothing is left has no file.
    assert len(list(paths.predictions.rglob("*.parquet"))) == 2
    assert not list(paths.predictions.rglob("*.part"))


def test_of_one_key_any_and_of_several_all(paths, log, forgetting):
    write(paths, row("a", "eva"), row("b", "ida"), row("c", "eva", town="Kiel"), row("d", "uma"))
    log.compact()
    assert forget(forgetting, user=["eva", "uma"], town=["Ulm"]).total == 2
    assert ids(log) == ["b", "c"]
    assert forget(forgetting, request_id=["b"]).total == 1
    assert ids(log) == ["c"]


def test_hashed_or_in_clear_the_clear_value_finds_it(paths, log, forgetting):
    write(paths, row("a", "eva"), row("b", "ida"))
    write(paths, row("c", "eva"), row("d", "ida"), concealment=CONCEALMENT)
    log.compact()
    assert "eva" in log.read().column("entity.user").to_pylist()
    assert forget(forgetting, user=["eva"]).total == 2
    assert ids(log) == ["b", "d"]


def test_what_is_in_an_open_segment_goes_and_what_is_answered_later_stays(paths, log, forgetting):
    writer = write(paths, row("a", "eva"), row("b", "ida"), close=False)
    done = forget(forgetting, user=["eva"])
    assert (done.total, done.still_open) == (1, 1)
    writer.append([row("c", "eva"), row("d", "ida")])
    writer.rotate()
    log.compact()
    assert ids(log) == ["b", "c", "d"]


def test_what_is_asked_for_is_kept_without_the_value(paths, log, forgetting):
    write(paths, row("a", "eva-the-user"))
    log.compact()
    asked = forgetting.ask(forgetting.hashed({"user": ["eva-the-user"]}), actor="ida", why="")
    (file,) = log.forgettings.iterdir()
    assert b"eva-the-user" not in file.read_bytes()
    assert forgetting.unfinished() == [asked]
    assert forgetting.ask(asked.terms, actor="ida", why="").id == asked.id


def test_a_column_that_nothing_was_logged_by_is_refused(paths, log, forgetting):
    write(paths, row("a", "eva"))
    log.compact()
    with pytest.raises(NotFound, match="nothing was logged by usr") as refused:
        forgetting.refuse_strange(forgetting.hashed({"usr": ["eva"]}))
    assert "user" in refused.value.valid


def _die_at(root, place):
    """Forget in a process of its own that ends itself before its `place`th write."""
    log = ParquetPredictionLog(paths := ProjectPaths(root))
    one = LogForgetting(log, paths.predictions, paths.segments, CONCEALMENT)
    seen = [0]

    def counted(real):
        def call(*given, **more):
            seen[0] += 1
            if seen[0] == place:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **more)

        return call

    real_path = module.Path
    for name in ("replace", "unlink", "write_bytes"):
        setattr(real_path, name, counted(getattr(real_path, name)))
    pq.write_table = counted(pq.write_table)
    done = one.carry_out(one.ask(one.hashed({"user": ["eva"]}), actor="eva", why=""))
    one.forget_request(done)


def test_killed_before_every_write_it_is_finished_by_the_next_and_counts_the_same(tmp_path):
    context = multiprocessing.get_context("fork")
    place, died = 1, 0
    while True:
        root = tmp_path / str(place)
        paths = ProjectPaths(root)
        log = ParquetPredictionLog(paths)
        for hour in range(4):
            write(paths, row(f"a{hour}", "eva", hour), *([row(f"b{hour}", "ida", hour)] if hour else []))
        log.compact()
        write(paths, row("late", "eva", 1), row("kept", "ida", 1))
        process = context.Process(target=_die_at, args=(root, place))
        process.start()
        process.join(60)
        ended = process.exitcode
        one = LogForgetting(log, paths.predictions, paths.segments, CONCEALMENT)
        left = one.unfinished()
        if left or ended:
            total = forget(one, user=["eva"]).total
            assert total in (5, 0) if not left else total == 5
        assert sorted(ids(log)) == ["b1", "b2", "b3", "kept"], place
        assert not one.unfinished()
        assert not list(paths.predictions.rglob("*.part"))
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        died, place = died + 1, place + 1
    assert died > 12


def test_a_full_disk_leaves_the_file_as_it_was_and_it_goes_on_later(paths, log, forgetting, monkeypatch):
    write(paths, row("a", "eva"), row("b", "ida"))
    log.compact()
    asked = forgetting.ask(forgetting.hashed({"user": ["eva"]}), actor="eva", why="")

    def full(*given, **more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full)
        with pytest.raises(OSError, match="No space left"):
            forgetting.carry_out(asked)
    assert ids(log) == ["a", "b"]
    assert forget(forgetting, user=["eva"]).id == asked.id
    assert ids(log) == ["b"]


def test_predictors_and_compaction_go_on_meanwhile(paths, log, forgetting):
    """A writer and a compaction that never rest; no row of others is lost or doubled, none of the person stays."""
    for place in range(MOST_FILES + 10):
        write(paths, row(f"e{place}", "eva"), row(f"i{place}", "ida"))
        log.compact()
    ending, written = threading.Event(), []

    def predictor():
        writer = SegmentWriter(paths.segments, HEADER, segment_bytes=2000)
        while not ending.is_set():
            name = f"new{len(written)}"
            writer.append([row(name, "ida")])
            written.append(name)
            time.sleep(0.002)
        writer.rotate()

    def loop():
        while not ending.is_set():
            ParquetPredictionLog(paths).compact()

    threads = [threading.Thread(target=one) for one in (predictor, loop)]
    for one in threads:
        one.start()
    try:
        done = forget(forgetting, user=["eva"])
    finally:
        ending.set()
        for one in threads:
            one.join()
    log.compact()
    assert done.total == MOST_FILES + 10
    assert sorted(ids(log)) == sorted([f"i{place}" for place in range(MOST_FILES + 10)] + written)
    # Merging waited, and goes on.
    write(paths, row("last", "ida"))
    log.compact()
    assert len(list(paths.predictions.rglob("*.parquet"))) <= MOST_FILES
