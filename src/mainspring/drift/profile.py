"""Profiles: a feature's reference as quantile edges or categories, and windows as counts over them.

A profile is fitted once, on the rows a model was trained on; every later window is only counts over the same cells, which
add up: a week is the sum of its days. Nulls, values below and above every edge and new categories have cells of their
own, and nothing aborts: an empty window, a column of nulls or an infinity is a count like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_version import Feature

if TYPE_CHECKING:
    import pyarrow as pa

MOST_EDGES = 512
MOST_CATEGORIES = 1000
PREDICTION = "prediction"


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one feature. Numbers: `edges` e0 < e1 < ... make the cells (e(i-1), e(i)], below e0 and above the last.
    Text: one cell for each of `categories`, and one for new ones.
    """

    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    text: bool = False

    @property
    def size(self) -> int:
        """Number of cells, without that for nulls."""
        return len(self.categories) + 1 if self.text else len(self.edges) + 1

    def label(self, cell: int) -> str:
        """A cell in the feature's own units."""
        if self.text:
            return self.categories[cell] if cell < len(self.categories) else "new category"
        if not self.edges:
            return "all"
        if cell == 0:
            return f"<= {self.edges[0]:g}"
        if cell == len(self.edges):
            return f"> {self.edges[-1]:g}"
        low, high = self.edges[cell - 1 : cell + 1]
        # A value with a cell of its own has its lower edge just below it.
        return f"{high:g}" if math.nextafter(high, -math.inf) == low else f"{low:g} to {high:g}"


@dataclass(frozen=True, slots=True)
class Counts:
    """One feature of one window: rows in each cell, and nulls."""

    cells: tuple[int, ...]
    nulls: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self.cells) + self.nulls

    def __add__(self, other: Counts) -> Counts:
        if len(self.cells) != len(other.cells):
            raise ValueError(f"counts over {len(self.cells)} and {len(other.cells)} cells do not add up")
        return Counts(tuple(map(add, self.cells, other.cells)), self.nulls + other.nulls)


@dataclass(frozen=True, slots=True)
class Profile:
    """The reference of a model version: the cells of every feature and of the prediction, and its counts."""

    cells: dict[str, Cells]
    counts: dict[str, Counts]
    rows: int = 0
    about: dict[str, str] = field(default_factory=dict)


def fit_profile(rows: pa.Table, features: Sequence[Feature], predictions: Sequence[float]) -> Profile:
    """The profile of `rows`; `predictions` are of rows the model did not see: on its own rows it is too sure."""
    import numpy as np
    import pyarrow as pa

    cells: dict[str, Cells] = {}
    for feature in features:
        column = rows.column(feature.name)
        text = feature.type in ("str", "category")
        cells[feature.name] = _categories(column) if text else _edges(_numbers(column))
    cells[PREDICTION] = _edges(np.asarray(predictions, np.float64))
    counted = {name: count(one, rows.column(name)) for name, one in cells.items() if name != PREDICTION}
    counted[PREDICTION] = count(cells[PREDICTION], pa.chunked_array([pa.array(list(predictions), pa.float64())]))
    return Profile(cells, counted, rows.num_rows)


def count(cells: Cells, column: pa.ChunkedArray) -> Counts:
    """Counts of a column over the cells; NaN counts as null."""
    import numpy as np

    if cells.text:
        return _count_text(cells, column)
    values = _numbers(column)
    known = values[~np.isnan(values)]
    places = np.searchsorted(np.array(cells.edges), known, side="left")
    found = np.bincount(places, minlength=cells.size)
    return Counts(tuple(int(one) for one in found), int(len(values) - len(known)))


def count_window(profile: Profile, columns: Mapping[str, pa.ChunkedArray]) -> dict[str, Counts]:
    """Counts of a window, for the features of the profile that it has."""
    return {name: count(cells, columns[name]) for name, cells in profile.cells.items() if name in columns}


def add_up(windows: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    """The sum of several windows."""
    total: dict[str, Counts] = {}
    for window in windows:
        for name, counts in window.items():
            total[name] = total[name] + counts if name in total else counts
    return total


def _edges(values: Any) -> Cells:
    import numpy as np

    known = values[np.isfinite(values)]
    if not len(known):
        return Cells()
    quantiles = np.unique(np.quantile(known, np.linspace(0, 1, MOST_EDGES + 1), method="inverted_cdf"))
    # A value with more than its share of the mass gets a cell of its own: an edge just below it.
    heavy, counts = np.unique(known, return_counts=True)
    heavy = heavy[counts > len(known) / MOST_EDGES]
    below = np.nextafter(heavy, -np.inf)
    return Cells(edges=tuple(float(edge) for edge in np.unique(np.concatenate([quantiles, heavy, below]))))


def _categories(column: pa.ChunkedArray) -> Cells:
    import pyarrow.compute as pc

    counted = pc.value_counts(_text(column).drop_null())
    found = sorted(
        zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True),
        key=lambda pair: (-pair[1], pair[0]),
    )
    return Cells(categories=tuple(name for name, _ in found[:MOST_CATEGORIES]), text=True)


def _count_text(cells: Cells, column: pa.ChunkedArray) -> Counts:
    import pyarrow.compute as pc

    places = {name: place for place, name in enumerate(cells.categories)}
    counts, nulls = [0] * cells.size, 0
    for one in pc.value_counts(_text(column)).to_pylist():
        if one["values"] is None:
            nulls += one["counts"]
        else:
            counts[places.get(one["values"], cells.size - 1)] += one["counts"]
    return Counts(tuple(counts), nulls)


def _text(column: pa.ChunkedArray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = column.cast(pa.string()).combine_chunks()
    # Where text is missing a predictor answers with "".
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _numbers(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
