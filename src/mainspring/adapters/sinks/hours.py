"""`HourStore`: what every sink of the prediction log can do. An hour of one writer is replaced whole or not at all.

So nothing depends on what a sink did when it did not answer: the hour is sent again, and is there once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sink has of one hour of one writer: rows, and the digest of their contents as they were sent."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class HeldHour:
    """An hour that a sink has, and by whom it was sent."""

    at: datetime
    writer: str

    @property
    def window(self) -> TimeWindow:
        """From its first instant to the next hour's."""
        return TimeWindow(self.at, self.at + HOUR)


class HourStore(Protocol):
    """A sink. Errors: `TemporaryError` when it does not answer, `ConfigError` and `NotFound` when it refuses."""

    def hours(self, window: TimeWindow | None = None) -> Sequence[HeldHour]:
        """Hours with rows in the window, of every writer, oldest first."""
        ...

    def put(self, hour: HeldHour, table: pa.Table, digest: str) -> None:
        """Make these rows all that it has of the hour; as one write, which is seen whole or not at all."""
        ...

    def look(self, hour: HeldHour) -> Receipt | None:
        """What it has now, None when it has nothing."""
        ...

    def get(self, hour: HeldHour, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The hour's rows, with those of `columns` that they have; None when it has nothing."""
        ...

    def remove(self, hour: HeldHour) -> None:
        """Delete the hour; nothing happens when it is not there."""
        ...

    def try_out(self) -> str:
        """Write, read and delete something small; what is there, in words. Nothing stays behind."""
        ...


def in_order(table: pa.Table) -> pa.Table:
    """Rows and columns in an order that the rows themselves decide: the same rows have the same digest."""
    import pyarrow as pa

    first = [name for name in table.column_names if "." not in name]
    columns = {name: table.column(name) for name in [*first, *sorted(set(table.column_names) - set(first))]}
    for name, column in columns.items():
        if pa.types.is_list(column.type):  # whose elements have another name in each format
            columns[name] = column.cast(pa.list_(column.type.value_type))
    table = pa.table(columns)
    keys = [(name, "ascending") for name in ("event_at", "request_id", "version", "role")]
    return table.sort_by(keys).combine_chunks()


def digest_of(table: pa.Table) -> str:
    """Of the contents of rows that are `in_order`, wherever they lie; a column without a value is as good as none."""
    from mainspring.sources.digest import content_digest

    return content_digest(
        table.select([name for name in table.column_names if table.column(name).null_count < len(table)])
    )
