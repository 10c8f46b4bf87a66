"""Counts of the log by hour, kept: late, doubled and deleted rows, a restart, a kill between count and write, a full disk."""

import dataclasses
import errno
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.log_record import ROLES, LogRow, SegmentHeader, microseconds
from mainspring.domain.model_version import Signature
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import MISTYPED
from mainspring.drift.profile import fit_profile, prediction_columns
from mainspring.platforms.drift_counts import HourCounts
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.paths import ProjectPaths

MIDNIGHT = datetime(2026, 5, 2, tzinfo=UTC)
DAY = TimeWindow(MIDNIGHT, MIDNIGHT + timedelta(days=1))
HOUR = timedelta(hours=1)
GENERATOR = np.random.default_rng(3)
PROFILE = fit_profile(
    {
        "temp": pa.chunked_array([GENERATOR.normal(10, 5, 2000)]),
        "town": pa.chunked_array([GENERATOR.choice(["Ulm", "Bonn"], 2000)]),
        "prediction": pa.chunked_array([GENERATOR.uniform(size=2000)]),
    }
)


class Project:
    """A prediction log, and counts of version 1 as often as they are asked for anew."""

    def __init__(self, root: Path):
        self.paths = ProjectPaths(root)
        self.log = ParquetPredictionLog(self.paths)
        self.folder = self.paths.drift / "1" / "counts"

    def write(self, *rows, kinds=("number", "text"), version="1", compact=True):
        """Rows are (request id, hours since midnight, temp, town) and perhaps a role."""
        writer = SegmentWriter(self.paths.segments, SegmentHeader(version, "", ("temp", "town"), kinds))
        writer.append(
            [
                LogRow(name, ROLES.index((*role, "primary")[0]), 0, 0, self.at(hours), 1, (0.5,), (temp, town))
                for name, hours, temp, town, *role in rows
            ]
        )
        writer.rotate()
        if compact:
            self.log.compact()

    @staticmethod
    def at(hours):
        return microseconds(MIDNIGHT + hours * HOUR)

    def counts(self, profile=PROFILE, log=None, **more):
        return HourCounts("1", profile, log or self.log, self.folder, **more)

    def rows(self, window=DAY, **more):
        return self.counts(**more).of(window)["temp"].rows


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


class Watched:
    """A log that tells which windows were read."""

    def __init__(self, log):
        self._log, self.read_windows = log, []

    def read(self, window=None, columns=None):
        self.read_windows.append(window)
        return self._log.read(window, columns)

    def hours(self, window):
        return self._log.hours(window)


def test_a_day_is_the_sum_of_its_hours_and_nothing_is_read_twice(project):
    project.write(*((f"q{place}", place % 24 + 0.5, float(place % 20), "Ulm") for place in range(300)))
    whole = project.counts().of(DAY)
    assert (whole["temp"].rows, sorted(whole["town"].cells), whole["prediction"].rows) == (300, [0, 0, 300], 300)
    watched = Watched(project.log)
    again = project.counts(log=watched)
    assert again.of(DAY) == whole
    assert again.life() == whole
    parts = [again.of(TimeWindow(MIDNIGHT + place * HOUR, MIDNIGHT + (place + 8) * HOUR)) for place in (0, 8, 16)]
    assert sum(one["temp"].rows for one in parts) == 300
    assert watched.read_windows == []


def test_rows_that_come_late_are_counted_in_their_hour_and_only_that_is_counted_again(project):
    project.write(("a", 3.5, 1.0, "Ulm"), ("b", 9.5, 2.0, "Ulm"))
    assert project.rows() == 2
    project.write(("late", 3.1, 3.0, "Bonn"))
    watched = Watched(project.log)
    assert project.rows(log=watched) == 3
    assert watched.read_windows == [TimeWindow(MIDNIGHT + 3 * HOUR, MIDNIGHT + 4 * HOUR)]


def test_rows_in_segments_count_and_count_once_when_they_become_parquet(project):
    project.write(("a", 3.5, 1.0, "Ulm"), ("b", 3.6, 1.0, "Ulm"), compact=False)
    assert project.rows() == 2
    project.log.compact()
    assert project.rows() == 2


