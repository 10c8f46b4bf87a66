"""A view's rows as Parquet below `event_date=YYYY-MM-DD/`: one row for each entity and event time, the last one written.

Arrow's own functions throughout: a tick's rows are few, and a data frame's fixed costs would be most of the work.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mainspring.adapters.processes.locks import locked as file_locked

_FILE = "rows.parquet"
_PLACE = "_mainspring_place"
_DAY = "event_date="


def put_rows(folder: Path, rows: pa.Table, timestamp: str, identity: Sequence[str]) -> int:
    """Write rows to their days' files; returns how many were new or other than before.

    A row with the same `identity` (its entity keys and times) as one that is there replaces it, so that a repeated
    write changes nothing and a corrected one corrects. Each day's file is replaced in one rename: a reader sees it as
    it was before or after. Two writers at once need a lock, see `locked`.
    """
    from mainspring.adapters.feast.asof_store import write_parquet

    written = 0
    days = rows.column(timestamp).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us")).cast(pa.date32())
    for day in pc.unique(days).to_pylist():
        fresh = newest(rows.filter(pc.equal(days, pa.scalar(day, pa.date32()))), identity)
        path = folder / f"{_DAY}{day}" / _FILE
        if not path.exists():
            written += fresh.num_rows
            write_parquet(fresh, path)
            continue
        before = _read(path)
        both = pa.concat_tables([before, fresh], promote_options="permissive")
        new = _distinct(both) - _distinct(before)
        if new:
            written += new
            write_parquet(newest(both, identity), path)
    return written


def newest(rows: pa.Table, identity: Sequence[str]) -> pa.Table:
    """Of the rows with the same identity the last one; the order of the rows is kept."""
    if not identity:
        return rows.slice(max(0, rows.num_rows - 1))
    placed = rows.select(list(identity)).append_column(_PLACE, pa.array(np.arange(rows.num_rows)))
    last = placed.group_by(list(identity), use_threads=False).aggregate([(_PLACE, "max")]).column(f"{_PLACE}_max")
    return rows if len(last) == rows.num_rows else rows.take(last.take(pc.sort_indices(last)))


def read_rows(path: Path, earliest: datetime | None, latest: datetime, *, by_day: bool = True) -> pa.Table | None:
    """The rows of the days from `earliest` to `latest`, or of the one file that `path` is; None without any.

    `by_day` False: the folder was written by others, and any file below it may have any day.
    """
    if path.is_file():
        files = [path]
    elif by_day and earliest is not None:
        files = [folder / _FILE for folder in (path / f"{_DAY}{day}" for day in _days(earliest, latest))]
        files = [file for file in files if file.exists()]
    else:
        last = f"{_DAY}{latest.date()}"
        files = [file for file in sorted(path.rglob("*.parquet")) if not (by_day and file.parent.name > last)]
        files = [file for file in files if not file.name.startswith(".")]
    tables = [_read(file) for file in files]
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def remove_rows(folder: Path) -> None:
    """Remove all of a view's rows."""
    if folder.exists():
        gone = folder.with_name(f".{folder.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock against every other writer, in this process or another."""
    with file_locked(folder / ".lock"):
        yield


def _read(file: Path) -> pa.Table:
    with pq.ParquetFile(file) as opened:
        return opened.read(use_threads=False)


def _distinct(rows: pa.Table) -> int:
    return int(rows.group_by(rows.column_names, use_threads=False).aggregate([]).num_rows)


def _days(first: datetime, last: datetime) -> Iterator[date]:
    for place in range((last.date() - first.date()).days + 1):
        yield first.date() + timedelta(days=place)
