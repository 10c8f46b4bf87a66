"""The lease: one loop at a time may write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainspring.adapters.processes.locks import held, lock_file, sign, taken
from mainspring.domain.errors import ConflictError


@contextmanager
def lease(path: Path) -> Iterator[None]:
    """Hold the lease; the kernel gives it back when this process ends, however it ends.

    Errors: `ConflictError` when another loop holds it.
    """
    with lock_file(path) as file:
        if not taken(file):
            other = os.pread(file, 32, 0).decode() or "unknown"
            raise ConflictError(
                f"another loop runs for this project (process {other})", where=str(path), next_step="mainspring status"
            )
        sign(file)
        yield


def holder(path: Path) -> int | None:
    """The process that holds the lease, None when no loop runs."""
    signed = held(path)
    return signed[0] if signed else None
