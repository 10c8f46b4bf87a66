"""The times of a new user's questions: whether they can be read, how much is held out, and how often they come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mainspring.domain.errors import DataError
from mainspring.domain.time import utc
from mainspring.settings.drift import DriftSettings
from mainspring.settings.project import SplitSettings
from mainspring.sources.check import quoted
from mainspring.templates.table import Table

_FORMATS = (
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y",
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%Y%m%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d",
    "%b %d, %Y", "%d %b %Y", "%d-%b-%Y",
)  # fmt: skip
_EPOCH = r"^[0-9]{9,13}(\.[0-9]+)?$"
_LEAST_EPOCH = 1e9
_MOST_HELD_OUT = 0.5
_LEAST_ROWS = 30
_UNITS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


@dataclass(frozen=True, slots=True)
class Times:
    """The newest labelled question, how many labelled ones are held out by `holdout`, and questions a day."""

    first: datetime
    newest: datetime
    labelled: int
    holdout: timedelta
    held_out: int
    a_day: float
    in_future: int

    @property
    def drift_every(self) -> timedelta | None:
        """A window in which enough questions come for drift to be seen; None: the default does."""
        default = DriftSettings()
        for every in (default.every, timedelta(days=7), timedelta(days=28)):
            if self.a_day * (every / timedelta(days=1)) >= default.min_rows:
                return None if every == default.every else every
        return timedelta(days=28)


def find_times(table: Table, time: str, target: str) -> Times:
    """The times of the column; a `DataError` for those that cannot be read, with examples by row."""
    column = quoted(time)
    instant = _instant(table, time)
    missing = table.columns[time].missing
    if missing:
        rows = ", ".join(
            f"row {row}" for (row,) in table.all(f"SELECT _row FROM rows WHERE {column} IS NULL ORDER BY _row LIMIT 5")
        )
        raise DataError(
            f"{missing:,} row{'s have' if missing > 1 else ' has'} no time ({rows})",
            where=f"{table.file}: {time}",
            valid="the time of its question in every row",
            next_step="remove or mend these rows",
        )
    known = f"(SELECT {instant} AS asked FROM rows WHERE {quoted(target)} IS NOT NULL)"
    first, newest, labelled, late = table.all(
        f"SELECT min(asked), max(asked), count(*), quantile_disc(asked, 0.8) FROM {known}"
    )[0]
    if first == newest:
        raise DataError(
            f"all labelled rows have the same time, {first}",
            where=f"{table.file}: {time}",
            valid="times that order the rows; without them leave --time out: rows are then held out by a hash",
        )

    def after(holdout: timedelta) -> int:
        return int(table.one(f"SELECT count(*) FROM {known} WHERE asked > TIMESTAMP '{newest - holdout}'"))

    holdout = _holdout(first, newest, late, labelled, after)
    span, everything = table.all(f"SELECT max({instant}) - min({instant}), count(*) FROM rows")[0]
    now = datetime.now(UTC).replace(tzinfo=None)
    in_future = int(table.one(f"SELECT count(*) FROM rows WHERE {instant} > TIMESTAMP '{now}'"))
    a_day = everything / max(span / timedelta(days=1), 1 / 86400)
    return Times(utc(first), utc(newest), labelled, holdout, after(holdout), a_day, in_future)


def _holdout(first: datetime, newest: datetime, late: datetime, labelled: int, after: Any) -> timedelta:
    """The default where it leaves enough on both sides, else a fifth of the time, else of the rows."""
    default = SplitSettings().holdout
    for holdout in (default, _rounded((newest - first) / 5)):
        held_out = after(holdout)
        if holdout <= (newest - first) / 2 and min(_LEAST_ROWS, labelled / 10) <= held_out <= labelled * _MOST_HELD_OUT:
            return holdout
    return _rounded(newest - late)


def _rounded(span: timedelta) -> timedelta:
    """Up to a whole number of its largest unit."""
    unit = next((one for one in _UNITS if span >= one), _UNITS[-1])
    return unit * math.ceil(span / unit)


def _instant(table: Table, time: str) -> str:
    """SQL for the column as an instant."""
    facts, column = table.columns[time], quoted(time)
    where = f"{table.file}: {time}"
    valid = "ISO 8601, such as 2013-06-01, 2013-06-01 12:00 or 2013-06-01T12:00:00+02:00; without an offset it is UTC"
    if facts.kind == "time":
        return f"CAST({column} AS TIMESTAMP)"
    if facts.kind in ("int", "float") and (facts.least or 0) > _LEAST_EPOCH:
        raise _epoch(table, time, facts.least or 0, where, valid)
    if facts.kind != "text":
        raise DataError(
            f"`{time}` is {facts.kind}, not a time" + (f" ({facts.values[0][0]}, ...)" if facts.values else ""),
            where=where,
            valid=valid,
            next_step="name the column with the times with --time",
        )
    instant = f"CAST(TRY_CAST({column} AS TIMESTAMPTZ) AS TIMESTAMP)"
    bad = table.all(
        f"SELECT _row, {column} FROM rows WHERE {column} IS NOT NULL AND {instant} IS NULL ORDER BY _row LIMIT 5"
    )
    if bad:
        count = table.one(f"SELECT count(*) FROM rows WHERE {column} IS NOT NULL AND {instant} IS NULL")
        epochs = table.one(f"SELECT count(*) FROM rows WHERE regexp_matches({column}, '{_EPOCH}')")
        if count == facts.known == epochs:
            raise _epoch(table, time, float(bad[0][1]), where, valid)
        formats = [one for one in _FORMATS if count == _parsed(table, column, one, f"AND {instant} IS NULL")]
        raise DataError(
            f"{count:,} of {facts.known:,} values of `{time}` are not a time that can be read "
            f"({', '.join(f'row {row}: {value!r}' for row, value in bad)})"
            + (f"; they look like {' or '.join(formats)}" if formats else ""),
            where=where,
            valid=valid,
            next_step=_rewrite(table, time, f"format='{formats[0]}'") if formats else "mend these rows",
        )
    return instant


def _epoch(table: Table, time: str, example: float, where: str, valid: str) -> DataError:
    milli = example > 100 * _LEAST_EPOCH
    return DataError(
        f"`{time}` counts {'milliseconds' if milli else 'seconds'} since 1970 ({example:.0f}, ...)",
        where=where,
        valid=valid,
        next_step=_rewrite(table, time, f"unit='{'ms' if milli else 's'}'"),
    )


def _parsed(table: Table, column: str, form: str, condition: str) -> int:
    return int(
        table.one(
            f"SELECT count(*) FROM rows WHERE {column} IS NOT NULL {condition} AND try_strptime({column}, '{form}') IS NOT NULL"
        )
    )


def _rewrite(table: Table, time: str, how: str) -> str:
    """A command that writes the times as ISO 8601."""
    kind = "csv" if table.csv else "parquet"
    more = ", index=False" if table.csv else ""
    return (
        f"python -c \"import pandas as pd; f = pd.read_{kind}('{table.file}'); "
        f"f['{time}'] = pd.to_datetime(f['{time}'], {how}); f.to_{kind}('{table.file}'{more})\""
    )
