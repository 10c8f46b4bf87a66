"""PostgreSQL counts by `width_bucket` over an array, which is a binary search, and looks at each row once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

from mainspring.adapters.ibis.dialect import WINDOW, OneScan, above, listed
from mainspring.adapters.ibis.values import Value


class Postgres(OneScan):
    """Rows lie together here, so all numbers of a row are counted in one scan, and each text in one of its own.

    NaN is above infinity and equal to itself; times may be infinite, and are infinities then.
    """

    double: ClassVar[str] = "DOUBLE PRECISION"
    sqlglot: ClassVar[str] = "postgres"
    # A window that is used twice would be written to disk first.
    cte: ClassVar[str] = "AS NOT MATERIALIZED"

    def cell(self, value: Value) -> str:
        """`width_bucket` counts the bounds at or below a value."""
        return f"width_bucket(v, CAST('{{{listed(above(value.cells))}}}' AS DOUBLE PRECISION[]))"

    def is_nan(self) -> str:
        """There is no function for it."""
        return "v = CAST('NaN' AS DOUBLE PRECISION)"

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

    def exploded(self, values: Sequence[Value]) -> str:
        """By a lateral list of values."""
        rows = ", ".join(f"({one.place}, {self.number(one)})" for one in values)
        return f"SELECT feature, v FROM {WINDOW} CROSS JOIN LATERAL (VALUES {rows}) AS each(feature, v)"
