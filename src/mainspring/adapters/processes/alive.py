"""Telling whether a process that was written down still is that process: a pid alone may be another's by now."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def start_time(pid: int) -> str:
    """The kernel's start time of a process, empty when there is none (or only its remains)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = text.rsplit(")", 1)[1].split()
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # A process whose first thread has ended looks like a zombie while its other threads still run.
    return "" if state == "X" or (state == "Z" and threads <= 1) else started


def is_same(pid: int, started: str) -> bool:
    """Whether the process with that pid is the one that started then."""
    return bool(started) and start_time(pid) == started


def end(pid: int, started: str, *, within_seconds: float) -> None:
    """SIGTERM, and SIGKILL when it is still there after that time."""
    if not _send(pid, started, signal.SIGTERM):
        return
    until = time.monotonic() + within_seconds
    while time.monotonic() < until:
        if not is_same(pid, started):
            return
        time.sleep(0.01)
    kill(pid, started)


def kill(pid: int, started: str) -> None:
    """SIGKILL, at once."""
    _send(pid, started, signal.SIGKILL)


def _send(pid: int, started: str, what: signal.Signals) -> bool:
    if not is_same(pid, started):
        return False
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    return True
