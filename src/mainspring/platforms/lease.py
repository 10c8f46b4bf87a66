"""The lease: one loop at a time may write."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainspring.domain.errors import ConflictError


@contextmanager
def lease(path: Path) -> Iterator[None]:
    """Hold the lease; the kernel gives it back when this process ends, however it ends.

    Errors: `ConflictError` when another loop holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _taken(file):
            other = os.pread(file, 32, 0).decode() or "unknown"
            raise ConflictError(
                f"another loop runs for this project (process {other})", where=str(path), next_step="mainspring status"
            )
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)


def _taken(file: int) -> bool:
    """Who asks for the holder has the lock for a moment, so one refusal means nothing."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def holder(path: Path) -> int | None:
    """The process that holds the lease, None when no loop runs."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0) or None
    return None
