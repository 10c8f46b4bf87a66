"""Bringing Feast's online store up to date: the newest row of each key that is known, and nothing before it is.

Feast's own `materialize_incremental` reads by event time alone and takes a tenth of a second where nothing is new. This
one asks when a row became known, reads only the days that can have changed, and writes through Feast's own provider,
so that every online store of Feast works and the bytes are Feast's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mainspring.adapters.feast.asof_join import AVAILABLE_AT_TAG, DELAY_TAG
from mainspring.adapters.feast.marks import Mark, Marks
from mainspring.adapters.feast.rows import newest, read_rows
from mainspring.domain.errors import TemporaryError

DUMMY_KEY = "__dummy_id"
"""Feast's join key of views without entities; its value is the empty text."""
_UTC = pa.timestamp("us", "UTC")
_KNOWN, _EVENT = "_mainspring_known", "_mainspring_event"


def entity_keys(view: Any) -> list[str]:
    """The join keys of a view; none for one without entities."""
    return [key for key in view.join_keys if key != DUMMY_KEY]


@dataclass(frozen=True, slots=True)
class Timing:
    """A view's times: event, created (None: has none), and availability by column or delay."""

    timestamp: str
    created: str | None
    available_at: str | None
    delay: timedelta
    ttl: timedelta | None

    @classmethod
    def of(cls, view: Any) -> Timing:
        """The times that a feature view's source and tags declare."""
        source = view.batch_source
        return cls(
            timestamp=source.timestamp_field,
            created=source.created_timestamp_column or None,
            available_at=view.tags.get(AVAILABLE_AT_TAG),
            delay=timedelta(seconds=float(view.tags.get(DELAY_TAG, "0"))),
            ttl=view.ttl or None,
        )

    def known(self, rows: pa.Table) -> pa.ChunkedArray:
        """When each row became known: never before its event; null: not yet."""
        event = _instants(rows, self.timestamp)
        if self.available_at is None:
            lag = pa.scalar(self.delay, pa.duration("us"))
            return pc.add(event, lag) if self.delay else event
        late = _instants(rows, self.available_at)
        return pc.if_else(pc.greater(late, event), late, event)

    def since(self, mark: Mark) -> datetime | None:
        """No row with an earlier event time can change what is online; None: any can."""
        if mark.until is None or (self.available_at is not None and self.ttl is None):
            return None
        # By a column, a row may become known any time later; older than the TTL it is worth nothing by then.
        lag = self.delay if self.available_at is None else (self.ttl or timedelta(0))
        return min(mark.until - lag, mark.dirty_since or mark.until)


def bring_up(store: Any, view: Any, path: Path, marks: Marks, until: datetime, *, ours: bool) -> int:
    """Write what became known by `until` of one view; rows written.

    `ours` says that all of the view's rows were appended here, so that the marks know of each; else the files are
    looked at, and any change of them has everything read again.
    """
    definition, timing = described(view), Timing.of(view)
    mark = marks.get(view.name, definition)
    if mark.until is not None and until < mark.until:
        until = mark.until
    files = "" if ours else _state(path)
    if files != mark.files:
        mark = Mark(files=files)
    if ours and _nothing_new(mark):
        # And no mark is written: a commit makes every predictor forget the rows that it has decoded.
        return 0
    rows = read_rows(path, timing.since(mark), until, by_day=ours)
    rows = None if rows is None else newest_known(rows, entity_keys(view), timing, mark, until)
    if rows is not None and rows.num_rows:
        write_online(store, view, rows)
    marks.put(view.name, definition, replace(mark, until=until, dirty_since=None))
    return 0 if rows is None else int(rows.num_rows)


def newest_known(rows: pa.Table, keys: list[str], timing: Timing, mark: Mark, until: datetime) -> pa.Table:
    """Of each key the newest row by event time among those known at `until`, where the online store may not have it."""
    rows = rows.append_column(_KNOWN, timing.known(rows)).append_column(_EVENT, _instants(rows, timing.timestamp))
    rows = rows.filter(pc.less_equal(rows.column(_KNOWN), _instant(until)))
    # Nulls sort last whatever the direction, so the newest comes first and the order is turned round afterwards: a row
    # without a created time is the oldest of its event time.
    order = [(name, "descending") for name in (_EVENT, timing.created) if name]
    rows = rows.take(pc.sort_indices(rows, order)[::-1])
    rows = newest(rows, keys)
    if mark.until is not None:
        new = pc.greater(rows.column(_KNOWN), _instant(mark.until))
        if mark.dirty_since is not None:
            new = pc.or_(new, pc.greater_equal(rows.column(_EVENT), _instant(mark.dirty_since)))
        rows = rows.filter(new)
    return rows.drop_columns([_KNOWN, _EVENT])


def write_online(store: Any, view: Any, rows: pa.Table) -> None:
    """Write one row a key through Feast's provider, in Feast's own serialisation."""
    from feast.utils import _convert_arrow_to_proto, _run_pyarrow_field_mapping

    if view.batch_source.field_mapping:
        rows = _run_pyarrow_field_mapping(rows, view.batch_source.field_mapping)
    keys = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
    if DUMMY_KEY in keys:
        rows = rows.append_column(DUMMY_KEY, pa.array([""] * rows.num_rows))
    protos = _convert_arrow_to_proto(rows, view, keys)
    try:
        store._get_provider().online_write_batch(store.config, view, protos, None)
    except Exception as error:  # every store's client has errors of its own
        raise TemporaryError(
            f"the online store did not take {rows.num_rows:,} rows of view {view.name!r}: {error}",
            where=f"online store {store.config.online_store.type}",
            next_step="the next tick writes them again",
        ) from error


def appended(rows: pa.Table, mark: Mark, timing: Timing) -> Mark:
    """The mark after these rows are appended; to be written before they are."""
    first = pc.min(_instants(rows, timing.timestamp)).as_py()
    known = pc.max(timing.known(rows)).as_py()
    newest_known = max((one for one in (known, mark.newest_known) if one is not None), default=None)
    dirty = min(one for one in (first, mark.dirty_since) if one is not None)
    return replace(mark, dirty_since=dirty, newest_known=newest_known)


def described(view: Any) -> str:
    """A digest of a view's definition: names, types, keys, times, TTL, tags."""
    columns = sorted((field.name, str(field.dtype)) for field in view.schema)
    text = repr((view.name, sorted(view.join_keys), columns, Timing.of(view), sorted(view.tags.items())))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _nothing_new(mark: Mark) -> bool:
    if mark.until is None or mark.newest_known is None or mark.dirty_since is not None:
        return False
    return mark.until >= mark.newest_known


def _instants(rows: pa.Table, column: str) -> pa.ChunkedArray:
    kind = rows.schema.field(column).type
    values = rows.column(column)
    return values if kind == _UTC else values.cast(_UTC, safe=False)


def _instant(at: datetime) -> pa.Scalar:
    return pa.scalar(at, _UTC)


def _state(path: Path) -> str:
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet")) if path.is_dir() else []
    text = repr([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
