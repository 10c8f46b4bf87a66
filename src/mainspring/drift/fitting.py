"""Fitting cells: a reference's column, sorted once, as quantile edges or a table of categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.drift.cells import BOOLEANS, MOST_CATEGORIES, MOST_EDGES, Cells, Floats, Kind
from mainspring.drift.columns import kind_of, numbers, text

if TYPE_CHECKING:
    import pyarrow as pa


def fit_cells(column: pa.ChunkedArray, kind: Kind | None = None) -> Cells:
    """The cells of a column, by its Arrow type unless `kind` says more ("category": text, hashed where it has too many values).

    >>> import pyarrow as pa
    >>> cells = fit_cells(pa.chunked_array([[1.0, 2.0, 4.0, None]]))
    >>> [cells.label(cell) for cell in range(cells.size)]
    ['< 1', '1', '1 to 2', '2', '2 to 4', '4', '> 4']
    """
    kind = kind or kind_of(column.type)
    if kind == "boolean":
        return Cells("boolean", categories=BOOLEANS)
    if kind in ("category", "hashed"):
        return _categories(column)
    return Cells(kind, edges_of(numbers(column)))


def edges_of(values: Floats) -> Floats:
    """At most `MOST_EDGES` edges of float64 values; infinities and NaN are left out. Empty where nothing is left.

    Quantiles of equal mass, from one sort; a value with more than its share of the mass gets edges of its own, just below it
    and at it.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return np.empty(0, np.float64)
    ordered: Floats = np.sort(known) + 0.0  # -0.0 is 0.0
    edges = _edges(ordered, MOST_EDGES - 1)
    # Heavy values cost two edges each: with half as many quantiles they fit in any case.
    return edges if len(edges) <= MOST_EDGES else _edges(ordered, (MOST_EDGES - 1) // 2)


def _edges(ordered: Floats, shares: int) -> Floats:
    rows = len(ordered)
    places = -(-np.arange(1, shares + 1) * rows // shares) - 1
    quantiles = np.unique(ordered[places])
    # Whatever has more than its share lies under one of the quantiles.
    mass = np.searchsorted(ordered, quantiles, side="right") - np.searchsorted(ordered, quantiles, side="left")
    heavy = quantiles[mass > rows / shares]
    with np.errstate(over="ignore"):
        below = np.nextafter(np.append(heavy, ordered[0]), -np.inf)
    edges: Floats = np.unique(np.concatenate([quantiles, below]))
    return edges[np.isfinite(edges)]


def _categories(column: pa.ChunkedArray) -> Cells:
    import pyarrow.compute as pc

    counted: Any = pc.value_counts(text(column).drop_null())
    if len(counted) > MOST_CATEGORIES:
        return Cells("hashed")
    found = sorted(
        zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True),
        key=lambda pair: (-pair[1], pair[0]),
    )
    return Cells("category", categories=tuple(name for name, _ in found))
