"""Which rows of the log stand for what was asked: each question counts once, however many models answered it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("request_id", "role", "outcome")
"""Columns that `asked_once` looks at."""
_BEHIND = 1 << 40


def asked_once(rows: pa.Table, *, prefer: str = "") -> pa.Table:
    """What callers were answered, and rows scored in batch that no caller asked for; of those each request once.

    A shadow's answers are nobody's. A row that was scored and asked for counts as asked for. Of a row that several versions
    scored that of the version `prefer` is taken (then there is a column `version`), else the first.

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
    place = pa.chunked_array([pa.array(range(rows.num_rows), pa.int64())])
    order = pc.if_else(pc.equal(rows.column("version"), prefer), place, pc.add(place, _BEHIND)) if prefer else place
    batch = rows.select(["request_id"]).append_column("_order", order).filter(scored)
    first = batch.group_by("request_id").aggregate([("_order", "min")]).column("_order_min")
    first = pc.if_else(pc.greater_equal(first, _BEHIND), pc.subtract(first, _BEHIND), first)
    return rows.take(
        pa.chunked_array([*place.filter(primary).chunks, *first.chunks], pa.int64()).combine_chunks().sort()
    )
