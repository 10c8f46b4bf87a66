"""Which cell each row is in: for many short windows at once, where counting each by itself would cost more than its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.drift.cells import MINUS_INFINITY, MISTYPED, NAN, NULL, PLUS_INFINITY, Cells, Floats, Integers
from mainspring.drift.columns import fits, nulls, numbers, text
from mainspring.drift.counting import bucket_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class WindowedCounts:
    """Counts of one feature in several windows, those that are not 0: `rows` of `places` (of a vector of counts) in `windows`, in
    order. `tails` are float64 [windows, 6], as those of `Counts`.
    """

    width: int
    windows: Integers
    places: Integers
    rows: Integers
    tails: Floats


def windowed(cells: Cells, column: pa.ChunkedArray, window: Integers, windows: int) -> WindowedCounts:
    """Counts of a column by window. `window` int64 [rows] is each row's, from 0 to `windows` - 1.

    >>> import pyarrow as pa
    >>> cells = Cells("number", np.array([0.0, 1.0]))
    >>> found = windowed(cells, pa.chunked_array([[0.5, 0.7, 9.0, None]]), np.array([0, 0, 1, 1]), 2)
    >>> list(zip(found.windows.tolist(), found.places.tolist(), found.rows.tolist())), found.tails[1, 3:].tolist()
    ([(0, 1, 2), (1, 2, 1), (1, 3, 1)], [9.0, 9.0, 9.0])
    """
    found = places(cells, column)
    keys, rows = np.unique(window * cells.width + found, return_counts=True)
    tails = np.tile([0.0, np.inf, -np.inf] * 2, (windows, 1))
    if len(cells.edges):
        values = numbers(column) if fits(cells.kind, column.type) else np.empty(0)
        for cell, at in ((0, 0), (len(cells.edges), 3)):
            outside = np.flatnonzero(found == cell)
            if len(outside):
                with np.errstate(over="ignore"):
                    np.add.at(tails[:, at], window[outside], values[outside])
                np.minimum.at(tails[:, at + 1], window[outside], values[outside])
                np.maximum.at(tails[:, at + 2], window[outside], values[outside])
    return WindowedCounts(cells.width, keys // cells.width, keys % cells.width, rows.astype(np.int64), tails)


def places(cells: Cells, column: pa.ChunkedArray) -> Integers:
    """The place of each row in a vector of counts: what `counting.count` counts, row by row. int64 [rows]."""
    missing = nulls(column)
    if not fits(cells.kind, column.type):
        return np.where(missing, cells.size + NULL, cells.size + MISTYPED)
    if cells.kind in ("category", "hashed"):
        return _of_text(cells, column)
    values = numbers(column)
    if cells.ordered:
        found = np.searchsorted(cells.edges, values, side="left").astype(np.int64)
        found[values == np.inf] = cells.size + PLUS_INFINITY
        found[values == -np.inf] = cells.size + MINUS_INFINITY
    else:
        found = np.full(len(values), cells.size - 1, np.int64)
        found[values == 0] = 0
        found[values == 1] = 1
    found[np.isnan(values)] = cells.size + NAN
    found[missing] = cells.size + NULL
    return found


def _of_text(cells: Cells, column: pa.ChunkedArray) -> Integers:
    import pyarrow.compute as pc

    encoded: Any = text(column).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if cells.kind == "hashed":
        cell_of = [bucket_of(name) for name in names]
    else:
        known = {name: place for place, name in enumerate(cells.categories)}
        cell_of = [known.get(name, cells.size - 1) for name in names]
    # One more for null, which has no place in the dictionary.
    at = pc.fill_null(encoded.indices, len(names)).to_numpy(zero_copy_only=False)
    found: Integers = np.array([*cell_of, cells.size + NULL], np.int64)[at]
    return found
