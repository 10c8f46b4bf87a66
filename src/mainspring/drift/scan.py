"""Parquet files, fitted and counted: a few columns of some rows at a time, so that memory does not grow with the files.

Polars reads, the kernel counts, and while one group of columns is counted the next is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.domain.model_version import Feature
from mainspring.drift.cells import Counts, total
from mainspring.drift.counting import count
from mainspring.drift.profile import Profile, fit_profile

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

BATCH_VALUES = 4_000_000
"""Values that are read at once: 32 MB of numbers."""
_Piece = tuple[Path, tuple[str, ...], int, int]


def count_files(profile: Profile, files: Sequence[Path]) -> dict[str, Counts]:
    """Counts of the rows of Parquet files, for the features of the profile that they have.

    A feature that only some files have is counted in those.
    """
    parts: dict[str, list[Counts]] = {}
    with ThreadPoolExecutor(_workers()) as threads, ThreadPoolExecutor(1) as reader:
        pieces = _pieces(files, tuple(profile.cells))
        waiting = [reader.submit(_read, piece) for _, piece in zip(range(2), pieces, strict=False)]
        while waiting:
            frame = waiting.pop(0).result()
            waiting += [reader.submit(_read, piece) for _, piece in zip(range(1), pieces, strict=False)]
            counted = threads.map(_counted, [(profile, name, frame[name]) for name in frame.columns])
            for name, counts in zip(frame.columns, counted, strict=True):
                parts.setdefault(name, []).append(counts)
    return {name: total(parts[name], cells) for name, cells in profile.cells.items() if name in parts}


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
    """Columns and rows that are read at once: all rows of few columns, or of large files some rows of each column."""
    import polars as pl

    for path in files:
        there = [name for name in pl.read_parquet_schema(path) if name in names]
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        step = max(1, min(rows, BATCH_VALUES))
        group = max(1, BATCH_VALUES // step)
        for start in range(0, len(there), group):
            for first in range(0, rows, step):
                yield path, tuple(there[start : start + group]), first, step


def _read(piece: _Piece) -> pl.DataFrame:
    import polars as pl

    path, names, first, rows = piece
    return pl.scan_parquet(path).select(names).slice(first, rows).collect()


def _counted(given: tuple[Profile, str, pl.Series]) -> Counts:
    profile, name, series = given
    return count(profile.cells[name], _arrow(series))


def _arrow(series: pl.Series) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([series.to_arrow()])


def _workers() -> int:
    return len(os.sched_getaffinity(0))
