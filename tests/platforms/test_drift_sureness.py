"""Alarms are calibrated on the log's own windows, and a restarted job goes on where the last one was."""

import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.log_record import ROLES, LogRow, SegmentHeader, microseconds
from mainspring.drift.profile import fit_profile
from mainspring.drift.storage import write_profile
from mainspring.platforms.drift import LaptopDrift
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from tests.platforms.one_folder import Registry
from tests.platforms.towns import edit, write_project

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 60


def answers(temp):
    """What a model makes of the weather."""
    return 1 / (1 + np.exp(-(temp - 10) / 5))


class Served:
    """A log of days whose weather differs, by a version whose reference has no windows of its own."""

    def __init__(self, folder, *, answering=False):
        write_project(folder)
        edit(folder, "mainspring.yaml", "", "drift: {min_rows: 30, trailing: 7d}\n")
        self.loaded = load_project(folder)
        self.model = folder / "model"
        self.model.mkdir()
        temp = np.random.default_rng(3).normal(10, 5, 2000)
        columns = {"temp": temp, "prediction": answers(temp) if answering else np.full(2000, 0.5)}
        self.answering = answering
        write_profile(fit_profile({name: pa.chunked_array([values]) for name, values in columns.items()}), self.model)
        self.log = ParquetPredictionLog(self.loaded.paths)
        self.rng = np.random.default_rng(4)

    def days(self, first, last, shift=0.0, version="1"):
        writer = SegmentWriter(self.loaded.paths.segments, SegmentHeader(version, "", ("temp",), ("number",)))
        for day in range(first, last):
            weather = self.rng.normal(10 + shift, 2)
            at = microseconds(FIRST + day * DAY + timedelta(hours=9))
            values = self.rng.normal(weather, 4, ROWS)
            outputs = answers(values) if self.answering else np.full(ROWS, 0.5)
            writer.append(
                [
                    LogRow(f"{day}-{place}", ROLES.index("primary"), 0, 0, at, 1, (output,), (value,), (), (), ())
                    for place, (value, output) in enumerate(zip(values.tolist(), outputs.tolist(), strict=True))
                ]
            )
        writer.rotate()
        self.log.compact()

    def job(self):
        return LaptopDrift(self.loaded, Registry(self.model), self.log)


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def sure(found):
    return next(one for one in found.sureness if one.reference == "trailing")


def test_the_logs_own_windows_calibrate_once_there_are_enough(served):
    served.days(0, 40)
    young = served.job().run("1", FIRST + 20 * DAY)
    # 19 days before it; 4 make half a reference, 30 calibrate, the newest two do not yet.
    assert (sure(young).windows, sure(young).windows_needed) == (0, 36 - 19)
    assert "17 windows too short" in young.reason
    grown = served.job().run("1", FIRST + 40 * DAY)
    assert (sure(grown).windows, sure(grown).windows_needed) == (39 - 4 - 2, 0)
    assert 1 / 34 <= sure(grown).p_value <= 1


def test_a_restarted_job_decides_as_the_one_before_would_have(served):
    served.days(0, 40)
    served.days(40, 43, shift=25)
    one = served.job()
    kept = [one.run("1", FIRST + place * DAY) for place in range(37, 44)]
    assert [found.verdict for found in kept[-3:]] == ["warning", "alarm", "alarm"]
    assert kept[-1].since == FIRST + 40 * DAY
    again = served.job().run("1", FIRST + 43 * DAY)
    assert (again.sureness, again.verdict, again.since) == (kept[-1].sureness, kept[-1].verdict, kept[-1].since)


def test_days_that_the_log_does_not_keep_any_more_calibrate_after_a_restart(served):
    served.days(0, 43)
    one = served.job()
    for place in range(37, 43):
        one.run("1", FIRST + place * DAY)
    for hour in served.log.older(FIRST + 25 * DAY):
        served.log.remove_hour(hour)
    kept, again = one.run("1", FIRST + 43 * DAY), served.job().run("1", FIRST + 43 * DAY)
    assert sure(kept).windows == 42 - 4 - 2
    assert again.sureness == kept.sureness


