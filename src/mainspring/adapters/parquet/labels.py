"""`ParquetLabels`: label statements that were added by file, as Parquet, whole or not at all.

Each add writes one file, `labels-<digest>.parquet`, in one rename; its metadata has the record of what was added, so that the
same file again is known. When there are many, the next add takes their rows and records into its own file and removes them
after: a file whose records all stand in another one is passed over, so a removal that was killed changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.adapters.parquet.tables import read_file
from mainspring.adapters.processes.locks import locked
from mainspring.domain.added_labels import AddedLabels
from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import DataError, MainspringError
from mainspring.labels.statements import none, together

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FILES = 64
_RECORDS = b"mainspring.added"
_PART = ".part"

Adding = Callable[["pa.Table"], tuple["pa.Table", AddedLabels]]
"""From the statements that are there to the new ones, with their record."""


class ParquetLabels:
    """The added labels of one project. `folder` is theirs alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: tuple[tuple[str, ...], pa.Table] | None = None

    def add(self, digest: str, adding: Adding) -> tuple[AddedLabels, bool]:
        """What `adding` gives becomes part of the statements, unless a file with that digest was added before.

        The record, and whether anything was written. Others that add at the same time wait. When this returns, the rows are
        on the disk. Errors: `MainspringError` when they could not be written; then nothing was.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / ".lock"):
            for leftover in self._folder.glob(f"*{_PART}"):
                leftover.unlink()  # Of one that was killed: who writes holds the lock.
            files = self._read()
            records = [one for _, found, _ in files for one in found]
            before = next((one for one in records if one.digest == digest), None)
            if before is not None:
                return before, False
            statements, record = adding(together([rows for _, _, rows in files]))
            merged = files if len(files) >= MOST_FILES else []
            self._write(
                self._folder / f"labels-{digest[:32]}.parquet",
                together([*(rows for _, _, rows in merged), statements]),
                [*(one for _, found, _ in merged for one in found), record],
            )
            for path, _, _ in merged:
                path.unlink()
            return record, True

    def added(self) -> list[AddedLabels]:
        """The records of all files, oldest first."""
        return sorted((one for _, found, _ in self._read() for one in found), key=lambda one: (one.at, one.digest))

    def statements(self) -> pa.Table:
        """All statements, those that were added first first. Read again only when something was added."""
        names = self.state()
        if self._kept is None or self._kept[0] != names:
            self._kept = (names, together([rows for _, _, rows in self._read()]))
        return self._kept[1]

    def state(self) -> tuple[str, ...]:
        """Names of the files, each of which is written once: the same names, the same statements."""
        return tuple(sorted(path.name for path in self._files()))

    def _files(self) -> list[Path]:
        return list(self._folder.glob("labels-*.parquet")) if self._folder.is_dir() else []

    def _read(self) -> list[tuple[Path, list[AddedLabels], pa.Table]]:
        """Files with their records and rows, oldest first; listed again when one was taken into another meanwhile."""
        while True:
            try:
                found = [(path, *_contents(path)) for path in self._files()]
            except FileNotFoundError:
                continue
            break
        seen: set[str] = set()
        kept = []
        for path, records, rows in sorted(found, key=lambda one: -len(one[1])):
            digests = {one.digest for one in records}
            if not digests <= seen:
                kept.append((path, records, rows))
                seen |= digests
        return sorted(kept, key=lambda one: (one[1][-1].at, one[0].name))

    def _write(self, path: Path, rows: pa.Table, records: list[AddedLabels]) -> None:
        import pyarrow.parquet as pq

        part = path.with_suffix(_PART)
        try:
            with part.open("wb") as file:
                pq.write_table(rows.replace_schema_metadata({_RECORDS: to_json(records)}), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise MainspringError(
                f"the labels could not be written, and none was: {error.strerror or error}",
                where=str(self._folder),
                next_step="make room, and add the file again",
            ) from error


def _contents(path: Path) -> tuple[list[AddedLabels], pa.Table]:
    import pyarrow as pa

    try:
        rows = read_file(path, None)
    except pa.ArrowException as error:
        raise DataError(f"added labels cannot be read: {error}", where=str(path)) from error
    records = from_json(list[AddedLabels], (rows.schema.metadata or {}).get(_RECORDS, b"[]"))
    return records, rows.replace_schema_metadata(None) if rows.num_rows else none()
