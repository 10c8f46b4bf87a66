"""PostgreSQL counts by `width_bucket` over an array, which is a binary search, for all numbers of a row at once.

Rows lie together here: one scan counts all numbers by grouping sets, a second one knows what lies beyond the ends, and each text
has one of its own. A row for each number, or a scan for each, took twice the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

from mainspring.adapters.ibis.dialect import WINDOW, Dialect, above, listed, outside
from mainspring.adapters.ibis.values import Value

_MOST_SETS = 30
"""GROUPING answers with 31 bits."""
_MOST_BEYOND = 200
"""A SELECT has at most 1,664 columns."""


class Postgres(Dialect):
    """NaN is above infinity and equal to itself; times may be infinite, and are infinities then."""

    double: ClassVar[str] = "DOUBLE PRECISION"
    sqlglot: ClassVar[str] = "postgres"
    # A window that is used twice would be written to disk first.
    cte: ClassVar[str] = "AS NOT MATERIALIZED"

    def cell(self, value: Value, v: str) -> str:
        """`width_bucket` counts the bounds at or below a value."""
        return f"width_bucket({v}, CAST('{{{listed(above(value.cells))}}}' AS DOUBLE PRECISION[]))"

    def is_nan(self, v: str) -> str:
        """There is no function for it."""
        return f"{v} = CAST('NaN' AS DOUBLE PRECISION)"

    def micros(self, value: Value) -> str:
        """`EXTRACT` is exact: a numeric. A time without a zone is taken for UTC."""
        return f"CAST(EXTRACT(EPOCH FROM {value.column}) * 1000000 AS DOUBLE PRECISION)"

    def bucket(self) -> str:
        """Whatever the encoding of the database."""
        return "get_byte(decode(md5(convert_to(v, 'UTF8')), 'hex'), 0)"

    def position(self, value: Value) -> str:
        """Keys of a JSON object are looked up by binary search. No text of PostgreSQL has a zero byte."""
        places = {name: place for place, name in enumerate(value.cells.categories) if "\0" not in name}
        return f"CAST(CAST({self.literal(json.dumps(places))} AS jsonb) ->> v AS integer)"

    def text(self, value: Value) -> str:
        """By bytes, whatever the collation of the column."""
        return f'CAST({value.column} AS text) COLLATE "C"'

    def branches(self, values: Sequence[Value]) -> Iterable[str]:
        """Two for all numbers, and one for each other value."""
        numbers = [one for one in values if one.form in ("number", "time")]
        for first in range(0, len(numbers), _MOST_SETS):
            yield self._counted(numbers[first : first + _MOST_SETS])
        beyond = [one for one in numbers if outside(one)]
        for first in range(0, len(beyond), _MOST_BEYOND):
            yield self._beyond(beyond[first : first + _MOST_BEYOND])
        yield from super().branches([one for one in values if one not in numbers])

    def _counted(self, values: Sequence[Value]) -> str:
        """Each row's cells, grouped by each of them at once: one scan, and one table of counts for each feature."""
        names = [f"c{one.place}" for one in values]
        codes = ", ".join(f"{self.code(one, self.number(one))} AS c{one.place}" for one in values)
        # GROUPING has a bit for each of its columns, the last one's lowest; that of the column grouped by is not set.
        bits = [(1 << len(values)) - 1 - (1 << (len(values) - 1 - place)) for place in range(len(values))]
        feature = " ".join(f"WHEN {bit} THEN {one.place}" for bit, one in zip(bits, values, strict=True))
        return (
            f"SELECT CASE GROUPING({', '.join(names)}) {feature} END AS feature, COALESCE({', '.join(names)}) AS cell, "
            f"COUNT(*) AS n, {self.no_tails()} FROM (SELECT {codes} FROM {WINDOW}) AS coded "
            f"GROUP BY GROUPING SETS ({', '.join(f'({name})' for name in names)})"
        )

    def _beyond(self, values: Sequence[Value]) -> str:
        """What lies beyond the ends, without groups, as rows that count nothing."""
        totals, rows = [], []
        for one in values:
            v, edges = self.number(one), one.cells.edges
            below = f"{v} <= {float(edges[0])!r} AND {v} > CAST('-Infinity' AS DOUBLE PRECISION)"
            above_ = f"{v} > {float(edges[-1])!r} AND {v} < CAST('Infinity' AS DOUBLE PRECISION)"
            for name, cell, condition in (("l", 0, below), ("u", len(edges), above_)):
                own = [f"{name}{one.place}{what}" for what in "tlg"]
                totals.append(self.tails(condition, v, own))
                rows.append(f"({one.place}, {cell}, {', '.join(own)})")
        return (
            f"SELECT feature, cell, 0 AS n, total, least, greatest FROM (SELECT {', '.join(totals)} FROM {WINDOW}) AS beyond "
            f"CROSS JOIN LATERAL (VALUES {', '.join(rows)}) AS each(feature, cell, total, least, greatest)"
        )
