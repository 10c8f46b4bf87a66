"""Parquet files, fitted and counted: a few columns of some rows at a time, so that memory does not grow with the files.

Polars reads, the kernel counts, and while one group of columns is counted the next is read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.domain.errors import DataError
from mainspring.domain.model_version import Feature
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells, Counts, total
from mainspring.drift.counting import count
from mainspring.drift.profile import Profile, as_declared, fit_profile
from mainspring.drift.window_counter import require_days

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

BATCH_VALUES = 4_000_000
"""Values that are read at once: 32 MB of numbers."""


@dataclass(frozen=True)
class _Piece:
    """What is read at once: some columns of some rows of a file."""

    path: Path
    columns: tuple[str, ...]
    first: int
    rows: int


@dataclass(frozen=True)
class ParquetCounter:
    """`WindowCounter` on Parquet files. A feature that only some of them have is counted in those.

    `time` names the event time; a timestamp without a zone is UTC. `renamed` are columns that are not named as their feature;
    of the features `as_text` whole numbers and truths are categories, as they were in training.
    """

    files: Sequence[Path]
    time: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    as_text: Collection[str] = ()

    def columns(self) -> tuple[str, ...]:
        """The columns that any of the files has."""
        return tuple(dict.fromkeys(name for path in self.files for name in _schema(path)))

    def dated(self) -> bool:
        """Whether the event time is a date in any of the files."""
        import polars as pl

        return any(pl.read_parquet_schema(path).get(self.time) == pl.Date for path in self.files)

    def count(self, cells: Mapping[str, Cells], window: TimeWindow | None = None) -> dict[str, Counts]:
        """Counts of each feature that `cells` names. Errors: `DataError` for a column that no file has, or no file that can be read."""
        there = self.columns()
        absent = [self._column(name) for name in cells if self._column(name) not in there]
        absent += [self.time or "the event time"] if window is not None and self.time not in there else []
        if absent:
            raise DataError(
                f"there is no column {', '.join(absent)}",
                where=", ".join(str(path) for path in self.files[:3]),
                valid=", ".join(there),
                next_step="name it: --column FEATURE=COLUMN, or --time COLUMN",
            )
        parts: dict[str, list[Counts]] = {name: [] for name in cells}
        names: dict[str, list[str]] = {}
        for name in cells:
            names.setdefault(self._column(name), []).append(name)

        def counted(given: tuple[str, pl.Series]) -> Counts:
            name, series = given
            return count(cells[name], as_declared(_arrow(series), "category" if self._is_text(name, series) else ""))

        with ThreadPoolExecutor(_workers()) as threads, ThreadPoolExecutor(1) as reader:
            pieces = _pieces(self.files, tuple(names))
            # One is read while the one before is counted; a third would only take memory.
            waiting = [reader.submit(self._read, piece, window) for _, piece in zip(range(2), pieces, strict=False)]
            while waiting:
                frame = waiting.pop(0).result()
                waiting += [
                    reader.submit(self._read, piece, window) for _, piece in zip(range(1), pieces, strict=False)
                ]
                given = [(name, frame[column]) for column in frame.columns for name in names.get(column, ())]
                for (name, _), counts in zip(given, threads.map(counted, given), strict=True):
                    parts[name].append(counts)
        return {name: total(parts[name], one) for name, one in cells.items()}

    def _column(self, feature: str) -> str:
        return self.renamed.get(feature, feature)

    def _is_text(self, name: str, series: pl.Series) -> bool:
        return name in self.as_text and (series.dtype.is_integer() or series.dtype == bool)

    def _read(self, piece: _Piece, window: TimeWindow | None) -> pl.DataFrame:
        import polars as pl

        columns = list(dict.fromkeys([*piece.columns, *([self.time] if window is not None else [])]))
        rows = pl.scan_parquet(piece.path).select(columns).slice(piece.first, piece.rows)
        if window is not None:
            kind = rows.collect_schema()[self.time]
            if not kind.is_temporal():
                raise DataError(f"{self.time} is {kind}", where=str(piece.path), valid="a timestamp or a date")
            if kind == pl.Date:
                require_days(self.time, window, str(piece.path))
            at = pl.col(self.time)
            zoned = isinstance(kind, pl.Datetime) and kind.time_zone is not None
            at = at.dt.convert_time_zone("UTC") if zoned else at.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
            rows = rows.filter((at >= window.start) & (at < window.end))
        return rows.select(piece.columns).collect()


def count_files(profile: Profile, files: Sequence[Path]) -> dict[str, Counts]:
    """Counts of the rows of Parquet files, for the features of the profile that they have."""
    counter = ParquetCounter(files)
    there = set(counter.columns())
    return counter.count({name: cells for name, cells in profile.cells.items() if name in there})


def fit_files(files: Sequence[Path], features: Sequence[Feature] = (), columns: Sequence[str] | None = None) -> Profile:
    """The profile of Parquet files' columns, all of them unless `columns` names some: one column in memory, and one a thread."""
    import polars as pl

    lazy = pl.scan_parquet(list(files))
    names = list(columns) if columns is not None else lazy.collect_schema().names()

    def fitted(name: str) -> Profile:
        return fit_profile({name: _arrow(lazy.select(name).collect()[name])}, features)

    found = Profile({}, {})
    with ThreadPoolExecutor(_workers()) as threads:
        for one in threads.map(fitted, names):
            found = found.beside(one)
    return found


def _pieces(files: Sequence[Path], names: Sequence[str]) -> Iterator[_Piece]:
    """All rows of few columns, or of large files some rows of each column."""
    import polars as pl

    for path in files:
        there = [name for name in _schema(path) if name in names]
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        step = max(1, min(rows, BATCH_VALUES))
        group = max(1, BATCH_VALUES // step)
        for start in range(0, len(there), group):
            for first in range(0, rows, step):
                yield _Piece(path, tuple(there[start : start + group]), first, step)


def _schema(path: Path) -> list[str]:
    import polars as pl

    try:
        return list(pl.read_parquet_schema(path))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"this is no Parquet file that can be read: {error}", where=str(path)) from error


def _arrow(series: pl.Series) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([series.to_arrow()])


def _workers() -> int:
    return len(os.sched_getaffinity(0))
