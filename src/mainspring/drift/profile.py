"""A profile: the reference of a model version, as cells and counts of every feature and of the prediction.

It is fitted once, on the rows that a model was trained on, and for the prediction on rows that the model did not see:
on its own rows a model is too sure. Every later window is only counts over the same cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mainspring.domain.model_version import Feature, Signature
from mainspring.drift.cells import Cells, Counts, Windows, total
from mainspring.drift.counting import count
from mainspring.drift.fitting import fit_cells
from mainspring.drift.placing import windowed
from mainspring.drift.windows import Past, training_past

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION = "prediction"
"""The chance of the positive class, the value, or of several classes the one that is predicted."""
CONFIDENCE = "prediction.confidence"
"""Of several classes the chance of the one that is predicted."""
MOST_WINDOWS = 400
"""More windows than a year has days make no better calibration, and a larger file."""


@dataclass(frozen=True)
class Profile:
    """The reference of a model version.

    `cells` and `counts` are by feature, and by `PREDICTION` and `CONFIDENCE`; `windows` are the reference's own windows of
    `every_seconds`, the newest `MOST_WINDOWS` of them, where its rows have times.
    """

    cells: dict[str, Cells]
    counts: dict[str, Counts]
    windows: dict[str, Windows] = field(default_factory=dict)
    every_seconds: float = 0.0

    @cached_property
    def own_windows(self) -> Past:
        """The reference's own windows over groups: what alarms are calibrated on while the log is young."""
        return training_past(self.cells, self.counts, self.windows)

    @property
    def rows(self) -> int:
        """Rows of the reference."""
        return max((one.rows for one in self.counts.values()), default=0)

    def beside(self, other: Profile) -> Profile:
        """Both as one: features are of the training rows, the prediction is of others."""
        return Profile(
            self.cells | other.cells,
            self.counts | other.counts,
            self.windows | other.windows,
            self.every_seconds or other.every_seconds,
        )


def fit_profile(
    columns: Mapping[str, pa.ChunkedArray],
    features: Sequence[Feature] = (),
    times: NDArray[np.datetime64] | None = None,
    every: timedelta | None = None,
) -> Profile:
    """The profile of a reference's columns; those that are no feature are taken by their Arrow type.

    `times` are the rows' event times (datetime64, UTC; NaT is in no window); with `every` the reference's own windows of that
    length are counted as well. Use `prediction_columns` for what a model answered.
    """
    typed = {one.name: one.type for one in features}
    cells, counts, windows = {}, {}, {}
    place = None if times is None or every is None or not len(times) else _Placed.of(times, every)
    for name, given in columns.items():
        column = as_declared(given, typed.get(name, ""))
        cells[name] = fit_cells(column, "category" if _is_text(typed, name) else None)
        counts[name] = count(cells[name], column)
        if place is not None:
            windows[name] = place.windows(cells[name], column)
    return Profile(cells, counts, windows, every.total_seconds() if every is not None and windows else 0.0)


@dataclass(frozen=True)
class _Placed:
    """Rows in order of their windows: `order` their places, window w from `bounds[w]` to `bounds[w + 1]`."""

    starts: NDArray[np.datetime64]
    order: Any
    bounds: Any

    @staticmethod
    def of(times: NDArray[np.datetime64], every: timedelta) -> _Placed:
        at = times.astype("datetime64[us]")
        known = np.flatnonzero(~np.isnat(at))
        length = every // timedelta(microseconds=1)
        window = at[known].astype(np.int64) // length
        # Counting in order of time is the same as counting by row: rows are mostly in that order already.
        order = known[np.argsort(window, kind="stable")]
        found, first = np.unique(np.sort(window), return_index=True)
        bounds = np.append(first, len(known))[-MOST_WINDOWS - 1 :]
        return _Placed((found[-MOST_WINDOWS:] * length).astype("datetime64[us]"), order, bounds)

    def windows(self, cells: Cells, column: pa.ChunkedArray) -> Windows:
        import pyarrow as pa

        ordered = column.take(pa.array(self.order[self.bounds[0] :]))
        window = np.repeat(np.arange(len(self.starts)), np.diff(self.bounds))
        found = windowed(cells, ordered, window, len(self.starts))
        counts = np.zeros((len(self.starts), cells.width), np.int32)
        counts[found.windows, found.places] = found.rows
        return Windows(self.starts, counts)


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
