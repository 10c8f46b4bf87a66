"""Appends answers to the prediction log's current segment before they go out.

One file for each process, `<version>-<build>-<pid>-<seq>.open`, renamed to `.closed` when it is full or old. What
write(2) took survives SIGKILL; with `fsync` it survives a power failure too. The file is locked (flock) while its
writer lives: a reader that gets the lock knows that the writer is dead.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from mainspring.domain.concealment import Concealment
from mainspring.domain.log_record import LogRow, SegmentHeader, encode_row, open_segment

OPEN, CLOSED = ".open", ".closed"


class SegmentWriter:
    """The current segment of one process.

    `append` raises `OSError` when the rows could not be written; the file then ends where it ended before. What
    `concealment` keeps out reaches no file: everything that is logged goes through here.
    """

    def __init__(
        self,
        folder: Path,
        header: SegmentHeader,
        *,
        fsync: bool = False,
        segment_bytes: int = 16 * 1024 * 1024,
        segment_seconds: float = 3600.0,
        concealment: Concealment | None = None,
    ) -> None:
        self._folder = folder
        self._conceal = None
        if concealment is not None:
            header, self._conceal = concealment.bound(header)
        self._header = open_segment(header)
        # Names have to be safe in paths, and unique for ever: pid and start time tell processes apart.
        stem = f"{_safe(header.version)}-{_safe(header.build) or 'main'}-{os.getpid()}-{time.time_ns():x}"
        self._stem = stem
        self._fsync = fsync
        self._most_bytes = segment_bytes
        self._most_seconds = segment_seconds
        self._sequence = 0
        self._fd = -1
        self._path = Path()
        self._size = 0
        self._rows = 0
        self._opened_at = 0.0

    def append(self, rows: Sequence[LogRow]) -> int:
        """Write the rows; when this returns, they are with the kernel (with `fsync`: on the disk). Returns bytes."""
        if self._fd < 0:
            self._open()
        if self._conceal is not None:
            rows = [self._conceal(row) for row in rows]
        data = encode_row(rows[0]) if len(rows) == 1 else b"".join([encode_row(row) for row in rows])
        self._write(data)
        self._rows += len(rows)
        if self._size >= self._most_bytes:
            self.rotate()
        return len(data)

    def rotate_if_old(self) -> None:
        """Close a segment that has rows and its age; called from a timer."""
        if self._fd >= 0 and self._rows and time.monotonic() - self._opened_at >= self._most_seconds:
            self.rotate()

    def rotate(self) -> None:
        """Close the current segment; the next append opens another."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        if self._fsync:
            os.fsync(fd)
        # Renamed before the lock goes: a reader that finds `.open` unlocked may take it for a dead writer's.
        os.rename(self._path, self._path.with_suffix(CLOSED))
        os.close(fd)

    def check(self) -> None:
        """Raise the `OSError` that the first append would meet; called before the predictor says that it is ready."""
        if self._fd < 0:
            self._open()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sequence += 1
        # Under another name until it is locked and has its header: what is `.open` is locked, or its writer is dead.
        new = self._folder / f"{self._stem}-{self._sequence}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._fd, self._size, self._rows = fd, 0, 0
            self._write(self._header)
            self._path = new.with_suffix(OPEN)
            os.rename(new, self._path)
        except OSError:
            self._fd = -1
            os.close(fd)
            new.unlink(missing_ok=True)
            raise
        self._opened_at = time.monotonic()

    def _write(self, data: bytes) -> None:
        fd = self._fd
        try:
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, data[written:])
            if self._fsync:
                os.fdatasync(fd)
        except OSError:
            # A half-written row in the middle would hide every row behind it.
            os.ftruncate(fd, self._size)
            raise
        self._size += len(data)


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", text)
