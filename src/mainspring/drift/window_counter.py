"""Who counts a window: a port that the in-process engine and every SQL engine fill with the same numbers.

`tests/adapters/ibis_counts` is what all of them do. It stands here and not in `ports`, because it speaks of cells and counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mainspring.domain.errors import DataError
from mainspring.domain.time import TimeWindow, utc
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

    def dated(self) -> bool:
        """Whether the event time is a date: it has no hour, and only windows of whole days can be counted."""
        ...

    def count(self, cells: Mapping[str, Cells], window: TimeWindow | None = None) -> Mapping[str, Counts]:
        """Counts of each column that `cells` names, of the rows whose event time lies in the window; of all rows without.

        A date lies where its midnight UTC does. Errors: `DataError` where a column is not there, no time is known and a window
        is asked for, or the time is a date and the window is not of whole days.
        """
        ...


def require_days(time: str, window: TimeWindow, where: str) -> None:
    """Refuse a window that does not begin and end at midnight UTC: which rows of a date lie in a part of its day is not known."""
    start, end = utc(window.start), utc(window.end)
    first, last = (one.replace(hour=0, minute=0, second=0, microsecond=0) for one in (start, end))
    if (start, end) == (first, last):
        return
    days = (first, last if last == end else last + timedelta(days=1))
    raise DataError(
        f"`{time}` is a date and has no hour: a window from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC would have all rows "
        "of a day, or none",
        where=where,
        valid="a window from midnight to midnight UTC, and with --trailing a drift.trailing of whole days",
        next_step="--since {:%Y-%m-%d} --until {:%Y-%m-%d}, or --time with a timestamp".format(*days),
    )


@dataclass(frozen=True)
class TableCounter:
    """`WindowCounter` on an Arrow table in this process: the definition that every engine is held to.

    `time` names the event time, a timestamp or a date; a timestamp without a zone is UTC.

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

    def dated(self) -> bool:
        """Whether the event time is a date."""
        import pyarrow as pa

        return bool(self.time in self.table.column_names and pa.types.is_date(self.table.schema.field(self.time).type))

    def count(self, cells: Mapping[str, Cells], window: TimeWindow | None = None) -> Mapping[str, Counts]:
        """Counts of each column that `cells` names."""
        rows = self.table
        if window is not None:
            if self.dated():
                require_days(self.time, window, "the table")
            at = numbers(rows.column(self.time))
            first, end = (one.timestamp() * 1e6 for one in (window.start, window.end))
            rows = rows.take(np.flatnonzero((at >= first) & (at < end)))
        return {name: count(one, rows.column(name)) for name, one in cells.items()}
