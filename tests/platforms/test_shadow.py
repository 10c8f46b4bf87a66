"""A shadow's copies against what callers were answered: pairs, failures, silence, labels by day."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.domain.model_version import ModelVersion, Signature
from mainspring.domain.rollout import Rollout
from mainspring.platforms.shadow import LaptopShadow
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = AT + timedelta(days=4)
SETTINGS = {
    "name": "rain",
    "task": "binary",
    "sources": {"s": {"path": "s.csv"}},
    "target": {"source": "s", "column": "y", "id": "k"},
}
ROLLOUT = Rollout("1-to-2-1", "1", "2", phase="shadow", mirror_percent=100, phase_since=AT)
PRIMARY, SHADOW, BATCH, ANSWERED, FAILED = 0, 1, 2, 0, 1


class Labels:
    """Known labels by request id."""

    def __init__(self, known=()):
        self._known = dict(known)

    def labels(self, known_at, window=None):
        return pa.table({"request_id": pa.array(list(self._known), pa.string()), "label": list(self._known.values())})


class Versions:
    """A registry with versions 1 and 2."""

    def versions(self):
        signature = Signature("binary", (), classes=("0", "1"))
        return [
            ModelVersion("rain", one, "", "", "", False, "", "onnx", signature, trained_until=AT) for one in ("1", "2")
        ]


@pytest.fixture
def paths(tmp_path):
    return ProjectPaths(tmp_path)


def write(paths, version, rows):
    writer = SegmentWriter(paths.segments, SegmentHeader(version, ""))
    writer.append(
        [
            LogRow(name, role, 0, outcome, microseconds(at), 900, output, (), (), (), ())
            for name, role, outcome, at, output in rows
        ]
    )
    writer.rotate()


def compare(paths, *, labels=(), rollout=ROLLOUT, job=None):
    log = ParquetPredictionLog(paths)
    log.compact()
    settings = ProjectSettings.model_validate(SETTINGS)
    return (job or LaptopShadow(settings, log, Labels(labels), Versions())).compare(rollout, LATER)


def test_pairs_are_compared_and_the_furthest_apart_are_named(paths):
    asked = [(f"q{n}", AT + timedelta(minutes=n)) for n in range(10)]
    write(paths, "1", [(name, PRIMARY, ANSWERED, at, (0.5,)) for name, at in asked])
    write(paths, "2", [(name, SHADOW, ANSWERED, at, (0.9 if name == "q7" else 0.505,)) for name, at in reversed(asked)])
    report = compare(paths)
    assert (report.requests, report.answered, report.failed, report.differing) == (10, 10, 0, 1)
    assert (report.examples[0], round(report.largest_difference, 6)) == ("q7", 0.4)
    assert report.words.startswith("10 copied requests answered, 1 differ by more than 0.01")


def test_what_came_before_the_phase_or_from_another_version_is_no_evidence(paths):
    write(
        paths, "1", [("old", PRIMARY, ANSWERED, AT - timedelta(hours=1), (0.5,)), ("q", PRIMARY, ANSWERED, AT, (0.5,))]
    )
    write(paths, "2", [("old", SHADOW, ANSWERED, AT - timedelta(hours=1), (0.9,))])
    write(paths, "3", [("q", SHADOW, ANSWERED, AT, (0.9,))])
    report = compare(paths)
    assert (report.requests, report.answered) == (1, 0)


def test_a_copy_that_failed_is_told(paths):
    write(paths, "1", [(name, PRIMARY, ANSWERED, AT, (0.5,)) for name in ("a", "b", "c")])
    write(paths, "2", [("a", SHADOW, ANSWERED, AT, (0.5,)), ("b", SHADOW, FAILED, AT, ())])
    report = compare(paths)
    assert (report.requests, report.answered, report.failed) == (3, 1, 1)


def test_labels_make_blocks_of_days_in_the_gates_metric(paths):
    generator = np.random.default_rng(3)
    rows = [(f"q{n}", AT + timedelta(days=n % 3, minutes=n // 3)) for n in range(300)]
    truth = {name: int(generator.uniform() < 0.5) for name, _ in rows}
    write(paths, "1", [(name, PRIMARY, ANSWERED, at, (generator.uniform(),)) for name, at in rows])
    write(paths, "2", [(name, SHADOW, ANSWERED, at, (0.6 * truth[name] + 0.2,)) for name, at in rows])
    report = compare(paths, labels=truth.items())
    assert [(one.block, one.rows, one.shadow) for one in report.blocks] == [
        (f"2026-03-0{day}", 100, 1.0) for day in (1, 2, 3)
    ]
    assert all(0.3 < one.primary < 0.7 for one in report.blocks)


def test_the_log_is_read_again_only_so_often(paths, monkeypatch):
    reads = []
    log = ParquetPredictionLog(paths)
    read = log.read
    monkeypatch.setattr(log, "read", lambda *given: reads.append(given) or read(*given))
    job = LaptopShadow(ProjectSettings.model_validate(SETTINGS), log, Labels(), Versions(), every_seconds=60)
    write(paths, "1", [("a", PRIMARY, ANSWERED, AT, (0.5,))])
    log.compact()
    for _ in range(3):
        assert job.compare(ROLLOUT, LATER).requests == 1
    assert len(reads) == 1
    job.compare(replace(ROLLOUT, step=1), LATER)
    assert len(reads) == 2


def test_rows_that_were_scored_in_batch_are_no_evidence(paths):
    asked = [(f"q{n}", AT + timedelta(minutes=n)) for n in range(4)]
    write(paths, "1", [(name, PRIMARY, ANSWERED, at, (0.5,)) for name, at in asked])
    write(paths, "2", [(name, BATCH, ANSWERED, at, (0.9,)) for name, at in asked])
    write(paths, "1", [(f"b{n}", BATCH, ANSWERED, AT, (0.5,)) for n in range(50)])
    report = compare(paths)
    assert (report.requests, report.answered, report.failed, report.differing) == (4, 0, 0, 0)
