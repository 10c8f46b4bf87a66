"""What a table looks like and a digest of what it contains, without keeping its rows."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, cast

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
        window = TimeWindow(_instant(ends["min"]), _instant(ends["max"]))
    return Dataset(uri, columns, content_digest(table), window, table.num_rows)


def type_name(arrow: pa.DataType) -> str:
    """The platform's name of an Arrow type: int, float, bool, str, time, date or category."""
    return next((name for matches, name in _TYPES if matches(arrow)), "str")


def content_digest(table: pa.Table) -> str:
    """BLAKE2b over names, types and values in order; the same however the rows were chunked, sliced or stored.

    >>> one = pa.table({"a": [1, None, 3]})
    >>> content_digest(one) == content_digest(pa.concat_tables([one.slice(0, 1), one.slice(1)]))
    True
    >>> content_digest(one) == content_digest(pa.table({"a": [1, 0, 3]}))
    False
    """
    hasher = hashlib.blake2b(digest_size=16)
    for field in table.schema:
        column = table.column(field.name)
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
            column = column.cast(pa.string())
        array = column.combine_chunks()
        hasher.update(f"{field.name}\0{column.type}\0{len(array)}\0".encode())
        if array.null_count:
            # What lies under a null is undefined: hash which are null, and a fixed value in their place.
            hasher.update(pc.is_null(array).cast(pa.uint8()).to_numpy())
            array = _filled(array)
        for part in _buffers(array):
            hasher.update(part)
    return hasher.hexdigest()


def _filled(array: pa.Array) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.array([], pa.int8())
    if pa.types.is_string(array.type):
        return array.fill_null("")
    if pa.types.is_temporal(array.type):
        width = pa.int32() if array.type.bit_width == 32 else pa.int64()
        return array.cast(width).fill_null(0)
    if pa.types.is_boolean(array.type):
        return array.fill_null(False)
    return array.fill_null(0)


def _buffers(array: pa.Array) -> list[Any]:
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        lengths = pc.binary_length(array)
        return [lengths.to_numpy(), pc.binary_join(_as_list(array), "").cast(pa.binary())[0].as_buffer()]
    if pa.types.is_boolean(array.type):
        return [array.cast(pa.uint8()).to_numpy()]
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if pa.types.is_primitive(array.type):
        return [array.to_numpy()]
    return [str(array.to_pylist()).encode()]


def _as_list(array: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), array)


def _instant(scalar: Any) -> datetime:
    value = cast(datetime, scalar.as_py())
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