def test_doubled_rows_count_once(project):
    project.write(("a", 3.5, 1.0, "Ulm"), ("a", 3.5, 1.0, "Ulm"))
    project.write(("a", 3.5, 1.0, "Ulm"), ("a", 3.5, 1.0, "Ulm", "batch"), ("a", 3.5, 1.0, "Ulm", "shadow"))
    assert project.rows() == 1


def test_one_who_is_killed_between_count_and_write_leaves_nothing_and_the_next_counts_it(project, monkeypatch):
    project.write(("a", 3.5, 1.0, "Ulm"))
    assert project.rows() == 1
    project.write(("b", 3.6, 1.0, "Ulm"))

    def killed(path, raw):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mainspring.platforms.drift_counts.write_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            project.rows()
    assert project.rows() == 2


def test_rows_that_come_while_their_hour_is_read_are_counted_the_next_time(project):
    project.write(("a", 3.5, 1.0, "Ulm"))

    class Busy(Watched):
        def read(self, window=None, columns=None):
            found = super().read(window, columns)
            project.write(("b", 3.6, 1.0, "Ulm"))
            return found

    project.rows(log=Busy(project.log))
    assert project.rows() == 2


def test_a_full_disk_fails_the_report_and_loses_nothing(project, monkeypatch):
    project.write(("a", 3.5, 1.0, "Ulm"))
    assert project.rows() == 1
    project.write(("b", 3.6, 1.0, "Ulm"))

    def full(path, raw):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            project.rows()
    assert [path.name for path in project.folder.iterdir()] == ["2026-05-02.parquet"]
    assert project.rows() == 2


def test_two_writers_of_a_day_lose_nothing_that_the_log_has(project):
    project.write(("a", 3.5, 1.0, "Ulm"))
    one, two = project.counts(), project.counts()
    assert one.of(DAY)["temp"].rows == two.of(DAY)["temp"].rows == 1
    project.write(("b", 4.5, 1.0, "Ulm"))
    assert one.of(TimeWindow(MIDNIGHT, MIDNIGHT + 5 * HOUR))["temp"].rows == 2
    project.write(("c", 5.5, 1.0, "Ulm"))
    assert two.of(DAY)["temp"].rows == one.of(DAY)["temp"].rows == project.rows() == 3


def test_what_the_log_does_not_keep_any_more_stays_counted(project):
    project.write(("a", 3.5, 1.0, "Ulm"), ("b", 9.5, 2.0, "Ulm"))
    assert project.rows() == 2
    for hour in project.log.older(MIDNIGHT + timedelta(days=2)):
        project.log.remove_hour(hour)
    assert project.rows() == 2
    assert project.counts().life()["temp"].rows == 2


def test_damaged_counts_and_those_of_other_cells_are_counted_anew(project):
    project.write(("a", 3.5, 1.0, "Ulm"))
    assert project.rows() == 1
    (path,) = project.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assert project.rows() == 1
    other = dataclasses.replace(
        PROFILE, cells=PROFILE.cells | {"temp": fit_profile({"temp": pa.chunked_array([[1.0, 2.0]])}).cells["temp"]}
    )
    assert project.rows(profile=other) == 1
    assert project.rows() == 1
    assert "temp" not in project.counts(unwatched=frozenset(["temp"])).of(DAY)


def test_pieces_of_hours_are_counted_without_being_kept(project):
    project.write(("a", 3.25, 1.0, "Ulm"), ("b", 3.75, 2.0, "Ulm"), ("c", 4.5, 2.0, "Ulm"), ("d", 5.1, 1.0, "Ulm"))
    half = TimeWindow(MIDNIGHT + 3.5 * HOUR, MIDNIGHT + 5.5 * HOUR)
    assert project.rows(half) == 3
    assert project.rows(TimeWindow(MIDNIGHT + 3.1 * HOUR, MIDNIGHT + 3.2 * HOUR)) == 0
    assert project.rows(TimeWindow(MIDNIGHT + 3.1 * HOUR, MIDNIGHT + 3.3 * HOUR)) == 1
    assert project.counts().life()["temp"].rows == 1


def test_a_feature_that_versions_log_as_another_type_is_read_as_numbers_where_it_can_be(project):
    project.write(("a", 3.5, 12.5, "Ulm"), ("b", 3.6, None, "Ulm"))
    project.write(("c", 3.7, "-1e3", "Ulm"), ("d", 3.8, "warm", "Ulm"), kinds=("text", "text"), version="2")
    temp = project.counts().of(DAY)["temp"]
    assert (temp.rows, temp.known, temp.missing, temp.apart(MISTYPED)) == (4, 2, 1, 1)
    assert temp.cells[0] == 1


