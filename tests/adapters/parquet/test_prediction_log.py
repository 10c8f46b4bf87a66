"""The prediction log: segments to Parquet, each identity once, whatever happened in between."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from mainspring.adapters.parquet.prediction_log import MOST_FILES, ParquetPredictionLog
from mainspring.adapters.parquet.segments import NewRows
from mainspring.adapters.parquet.tables import columns_of
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.domain.time import TimeWindow
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.paths import ProjectPaths

AT = datetime(2013, 3, 1, 12, tzinfo=UTC)
HEADER = SegmentHeader("1", "", ("temp", "town"), ("number", "text"), ("town",), ("weather",))


@pytest.fixture
def paths(tmp_path):
    return ProjectPaths(tmp_path)


@pytest.fixture
def log(paths):
    return ParquetPredictionLog(paths)


def row(name, at=AT, outcome=0, output=(0.5,), temp=1.5, **more):
    return LogRow(name, 0, 0, outcome, microseconds(at), 900, output, (temp, "Ulm"), ("Ulm",), (60.0,), (), **more)


def write(paths, *rows, header=HEADER, close=True):
    writer = SegmentWriter(paths.segments, header)
    writer.append(rows)
    if close:
        writer.rotate()
    return writer


def test_rows_come_back_as_they_were_by_date_and_hour(paths, log):
    write(paths, row("a"), row("b", AT + timedelta(hours=2), output=(0.25,)))
    assert log.compact() == 2
    assert log.compact() == 0
    table = log.read()
    assert table.column("request_id").to_pylist() == ["a", "b"]
    first = table.to_pylist()[0]
    assert (first["version"], first["arm"], first["role"], first["outcome"]) == ("1", "stable", "primary", "answered")
    assert (first["feature.temp"], first["feature.town"], first["entity.town"], first["age.weather"]) == (
        1.5, "Ulm", "Ulm", 60.0,
    )  # fmt: skip
    assert (first["event_at"], first["output"]) == (AT, [0.5])
    assert [path.name for path in sorted(paths.predictions.rglob("event_hour=*"))] == ["event_hour=12", "event_hour=14"]
    assert list(paths.segments.iterdir()) == []


def test_a_key_is_as_it_is_looked_up_whichever_way_it_was_sent():
    header = SegmentHeader("1", "", (), (), ("room",), ())
    rows = [LogRow("a", 0, 0, 0, 0, 0, (), (), entities=(key,)) for key in (7, 7.0, "7", "7.0", "007", 7.5, None)]
    found = columns_of(header, rows)["entity.room"].to_pylist()
    assert found == ["7", "7", "7", "7.0", "007", "7.5", None]


def test_an_open_segment_is_read_as_far_as_it_is_and_then_on(paths, log):
    writer = write(paths, row("a"), close=False)
    assert (log.compact(), log.compact()) == (1, 0)
    writer.append([row("b")])
    writer.rotate()
    assert log.compact() == 1
    assert log.read().num_rows == 2


def test_what_is_not_compacted_yet_is_read(paths, log):
    write(paths, row("a"))
    log.compact()
    write(paths, row("b", AT + timedelta(seconds=1)), row("c", AT + timedelta(hours=1)), close=False)
    assert log.read(columns=["request_id", "feature.temp"]).to_pydict() == {
        "request_id": ["a", "b", "c"], "feature.temp": [1.5, 1.5, 1.5],
    }  # fmt: skip
    assert log.read(TimeWindow(AT, AT + timedelta(hours=1))).column("request_id").to_pylist() == ["a", "b"]


def test_a_dead_writers_segment_is_taken_to_its_damaged_end(paths, log):
    writer = write(paths, row("a"), row("b"), close=False)
    path = next(paths.segments.iterdir())
    import os

    os.close(writer._fd)  # as a killed process leaves it
    with path.open("ab") as segment:
        segment.write(b"\x40\x00\x00\x00half a row")
    assert log.compact() == 2
    assert list(paths.segments.iterdir()) == []


def test_what_is_no_segment_is_set_aside_and_said(paths, log, capsys):
    paths.segments.mkdir(parents=True)
    (paths.segments / "x.closed").write_bytes(b"something else")
    write(paths, row("a"))
    assert log.compact() == 1
    assert (paths.segments / "x.damaged").exists()
    assert "set aside" in capsys.readouterr().err


def test_killed_between_the_rows_and_the_position_nothing_is_there_twice(paths, log, monkeypatch):
    write(paths, row("a"), row("b"))
    monkeypatch.setattr(log, "_put_positions", lambda known: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        log.compact()
    again = ParquetPredictionLog(paths)
    assert again.compact() == 2
    assert again.read().num_rows == 2


def test_an_answer_wins_over_a_failure_of_the_same_identity(paths, log):
    write(paths, row("a", outcome=1, output=(), reason="broken"))
    write(paths, row("a", output=(0.7,)), row("b", outcome=1, output=()))
    write(paths, row("a", output=(0.9,)))
    log.compact()
    assert [(one["request_id"], one["outcome"], one["output"]) for one in log.read().to_pylist()] == [
        ("a", "answered", [0.7]),
        ("b", "failed", []),
    ]


def test_a_window_is_half_open_and_columns_are_those_asked_for(paths, log):
    write(paths, *(row(f"q{hour}", AT + timedelta(hours=hour)) for hour in range(48)))
    log.compact()
    window = TimeWindow(AT + timedelta(hours=10), AT + timedelta(hours=20))
    found = log.read(window, ["request_id", "feature.temp", "feature.nothing"])
    assert found.column("request_id").to_pylist() == [f"q{hour}" for hour in range(10, 20)]
    assert found.column_names == ["request_id", "feature.temp", "feature.nothing"]
    assert log.read(TimeWindow(AT - timedelta(days=9), AT - timedelta(days=8)), ["request_id"]).num_rows == 0


def test_versions_with_other_features_and_other_types_are_read_together(paths, log):
    write(paths, row("a"))
    other = SegmentHeader("2", "", ("temp", "rain"), ("text", "number"), ("town",), ("weather",))
    write(paths, LogRow("b", 0, 1, 0, microseconds(AT), 1, (0.1,), ("mild", 2.0), ("Ulm",), (None,)), header=other)
    log.compact()
    table = log.read()
    assert table.column("feature.temp").to_pylist() == ["1.5", "mild"]
    assert table.column("feature.rain").to_pylist() == [None, 2.0]


def test_many_small_files_of_an_hour_become_one(paths, log):
    for place in range(MOST_FILES + 5):
        write(paths, row(f"q{place}", AT + timedelta(seconds=place)))
        log.compact()
    assert len(list(paths.predictions.rglob("*.parquet"))) < 10
    assert log.read().num_rows == MOST_FILES + 5


def test_an_hour_that_is_merged_many_times_keeps_short_names_and_large_files_as_they_are(paths, log, monkeypatch):
    monkeypatch.setattr("mainspring.adapters.parquet.prediction_log.MOST_FILES", 2)
    writer = write(paths, row("first"), close=False)
    for place in range(60):
        writer.append([row(f"q{place}")])
        log.compact()
    files = list(paths.predictions.rglob("*.parquet"))
    assert len(files) <= 3
    assert all(one.name.count("merged-") <= 1 for one in files)
    monkeypatch.setattr("mainspring.adapters.parquet.prediction_log.LARGE_BYTES", 1)
    for place in range(60, 70):
        writer.append([row(f"q{place}")])
        log.compact()
    assert len(list(paths.predictions.rglob("*.parquet"))) >= 10
    assert log.read().num_rows == 71
    writer.rotate()


def test_an_empty_log_reads_as_no_rows(log):
    assert log.compact() == 0
    assert log.read().num_rows == 0
    assert log.read(columns=["request_id", "output"]).column_names == ["request_id", "output"]


def test_a_year_reads_quickly(paths, log):
    for day in range(100):
        write(paths, *(row(f"{day}-{n}", AT + timedelta(days=day, minutes=n)) for n in range(300)))
    log.compact()
    began = time.perf_counter()
    assert log.read(columns=["request_id", "output"]).num_rows == 30_000
    assert time.perf_counter() - began < 5


def test_the_newest_rows_come_from_open_segments_and_from_the_hours_before(paths, log):
    write(paths, *(row(f"q{hour}", AT + timedelta(hours=hour)) for hour in range(5)))
    log.compact()
    write(paths, row("now", AT + timedelta(hours=6)), row("late", AT + timedelta(hours=1, minutes=1)), close=False)
    names = log.newest(4).column("request_id").to_pylist()
    assert names == ["q2", "q3", "q4", "now"]
    assert list(paths.segments.iterdir())  # looked at, not taken
    assert log.newest(50).num_rows == 7
    assert log.newest(50, since=AT + timedelta(hours=4)).column("request_id").to_pylist() == ["q4", "now"]


def test_a_row_that_is_compacted_while_it_is_looked_for_is_there_once(paths, log, monkeypatch):
    write(paths, row("a"))
    real = ParquetPredictionLog.hours_back

    def compacts_first(self, since):
        ParquetPredictionLog(paths).compact()
        yield from real(self, since)

    monkeypatch.setattr(ParquetPredictionLog, "hours_back", compacts_first)
    assert log.newest(5).column("request_id").to_pylist() == ["a"]


def test_files_that_are_merged_while_they_are_read_are_read_again(paths, log):
    write(paths, row("a"))
    log.compact()
    (file,) = paths.predictions.rglob("*.parquet")
    listed = iter([[file.with_name("gone.parquet")], [file]])
    assert log._tables(lambda: next(listed), ["request_id"])[0].num_rows == 1


def test_failures_are_found_behind_many_answers_and_an_answered_one_is_none(paths, log):
    write(paths, row("bad", outcome=1, output=()), row("mended", outcome=1, output=()), row("mended"))
    for hour in range(1, 200):
        write(paths, row(f"q{hour}", AT + timedelta(hours=hour)))
    log.compact()
    assert log.newest(20, failed=True).column("request_id").to_pylist() == ["bad"]


def test_the_newest_of_a_year_of_hours_are_quick(paths, log):
    for hour in range(0, 8760, 12):
        log._write(
            NewRows(paths.segments / "s.closed", HEADER, [row(f"q{hour}", AT + timedelta(hours=hour))], 0, 1, True)
        )
    began = time.perf_counter()
    assert log.newest(20).num_rows == 20
    first = time.perf_counter() - began
    began = time.perf_counter()
    assert log.newest(20, failed=True).num_rows == 0
    print(f"newest {first:.2f} s, failed {time.perf_counter() - began:.2f} s of 730 files")
    assert first < 2
