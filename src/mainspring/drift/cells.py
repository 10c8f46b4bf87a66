"""Cells and counts: a feature's reference as cells, and any rows of it as one number for each cell.

Here is what the cells of a feature are, and how counts over them add up: hours to days, days to a model's life. How
cells are fitted is in `fitting`, how rows are counted is in `counting`. Numbers are compared as float64.

A feature's counts are one int64 vector: its cells, then `APART`: what is in no cell. So windows of a feature are an
array [windows, cells.width], and every engine that counts has one row to fill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "time", "boolean", "category", "hashed"]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_EDGES = 4096
MOST_CATEGORIES = 1000
"""Text with more different values than this is hashed."""
HASH_BUCKETS = 256
"""Two hexadecimal digits of MD5, which every SQL engine has."""
BOOLEANS = ("false", "true")
APART = ("null", "nan", "plus_infinity", "minus_infinity", "mistyped")
"""What is counted in no cell. `mistyped`: text where numbers were, or the reverse."""
NULL, NAN, PLUS_INFINITY, MINUS_INFINITY, MISTYPED = range(len(APART))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _no_edges() -> Floats:
    return np.empty(0, np.float64)


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one feature.

    `number` and `time` (microseconds since 1970 UTC): `edges` e0 < e1 < ... < eK, all finite. Cell 0 is `v <= e0`, cell i is
    `e(i-1) < v <= e(i)`, the last is `v > eK`. The reference's least value lies just above e0 and its largest is eK: the
    first cell is exactly what is below the reference, the last what is above. Without edges (a reference without one finite
    number) all finite numbers are in one cell. A cell whose two edges are neighbouring floats holds one single value.
    `boolean`: false, true (numbers: 0 and 1), anything else. `category`: one for each of `categories`, then new ones. "" is null.
    `hashed`: the first two hexadecimal digits of the MD5 of the text in UTF-8.

    >>> cells = Cells("number", np.array([np.nextafter(1.0, 0), 1.0, 3.0]))
    >>> cells.size, cells.width, [cells.label(cell) for cell in range(cells.size)], cells.single.tolist()
    (4, 9, ['< 1', '1', '1 to 3', '> 3'], [False, True, False, False])
    """

    kind: Kind
    edges: Floats = field(default_factory=_no_edges)
    categories: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Cells)
            and (self.kind, self.categories) == (other.kind, other.categories)
            and np.array_equal(self.edges, other.edges)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def ordered(self) -> bool:
        """Whether cells have an order: KS and Wasserstein are about such."""
        return self.kind in ("number", "time")

    @property
    def size(self) -> int:
        """Number of cells, without `APART`."""
        if self.ordered:
            return len(self.edges) + 1
        return HASH_BUCKETS if self.kind == "hashed" else len(self.categories) + 1

    @property
    def width(self) -> int:
        """Length of a vector of counts: cells and `APART`."""
        return self.size + len(APART)

    @property
    def single(self) -> NDArray[np.bool_]:
        """Of each cell whether it can hold but one value."""
        found = np.ones(self.size, np.bool_)
        if self.ordered:
            found[:] = False
            found[1:-1] = np.nextafter(self.edges[:-1], np.inf) == self.edges[1:]
        return found

    def label(self, cell: int) -> str:
        """A cell in the feature's own units."""
        return self.span(cell, cell)

    def span(self, first: int, last: int) -> str:
        """Neighbouring cells `first` to `last` in the feature's own units; categories one by one."""
        if self.kind == "hashed":
            return f"hash {first:02x}" if first == last else f"hashes {first:02x} to {last:02x}"
        if not self.ordered:
            names = [*self.categories, "new category" if self.kind == "category" else "other"]
            return ", ".join(names[first : last + 1])
        low, high = self.bounds(first, last)
        if low is None and high is None:
            return "all"
        if low is None:
            return f"< {self._told(self.edges[1])}" if last == 0 and len(self.edges) > 1 else f"<= {self._told(high)}"
        if high is None:
            return f"> {self._told(low)}"
        if np.nextafter(low, np.inf) == high:
            return self._told(high)
        # A lower edge just below a value is there for that value, which is the first one in the cell.
        shown = float(np.nextafter(low, np.inf))
        return f"{self._told(shown if first == 1 or self._is_just_below(first) else low)} to {self._told(high)}"

    def bounds(self, first: int, last: int) -> tuple[float | None, float | None]:
        """What values of cells `first` to `last` lie between: above the one, up to the other; None without an end."""
        low = float(self.edges[first - 1]) if first > 0 else None
        high = float(self.edges[last]) if last < len(self.edges) else None
        return low, high

    def _is_just_below(self, cell: int) -> bool:
        return bool(cell < len(self.edges) and np.nextafter(self.edges[cell - 1], np.inf) == self.edges[cell])

    def _told(self, value: Any) -> str:
        if self.kind != "time":
            return f"{float(value):g}"
        try:
            at = _EPOCH + timedelta(microseconds=float(value))
        except OverflowError:
            return f"{float(value):g}"
        return f"{at:%Y-%m-%d}" if (at.hour, at.minute, at.second) == (0, 0, 0) else f"{at:%Y-%m-%d %H:%M}"


