"""Which rows of the log stand for what was asked: each question counts once, however many models answered it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("request_id", "role", "outcome")
"""Columns that `asked_once` looks at."""


def asked_once(rows: pa.Table) -> pa.Table:
    """What callers were answered, and rows scored in batch that no caller asked for; of those each request once.

    A shadow's answers are nobody's. A row that was scored and asked for counts as asked for.

    >>> import pyarrow as pa
    >>> rows = {"request_id": ["a", "a", "b", "b", "c"], "role": ["primary", "batch", "batch", "batch", "shadow"]}
    >>> found = asked_once(pa.table({**rows, "outcome": ["answered"] * 5}))
    >>> found.select(["request_id", "role"]).to_pydict()
    {'request_id': ['a', 'b'], 'role': ['primary', 'batch']}
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = rows.filter(pc.equal(rows.column("outcome"), "answered"))
    primary = pc.equal(rows.column("role"), "primary")
    asked = rows.column("request_id").filter(primary)
    scored = pc.and_(
        pc.equal(rows.column("role"), "batch"), pc.invert(pc.is_in(rows.column("request_id"), value_set=asked))
    )
    batch = rows.select(["request_id"]).append_column("_row", pa.array(range(rows.num_rows), pa.int64())).filter(scored)
    first = batch.group_by("request_id").aggregate([("_row", "min")]).column("_row_min")
    own = pa.array(range(rows.num_rows), pa.int64()).filter(primary.combine_chunks())
    return rows.take(pa.concat_arrays([own, first.combine_chunks()]).sort())
