"""Arrow columns as cells see them: which kind a type is, numbers as float64, text as it is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mainspring.drift.cells import Floats, Kind

if TYPE_CHECKING:
    import pyarrow as pa


def kind_of(arrow: pa.DataType) -> Kind:
    """The kind of an Arrow type; what is neither number, time nor truth is text."""
    import pyarrow as pa

    if pa.types.is_boolean(arrow):
        return "boolean"
    if pa.types.is_timestamp(arrow) or pa.types.is_date(arrow):
        return "time"
    number = pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_decimal(arrow)
    return "number" if number or pa.types.is_null(arrow) else "category"


def fits(kind: Kind, arrow: pa.DataType) -> bool:
    """Whether values of the type are values of the kind. A predictor logs truth as 0 and 1; no value is of any kind."""
    import pyarrow as pa

    if pa.types.is_null(arrow):
        return True
    found = kind_of(arrow)
    if kind in ("number", "boolean"):
        return found in ("number", "boolean")
    if kind == "time":
        return found == "time"
    return is_text(arrow)


def is_text(arrow: pa.DataType) -> bool:
    """Whether a type is text, or a dictionary of it."""
    import pyarrow as pa

    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow))


def numbers(column: pa.ChunkedArray) -> Floats:
    """Numbers and times as float64, times as microseconds since 1970 UTC; null is NaN."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    elif pa.types.is_decimal(column.type):
        # Arrow multiplies by 10^-scale and makes 19.990000000000002 of 19.99; its text is read as every engine reads it.
        column = column.cast(pa.string())
    found: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def nulls(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where a column is null."""
    import pyarrow.compute as pc

    found: NDArray[np.bool_] = pc.is_null(column).to_numpy(zero_copy_only=False)
    return found


def text(column: pa.ChunkedArray) -> Any:
    """Text as one Arrow array. Where text is missing a predictor answers with "": that is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    array = column.cast(pa.large_string()).combine_chunks()
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.large_string()), array)