def _no_tails() -> Floats:
    return np.array([0.0, math.inf, -math.inf] * 2)


@dataclass(frozen=True, eq=False)
class Counts:
    """Rows of one feature over its cells: int64 [cells.width]. They add up.

    `tails` are float64 [6]: sum, least and greatest of what lies below the reference, and the same above it: how far beyond
    its ends values lie. Of nothing they are 0, inf, -inf.

    >>> cells = Cells("boolean", categories=BOOLEANS)
    >>> two = Counts(np.array([3, 1, 0, 2, 0, 0, 0, 0])) + Counts(np.array([1, 1, 0, 0, 0, 0, 0, 0]))
    >>> two.cells.tolist(), two.apart(NULL), two.rows, two == Counts.none(cells) + two
    ([4, 2, 0], 2, 8, True)
    """

    vector: Integers
    tails: Floats = field(default_factory=_no_tails)

    @staticmethod
    def none(cells: Cells) -> Counts:
        """Counts of no row."""
        return Counts(np.zeros(cells.width, np.int64))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Counts)
            and np.array_equal(self.vector, other.vector)
            and np.allclose(self.tails, other.tails, rtol=1e-9, atol=0)
        )

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Counts) -> Counts:
        if len(self.vector) != len(other.vector):
            raise ValueError(f"counts over {len(self.vector)} and {len(other.vector)} cells do not add up")
        return Counts(self.vector + other.vector, joined_tails([self.tails, other.tails]))

    @property
    def cells(self) -> Integers:
        """Rows in each cell."""
        return self.vector[: -len(APART)]

    def apart(self, what: int) -> int:
        """Rows that are in no cell: `NULL`, `NAN`, `PLUS_INFINITY`, `MINUS_INFINITY` or `MISTYPED`."""
        return int(self.vector[len(self.vector) - len(APART) + what])

    @property
    def rows(self) -> int:
        """All rows."""
        return int(self.vector.sum())

    @property
    def known(self) -> int:
        """Rows that are in a cell."""
        return int(self.cells.sum())

    @property
    def missing(self) -> int:
        """Rows without a value: null, and NaN, by which a predictor logs a missing number."""
        return self.apart(NULL) + self.apart(NAN)

    @property
    def infinite(self) -> int:
        """Rows with an infinity."""
        return self.apart(PLUS_INFINITY) + self.apart(MINUS_INFINITY)


def joined_tails(tails: Sequence[Floats] | Floats) -> Floats:
    """Several `tails` as one. Those of windows are float64 [windows, 6]."""
    rows = np.asarray(tails, np.float64).reshape(-1, 6)
    found = _no_tails()
    if len(rows):
        found[[0, 3]] = rows[:, [0, 3]].sum(axis=0)
        found[[1, 4]] = rows[:, [1, 4]].min(axis=0)
        found[[2, 5]] = rows[:, [2, 5]].max(axis=0)
    return found


def total(counts: Sequence[Counts], cells: Cells) -> Counts:
    """The sum of several counts over the same cells."""
    if not counts:
        return Counts.none(cells)
    vectors = np.stack([one.vector for one in counts])
    return Counts(vectors.sum(axis=0, dtype=np.int64), joined_tails([one.tails for one in counts]))


@dataclass(frozen=True, eq=False)
class Windows:
    """Counts of one feature by window: `starts` datetime64[us] [windows], oldest first, `counts` int32 [windows, cells.width].

    What alarms are calibrated on. Windows without a row are not there.
    """

    starts: NDArray[np.datetime64]
    counts: NDArray[np.int32]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Windows)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.starts)
