"""Who counts a window: a port that the in-process engine and every SQL engine fill with the same numbers.

`tests/adapters/ibis_counts` is what all of them do. It stands here and not in `ports`, because it speaks of cells and counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells, Counts
from mainspring.drift.columns import numbers
from mainspring.drift.counting import count

if TYPE_CHECKING:
    import pyarrow as pa


class WindowCounter(Protocol):
    """Counts rows of one table over the cells of a profile."""

    def columns(self) -> tuple[str, ...]:
        """The table's columns."""
        ...

    def count(self, cells: Mapping[str, Cells], window: TimeWindow | None = None) -> Mapping[str, Counts]:
        """Counts of each column that `cells` names, of the rows whose event time lies in the window; of all rows without.

        Errors: `DataError` where a column is not there, or no time is known and a window is asked for.
        """
        ...


@dataclass(frozen=True)
class TableCounter:
    """`WindowCounter` on an Arrow table in this process: the definition that every engine is held to.

    `time` names the event time, a timestamp; a timestamp without a zone is UTC.

    >>> import pyarrow as pa
    >>> counter = TableCounter(pa.table({"x": [0.5, 2.0, None]}))
    >>> counter.count({"x": Cells("number", np.array([0.0, 1.0]))})["x"].vector.tolist()
    [0, 1, 1, 1, 0, 0, 0, 0]
    """

    table: pa.Table
    time: str = ""

    def columns(self) -> tuple[str, ...]:
        """The table's columns."""
        return tuple(self.table.column_names)

    def count(self, cells: Mapping[str, Cells], window: TimeWindow | None = None) -> Mapping[str, Counts]:
        """Counts of each column that `cells` names."""
        rows = self.table
        if window is not None:
            at = numbers(rows.column(self.time))
            first, end = (one.timestamp() * 1e6 for one in (window.start, window.end))
            rows = rows.take(np.flatnonzero((at >= first) & (at < end)))
        return {name: count(one, rows.column(name)) for name, one in cells.items()}
