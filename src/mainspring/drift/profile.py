"""A profile: the reference of a model version, as cells and counts of every feature and of the prediction.

It is fitted once, on the rows that a model was trained on, and for the prediction on rows that the model did not see:
on its own rows a model is too sure. Every later window is only counts over the same cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mainspring.domain.model_version import Feature, Signature
from mainspring.drift.cells import Cells, Counts, Windows, total
from mainspring.drift.counting import count
from mainspring.drift.fitting import fit_cells

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION = "prediction"
"""The chance of the positive class, the value, or of several classes the one that is predicted."""
CONFIDENCE = "prediction.confidence"
"""Of several classes the chance of the one that is predicted."""


@dataclass(frozen=True)
class Profile:
    """The reference of a model version.

    `cells` and `counts` are by feature, and by `PREDICTION` and `CONFIDENCE`; `windows` are the reference's own windows of
    `every_seconds`, where its rows have times.
    """

    cells: dict[str, Cells]
    counts: dict[str, Counts]
    windows: dict[str, Windows] = field(default_factory=dict)
    every_seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Rows of the reference."""
        return max((one.rows for one in self.counts.values()), default=0)


def fit_profile(columns: Mapping[str, pa.ChunkedArray], features: Sequence[Feature]) -> Profile:
    """The profile of a reference's columns; those that are no feature are taken by their Arrow type.

    Use `prediction_columns` for what a model answered.
    """
    typed = {one.name: one.type for one in features}
    shaped = {name: as_declared(column, typed.get(name, "")) for name, column in columns.items()}
    cells = {name: fit_cells(column, "category" if _is_text(typed, name) else None) for name, column in shaped.items()}
    return Profile(cells, {name: count(one, shaped[name]) for name, one in cells.items()})


def as_declared(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """A column of the training rows as a predictor logs it: categories may be numbers there, and are text in the log."""
    import pyarrow as pa

    if kind not in ("str", "category") or pa.types.is_dictionary(column.type):
        return column
    return column.cast(pa.string())


def _is_text(typed: Mapping[str, str], name: str) -> bool:
    return typed.get(name) in ("str", "category")


def prediction_columns(outputs: NDArray[np.float64], signature: Signature) -> dict[str, pa.ChunkedArray]:
    """What a model answered, as columns of a profile. `outputs` is [rows] or [rows, 1], or of several classes [rows, classes].

    >>> found = prediction_columns(np.array([[0.2, 0.7, 0.1]]), Signature("multiclass", (), classes=("a", "b", "c")))
    >>> {name: column.to_pylist() for name, column in found.items()}
    {'prediction': ['b'], 'prediction.confidence': [0.7]}
    """
    import pyarrow as pa

    values = np.asarray(outputs, np.float64)
    if signature.task != "multiclass":
        return {PREDICTION: pa.chunked_array([pa.array(values.reshape(len(values), -1)[:, 0], pa.float64())])}
    names = pa.array(signature.classes, pa.string())
    best = values.argmax(axis=1) if len(values) else np.empty(0, np.int64)
    confidence = values.max(axis=1) if len(values) else np.empty(0)
    return {
        PREDICTION: pa.chunked_array([names.take(pa.array(best, pa.int64()))]),
        CONFIDENCE: pa.chunked_array([pa.array(confidence, pa.float64())]),
    }


def count_window(profile: Profile, columns: Mapping[str, pa.ChunkedArray]) -> dict[str, Counts]:
    """Counts of a window, for the features of the profile that it has."""
    return {name: count(cells, columns[name]) for name, cells in profile.cells.items() if name in columns}


def add_up(profile: Profile, windows: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    """The sum of several windows, for the features that any of them has."""
    found: dict[str, Counts] = {}
    for name, cells in profile.cells.items():
        there: list[Any] = [window[name] for window in windows if name in window]
        if there:
            found[name] = total(there, cells)
    return found
