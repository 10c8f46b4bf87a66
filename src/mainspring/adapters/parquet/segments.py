"""Reading prediction-log segments while others write them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mainspring.domain.errors import DataError
from mainspring.domain.log_record import LogRow, SegmentHeader, decode_row, frames, read_header
from mainspring.serving.segment_writer import CLOSED, OPEN
from mainspring.telemetry.logs import Log

DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows of a segment from `start` to `end` (bytes); `ended`: nothing more will be written to it."""

    path: Path
    header: SegmentHeader | None
    rows: list[LogRow]
    start: int
    end: int
    ended: bool


def new_rows(folder: Path, known: dict[str, int], log: Log) -> Iterator[NewRows]:
    """The rows of every segment behind the known position, by the segment's stem.

    What is no segment is set aside as `.damaged` and reported; a damaged tail ends what is read of a segment.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.suffix not in (OPEN, CLOSED):
            continue
        try:
            # Asked before the file is read: what its writer added until it died is read then.
            ended = path.suffix == CLOSED or _writer_is_dead(path)
            yield _read(path, known.get(path.stem, 0), ended)
        except FileNotFoundError:
            continue  # closed in the meantime; it comes again under its new name
        except DataError as error:
            path.replace(path.with_suffix(DAMAGED))
            log.error(
                "a segment of the prediction log cannot be read and was set aside", path=str(path), why=str(error)
            )


def unread_rows(folder: Path, known: dict[str, int]) -> Iterator[tuple[SegmentHeader, list[LogRow]]]:
    """Rows behind the known positions for one who only looks: nothing is set aside, what cannot be read is left out."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix not in (OPEN, CLOSED):
            continue
        try:
            found = _read(path, known.get(path.stem, 0), ended=False)
        except (FileNotFoundError, DataError):
            continue
        if found.header is not None and found.rows:
            yield found.header, found.rows


def _read(path: Path, start: int, ended: bool) -> NewRows:
    data = path.read_bytes()
    found = read_header(data)
    if found is None:
        return NewRows(path, None, [], 0, 0, ended)
    header, first = found
    rows, end = [], max(start, first)
    for after, payload in frames(data, end):
        rows.append(decode_row(payload))
        end = after
    return NewRows(path, header, rows, max(start, first), end, ended)


def _writer_is_dead(path: Path) -> bool:
    with path.open("rb") as segment:
        try:
            fcntl.flock(segment, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
