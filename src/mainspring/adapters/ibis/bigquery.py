"""BigQuery counts by `RANGE_BUCKET`, in one scan of all numbers. Edges and categories are parameters of the query.

As text 20 features of 4,096 edges would be 1.6 MB, and a query may have 1 MB; with its parameters 10 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mainspring.adapters.ibis.dialect import WINDOW, OneScan, above
from mainspring.adapters.ibis.values import Value


class BigQuery(OneScan):
    """NaN is not equal to itself, and `RANGE_BUCKET` is not asked about it."""

    double: ClassVar[str] = "FLOAT64"
    integer: ClassVar[str] = "INT64"

    def cell(self, value: Value, v: str) -> str:
        """`RANGE_BUCKET` counts the bounds at or below a value."""
        return f"RANGE_BUCKET({v}, @edges_{value.place})"

    def is_nan(self, v: str) -> str:
        """Its own name for it."""
        return f"IS_NAN({v})"

    def micros(self, value: Value) -> str:
        """DATE and DATETIME are taken for UTC."""
        at = value.column if value.zoned else f"TIMESTAMP({value.column})"
        return f"CAST(UNIX_MICROS({at}) AS FLOAT64)"

    def bucket(self) -> str:
        """From its hexadecimal form."""
        return "CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5(v)), 1, 2)) AS INT64)"

    def position(self, value: Value) -> str:
        """From an array of its own."""
        names = f"UNNEST(@categories_{value.place}) AS category WITH OFFSET AS place"
        return f"(SELECT MIN(place) FROM {names} WHERE category = v)"

    def exploded(self, values: Sequence[Value]) -> str:
        """By an array of structs."""
        rows = ", ".join(f"STRUCT({one.place} AS feature, {self.number(one)} AS v)" for one in values)
        return f"SELECT each.feature, each.v FROM {WINDOW} CROSS JOIN UNNEST([{rows}]) AS each"

    def parameters(self, values: Sequence[Value]) -> Mapping[str, Sequence[Any]]:
        """Edges and categories."""
        edges = {
            f"edges_{one.place}": above(one.cells)
            for one in values
            if one.form in ("number", "time") and one.cells.ordered and len(one.cells.edges)
        }
        names = {
            f"categories_{one.place}": list(one.cells.categories)
            for one in values
            if one.form == "text" and one.cells.kind == "category"
        }
        return edges | names
