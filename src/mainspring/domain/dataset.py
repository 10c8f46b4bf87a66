"""`Dataset`: what is known of a table without holding its rows."""

from __future__ import annotations

from dataclasses import dataclass

from mainspring.domain.time import TimeWindow


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and its type: int, float, bool, str, time, date or category."""

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table by reference: where it lies, what it looks like and what it contained when it was read.

    `digest` is of the contents (rows in order, values and names), not of the path: the same rows elsewhere have the
    same digest. `window` is the event-time window, None for a table without times. `rows` is a count.
    """

    uri: str
    columns: tuple[Column, ...]
    digest: str
    window: TimeWindow | None
    rows: int

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)
