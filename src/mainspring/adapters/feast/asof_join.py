"""The point-in-time join as SQL: one DuckDB `ASOF JOIN` a view, on the instant at which a row became available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.sources.check import quoted

AVAILABLE_AT_TAG = "mainspring.available_at"
DELAY_TAG = "mainspring.delay_seconds"


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
    keys = sorted({column for view in views for column in view.keys.values() if column in entities.column_names})
    spine = entities.select(keys).append_column("_row", pa.array(np.arange(entities.num_rows)))
    # Without its zone, the time needs no conversion for each of its comparisons.
    spine = spine.append_column("_at", entities.column(timestamp).cast(pa.timestamp("us")))
    db.register("_spine", spine)
    try:
        joined = db.sql(_join_sql(views)).to_arrow_table()
    finally:
        db.unregister("_spine")
    # Putting rows back in order here is several times cheaper than an ORDER BY over all columns.
    order = np.empty(joined.num_rows, dtype=np.int64)
    order[joined.column("_row").to_numpy()] = np.arange(joined.num_rows)
    joined = joined.drop_columns("_row").take(pa.array(order))
    for name in joined.column_names:
        entities = (
            entities.set_column(entities.column_names.index(name), name, joined.column(name))
            if name in entities.column_names
            else entities.append_column(name, joined.column(name))
        )
    return entities


def _join_sql(views: Sequence[ViewRows]) -> str:
    columns, joins = [], []
    for place, view in enumerate(views):
        alias = f"v{place}"
        fresh = ""
        if view.ttl:
            fresh = f"{alias}._event >= s._at - to_microseconds({_microseconds(view.ttl)})"
        for source, target in view.features.items():
            value = f"{alias}.{quoted(source)}"
            columns.append(f"{f'CASE WHEN {fresh} THEN {value} END' if fresh else value} AS {quoted(target)}")
        on = [f"s.{quoted(column)} = {alias}.{quoted(key)}" for key, column in view.keys.items()]
        joins.append(f"ASOF LEFT JOIN ({_rows_sql(view)}) {alias} ON {' AND '.join([*on, f's._at >= {alias}._known'])}")
    return f"SELECT {', '.join(['s._row', *columns])} FROM _spine s {' '.join(joins)}"


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
