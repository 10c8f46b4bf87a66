"""Which rows of the log drift counts: what was asked, once, whoever answered it and however it was asked."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.log_record import ROLES, LogRow, SegmentHeader, microseconds
from mainspring.drift.profile import fit_profile
from mainspring.drift.storage import write_profile
from mainspring.platforms.drift import LaptopDrift, latest
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from tests.platforms.one_folder import Registry
from tests.platforms.towns import edit, write_project

AT = datetime(2026, 5, 2, tzinfo=UTC)


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


def test_ks_is_taken_from_the_rows_where_the_threshold_lies_inside_what_counts_leave_open(tmp_path):
    write_project(tmp_path)
    loaded = load_project(tmp_path)
    generator = np.random.default_rng(5)
    profile = fit_profile({"temp": pa.chunked_array([generator.normal(10, 5, 50)])})
    write_profile(profile, tmp_path)
    log = ParquetPredictionLog(loaded.paths)
    days = [generator.normal(10, 5, 400), generator.normal(13, 5, 400)]
    for ago, values in zip((2, 1), days, strict=True):
        writer = SegmentWriter(loaded.paths.segments, SegmentHeader("1", "", ("temp",), ("number",)))
        at = microseconds(AT - timedelta(days=ago))
        writer.append(
            [LogRow(f"{ago}-{n}", 0, 0, 0, at, 1, (0.5,), (value,)) for n, value in enumerate(values.tolist())]
        )
        writer.rotate()
    log.compact()

    def ks(text):
        edit(tmp_path, "mainspring.yaml", "", f"drift: {{statistic: ks, threshold: {text}}}\n")
        found = LaptopDrift(load_project(tmp_path), Registry(tmp_path), log).run("1", AT)
        edit(tmp_path, "mainspring.yaml", f"drift: {{statistic: ks, threshold: {text}}}\n", "")
        return next(one for one in found.features if one.reference == "trailing")

    low, high = ks("0.9").ks_interval
    exact = stats.ks_2samp(*days).statistic
    assert low < exact < high
    inside = ks(repr((low + high) / 2))
    assert inside.ks_interval == (inside.ks, inside.ks)
    assert inside.ks == pytest.approx(exact)
    assert inside.drifted == (exact > (low + high) / 2)


def test_a_report_of_an_earlier_mainspring_is_not_in_the_way(drift, tmp_path):
    drift(("1", "a", "primary", 1.0))
    (old,) = tmp_path.glob(".mainspring/drift/1/drift-*.json")
    for path in (old, old.parent.parent / "latest.json"):
        path.write_text(path.read_text().replace('"findings":[]', '"findings":["missing values"]'))
    assert latest(old.parent.parent) is None
    assert drift(("1", "b", "primary", 1.0))["temp"] == 2
    assert latest(old.parent.parent) is not None
