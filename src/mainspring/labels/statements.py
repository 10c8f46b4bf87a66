"""Label statements: who said when that a label is what. What was in force at an instant, and what says nothing new.

A statement is about a request (`request_id`), or about entity keys at an instant (`entity.<column>`, `event_at`). Several
about the same one are all kept: a correction does not undo what was known before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from mainspring.domain.time import utc

if TYPE_CHECKING:
    import polars as pl

UTC_TIME = pa.timestamp("us", "UTC")
ENTITY = "entity."
SCHEMA = pa.schema(
    {
        "request_id": pa.string(),
        "event_at": UTC_TIME,
        "label": pa.string(),
        "known_at": UTC_TIME,
        "added_at": UTC_TIME,
        "file": pa.string(),
    }
)
"""Columns that every statement has; those by entity have `entity.<column>` as well. Labels are text until they are used."""
BY_ID = ("request_id", "label", "event_at", "known_at")
_WHO, _PLACE, _FRESH = "_who", "_place", "_fresh"


def none() -> pa.Table:
    """No statement."""
    return SCHEMA.empty_table()


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """All statements of several tables, in their order."""
    return pa.concat_tables([none(), *tables], promote_options="default")


def in_force(statements: pa.Table, known_at: datetime) -> pa.Table:
    """Of each request, or entity and instant, the newest statement that was known at `known_at`.

    Of two that became known together the later one in the table counts.

    >>> from datetime import UTC
    >>> day = [datetime(2026, 1, one, tzinfo=UTC) for one in (1, 2, 3)]
    >>> said = together([pa.table({"request_id": ["a", "a"], "label": ["0", "1"], "known_at": pa.array([day[0], day[2]], UTC_TIME)})])
    >>> in_force(said, day[1]).column("label").to_pylist(), in_force(said, day[2]).column("label").to_pylist()
    (['0'], ['1'])
    """
    import polars as pl

    known = statements.filter(pc.less_equal(statements.column("known_at"), pa.scalar(utc(known_at), UTC_TIME)))
    frame = _placed(known).sort("known_at", _PLACE)
    places = frame.unique(subset=[_WHO], keep="last").get_column(_PLACE).cast(pl.Int64).sort()
    return known.take(places.to_arrow())


def new_among(rows: pa.Table, recorded: pa.Table, *, stated: bool) -> tuple[pa.Table, int, int]:
    """The statements of `rows` to be recorded beside those that are; how many were doubles, how many corrections.

    A double says what the newest one said when it became known, or is there already; a correction says something else than
    the newest. `stated`: the rows themselves say when they became known. Then a double that became known later is recorded,
    too: should something else turn out to have been known in between, it still is the newest.
    """
    import polars as pl

    ours, theirs = _placed(rows), _placed(recorded)
    theirs = theirs.join(ours.select(_WHO).unique(), on=_WHO, how="semi")
    both = pl.concat([theirs.with_columns(pl.lit(False).alias(_FRESH)), ours.with_columns(pl.lit(True).alias(_FRESH))])
    there = pl.struct(_WHO, "label", "known_at").is_first_distinct().not_().alias("_there")
    both = both.with_columns(there).sort(_WHO, "known_at", _FRESH, _PLACE)
    before = pl.col("label").shift(1).over(_WHO)
    same, other = (before == pl.col("label")).fill_null(False), (before != pl.col("label")).fill_null(False)
    fresh = both.with_columns(same.alias("_same"), other.alias("_other")).filter(_FRESH)
    double = fresh.get_column("_there") | fresh.get_column("_same")
    corrections = (fresh.get_column("_other") & ~double).sum()
    kept = fresh.filter(~(fresh.get_column("_there") if stated else double))
    places = kept.get_column(_PLACE).cast(pl.Int64).sort()
    return rows.take(places.to_arrow()), int(double.sum()), int(corrections)


def contradicted(statements: pa.Table, known_at: datetime) -> int:
    """How many requests, or entities and instants, had more than one label said of them by an instant."""
    known = statements.filter(pc.less_equal(statements.column("known_at"), pa.scalar(utc(known_at), UTC_TIME)))
    if not known.num_rows:
        return 0
    frame = _placed(known)
    return int((frame.group_by(_WHO).n_unique().get_column("label") > 1).sum())


def nearest(rows: pa.Table, at: str, statements: pa.Table, columns: dict[str, str], tolerance: timedelta) -> pa.Table:
    """For each of the rows its label by entity keys: `BY_ID` columns, of those rows that have one.

    `columns` says which column of `rows` has the key that statements have as `entity.<name>`. Rows without a `request_id` or
    an instant (`at`) have none. A row takes the statement that is nearest in time, no further than `tolerance`; `said` is its
    place among the statements by key.
    """
    import polars as pl

    names = [f"{ENTITY}{name}" for name in columns]
    keyed = statements.filter(pc.and_(pc.is_null(statements.column("request_id")), _all_there(statements, names)))
    if not keyed.num_rows or not rows.num_rows:
        return none_near()
    asked = pl.DataFrame(
        {
            "request_id": pl.Series(rows.column("request_id").cast(pa.string())),
            "at": pl.Series(rows.column(at).cast(UTC_TIME)),
            **{name: pl.Series(as_key(rows.column(own))) for name, own in zip(names, columns.values(), strict=True)},
        }
    ).drop_nulls()
    said = pl.DataFrame(
        {
            "said_at": pl.Series(keyed.column("event_at")),
            "label": pl.Series(keyed.column("label")),
            "known_at": pl.Series(keyed.column("known_at")),
            "said": pl.int_range(keyed.num_rows, eager=True),
            **{name: pl.Series(keyed.column(name)) for name in names},
        }
    )
    found = asked.sort("at").join_asof(
        said.sort("said_at"),
        left_on="at",
        right_on="said_at",
        by=names,
        strategy="nearest",
        tolerance=tolerance,
        check_sortedness=False,
    )
    found = found.drop_nulls("label").select("request_id", "label", pl.col("at").alias("event_at"), "known_at", "said")
    return found.to_arrow().cast(pa.schema([*(SCHEMA.field(name) for name in BY_ID), ("said", pa.int64())]))


def none_near() -> pa.Table:
    """What `nearest` gives where nothing is near."""
    return none().select(BY_ID).append_column("said", pa.array([], pa.int64()))


def _placed(statements: pa.Table) -> pl.DataFrame:
    """Who each statement is about, as one text, with its label, its instant and its place."""
    import polars as pl

    names = sorted(name for name in statements.column_names if name.startswith(ENTITY))
    keys = [statements.column(name) for name in names]
    at = statements.column("event_at").cast(pa.int64()).cast(pa.string())
    # Lengths before the values: two keys never run into one another.
    parts = [at, *(pc.binary_join_element_wise(_length(one), one, ":", null_handling="replace") for one in keys)]
    by_key = pc.binary_join_element_wise("e", *parts, "|", null_handling="replace") if statements.num_rows else at
    by_id = pc.binary_join_element_wise("r", statements.column("request_id"), "|")
    who = pc.coalesce(by_id, by_key)
    return pl.DataFrame(
        {
            _WHO: pl.Series(who, dtype=pl.String),
            "label": pl.Series(statements.column("label"), dtype=pl.String),
            "known_at": pl.Series(statements.column("known_at")),
            _PLACE: pl.int_range(statements.num_rows, eager=True),
        }
    )


def _length(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_length(column).cast(pa.string())


def _all_there(statements: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    found = pc.is_valid(statements.column("event_at"))
    for name in names:
        if name not in statements.column_names:
            return pc.and_(found, pa.scalar(False))
        found = pc.and_(found, pc.is_valid(statements.column(name)))
    return found


def as_key(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Keys as text; a whole number has no decimal point, whatever type it came in."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type) and pc.all(pc.equal(column, pc.floor(column)), skip_nulls=True).as_py():
        column = column.cast(pa.int64())
    return column.cast(pa.string())
