"""A CSV or Parquet file of any size, read in batches: what is held at once does not grow with the file."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mainspring.domain.errors import ConfigError, DataError, NotFound

BATCH_ROWS = 50_000
"""Large enough that what a batch costs beside its rows (a join of views) is little, small enough for any machine."""
_BLOCK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Batch:
    """Rows of a file in its order; `first` is the number of the first one, counted from 1 without the line of names."""

    rows: pa.Table
    first: int


class BatchedFile:
    """A file's column names, and its rows in batches. A CSV's values are all text (null where empty, or one of `nulls`).

    Errors: `NotFound`, `ConfigError` for another kind of file, `DataError` for what cannot be read, with the row.
    """

    def __init__(self, path: Path, *, nulls: Sequence[str] = (), batch_rows: int = BATCH_ROWS) -> None:
        if not path.is_file():
            raise NotFound("there is no such file", where=str(path), valid="a .csv or .parquet file")
        if path.suffix not in (".csv", ".parquet") and path.suffixes[-2:] != [".csv", ".gz"]:
            raise ConfigError(f"cannot read {path.name}", where=str(path), valid="a name that ends in .csv or .parquet")
        self._path = path
        self._nulls = ["", *nulls]
        self._batch_rows = batch_rows
        self._delimiter = ","
        self.names = self._parquet_names() if path.suffix == ".parquet" else self._csv_names()
        doubled = sorted({name for name in self.names if self.names.count(name) > 1})
        if doubled:
            raise DataError(f"there is more than one column `{doubled[0]}`", where=str(path))

    def batches(self) -> Iterator[Batch]:
        """The rows, from the first to the last; once."""
        first = 1
        found = self._parquet() if self._path.suffix == ".parquet" else self._csv()
        try:
            for rows in found:
                for start in range(0, rows.num_rows, self._batch_rows):
                    part = rows.slice(start, self._batch_rows)
                    yield Batch(part, first)
                    first += part.num_rows
        except (pa.ArrowException, OSError) as error:
            said = str(error).splitlines()[0]
            raise DataError(
                f"{self._path.name} cannot be read behind row {first - 1:,}: {said}", where=str(self._path)
            ) from error

    def _parquet_names(self) -> list[str]:
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._path) as file:
                return list(file.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self._path.name} cannot be read: {error}", where=str(self._path)) from error

    def _csv_names(self) -> list[str]:
        opened: Any = gzip.open if self._path.suffix == ".gz" else open
        try:
            with opened(self._path, "rt", encoding="utf-8-sig", newline="") as stream:
                first = stream.readline(1 << 20)
        except (UnicodeDecodeError, OSError, EOFError) as error:
            raise DataError(f"{self._path.name} cannot be read: {error}", where=str(self._path)) from error
        if not first.strip():
            raise DataError("the file is empty", where=str(self._path), valid="a line of names, then the rows")
        self._delimiter = max(",;\t|", key=first.count)
        return next(csv.reader([first], delimiter=self._delimiter))

    def _parquet(self) -> Iterator[pa.Table]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(batch_size=self._batch_rows):
                yield pa.Table.from_batches([batch])

    def _csv(self) -> Iterator[pa.Table]:
        from pyarrow import csv as arrow

        reader = arrow.open_csv(
            self._path,
            read_options=arrow.ReadOptions(
                block_size=_BLOCK_BYTES, use_threads=False, column_names=self.names, skip_rows=1
            ),
            parse_options=arrow.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                strings_can_be_null=True,
                null_values=self._nulls,
            ),
        )
        with reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