def test_a_pause_in_which_nobody_asks_moves_no_level(served):
    served.days(0, 36)
    served.days(36, 40, shift=25)
    job = served.job()
    lowered = [job.run("1", FIRST + place * DAY) for place in range(36, 41)][-1]
    assert sure(lowered).level < 0.05
    silent = [job.run("1", FIRST + place * DAY) for place in range(41, 46)]
    assert {(one.verdict, one.sureness) for one in silent} == {("no_data", ())}
    served.days(45, 46, shift=25)
    found, again = (one.run("1", FIRST + 46 * DAY) for one in (job, served.job()))
    assert sure(found).level < sure(lowered).level
    assert again.sureness == found.sureness


def test_rows_that_come_late_are_in_the_windows_that_calibrate(served):
    served.days(0, 38)
    job = served.job()
    before = job.run("1", FIRST + 38 * DAY)
    served.days(38, 40)
    found = job.run("1", FIRST + 40 * DAY)
    assert sure(found).windows == sure(before).windows + 2
    assert sure(served.job().run("1", FIRST + 40 * DAY)).p_value == sure(found).p_value


def test_a_report_that_is_half_written_does_not_stop_the_next(served):
    served.days(0, 40)
    job = served.job()
    for place in (37, 38, 39):
        job.run("1", FIRST + place * DAY)
    newest = sorted((served.loaded.paths.drift / "1").glob("drift-*.json"))[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    assert served.job().run("1", FIRST + 40 * DAY).verdict in ("quiet", "warning", "alarm")


def test_a_new_versions_answers_are_calibrated_by_those_of_the_one_before(tmp_path):
    served = Served(tmp_path, answering=True)
    served.days(0, 40)
    job = served.job()
    before = job.run("1", FIRST + 40 * DAY)
    served.days(40, 43, version="2")
    found = job.run("2", FIRST + 43 * DAY)
    assert (sure(before).windows_needed, sure(found).windows_needed) == (0, 0)
    assert {one.method for one in found.features if one.reference == "trailing"} == {"calibrated"}
    assert served.job().run("2", FIRST + 43 * DAY).sureness == found.sureness
    shutil.rmtree(served.loaded.paths.drift / "1")
    alone = served.job().run("2", FIRST + 43 * DAY)
    methods = {one.feature: one.method for one in alone.features if one.reference == "trailing"}
    assert methods == {"temp": "calibrated", "prediction": "minimum_effect"}


def test_of_each_window_the_answers_are_those_of_whichever_version_was_in_service(tmp_path):
    served = Served(tmp_path, answering=True)
    job = served.job()
    for version, first, last in (("1", 0, 24), ("2", 24, 40)):
        served.days(first, last, version=version)
        job.run(version, FIRST + last * DAY)
    served.days(40, 43, version="3")
    found = job.run("3", FIRST + 43 * DAY)
    # Neither of them answered in the 36 windows that it takes.
    assert sure(found).windows_needed == 0
    assert {one.method for one in found.features if one.reference == "trailing"} == {"calibrated"}
    shutil.rmtree(served.loaded.paths.drift / "1")
    assert sure(served.job().run("3", FIRST + 43 * DAY)).windows_needed > 0


def test_a_report_asks_the_log_once_which_hours_there_are_and_reads_new_ones_once(served, monkeypatch):
    served.days(0, 40)
    asked, read = [], []
    hours, rows = served.log.hours, served.log.read
    monkeypatch.setattr(served.log, "hours", lambda window: (asked.append(window), hours(window))[1])
    monkeypatch.setattr(served.log, "read", lambda *words: (read.append(words[0]), rows(*words))[1])
    job = served.job()
    first = job.run("1", FIRST + 40 * DAY)
    # One hour of each day has rows.
    assert (len(asked), len(read)) == (1, 1)
    assert read[0].end - read[0].start == 39 * DAY + timedelta(hours=1)
    served.days(40, 41)
    job.run("1", FIRST + 41 * DAY)
    assert (len(asked), len(read)) == (2, 2)
    assert sure(first).windows == 39 - 4 - 2
