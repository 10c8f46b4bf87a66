"""Counting: a column's rows over the cells of its feature, in one pass.

The definition of every count is here; engines that count by SQL give the same numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.drift.cells import (
    APART,
    MINUS_INFINITY,
    MISTYPED,
    MOST_EDGES,
    NAN,
    NULL,
    PLUS_INFINITY,
    Cells,
    Counts,
    Floats,
    Integers,
)
from mainspring.drift.columns import fits, numbers, text
from mainspring.drift.kernel import LEAST_ROWS, count_floats

if TYPE_CHECKING:
    import pyarrow as pa


def count(cells: Cells, column: pa.ChunkedArray) -> Counts:
    """Counts of a column over the cells. A column of another type has all its values in `MISTYPED`.

    >>> import pyarrow as pa
    >>> counts = count(Cells("number", np.array([0.0, 1.0])), pa.chunked_array([[-3.0, 0.5, 1.0, 7.0, None, float("nan")]]))
    >>> counts.cells.tolist(), counts.apart(NULL), counts.apart(NAN), counts.tails.tolist()
    ([1, 2, 1], 1, 1, [-3.0, -3.0, -3.0, 7.0, 7.0, 7.0])
    """
    vector = np.zeros(cells.width, np.int64)
    apart = vector[-len(APART) :]
    apart[NULL] = column.null_count
    if not fits(cells.kind, column.type):
        apart[MISTYPED] = len(column) - column.null_count
        return Counts(vector)
    if cells.ordered:
        return _count_numbers(cells, numbers(column.drop_null()), vector)
    if cells.kind == "boolean":
        _count_booleans(numbers(column.drop_null()), vector)
    else:
        _count_text(cells, column, vector)
    return Counts(vector)


def _count_numbers(cells: Cells, values: Floats, vector: Integers) -> Counts:
    if len(values) >= LEAST_ROWS and len(cells.edges) <= MOST_EDGES:
        counts = Counts(vector)
        count_floats(values, cells.edges, vector, counts.tails)
        return counts
    apart = vector[-len(APART) :]
    apart[NAN] = np.isnan(values).sum()
    apart[PLUS_INFINITY] = (values == np.inf).sum()
    apart[MINUS_INFINITY] = (values == -np.inf).sum()
    known = values[np.isfinite(values)]
    places = np.searchsorted(cells.edges, known, side="left")
    vector[: cells.size] = np.bincount(places, minlength=cells.size)
    counts = Counts(vector)
    if len(cells.edges):
        for at, outside in ((0, known[places == 0]), (3, known[places == len(cells.edges)])):
            if len(outside):
                with np.errstate(over="ignore"):
                    counts.tails[at : at + 3] = outside.sum(), outside.min(), outside.max()
    return counts


def _count_booleans(values: Floats, vector: Integers) -> None:
    """0 is false, 1 is true; NaN is how a predictor logs a missing one."""
    missing = int(np.isnan(values).sum())
    false, true = int((values == 0).sum()), int((values == 1).sum())
    vector[:3] = false, true, len(values) - missing - false - true
    vector[3 + NAN] = missing


def _count_text(cells: Cells, column: pa.ChunkedArray, vector: Integers) -> None:
    import pyarrow.compute as pc

    found: Any = pc.value_counts(text(column))
    names, times = found.field("values").to_pylist(), found.field("counts").to_pylist()
    places = {name: place for place, name in enumerate(cells.categories)}
    new = cells.size - 1
    vector[cells.size + NULL] = 0
    for name, rows in zip(names, times, strict=True):
        if name is None:
            vector[cells.size + NULL] += rows
        elif cells.kind == "hashed":
            vector[bucket_of(name)] += rows
        else:
            vector[places.get(name, new)] += rows


def bucket_of(value: str) -> int:
    """The cell of a hashed text: the first two hexadecimal digits of its MD5.

    >>> bucket_of("mainspring")
    102
    """
    return hashlib.md5(value.encode(), usedforsecurity=False).digest()[0]