def test_a_feature_that_no_row_has_is_null(project):
    writer = SegmentWriter(project.paths.segments, SegmentHeader("2", "", ("town",), ("text",)))
    writer.append([LogRow("a", 0, 0, 0, project.at(3.5), 1, (0.5,), ("Ulm",))])
    writer.rotate()
    found = project.counts().of(DAY)
    assert (found["temp"].missing, found["town"].known, found["prediction"].rows) == (1, 1, 0)


def test_several_classes_are_counted_by_the_models_names(project):
    signature = Signature("multiclass", (), classes=("a", "b", "c"))
    profile = fit_profile(prediction_columns(GENERATOR.dirichlet((1, 2, 3), 500), signature))
    writer = SegmentWriter(project.paths.segments, SegmentHeader("1", "", (), ()))
    outputs = [(0.7, 0.2, 0.1), (0.1, 0.2, 0.7), (0.0, 0.1, 0.9)]
    writer.append([LogRow(f"q{place}", 0, 0, 0, project.at(3.5), 1, one) for place, one in enumerate(outputs)])
    writer.rotate()
    found = project.counts(profile, classes=signature.classes).of(DAY)
    told = dict(zip((*profile.cells["prediction"].categories, "new"), found["prediction"].cells.tolist(), strict=True))
    assert told == {"a": 1, "b": 0, "c": 2, "new": 0}
    assert found["prediction.confidence"].known == 3


def test_four_weeks_are_added_up_without_reading_a_file(project, monkeypatch):
    days = 30
    project.write(*((f"q{place}", place * 24 / 10, 1.0, "Ulm") for place in range(10 * days)))
    month = TimeWindow(MIDNIGHT, MIDNIGHT + timedelta(days=days))
    counts = project.counts()
    assert counts.of(month)["temp"].rows == 10 * days
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
        patch.setattr(ParquetPredictionLog, "unread", lambda self: [])
        assert counts.of(month)["temp"].rows == 10 * days


def test_days_with_nights_in_between_are_read_at_once_and_each_hour_is_counted_as_its_own(project):
    project.write(*((f"q{place}", 24 * (place // 8) + 8 + place % 8 + 0.5, float(place), "Ulm") for place in range(80)))
    watched = Watched(project.log)
    counts = project.counts(log=watched)
    whole = TimeWindow(MIDNIGHT, MIDNIGHT + timedelta(days=10))
    counts.count(whole, project.log.hours(whole))
    assert len(watched.read_windows) == 1
    days = [TimeWindow(MIDNIGHT + timedelta(days=n), MIDNIGHT + timedelta(days=n + 1)) for n in range(10)]
    found = [counts.of(day) for day in days]
    assert len(watched.read_windows) == 1
    for place, day in enumerate(days):
        alone = HourCounts("1", PROFILE, project.log, project.folder.parent / f"alone-{place}").of(day)
        assert found[place] == alone
    # Of an hour that others lie around, only it is counted again.
    project.write(("late", 24 * 4 + 10.7, 3.0, "Bonn"), ("later", 24 * 6 + 10.7, 3.0, "Bonn"))
    again = project.counts(log=watched)
    assert again.of(whole)["temp"].rows == 82
    assert [one.end - one.start for one in watched.read_windows[1:]] == [HOUR, HOUR]


def test_a_row_that_comes_into_the_night_while_days_are_read_is_counted_the_next_time_and_in_its_hour(project):
    project.write(("a", 3.5, 1.0, "Ulm"), ("b", 9.5, 2.0, "Ulm"))

    class Busy(Watched):
        def read(self, window=None, columns=None):
            project.write(("night", 5.5, 9.0, "Ulm"))
            return super().read(window, columns)

    assert project.rows(log=Busy(project.log)) == 2
    at_night = TimeWindow(MIDNIGHT + 5 * HOUR, MIDNIGHT + 6 * HOUR)
    assert [project.rows(at_night), project.rows()] == [1, 3]
    assert project.rows(TimeWindow(MIDNIGHT + 3 * HOUR, MIDNIGHT + 4 * HOUR)) == 1
