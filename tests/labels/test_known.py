"""Predictions meet their labels by request id: each once, in order, and only those that have one."""

import pyarrow as pa

from mainspring.labels.known import joined, met


def test_predictions_meet_their_labels_once_and_keep_their_order() -> None:
    predictions = pa.table({"request_id": ["c", "a", "b", "a"], "version": ["1", "1", "1", "2"]})
    labels = pa.table({"request_id": ["a", "c", "x"], "label": [1, 0, 1]})
    found = joined(predictions, labels).to_pydict()
    assert found == {"request_id": ["c", "a", "a"], "version": ["1", "1", "2"], "label": [0, 1, 1]}


def test_nothing_in_common_is_no_row() -> None:
    left = pa.table({"request_id": ["a"]})
    right = pa.table({"request_id": pa.array([], pa.string()), "score": pa.array([], pa.float64())})
    assert met(left, right, "score").num_rows == 0
