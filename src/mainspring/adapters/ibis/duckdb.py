"""DuckDB counts by its own `histogram`: a binary search of each value in a list of upper bounds, once over the column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from mainspring.adapters.ibis.dialect import WINDOW, Dialect, listed
from mainspring.adapters.ibis.values import Value


class DuckDb(Dialect):
    """`histogram(v, edges)` puts what is above every edge, and NaN, in a last bin of its own.

    With it all of a column is counted in one aggregation; a second one, with a handful of groups, knows what of the
    outermost bins is in no cell, and their tails.
    """

    sqlglot: ClassVar[str] = "duckdb"
    cte: ClassVar[str] = "AS NOT MATERIALIZED"
    # Each branch has the window's SELECT in it.
    most_features: ClassVar[int] = 20

    def cell(self, value: Value, v: str) -> str:
        """The outermost cells; what is between them is left to the histogram."""
        edges = value.cells.edges
        last = f"WHEN {v} > {float(edges[-1])!r} THEN {len(edges)}"
        return f"CASE WHEN {v} <= {float(edges[0])!r} THEN 0 {last} END"

    def micros(self, value: Value) -> str:
        """Times of DuckDB may be infinite."""
        at = f"CAST({value.column} AS {'TIMESTAMPTZ' if value.zoned else 'TIMESTAMP'})"
        infinite = f"CASE WHEN {at} > '1970-01-01' THEN 'Infinity' ELSE '-Infinity' END"
        return f"CASE WHEN isinf({at}) THEN CAST({infinite} AS DOUBLE) ELSE CAST(epoch_us({at}) AS DOUBLE) END"

    def bucket(self) -> str:
        """From its hexadecimal form."""
        return "CAST('0x' || md5(v)[1:2] AS INTEGER)"

    def position(self, value: Value) -> str:
        """In a list."""
        names = ", ".join(self.literal(one) for one in value.cells.categories)
        return f"list_position(CAST([{names}] AS VARCHAR[]), v) - 1"

    def branches(self, values: Sequence[Value]) -> Iterable[str]:
        """For each number with edges two SELECTs."""
        for value in values:
            if value.form in ("number", "time") and value.cells.ordered and len(value.cells.edges):
                yield self._inner(value)
            yield from super().branches([value])

    def grouped(self, value: Value, coded: str) -> str:
        """Without the rows that the histogram counts."""
        return super().grouped(value, f"SELECT * FROM ({coded}) AS {value.column}d WHERE cell IS NOT NULL")

    def _inner(self, value: Value) -> str:
        edges = value.cells.edges
        bins = f"CAST(string_split('{listed(edges)}', ',') AS DOUBLE[])"
        counted = f"SELECT map_values(histogram({self.number(value)}, {bins})) AS bins FROM {WINDOW}"
        return (
            f"SELECT {value.place} AS feature, unnest(range(1, {len(edges)})) AS cell, "
            f"unnest(bins[2:{len(edges)}]) AS n, {self.no_tails()} FROM ({counted}) AS {value.column}h WHERE bins IS NOT NULL"
        )
