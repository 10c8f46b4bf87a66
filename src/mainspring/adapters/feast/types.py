"""Feast's types as Arrow's."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_ARROW = {
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Bool": pa.bool_(),
    "String": pa.string(),
    "Bytes": pa.binary(),
    "UnixTimestamp": pa.timestamp("us", "UTC"),
}


def known_type(dtype: Any) -> pa.DataType | None:
    """Arrow's type; None for Feast's rarer ones.

    >>> from feast.types import Array, Float64, Map
    >>> known_type(Array(Float64)), known_type(Map)
    (ListType(list<item: double>), None)
    """
    base = getattr(dtype, "base_type", None)
    if base is not None and type(dtype).__name__ == "Array":
        inner = known_type(base)
        return None if inner is None else pa.list_(inner)
    return _ARROW.get(str(dtype))


def arrow_type(dtype: Any) -> pa.DataType:
    """Arrow's type; text for Feast's rarer ones."""
    return known_type(dtype) or pa.string()
