"""`ParquetPredictionLog`: the prediction log as Parquet, Hive-partitioned by event date and hour.

A file is named after its segment and the position of its first row there: compacting again after a crash writes the same
file again. Several models' columns differ; a reader takes the union.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.parquet.segments import NewRows, new_rows
from mainspring.domain.log_record import ARMS, OUTCOMES, ROLES
from mainspring.domain.time import TimeWindow
from mainspring.settings.paths import ProjectPaths
from mainspring.telemetry.logs import Log

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FILES = 48
_HOUR_US = 3_600_000_000
_IDENTITY = ("request_id", "version", "role")
_DAY = "event_date="


class ParquetPredictionLog:
    """`PredictionLog` on local Parquet files."""

    def __init__(self, paths: ProjectPaths, log: Log | None = None) -> None:
        self._segments = paths.segments
        self._folder = paths.predictions
        self._positions = paths.segments.parent / "positions.json"
        self._log = log or Log()

    def compact(self) -> int:
        """Turn what segments hold beyond what was read before into Parquet; returns rows written.

        Parquet first, then the position, then a finished segment goes: killed in between, the same files are written
        again. Rows that come late go to the hour of their event time.
        """
        known: dict[str, int] = json.loads(self._positions.read_bytes()) if self._positions.exists() else {}
        written, finished, touched = 0, [], set()
        for found in new_rows(self._segments, known, self._log):
            if found.rows:
                touched |= self._write(found)
                written += len(found.rows)
            known[found.path.stem] = found.end
            if found.ended:
                finished.append(found.path)
        if written or finished:
            self._put_positions(known)
        for path in finished:
            path.unlink(missing_ok=True)
            known.pop(path.stem, None)
        if finished:
            self._put_positions(known)
        for day in touched:
            self._merge(day)
        return written

    def read(self, window: TimeWindow | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows whose event time lies in the window, oldest first, each identity once; an answer wins over a failure.

        `feature.<name>`, `entity.<name>` and `age.<view>` are columns of their own. A column that no file has is null.
        """
        import pyarrow as pa

        files = self._files(window)
        if not files:
            return _empty(columns)
        wanted = None if columns is None else list(dict.fromkeys([*columns, *_IDENTITY, "outcome", "event_at"]))
        tables = [_read_file(path, wanted) for path in files]
        table = pa.concat_tables(_alike(tables), promote_options="default")
        table = _once(_within(table, window))
        if columns is None:
            return table
        absent = [name for name in columns if name not in table.column_names]
        for name in absent:
            table = table.append_column(name, pa.nulls(table.num_rows))
        return table.select(list(columns))

    def _write(self, found: NewRows) -> set[Path]:
        """One file for each hour; returns the days' folders that were written to."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        by_hour: dict[int, list[Any]] = defaultdict(list)
        for row in found.rows:
            by_hour[row.event_at // _HOUR_US].append(row)
        days = set()
        for hour, rows in by_hour.items():
            at = datetime.fromtimestamp(hour * 3600, UTC)
            folder = self._folder / f"{_DAY}{at:%Y-%m-%d}" / f"event_hour={at:%H}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{found.path.stem}-{found.start}.parquet"
            part = path.with_suffix(".part")
            pq.write_table(pa.table(_columns(found, rows)), part, compression="zstd")
            part.replace(path)
            days.add(folder.parent)
        return days

    def _merge(self, day: Path) -> None:
        """Many small files of an hour become one. Its parts go after it is whole: read twice, rows count once."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for hour in day.iterdir():
            files = sorted(hour.glob("*.parquet"))
            if len(files) <= MOST_FILES:
                continue
            tables = _alike([_read_file(path, None) for path in files])
            merged = _once(pa.concat_tables(tables, promote_options="default"))
            path = hour / f"merged-{files[-1].stem}.parquet"
            part = path.with_suffix(".part")
            pq.write_table(merged, part, compression="zstd")
            part.replace(path)
            for one in files:
                if one != path:
                    one.unlink()

    def _files(self, window: TimeWindow | None) -> list[Path]:
        if not self._folder.is_dir():
            return []
        first = "" if window is None else f"{_DAY}{window.start:%Y-%m-%d}"
        last = "~" if window is None else f"{_DAY}{window.end:%Y-%m-%d}"
        files: list[Path] = []
        for day in sorted(self._folder.iterdir()):
            if not first <= day.name <= last:
                continue
            date = datetime.strptime(day.name.removeprefix(_DAY), "%Y-%m-%d").replace(tzinfo=UTC)
            for hour in sorted(day.iterdir()):
                begins = date + timedelta(hours=int(hour.name.removeprefix("event_hour=")))
                if window is None or (begins < window.end and begins + timedelta(hours=1) > window.start):
                    files += sorted(hour.glob("*.parquet"))
        return files

    def _put_positions(self, known: dict[str, int]) -> None:
        part = self._positions.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known), encoding="ascii")
        part.replace(self._positions)


def _columns(found: NewRows, rows: Sequence[Any]) -> dict[str, Any]:
    import pyarrow as pa

    header = found.header
    assert header is not None
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
        columns[f"entity.{name}"] = pa.array([None if one is None else str(one) for one in values], pa.string())
    for place, name in enumerate(header.views):
        values = [row.ages[place] if place < len(row.ages) else None for row in rows]
        columns[f"age.{name}"] = pa.array(values, pa.float64())
    return columns


def _read_file(path: Path, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        there = set(file.schema_arrow.names)
        return file.read(columns=None if columns is None else [name for name in columns if name in there])


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """The same type for a column everywhere: text where files do not agree."""
    import pyarrow as pa

    types: dict[str, set[Any]] = defaultdict(set)
    for schema in {table.schema for table in tables}:
        for field in schema:
            types[field.name].add(field.type)
    clashing = {name for name, found in types.items() if len(found) > 1}
    if not clashing:
        return tables
    return [
        pa.table(
            {
                name: table.column(name).cast(pa.string()) if name in clashing else table.column(name)
                for name in table.column_names
            }
        )
        for table in tables
    ]


def _within(table: pa.Table, window: TimeWindow | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    if window is None:
        return table
    kind = pa.timestamp("us", "UTC")
    at = table.column("event_at")
    return table.filter(
        pc.and_(pc.greater_equal(at, pa.scalar(window.start, kind)), pc.less(at, pa.scalar(window.end, kind)))
    )


def _once(table: pa.Table) -> pa.Table:
    """Each identity once: an answer before a failure, then the first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    order = pc.sort_indices(table.append_column("_place", pa.array(range(table.num_rows))), sort_keys=[
        ("event_at", "ascending"), ("outcome", "ascending"), ("_place", "ascending"),
    ])  # fmt: skip
    table = table.take(order)
    rows = table.select(list(_IDENTITY)).append_column("_row", pa.array(range(table.num_rows)))
    answered = pc.equal(table.column("outcome"), "answered")
    first = rows.append_column("_key", pc.if_else(answered, rows.column("_row"), pc.add(rows.column("_row"), 1 << 40)))
    kept = first.group_by(list(_IDENTITY)).aggregate([("_key", "min")]).column("_key_min")
    places = pc.if_else(pc.greater_equal(kept, 1 << 40), pc.subtract(kept, 1 << 40), kept)
    return table.take(places.combine_chunks().sort())


def _empty(columns: Sequence[str] | None) -> pa.Table:
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
