"""Label files, CSV or Parquet: read row by row, each row taken or refused with its line and the reason."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from mainspring.domain.errors import ConfigError, DataError, NotFound
from mainspring.domain.time import instant, utc
from mainspring.labels.columns import LabelColumns
from mainspring.labels.statements import ENTITY, SCHEMA

_AHEAD = timedelta(minutes=5)
"""Clocks of two machines differ; a label that became known later than this from now did not."""
_EMPTY = ("", None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that is no label, by its line in a CSV file or its number in a Parquet file, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class LabelRows:
    """What a file says: `statements` in its order, and what was refused. `rows` counts both.

    `stated`: the file says itself when labels became known.
    """

    statements: pa.Table
    stated: bool
    refused: list[Refusal]
    rows: int


def read_labels(
    path: Path,
    columns_of: Callable[[Sequence[str]], LabelColumns],
    known_label: Callable[[Any], str],
    *,
    now: datetime,
    known_at: datetime,
    file: str,
) -> LabelRows:
    """The statements of a file that is added `now`. Without a column that says it, a label became known at `known_at`.

    `columns_of` gets the names that are there; `known_label` gives a label as text, or raises `ValueError` with what is wrong
    with it; `file` is the file's digest. Errors: `NotFound`, `ConfigError` for another kind of file, `DataError` for one that
    cannot be read at all.
    """
    if not path.is_file():
        raise NotFound("there is no such file", where=str(path), valid="a .csv or .parquet file with labels")
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"cannot read {path.name}", where=str(path), valid="a name that ends in .csv or .parquet")
    rows = _csv(path) if path.suffix == ".csv" else _parquet(path)
    _, names = next(rows, (0, None))
    if names is None:
        raise DataError("the file is empty", where=str(path), valid="a line of names, then a row for each label")
    columns = columns_of(names)
    place = {name: names.index(name) for name in columns.names}
    fields = [*SCHEMA, *(pa.field(f"{ENTITY}{name}", pa.string()) for name in columns.entities)]
    found: dict[str, list[Any]] = {one.name: [] for one in fields}
    refused: list[Refusal] = []
    for line, values in rows:
        try:
            if len(values) != len(names):
                raise ValueError(f"{len(values)} values for {len(names)} columns")
            own = {name: values[at] for name, at in place.items()}
            row = _row(columns, own, known_label)
            row["known_at"] = known_at if columns.known_at is None else _past(columns.known_at, own, now)
        except ValueError as error:
            refused.append(Refusal(line, str(error)))
            continue
        for name, value in (row | {"added_at": now, "file": file}).items():
            found[name].append(value)
    statements = pa.table({one.name: pa.array(found[one.name], one.type) for one in fields}, pa.schema(fields))
    return LabelRows(statements, columns.known_at is not None, refused, statements.num_rows + len(refused))


def _row(columns: LabelColumns, values: dict[str, Any], known_label: Callable[[Any], str]) -> dict[str, Any]:
    label = values[columns.label]
    if label in _EMPTY:
        raise ValueError(f"`{columns.label}` is empty: no label")
    row: dict[str, Any] = {"label": known_label(label), "request_id": None}
    if columns.id is not None:
        key = values[columns.id]
        if key in _EMPTY:
            raise ValueError(f"`{columns.id}` is empty: whose label it is cannot be told")
        row["request_id"] = _key(key)
    for name, column in columns.entities.items():
        if values[column] in _EMPTY:
            raise ValueError(f"`{column}` is empty: whose label it is cannot be told")
        row[f"{ENTITY}{name}"] = _key(values[column])
    row["event_at"] = _instant(columns.time, values) if columns.time is not None else None
    if row["event_at"] is None and columns.id is None:
        raise ValueError(f"`{columns.time}` is empty: when it was cannot be told")
    return row


def _past(column: str, values: dict[str, Any], now: datetime) -> datetime:
    known_at = _instant(column, values)
    if known_at is None:
        raise ValueError(f"`{column}` is empty: when the label became known cannot be told")
    if known_at > now + _AHEAD:
        raise ValueError(f"`{column}` is {known_at:%Y-%m-%d %H:%M} UTC, which is yet to come")
    return known_at


def _instant(column: str, values: dict[str, Any]) -> datetime | None:
    value = values[column]
    if value in _EMPTY:
        return None
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, date):
        return utc(datetime(value.year, value.month, value.day))
    try:
        return instant(str(value))
    except ConfigError as error:
        raise ValueError(f"`{column}` {error.what}; valid: {error.valid}") from error


def _csv(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """The names, then each row with its line; blank lines are passed over."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            delimiter = max(",;\t|", key=first.count)
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for values in reader:
                line = reader.line_num
                if values:
                    yield line, [value.strip() for value in values]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8 text behind line {line}",
            where=str(path),
            next_step=f"iconv -f latin1 -t utf8 {path.name} > utf8.csv (or -f utf16), and add that",
        ) from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{path.name} cannot be read behind line {line}: {error}", where=str(path)) from error


def _parquet(path: Path) -> Iterator[tuple[int, list[Any]]]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            yield 0, names
            line = 0
            for batch in file.iter_batches():
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    line += 1
                    yield line, [None if value != value else value for value in values]  # noqa: PLR0124  # NaN
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} cannot be read: {error}", where=str(path)) from error


def label_reader(classes: Sequence[str]) -> Callable[[Any], str]:
    """Gives a label as text, among `classes`; without classes labels are numbers, those of a regression.

    >>> read = label_reader(["False", "True"])
    >>> read("true"), read(1), label_reader(["0", "1"])("1.0"), label_reader([])(" 2.5")
    ('True', 'True', '1', '2.5')
    """
    lower = {one.lower(): one for one in classes}
    aliases = dict(lower)
    if set(lower) == {"true", "false"}:
        aliases |= {"1": lower["true"], "0": lower["false"]}

    def of_class(value: Any) -> str:
        text = str(value).strip()
        if text in classes:
            return text
        number = _number(text)
        whole = str(int(number)) if number is not None and math.isfinite(number) and number == int(number) else ""
        found = aliases.get(text.lower()) or aliases.get(whole)
        if found is None:
            raise ValueError(f"{text[:40]!r} is no label of this project; valid: {', '.join(classes[:10])}")
        return found

    def of_number(value: Any) -> str:
        number = _number(str(value).strip())
        if number is None or not math.isfinite(number):
            raise ValueError(f"{str(value)[:40]!r} is not a number")
        return repr(number)

    return of_class if classes else of_number


def _key(value: Any) -> str:
    """An id or key as text; a whole number has no decimal point, although a column with gaps may have made it a float."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def anything(value: Any) -> str:
    """A label as text, where it is not known yet which there are."""
    return str(value).strip()
