"""Which rows of the log drift counts: what was asked, once, whoever answered it and however it was asked."""

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
from tests.platforms.towns import edit, write_project

AT = datetime(2026, 5, 2, tzinfo=UTC)


class Registry:
    def __init__(self, folder):
        self._folder = folder

    def fetch(self, version):
        return self._folder


@pytest.fixture
def drift(tmp_path):
    write_project(tmp_path)
    edit(tmp_path, "mainspring.yaml", "", "drift: {min_rows: 1, trailing: 1d}\n")
    loaded = load_project(tmp_path)
    columns = {"temp": np.random.default_rng(3).normal(10, 5, 2000), "prediction": np.full(2000, 0.5)}
    profile = fit_profile({name: pa.chunked_array([values]) for name, values in columns.items()})
    (tmp_path / "model").mkdir()
    write_profile(profile, tmp_path / "model")
    log = ParquetPredictionLog(loaded.paths)

    def run(*rows, report=False):
        at = microseconds(AT - timedelta(hours=1))
        for version in ("2", "1"):
            writer = SegmentWriter(loaded.paths.segments, SegmentHeader(version, "", ("temp",), ("number",)))
            writer.append(
                [
                    LogRow(name, ROLES.index(role), 0, 0, at, 1, (0.5,), (temp,), (), (), tuple(flags))
                    for own, name, role, temp, *flags in rows
                    if own == version
                ]
            )
            writer.rotate()
        log.compact()
        found = LaptopDrift(loaded, Registry(tmp_path / "model"), log).run("1", AT)
        if report:
            return found
        return {one.feature: one.current_rows for one in found.features if one.reference == "training"}

    return run


def test_a_batch_is_seen_by_drift_and_counts_no_question_twice(drift):
    found = drift(
        ("1", "a", "primary", 1.0),
        ("1", "a", "batch", 1.0),  # asked for as well
        ("2", "a", "shadow", 1.0),
        ("1", "b", "batch", 2.0),
        ("2", "b", "batch", 2.0),  # by another version, too
        ("2", "c", "batch", 3.0),
        ("1", "d", "batch", 4.0),
        ("2", "d", "batch", 4.0),
    )
    # Four questions; of the answers three are version 1's own.
    assert found == {"temp": 4, "prediction": 3}


def test_a_default_that_stood_in_is_no_observation(drift):
    found = drift(("1", "a", "primary", 1.0), ("1", "b", "primary", 9.5, "missing:temp", "defaulted:temp"), report=True)
    (temp,) = [one for one in found.features if (one.feature, one.reference) == ("temp", "training")]
    assert [one.text for one in temp.findings] == ["missing values: 0.0% then, 50.0% now"]


def test_without_a_batch_every_answer_counts_as_before(drift):
    assert drift(("1", "a", "primary", 1.0), ("2", "a", "primary", 1.0), ("2", "b", "shadow", 1.0)) == {
        "temp": 2,
        "prediction": 1,
    }
