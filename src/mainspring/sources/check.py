"""The declaration of a source against its rows: wrong type, missing column, unreadable time. Nothing is dropped.

Works on any DuckDB relation, so that files and what a SQL adapter brought are held to the same rules.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from mainspring.domain.errors import DataError
from mainspring.settings.project import SourceSettings

ROW = "_mainspring_row"
FILE = "_mainspring_file"
AVAILABLE_AT = "_available_at"
_SQL_TYPES = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "str": "VARCHAR",
    "category": "VARCHAR",
    "time": "TIMESTAMP",
    "date": "DATE",
}
_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_EXAMPLES = 5


def typed(db: Any, name: str, settings: SourceSettings, *, table: str, where: str) -> str:
    """Check the rows of DuckDB's `table` and return SQL for them, typed.

    `table` has the row number in `ROW` and, when it was read from several files, the file in `FILE`. The SQL has every
    column of the source and `_available_at`, the instant at which the row became known (null: not yet). A `DataError`
    lists every column that does not fit, with counts and example rows.
    """
    described = db.execute(f'DESCRIBE "{table}"').fetchall()
    kinds = {row[0]: row[1] for row in described}
    present = {column: kind for column, kind in kinds.items() if column not in {ROW, FILE}}
    declared = declared_types(settings)
    require(name, declared, present, where)
    rows = _Rows(db, table, FILE in kinds)
    problems = [
        *(rows.unfit(column, present[column], kind) for column, kind in declared.items()),
        rows.without_time(settings.time) if settings.time else "",
    ]
    problems = [problem for problem in problems if problem]
    if problems:
        raise DataError(
            f"source {name!r} is not what mainspring.yaml declares:\n  - " + "\n  - ".join(problems),
            where=where,
            next_step=f"mend the rows, or change `sources.{name}.columns` in mainspring.yaml",
        )
    columns = [_column(column, kind, declared.get(column)) for column, kind in present.items()]
    return f'SELECT {", ".join(columns)}, {_availability(settings, present)} AS {AVAILABLE_AT} FROM "{table}"'


def declared_types(settings: SourceSettings) -> dict[str, str]:
    """Declared types by column; the columns that are named as times are times."""
    declared: dict[str, str] = dict(settings.columns)
    for column in (settings.time, settings.available_at):
        if column is not None:
            declared.setdefault(column, "time")
    return declared


def in_utc(table: pa.Table) -> pa.Table:
    """Times as microseconds UTC and text as plain strings, whatever the engine gave."""
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_timestamp(kind):
            kind = pa.timestamp("us", "UTC")
        elif pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return table.cast(pa.schema(fields))


def require(name: str, declared: Iterable[str], present: Iterable[str], where: str) -> None:
    """Refuse a source without a declared column, with the nearest name there is."""
    present = list(present)
    missing = [column for column in declared if column not in present]
    if not missing:
        return
    close = {column: difflib.get_close_matches(column, present, n=1) for column in missing}
    hints = [f"`{column}`" + (f" (did you mean `{near[0]}`?)" if near else "") for column, near in close.items()]
    raise DataError(
        f"source {name!r} has no column {', '.join(hints)}",
        where=where,
        valid=", ".join(present),
        next_step=f"correct `sources.{name}` in mainspring.yaml",
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows under check, and how one of them is named to a person."""

    db: Any
    table: str
    several_files: bool

    def unfit(self, column: str, present: str, declared: str) -> str:
        """What is wrong with a column's values, "" when nothing is."""
        bad = _misfit(column, present, declared)
        if bad is None:
            return ""
        count = self.db.execute(f'SELECT count(*) FROM "{self.table}" WHERE {bad}').fetchall()[0][0]
        if not count:
            return ""
        kind = "an int" if declared == "int" else f"a {declared}"
        hint = "; a time is a timestamp, or text in ISO 8601" if declared == "time" else ""
        examples = self.examples(bad, f"CAST({quoted(column)} AS VARCHAR)")
        return f"`{column}`: {count:,} of its values are not {kind} ({examples}){hint}"

    def without_time(self, column: str) -> str:
        """Rows without an event time cannot be placed in history."""
        bad = f"{quoted(column)} IS NULL"
        count = self.db.execute(f'SELECT count(*) FROM "{self.table}" WHERE {bad}').fetchall()[0][0]
        return f"`{column}`: {count:,} rows have no event time ({self.examples(bad)})" if count else ""

    def examples(self, condition: str, value: str = "NULL") -> str:
        """The first rows for which `condition` holds, each with its number (1 is the first) and file."""
        file, number = f"NULL, {ROW}", ""
        if self.several_files:
            number = f', (SELECT {FILE} AS file, min("{ROW}") AS first FROM "{self.table}" GROUP BY 1) f'
            file = f"f.file, {ROW} - f.first + 1"
            condition = f"({condition}) AND {FILE} = f.file"
        found = self.db.execute(
            f'SELECT {file}, {value} FROM "{self.table}"{number} WHERE {condition} ORDER BY "{ROW}" LIMIT {_EXAMPLES}'
        ).fetchall()
        named = [(f"row {row} of {PurePath(file).name}" if file else f"row {row}", text) for file, row, text in found]
        return ", ".join(f"{row}: {text!r}" if text is not None else row for row, text in named)


