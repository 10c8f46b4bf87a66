"""The declaration of a source against its rows: wrong type, missing column, unreadable time. Nothing is dropped.

Works on any DuckDB relation, so that files and what a SQL adapter brought are held to the same rules.
"""

from __future__ import annotations

import difflib
from typing import Any

import pyarrow as pa

from mainspring.domain.errors import DataError
from mainspring.settings.project import SourceSettings

ROW = "_mainspring_row"
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
_EXAMPLES = 5


def typed(db: Any, name: str, settings: SourceSettings, *, table: str, where: str) -> str:
    """Check the rows of DuckDB's `table` (with the row number in `ROW`) and return SQL for them, typed.

    The SQL has every column of the source and `_available_at`, the instant at which the row became known (null: not
    yet). A `DataError` lists every column that does not fit, with counts and example rows.
    """
    present = {row[0]: row[1] for row in db.execute(f'DESCRIBE SELECT * EXCLUDE ("{ROW}") FROM "{table}"').fetchall()}
    declared = dict(settings.columns)
    for column in (settings.time, settings.available_at):
        if column is not None:
            declared.setdefault(column, "time")
    _require(name, declared, present, where)
    problems = [
        *(_unfit(db, table, column, kind, where) for column, kind in declared.items()),
        _no_time(db, table, settings.time) if settings.time else "",
    ]
    problems = [problem for problem in problems if problem]
    if problems:
        raise DataError(
            f"source {name!r} is not what mainspring.yaml declares:\n  - " + "\n  - ".join(problems),
            where=where,
            next_step=f"mend the rows, or change `sources.{name}.columns` in mainspring.yaml",
        )
    columns = [_column(column, kind, declared.get(column)) for column, kind in present.items()]
    return f'SELECT {", ".join(columns)}, {_availability(settings)} AS {AVAILABLE_AT} FROM "{table}"'


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


def _require(name: str, declared: dict[str, Any], present: dict[str, str], where: str) -> None:
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


def _unfit(db: Any, table: str, column: str, kind: str, where: str) -> str:
    target = _SQL_TYPES[kind]
    bad = f'"{column}" IS NOT NULL AND TRY_CAST("{column}" AS {target}) IS NULL'
    if kind == "int":
        # A cast would round 1.5 to 2: that is not the same value, so it is not an int.
        bad = f'({bad}) OR TRY_CAST("{column}" AS DOUBLE) <> TRY_CAST("{column}" AS BIGINT)'
    count = db.execute(f'SELECT count(*) FROM "{table}" WHERE {bad}').fetchone()[0]
    if not count:
        return ""
    rows = db.execute(
        f'SELECT "{ROW}", CAST("{column}" AS VARCHAR) FROM "{table}" WHERE {bad} ORDER BY 1 LIMIT {_EXAMPLES}'
    ).fetchall()
    examples = ", ".join(f"row {row}: {value!r}" for row, value in rows)
    return f"`{column}`: {count:,} of its values are not {'an' if kind == 'int' else 'a'} {kind} ({examples})"


def _no_time(db: Any, table: str, column: str) -> str:
    rows = db.execute(f'SELECT "{ROW}" FROM "{table}" WHERE "{column}" IS NULL ORDER BY 1').fetchall()
    if not rows:
        return ""
    examples = ", ".join(str(row) for (row,) in rows[:_EXAMPLES])
    return f"`{column}`: {len(rows):,} rows have no event time (rows {examples})"


def _column(column: str, present: str, declared: str | None) -> str:
    if declared is not None:
        if declared == "time":
            return f'{_time(column, present)} AS "{column}"'
        return f'CAST("{column}" AS {_SQL_TYPES[declared]}) AS "{column}"'
    if present.startswith("TIMESTAMP"):
        return f'{_time(column, present)} AS "{column}"'
    if present.startswith("DECIMAL") or present == "HUGEINT":
        return f'CAST("{column}" AS DOUBLE) AS "{column}"'
    return f'"{column}"'


def _time(column: str, present: str) -> str:
    # A text with an offset is an instant; cast through TIMESTAMPTZ, with the session in UTC, it keeps it.
    through = "::TIMESTAMPTZ" if present == "VARCHAR" else ""
    return f'CAST("{column}"{through} AS TIMESTAMP)'


def _availability(settings: SourceSettings) -> str:
    if settings.available_at is not None:
        return f'CAST("{settings.available_at}" AS TIMESTAMP)'
    if settings.time is not None:
        return f'CAST("{settings.time}" AS TIMESTAMP) + to_microseconds({int(settings.delay.total_seconds() * 1e6)})'
    return "TIMESTAMP '1970-01-01'"
