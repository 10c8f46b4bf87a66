"""The point-in-time join: one ASOF join a view, on the instant at which a row became available.

DuckDB reads a view's rows and leaves out those that say nothing new; Polars finds each question's row, which takes it a
tenth of the time; Arrow fetches the features, so that every column keeps its type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mainspring.sources.check import quoted

if TYPE_CHECKING:
    import polars as pl

AVAILABLE_AT_TAG = "mainspring.available_at"
DELAY_TAG = "mainspring.delay_seconds"
_ROW, _PLACE, _AT, _KNOWN, _KEY = "_row", "_place", "_at", "_known", "_key"


@dataclass(frozen=True, slots=True)
class ViewRows:
    """One feature view for the join.

    `relation` is SQL that gives its rows. `keys` maps a join key of the rows to a column of the entity table;
    `features` maps a column of the rows to its name in the result. `ttl` None or 0: rows never expire. A row is
    available at `available_at` where that column is named, else `delay` after its event time.
    """

    relation: str
    keys: Mapping[str, str]
    features: Mapping[str, str]
    timestamp: str
    created: str | None = None
    ttl: timedelta | None = None
    available_at: str | None = None
    delay: timedelta = timedelta(0)
    created_is_availability: bool = False


def point_in_time(db: Any, entities: pa.Table, timestamp: str, views: Sequence[ViewRows]) -> pa.Table:
    """Each entity row with, for each view, the newest row by event time among those available at `timestamp`.

    Rows and their order are those of `entities`; features of views without such a row, or older than the TTL, are null.
    """
    import polars as pl

    at = entities.column(timestamp).cast(pa.timestamp("us"))
    keys = sorted({column for view in views for column in view.keys.values()})
    asked = {name: pl.Series(name, _plain(entities.column(name))) for name in keys}
    spine = pl.DataFrame({_AT: pl.Series(_AT, at), **asked}).with_row_index(_ROW).sort(_AT)
    for view in views:
        rows = db.sql(_rows_sql(view)).to_arrow_table()
        found = pa.array(_places(spine, rows, view))
        found = pc.if_else(pc.greater_equal(found, 0), found, None)
        if view.ttl:
            fresh = pc.greater_equal(rows.column("_event").take(found), pc.subtract(at, pa.scalar(view.ttl)))
            found = pc.if_else(fresh, found, None)
        for source, target in view.features.items():
            column = rows.column(source).take(found)
            entities = (
                entities.set_column(entities.column_names.index(target), target, column)
                if target in entities.column_names
                else entities.append_column(target, column)
            )
    return entities


def _places(spine: pl.DataFrame, rows: pa.Table, view: ViewRows) -> Any:
    """For each row of the entities its row of the view, -1 where there is none. Only keys and instants are looked at."""
    import polars as pl

    theirs = pl.DataFrame({_KNOWN: pl.Series(_KNOWN, rows.column(_KNOWN))}).with_row_index(_PLACE)
    left, by = spine, []
    for number, (key, column) in enumerate(view.keys.items()):
        name = f"{_KEY}{number}"
        ours, other = _comparable(spine.get_column(column), pl.Series(name, _plain(rows.column(key))))
        left, theirs = left.with_columns(ours.alias(name)), theirs.with_columns(other.alias(name))
        by.append(name)
    # A row that is not known yet, or is nobody's, is found by no one; neither is a null among the entities.
    theirs = theirs.drop_nulls([_KNOWN, *by]).sort(_KNOWN, maintain_order=True)
    joined = left.join_asof(
        theirs, left_on=_AT, right_on=_KNOWN, by=by or None, strategy="backward", check_sortedness=False
    )
    places = np.full(spine.height, -1, np.int64)
    places[joined.get_column(_ROW).to_numpy()] = joined.get_column(_PLACE).cast(pl.Int64).fill_null(-1).to_numpy()
    return places


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _comparable(asked: pl.Series, there: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Two key columns as one type, as the online store compares them: numbers as the wider of both; text that is asked for
    where numbers are is read as one (007 is 7, what is no number is nobody's), and a whole number asked for where text is
    has no decimal point."""
    import polars as pl

    if asked.dtype == there.dtype:
        return asked, there
    kind: Any = pl.String
    if there.dtype.is_numeric() and (asked.dtype.is_numeric() or asked.dtype == pl.String):
        whole = there.dtype.is_integer() and not asked.dtype.is_float()
        kind = pl.Int64 if whole else pl.Float64
    elif asked.dtype.is_float() and (asked == asked.floor()).all():
        asked = asked.cast(pl.Int64, strict=False)
    return asked.cast(kind, strict=False), there.cast(kind)


def _rows_sql(view: ViewRows) -> str:
    keys = [quoted(key) for key in view.keys]
    features = [quoted(name) for name in view.features if name not in view.keys]
    event = f"CAST({quoted(view.timestamp)} AS TIMESTAMP)"
    created = f"CAST({quoted(view.created)} AS TIMESTAMP)" if view.created else "NULL::TIMESTAMP"
    columns = ", ".join([*keys, *features])
    prefix = f"{columns}, " if columns else ""
    rows = f"SELECT {prefix}{event} AS _event, {created} AS _created, {_known(view)} AS _known FROM ({view.relation})"
    partition = f"PARTITION BY {', '.join(keys)}" if keys else ""
    if view.available_at is None and not view.created_is_availability:
        if not view.created:
            # Without a created time Feast leaves ties open; any of them will do, and ASOF takes one.
            return rows
        by = f"{partition}{', ' if keys else 'PARTITION BY '}_event"
        return f"SELECT * FROM ({rows}) QUALIFY row_number() OVER ({by} ORDER BY _created DESC NULLS LAST) = 1"
    # A row that became known after a newer one says nothing new: what is left rises in event time as in knowledge, so
    # that the newest known row is the newest by event time among all that are known.
    order = "_known, _event, _created NULLS FIRST"
    newest = f"max((_event, coalesce(_created, TIMESTAMP '1-1-1'))) OVER ({partition} ORDER BY {order})"
    last = f"row_number() OVER ({partition}{', ' if keys else 'PARTITION BY '}_known ORDER BY _event DESC, _created DESC NULLS LAST)"
    return (
        f"SELECT * FROM ({rows}) WHERE _known IS NOT NULL "
        f"QUALIFY (_event, coalesce(_created, TIMESTAMP '1-1-1')) >= {newest} AND {last} = 1"
    )


def _known(view: ViewRows) -> str:
    event = f"CAST({quoted(view.timestamp)} AS TIMESTAMP)"
    if view.available_at is not None:
        known = f"CAST({quoted(view.available_at)} AS TIMESTAMP)"
        # `greatest` passes over nulls, and a row without the instant is not known yet.
        return f"CASE WHEN {known} IS NOT NULL THEN greatest({known}, {event}) END"
    known = f"{event} + to_microseconds({_microseconds(view.delay)})" if view.delay else event
    if view.created_is_availability and view.created:
        return f"greatest({known}, CAST({quoted(view.created)} AS TIMESTAMP))"
    return known


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
