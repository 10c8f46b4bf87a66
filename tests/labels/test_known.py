"""Predictions meet their labels by request id: each once, in order, and only those that have one."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from mainspring.domain.errors import ConfigError
from mainspring.labels.known import KnownLabels, joined, met

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def test_predictions_meet_their_labels_once_and_keep_their_order() -> None:
    predictions = pa.table({"request_id": ["c", "a", "b", "a"], "version": ["1", "1", "1", "2"]})
    labels = pa.table({"request_id": ["a", "c", "x"], "label": [1, 0, 1]})
    found = joined(predictions, labels).to_pydict()
    assert found == {"request_id": ["c", "a", "a"], "version": ["1", "1", "2"], "label": [0, 1, 1]}


def test_nothing_in_common_is_no_row() -> None:
    left = pa.table({"request_id": ["a"]})
    right = pa.table({"request_id": pa.array([], pa.string()), "score": pa.array([], pa.float64())})
    assert met(left, right, "score").num_rows == 0


def test_questions_without_times_have_labels_and_those_without_ids_have_none() -> None:
    asked = pa.table({"request_id": ["a", "b"], "label": pa.array([None, 1], pa.int64()), "label_known_at": [DAY, DAY]})
    found = KnownLabels(lambda known_at, window: asked).labels(DAY).to_pydict()
    assert found == {"request_id": ["b"], "label": [1], "event_at": [None], "known_at": [DAY]}
    with pytest.raises(ConfigError, match="the questions have no id"):
        KnownLabels(lambda known_at, window: asked.drop_columns(["request_id"])).labels(DAY)
