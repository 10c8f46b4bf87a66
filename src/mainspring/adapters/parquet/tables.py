"""The prediction log's rows as Arrow tables: from segments and files, alike, in a window, each identity once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.concealment import canonical
from mainspring.domain.log_record import ARMS, OUTCOMES, ROLES, LogRow, SegmentHeader
from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    import pyarrow as pa

_SMALL_BYTES = 1024 * 1024
_MANY_FILES, _THREADS = 48, 4
IDENTITY = ("request_id", "version", "role")


def columns_of(header: SegmentHeader, rows: Sequence[LogRow]) -> dict[str, Any]:
    """Rows of a segment as the log's columns."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "request_id": pa.array([row.request_id for row in rows], pa.string()),
        "version": pa.array([row.version or header.version for row in rows], pa.string()),
        "build": pa.array([row.build or header.build for row in rows], pa.string()),
        "role": pa.array([ROLES[row.role] for row in rows], pa.string()),
        "arm": pa.array([ARMS[row.arm] for row in rows], pa.string()),
        "outcome": pa.array([OUTCOMES[row.outcome] for row in rows], pa.string()),
        "event_at": pa.array([row.event_at for row in rows], pa.timestamp("us", "UTC")),
        "latency_seconds": pa.array([row.latency / 1e6 for row in rows], pa.float64()),
        "output": pa.array([list(row.output) for row in rows], pa.list_(pa.float64())),
        "cohort": pa.array([row.cohort for row in rows], pa.string()),
        "reason": pa.array([row.reason for row in rows], pa.string()),
        "flags": pa.array([list(row.flags) for row in rows], pa.list_(pa.string())),
    }
    for place, name in enumerate(header.features):
        values = [row.features[place] if place < len(row.features) else None for row in rows]
        if header.kinds[place] == "number":
            columns[f"feature.{name}"] = pa.array([None if one is None else float(one) for one in values], pa.float64())
        else:
            columns[f"feature.{name}"] = pa.array([None if one is None else str(one) for one in values], pa.string())
    for place, name in enumerate(header.entities):
        values = [row.entities[place] if place < len(row.entities) else None for row in rows]
        # As the key is looked up: 7.0 is 7.
        columns[f"entity.{name}"] = pa.array([None if one is None else canonical(one) for one in values], pa.string())
    for place, name in enumerate(header.views):
        values = [row.ages[place] if place < len(row.ages) else None for row in rows]
        columns[f"age.{name}"] = pa.array(values, pa.float64())
    return columns


def read_file(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """A file's columns, those of `columns` that it has.

    By its path: of a file that Python opened Arrow's threads keep hold, and a process that ends meanwhile is aborted
    (github.com/apache/arrow/issues/34314).
    """
    import pyarrow.parquet as pq

    # Of a small file threads and read-ahead cost more than they save.
    large = path.stat().st_size > _SMALL_BYTES
    with pq.ParquetFile(path, pre_buffer=large) as file:
        there = set(file.schema_arrow.names)
        wanted = None if columns is None else [name for name in columns if name in there]
        return file.read(columns=wanted, use_threads=large)


def read_files(paths: Sequence[Path], columns: Sequence[str] | None) -> list[pa.Table]:
    """The same of each, several at once where there are many: a month is 700 files of an hour."""
    if len(paths) < _MANY_FILES:
        return [read_file(path, columns) for path in paths]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda path: read_file(path, columns), paths))


def alike(tables: list[pa.Table]) -> list[pa.Table]:
    """The same type for a column everywhere: text where files do not agree."""
    import pyarrow as pa

    types: dict[str, set[Any]] = defaultdict(set)
    for schema in {table.schema for table in tables}:
        for field in schema:
            types[field.name].add(field.type)
    # A column that has no value yet agrees with every type.
    valued = {name: found - {pa.null()} for name, found in types.items() if len(found) > 1}
    clashing = {name: _common(found) for name, found in valued.items()}
    if not clashing:
        return tables
    return [
        pa.table(
            {
                name: table.column(name).cast(clashing[name]) if name in clashing else table.column(name)
                for name in table.column_names
            }
        )
        for table in tables
    ]


def _common(types: set[Any]) -> Any:
    import pyarrow as pa

    if len(types) == 1:
        return next(iter(types))
    # Parquet names the elements of a list otherwise than Arrow does.
    if all(pa.types.is_list(one) for one in types):
        (element,) = {one.value_type for one in types}
        return pa.list_(element)
    return pa.string()


def within(table: pa.Table, window: TimeWindow | None) -> pa.Table:
    """The rows whose event time lies in the window."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if window is None:
        return table
    kind = pa.timestamp("us", "UTC")
    at = table.column("event_at")
    return table.filter(
        pc.and_(pc.greater_equal(at, pa.scalar(window.start, kind)), pc.less(at, pa.scalar(window.end, kind)))
    )


def once(table: pa.Table) -> pa.Table:
    """Each identity once: an answer before a failure, then the first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    order = pc.sort_indices(table.append_column("_place", pa.array(range(table.num_rows))), sort_keys=[
        ("event_at", "ascending"), ("outcome", "ascending"), ("_place", "ascending"),
    ])  # fmt: skip
    table = table.take(order)
    rows = table.select(list(IDENTITY)).append_column("_row", pa.array(range(table.num_rows)))
    answered = pc.equal(table.column("outcome"), "answered")
    first = rows.append_column("_key", pc.if_else(answered, rows.column("_row"), pc.add(rows.column("_row"), 1 << 40)))
    kept = first.group_by(list(IDENTITY)).aggregate([("_key", "min")]).column("_key_min")
    places = pc.if_else(pc.greater_equal(kept, 1 << 40), pc.subtract(kept, 1 << 40), kept)
    return table.take(places.combine_chunks().sort())


def empty(columns: Sequence[str] | None) -> pa.Table:
    """No rows, with the columns that every row has."""
    import pyarrow as pa

    schema = {
        "request_id": pa.string(),
        "version": pa.string(),
        "build": pa.string(),
        "role": pa.string(),
        "arm": pa.string(),
        "outcome": pa.string(),
        "event_at": pa.timestamp("us", "UTC"),
        "latency_seconds": pa.float64(),
        "output": pa.list_(pa.float64()),
        "cohort": pa.string(),
        "reason": pa.string(),
        "flags": pa.list_(pa.string()),
    }
    names = list(schema) if columns is None else list(columns)
    return pa.table({name: pa.array([], schema.get(name, pa.null())) for name in names})


def chosen(tables: Sequence[pa.Table], since: datetime | None, failed: bool) -> pa.Table:
    """The rows of all tables together, oldest first, from an instant on; with `failed` only requests without an answer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not tables:
        return empty(None)
    table = once(pa.concat_tables(alike(list(tables)), promote_options="default"))
    if since is not None:
        table = within(table, TimeWindow(since, datetime.max.replace(tzinfo=UTC)))
    return table.filter(pc.equal(table.column("outcome"), "failed")) if failed else table


def any_failed(tables: Sequence[pa.Table]) -> bool:
    """Whether a row says that a request got no answer."""
    import pyarrow.compute as pc

    return any(pc.any(pc.equal(table.column("outcome"), "failed")).as_py() for table in tables)
