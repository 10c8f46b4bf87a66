"""`ParquetPredictionLog`: the prediction log as Parquet, Hive-partitioned by event date and hour.

A file is named after its segment and the position of its first row there: compacting again after a crash writes the same
file again. Several models' columns differ; a reader takes the union.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.parquet.segments import NewRows, new_rows, unread_rows
from mainspring.adapters.parquet.tables import (
    IDENTITY,
    alike,
    any_failed,
    chosen,
    columns_of,
    empty,
    once,
    read_file,
    read_files,
    within,
)
from mainspring.adapters.processes.locks import locked
from mainspring.domain.time import TimeWindow
from mainspring.ports import LogHour
from mainspring.settings.paths import ProjectPaths
from mainspring.telemetry.logs import Log

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FILES = 48
LARGE_BYTES = 16 * 1024 * 1024
"""A file of this size is not merged any further: the work of an hour must not grow with what it already holds."""
_MERGED = "merged-"
_HOUR_US = 3_600_000_000
_DAY, _HOUR = "event_date=", "event_hour="


class ParquetPredictionLog:
    """`PredictionLog` on local Parquet files."""

    def __init__(self, paths: ProjectPaths, log: Log | None = None) -> None:
        self._segments = paths.segments
        self._folder = paths.predictions
        self._positions = paths.segments.parent / "positions.json"
        self._lock = paths.segments.parent / "compact.lock"
        self.forgettings = paths.segments.parent / "forgetting"
        """What is to be forgotten and is not yet, a file each."""
        self._log = log or Log()

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else turns segments into files or changes files meanwhile. Not held twice by one who has it."""
        return locked(self._lock)

    def compact(self) -> int:
        """Turn what segments hold beyond what was read before into Parquet; returns rows written."""
        with self.alone():
            return self.compact_alone()

    def compact_alone(self) -> int:
        """The same, for who has the lock.

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
        # What is being forgotten goes through the files that there were.
        for day in () if any(self.forgettings.glob("*.json")) else touched:
            self._merge(day)
        return written

    def read(self, window: TimeWindow | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows whose event time lies in the window, oldest first, each identity once; an answer wins over a failure.

        What was acknowledged is there, whether it is Parquet yet or not. `feature.<name>`, `entity.<name>` and
        `age.<view>` are columns of their own. A column that no row has is null.
        """
        import pyarrow as pa

        wanted = None if columns is None else list(dict.fromkeys([*columns, *IDENTITY, "outcome", "event_at"]))
        # Segments before files: what becomes Parquet in between is read twice, and counts once.
        tables = self._selected(self.unread(), wanted) + self._tables(lambda: self._files(window), wanted)
        if not tables:
            return empty(columns)
        table = pa.concat_tables(alike(tables), promote_options="default")
        table = once(within(table, window))
        if columns is None:
            return table
        absent = [name for name in columns if name not in table.column_names]
        for name in absent:
            table = table.append_column(name, pa.nulls(table.num_rows))
        return table.select(list(columns))

    def hours(self, window: TimeWindow) -> Mapping[datetime, LogHour]:
        """The hours of event time that have rows and meet the window; a token is of the files, and of rows in segments."""
        import pyarrow.compute as pc

        told: dict[datetime, list[str]] = defaultdict(list)
        sizes: dict[datetime, int] = defaultdict(int)
        # Segments before files: what becomes Parquet in between is told twice, and the hour is looked at again.
        for table in self.unread():
            at = within(table.select(["event_at"]), window).column("event_at")
            for found in pc.value_counts(pc.floor_temporal(at, unit="hour")).to_pylist():
                told[found["values"]].append(f"{found['counts']} rows")
        for begins, hour in self._hours_of(window):
            # Each report asks for months of hours: they are listed without a path for each file. What goes meanwhile is gone.
            with contextlib.suppress(FileNotFoundError), os.scandir(hour) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    if entry.name.endswith(".parquet"):
                        about = entry.stat()
                        told[begins].append(f"{entry.name} {about.st_size} {about.st_mtime_ns}")
                        sizes[begins] += about.st_size
        digests = {hour: hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] for hour, texts in told.items()}
        return {hour: LogHour(digests[hour], sizes[hour]) for hour in sorted(told)}

    def newest(self, count: int, *, since: datetime | None = None, failed: bool = False) -> pa.Table:
        """The newest `count` rows, oldest first, those that are in segments still among them.

        Hours are read from the newest back, until there are enough. `failed`: only requests that got no answer.
        """
        # Segments before files: what becomes Parquet in between is read twice, and counts once.
        found = chosen(self.unread(), since, failed)
        for begins, hour in self.hours_back(since):
            files = lambda hour=hour: sorted(hour.glob("*.parquet"))  # noqa: E731
            if failed and not any_failed(self._tables(files, ["outcome"])):
                continue
            found = chosen([*self._tables(files, None), found], since, failed)
            if within(found, TimeWindow(begins, datetime.max.replace(tzinfo=UTC))).num_rows >= count:
                break
        return found.slice(max(0, found.num_rows - count))

    def older(self, than: datetime) -> list[Path]:
        """Folders of hours that ended before an instant, oldest first."""
        return [hour for begins, hour in self.hours_back(None) if begins + timedelta(hours=1) <= than][::-1]

    def remove_hour(self, hour: Path) -> None:
        """Delete the files of an hour, and its day where that was the last."""
        with self.alone():
            shutil.rmtree(hour, ignore_errors=True)
            with contextlib.suppress(OSError):
                hour.parent.rmdir()

    def unread(self) -> list[pa.Table]:
        """Rows that are in segments still, a table for each."""
        import pyarrow as pa

        known: dict[str, int] = json.loads(self._positions.read_bytes()) if self._positions.exists() else {}
        return [pa.table(columns_of(header, rows)) for header, rows in unread_rows(self._segments, known)]

    def hours_back(self, since: datetime | None = None) -> Iterator[tuple[datetime, Path]]:
        """Folders of hours with their beginnings, the newest first."""
        days = sorted(self._folder.iterdir(), reverse=True) if self._folder.is_dir() else []
        for day in days:
            # A day may be deleted while somebody reads.
            for hour in sorted(day.iterdir(), reverse=True) if day.is_dir() else ():
                begins = _begins(day.name, hour.name)
                if since is not None and begins + timedelta(hours=1) <= since:
                    return
                yield begins, hour

    def _selected(self, tables: list[pa.Table], columns: Sequence[str] | None) -> list[pa.Table]:
        if columns is None:
            return tables
        return [table.select([name for name in columns if name in table.column_names]) for table in tables]

    def _tables(self, files: Callable[[], list[Path]], columns: Sequence[str] | None) -> list[pa.Table]:
        """The files' tables; listed again when one was merged into another in the meantime."""
        while True:
            try:
                return read_files(files(), columns)
            except FileNotFoundError:
                continue

    def _write(self, found: NewRows) -> set[Path]:
        """One file for each hour; returns the days' folders that were written to."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        assert found.header is not None
        by_hour: dict[int, list[Any]] = defaultdict(list)
        for row in found.rows:
            by_hour[row.event_at // _HOUR_US].append(row)
        days = set()
        for hour, rows in by_hour.items():
            at = datetime.fromtimestamp(hour * 3600, UTC)
            folder = self._folder / f"{_DAY}{at:%Y-%m-%d}" / f"{_HOUR}{at:%H}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{found.path.stem}-{found.start}.parquet"
            part = path.with_suffix(".part")
            pq.write_table(pa.table(columns_of(found.header, rows)), part, compression="zstd")
            part.replace(path)
            days.add(folder.parent)
        return days

    def _merge(self, day: Path) -> None:
        """Many small files of an hour become one. Its parts go after it is whole: read twice, rows count once."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for hour in day.iterdir():
            files = sorted(one for one in hour.glob("*.parquet") if one.stat().st_size < LARGE_BYTES)
            if len(files) <= MOST_FILES:
                continue
            tables = alike([read_file(path, None) for path in files])
            merged = once(pa.concat_tables(tables, promote_options="default"))
            # Named after one of its parts, which is never written again: the same name does not come twice.
            part_name = max(one.stem for one in files if not one.stem.startswith(_MERGED))
            path = hour / f"{_MERGED}{part_name}.parquet"
            part = path.with_suffix(".part")
            pq.write_table(merged, part, compression="zstd")
            part.replace(path)
            for one in files:
                if one != path:
                    one.unlink()

    def _files(self, window: TimeWindow | None) -> list[Path]:
        return [path for _, hour in self._hours_of(window) for path in sorted(Path(hour).glob("*.parquet"))]

    def _hours_of(self, window: TimeWindow | None) -> Iterator[tuple[datetime, str]]:
        """Folders of the hours that meet the window, with their beginnings, oldest first. Each report lists months of them."""
        if not self._folder.is_dir():
            return
        first = "" if window is None else f"{_DAY}{window.start:%Y-%m-%d}"
        last = "~" if window is None else f"{_DAY}{window.end:%Y-%m-%d}"
        for day in sorted(os.listdir(self._folder)):
            if not first <= day <= last:
                continue
            folder = f"{self._folder}/{day}"
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                begins = _begins(day, name)
                if window is None or (begins < window.end and begins + timedelta(hours=1) > window.start):
                    yield begins, f"{folder}/{name}"

    def _put_positions(self, known: dict[str, int]) -> None:
        part = self._positions.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known), encoding="ascii")
        part.replace(self._positions)


def _begins(day: str, hour: str) -> datetime:
    # Not by strptime: a month has 700 of these.
    return datetime.fromisoformat(f"{day.removeprefix(_DAY)}T{hour.removeprefix(_HOUR)}:00+00:00")
