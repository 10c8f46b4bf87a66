"""Locks on files. The kernel gives one back when its holder ends, however it ends: no lock is ever left behind."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_open: set[int] = set()


@contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """The file of a lock, open: closing it gives the lock back, and so does the end of this process.

    A forked child does not have it: a lock belongs to everybody who has the file open, and a child may outlive its parent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _open.add(file)
    try:
        yield file
    finally:
        if file in _open:
            _open.remove(file)
            os.close(file)


def _let_go() -> None:
    while _open:
        os.close(_open.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path` against every other process and every other `locked`; waits for it."""
    with lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        sign(file)
        yield


def taken(file: int) -> bool:
    """Take the lock on an open file unless another process holds it."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)  # Who asks for the holder has the lock for a moment, so one refusal means nothing.
        else:
            return True
    return False


def sign(file: int, *more: int) -> None:
    """Write this process's id, and `more` numbers, into a lock that it holds."""
    os.ftruncate(file, 0)
    os.pwrite(file, " ".join(str(one) for one in (os.getpid(), *more)).encode(), 0)


def held(path: Path) -> list[int] | None:
    """What the holder of the lock on `path` signed it with, its process id first; None when nobody holds it.

    The list is empty while a holder has not signed yet.
    """
    try:
        lock = path.open(encoding="ascii")
    except FileNotFoundError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return [int(one) for one in lock.read().split()]
    return None
