"""What of a table is counted: each feature's column as a number, a time or a text, and the window as a condition.

All of it is an Ibis expression, so that each engine gets it in its own SQL. Columns of it are v0, v1, ...: numbers are
float64 already, truth is 0 and 1, text is text; times, and what is mistyped, are as the engine has them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mainspring.domain.errors import DataError
from mainspring.domain.time import TimeWindow, utc
from mainspring.drift.cells import Cells
from mainspring.drift.window_counter import require_days

Form = Literal["number", "time", "text", "mistyped"]


@dataclass(frozen=True, slots=True)
class Value:
    """A column under count. `form` is what is asked of it: of a `mistyped` one only whether there is a value.

    `zoned`: a time that is an instant; without it is UTC by agreement.
    """

    place: int
    feature: str
    cells: Cells
    form: Form
    zoned: bool = False

    @property
    def column(self) -> str:
        """Its name in the window."""
        return f"v{self.place}"


def values_of(
    cells: Mapping[str, Cells], table: Any, columns: Mapping[str, str], as_text: Collection[str], where: str
) -> list[Value]:
    """The columns to count, by the engine's own types. `columns` are those named otherwise than their feature.

    Errors: `DataError` naming every column that is not there, with the nearest one.
    """
    schema = table.schema()
    missing = [name for name in cells if columns.get(name, name) not in schema]
    if missing:
        raise DataError(
            f"the table has no column {', '.join(_hint(columns.get(name, name), list(schema)) for name in missing)}",
            where=where,
            valid=", ".join(schema),
            next_step=f"name the column: --column {missing[0]}=COLUMN",
        )
    found = []
    for place, (name, one) in enumerate(cells.items()):
        kind = schema[columns.get(name, name)]
        zoned = bool(kind.is_timestamp() and kind.timezone is not None)
        form = "text" if name in as_text and (kind.is_integer() or kind.is_boolean()) else _form(one, kind)
        found.append(Value(place, name, one, form, zoned))
    return found


def window_of(
    values: Sequence[Value], table: Any, columns: Mapping[str, str], time: str, window: TimeWindow | None, where: str
) -> Any:
    """The rows of the window as an Ibis table of v0, v1, ...

    Errors: `DataError` where the time is not there or is no time to the engine, or is a date and the window not of whole days.
    """
    rows = table if window is None else table.filter(_inside(table, time, window, where))
    return rows.select(**{one.column: _shaped(rows[columns.get(one.feature, one.feature)], one) for one in values})


def _form(cells: Cells, kind: Any) -> Form:
    """As `mainspring.drift.columns.fits` has it."""
    if kind.is_null():
        return "number" if cells.kind in ("number", "boolean") else "mistyped"
    if cells.kind in ("number", "boolean"):
        return "number" if kind.is_numeric() or kind.is_boolean() else "mistyped"
    if cells.kind == "time":
        return "time" if kind.is_timestamp() or kind.is_date() else "mistyped"
    # Arrow has no plain form of these, and a source reads their text.
    texts = (kind.is_string(), kind.is_uuid(), kind.is_json(), kind.is_inet(), kind.is_macaddr(), kind.is_unknown())
    return "text" if any(texts) else "mistyped"


def _shaped(column: Any, value: Value) -> Any:
    import ibis

    kind = column.type()
    if value.form == "text":
        return column if kind.is_string() else column.cast("string")
    if value.form in ("time", "mistyped") or kind.is_float64():
        return column
    if kind.is_boolean():
        return ibis.cases((column, ibis.literal(1.0)), (~column, ibis.literal(0.0)), else_=None).cast("float64")
    return column.cast("float64")


def _inside(table: Any, time: str, window: TimeWindow, where: str) -> Any:
    import ibis

    schema = table.schema()
    if not time or time not in schema:
        near = _hint(time, list(schema)) if time else ""
        raise DataError(
            f"the table has no time column {near}" if time else "a window needs the column of the event time",
            where=where,
            valid=", ".join(name for name, kind in schema.items() if kind.is_timestamp() or kind.is_date()) or "a time",
            next_step="name it: --time COLUMN",
        )
    kind = schema[time]
    if not (kind.is_timestamp() or kind.is_date()):
        raise DataError(
            f"`{time}` is no time but {kind}: the engine cannot compare it with an instant",
            where=where,
            valid="a timestamp or a date",
            next_step="name another column, or a view in which it is one",
        )
    if kind.is_date():
        require_days(time, window, where)
    at = table[time] if kind.is_timestamp() else table[time].cast("timestamp")
    zoned = kind.is_timestamp() and kind.timezone is not None
    first, end = (utc(one) if zoned else utc(one).replace(tzinfo=None) for one in (window.start, window.end))
    return (at >= ibis.literal(first)) & (at < ibis.literal(end))


def _hint(name: str, present: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, present, n=1)
    return f"`{name}`" + (f" (did you mean `{near[0]}`?)" if near else "")