def _misfit(column: str, present: str, declared: str) -> str | None:
    """A condition for the values that are not of the declared type; None where none can be."""
    name, target = quoted(column), _SQL_TYPES[declared]
    if declared in {"str", "category"} or present == target:
        return None
    if declared == "time":
        return f"{name} IS NOT NULL AND {_time(column, present, cast='TRY_CAST')} IS NULL"
    bad = f"{name} IS NOT NULL AND TRY_CAST({name} AS {target}) IS NULL"
    # A cast would round 1.5 to 2, take 7 for true and cut an hour off: that is not the same value, so it does not fit.
    if declared == "int" and present not in _WHOLE:
        bad = f"({bad}) OR TRY_CAST({name} AS DOUBLE) <> TRY_CAST({name} AS BIGINT)"
    elif declared == "bool" and present != "VARCHAR":
        bad = f"({bad}) OR {name} NOT IN (0, 1)"
    elif declared == "date":
        bad = f"({bad}) OR TRY_CAST({name} AS TIMESTAMP) <> TRY_CAST({name} AS DATE)"
    return bad


def quoted(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _column(column: str, present: str, declared: str | None) -> str:
    name = quoted(column)
    if declared == "time" or (declared is None and present.startswith("TIMESTAMP")):
        return f"{_time(column, present)} AS {name}"
    if declared is not None:
        return f"CAST({name} AS {_SQL_TYPES[declared]}) AS {name}"
    if present.startswith("DECIMAL") or present == "HUGEINT":
        return f"CAST({name} AS DOUBLE) AS {name}"
    return f"CAST({name} AS VARCHAR) AS {name}" if present.startswith(("UUID", "ENUM", "JSON")) else name


def _time(column: str, present: str, cast: str = "CAST") -> str:
    # A text with an offset is an instant; cast through TIMESTAMPTZ, with the session in UTC, it keeps it. And DuckDB 2
    # casts nanoseconds with a zone only that way.
    value = quoted(column)
    if present == "VARCHAR" or "TZ" in present:
        value = f"{cast}({value} AS TIMESTAMPTZ)"
    return f"{cast}({value} AS TIMESTAMP)"


def _availability(settings: SourceSettings, present: dict[str, str]) -> str:
    if settings.available_at is not None:
        return _time(settings.available_at, present[settings.available_at])
    if settings.time is not None:
        delay = settings.delay // timedelta(microseconds=1)
        return f"{_time(settings.time, present[settings.time])} + to_microseconds({delay})"
    return "TIMESTAMP '1970-01-01'"
