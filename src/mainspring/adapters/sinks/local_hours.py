"""Hours of the prediction log on this disk, as a sink is told of them: which there are, whether they changed, their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.adapters.parquet.tables import alike, once, read_file

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog


@dataclass(frozen=True, slots=True)
class LocalHour:
    """An hour's folder. `signature` has a line for each file, which is another one when the file holds something else."""

    at: datetime
    folder: Path
    signature: str
    bytes: int


def local_hours(log: ParquetPredictionLog) -> Iterator[LocalHour]:
    """Hours with files, oldest first. Only names, sizes and times of change are looked at."""
    for begins, folder in reversed(list(log.hours_back())):
        found = look(begins, folder)
        if found is not None:
            yield found


def look(at: datetime, folder: Path) -> LocalHour | None:
    """The hour as it is now; None when it has no file."""
    facts, size = [], 0
    for path in sorted(folder.glob("*.parquet")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # merged into another one in the meantime, whose turn comes
        facts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
        size += stat.st_size
    if not facts:
        return None
    return LocalHour(at, folder, "\n".join(facts), size)


def rows_of(hour: LocalHour) -> pa.Table | None:
    """The hour's rows, each identity once; None when its files went in the meantime."""
    tables = _tables(hour.folder)
    return together(tables) if tables else None


def together(tables: list[pa.Table]) -> pa.Table:
    """Rows of several tables, each identity once, text where they do not agree on a column's type."""
    import pyarrow as pa

    return once(pa.concat_tables(alike(tables), promote_options="default"))


def count_of(hour: LocalHour) -> int:
    """How many rows its files say they have, doubles among them; no row is read."""
    import pyarrow.parquet as pq

    total = 0
    for path in hour.folder.glob("*.parquet"):
        try:
            total += pq.read_metadata(path).num_rows
        except FileNotFoundError:
            continue
    return total


def _tables(folder: Path) -> list[pa.Table]:
    while True:
        try:
            return [read_file(path, None) for path in sorted(folder.glob("*.parquet"))]
        except FileNotFoundError:
            continue
