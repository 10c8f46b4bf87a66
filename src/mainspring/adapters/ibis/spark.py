"""Spark counts by a binary search written out: it has no function that looks a number up in a list of bounds.

Each step is a SELECT of its own around the one before, so that the compiler makes one loop over the column of all of
them; the edges are one text that is split and cast once. A CASE of 4,096 edges would not be compiled at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.adapters.ibis.dialect import WINDOW, OneScan, listed
from mainspring.adapters.ibis.values import Value


class Spark(OneScan):
    """NaN is above infinity and equal to itself. The session's time zone is UTC: Ibis sees to it."""

    def cell(self, value: Value, v: str) -> str:
        """What the steps found."""
        del value, v
        return "i"

    def micros(self, value: Value) -> str:
        """A time without a zone, and a date, are of the session's zone."""
        return f"CAST(unix_micros(CAST({value.column} AS TIMESTAMP)) AS DOUBLE)"

    def bucket(self) -> str:
        """From its hexadecimal form."""
        return "CAST(conv(substr(md5(CAST(v AS BINARY)), 1, 2), 16, 10) AS INT)"

    def literal(self, text: str) -> str:
        """By its bytes: Spark puts the value of a variable in for `${name}`, in texts as well."""
        return f"CAST(X'{text.encode().hex()}' AS STRING)"

    def position(self, value: Value) -> str:
        """In an array; 0 is not there."""
        names = ", ".join(self.literal(one) for one in value.cells.categories)
        return f"nullif(array_position(CAST(array({names}) AS ARRAY<STRING>), v), 0) - 1"

    def exploded(self, values: Sequence[Value]) -> str:
        """By an array of the row's numbers."""
        rows = ", ".join(self.number(one) for one in values)
        return f"SELECT posexplode(array({rows})) AS (number, v) FROM {WINDOW}"

    def coded(self, values: Sequence[Value]) -> str:
        """Steps of 2^k, the last of one: `i` edges are below `v`."""
        steps = [1 << k for k in reversed(range(max(len(one.cells.edges) for one in values).bit_length()))]
        rows = (
            f"SELECT number, v, 0 AS i, element_at(array({', '.join(self._edges(one) for one in values)}), number + 1) AS e "
            f"FROM ({self.exploded(values)})"
        )
        for step in steps:
            # Past the last edge there is nothing: NULL < v is not true.
            rows = f"SELECT number, v, i + IF(get(e, i + {step - 1}) < v, {step}, 0) AS i, e FROM ({rows})"
        places = f"element_at(array({', '.join(str(one.place) for one in values)}), number + 1)"
        rows = f"SELECT {places} AS feature, v, i FROM ({rows})"
        cells = self.by_feature(values, self.code)
        lasts = self.by_feature(values, lambda one: str(len(one.cells.edges) if one.cells.ordered else 0))
        return f"SELECT feature, v, {cells} AS cell, {lasts} AS last FROM ({rows})"

    def _edges(self, value: Value) -> str:
        if not len(value.cells.edges):
            return "CAST(array() AS ARRAY<DOUBLE>)"
        return f"CAST(split('{listed(value.cells.edges)}', ',') AS ARRAY<DOUBLE>)"
