"""What a table looks like and a digest of what it contains, without keeping its rows; and of a file's bytes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mainspring.domain.dataset import Column, Dataset
from mainspring.domain.time import TimeWindow

_TYPES: list[tuple[Any, str]] = [
    (pa.types.is_boolean, "bool"),
    (pa.types.is_integer, "int"),
    (pa.types.is_floating, "float"),
    (pa.types.is_decimal, "float"),
    (pa.types.is_timestamp, "time"),
    (pa.types.is_date, "date"),
    (pa.types.is_dictionary, "category"),
]


def describe(table: pa.Table, uri: str, *, time: str | None = None) -> Dataset:
    """The `Dataset` of a table: columns, digest of the contents, event-time window (`time` names its column), rows."""
    columns = tuple(
        Column(field.name, type_name(field.type), table.column(field.name).null_count > 0) for field in table.schema
    )
    window = None
    if time is not None and table.num_rows:
        ends = pc.min_max(table.column(time))
        window = TimeWindow(_instant(ends["min"]), _instant(ends["max"]) + timedelta(microseconds=1))
    return Dataset(uri, columns, content_digest(table), window, table.num_rows)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; the file may be of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def type_name(arrow: pa.DataType) -> str:
    """The platform's name of an Arrow type: int, float, bool, str, time, date or category."""
    return next((name for matches, name in _TYPES if matches(arrow)), "str")


def content_digest(table: pa.Table) -> str:
    """BLAKE2b over the columns in order: name, kind, which values are null, and the values in row order.

    The same for the same rows, however they were stored: chunks, slices, dictionaries, the width of an int or float
    and the unit of a time do not matter. Any other value, row, name or order gives another digest.

    >>> one = pa.table({"a": [1, None, 3]})
    >>> content_digest(one) == content_digest(pa.concat_tables([one.slice(0, 1), one.slice(1)]))
    True
    >>> content_digest(one) == content_digest(pa.table({"a": [1, 0, 3]}))
    False
    """
    hasher = hashlib.blake2b(digest_size=16)
    for field in table.schema:
        column = _canonical(table.column(field.name))
        hasher.update(f"{field.name}\0{column.type}\0{len(column)}\0{column.null_count}\0".encode())
        if pa.types.is_null(column.type):
            continue
        parts = [_parts(chunk) for chunk in column.chunks]
        # Each kind of part for all chunks, so that where a chunk ends leaves no trace.
        for kind in zip(*parts, strict=True):
            for part in kind:
                hasher.update(part)
    return hasher.hexdigest()


def _canonical(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))])
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", "UTC"), safe=False)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return column.cast(pa.int64())
    return column


def _parts(array: pa.Array) -> list[Any]:
    """Bytes of a chunk: which values are null, then the values, with a fixed one where there is none."""
    nulls = pc.is_null(array).cast(pa.uint8()).to_numpy(zero_copy_only=False)
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        array = array.fill_null("" if pa.types.is_string(array.type) else b"")
        if not len(array):
            return [nulls, b"", b""]
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
        return [nulls, np.diff(ends), b"" if data is None else data[int(ends[0]) : int(ends[-1])]]
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if not pa.types.is_primitive(array.type):
        return [nulls, "".join(f"{value!r}\0" for value in array.to_pylist()).encode()]
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(array.type):
        # One NaN and one zero, whatever their bits.
        values = np.where(np.isnan(values), np.nan, values + 0.0)
    return [nulls, np.ascontiguousarray(values)]


def _instant(scalar: Any) -> datetime:
    value = cast(datetime, scalar.as_py())
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
