"""Several processes that serve one version on one port: forked, watched, ended together.

The first process answers nobody. It holds a listening socket for each worker, so that callers who wait to be taken by a
worker that died are taken by the next one.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType

from mainspring.settings.machine import die_with_parent
from mainspring.telemetry.logs import Log

SILENT_SECONDS = 30.0
"""A worker whose loop did not turn for so long hangs, and is killed."""
_MOST_ENDS, _ENDS_SECONDS = 5, 60.0
"""So many ends of workers within so many seconds are no accident."""
_LOOK_SECONDS = 0.2

Serve = Callable[[int, socket.socket, Callable[[], None]], int]


class Workers:
    """Runs `serve(worker, listening, alive)` in a process for each socket, and again where one ends.

    `serve` calls `alive` each second once it answers; it returns an exit status, 0 after SIGTERM. A worker that ends before
    it answered ends them all: whatever ails it ails the next one. So do workers that keep ending; whoever supervises this
    process waits longer and longer before he starts it again, and gives it up.
    """

    def __init__(
        self,
        serve: Serve,
        listening: Sequence[socket.socket],
        log: Log,
        *,
        ending_seconds: float,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._serve = serve
        self._listening = listening
        self._ending_seconds = ending_seconds
        self._silent_seconds = silent_seconds
        self._log = log
        self._beats = memoryview(mmap.mmap(-1, len(listening) * 8)).cast("d")
        self._pids: dict[int, int] = {}
        self._ends: deque[float] = deque(maxlen=_MOST_ENDS)
        self._ending = False

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit status."""
        for wanted in (signal.SIGTERM, signal.SIGINT):
            signal.signal(wanted, self._end)
        for worker in range(len(self._listening)):
            self._fork(worker)
        while not self._ending:
            time.sleep(_LOOK_SECONDS)
            for worker, status in self._collect():
                if self._ending:
                    break
                if not self._beats[worker]:
                    self._log.error("a worker could not serve", worker=worker, status=status)
                    self._stop()
                    return 2 if status == 2 else 1
                if self._keeps_ending():
                    self._log.error("workers keep ending", worker=worker, status=status, ends=_MOST_ENDS)
                    self._stop()
                    return 1
                self._log.error("a worker ended and is started again", worker=worker, status=status)
                self._fork(worker)
            self._kill_silent()
        self._stop()
        return 0

    def _keeps_ending(self) -> bool:
        self._ends.append(time.monotonic())
        return len(self._ends) == _MOST_ENDS and self._ends[-1] - self._ends[0] < _ENDS_SECONDS

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _fork(self, worker: int) -> None:
        self._beats[worker] = 0.0
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._pids[pid] = worker
            return
        status = 1
        try:
            for wanted in (signal.SIGTERM, signal.SIGINT):
                signal.signal(wanted, signal.SIG_DFL)
            # Whose first process was killed is supervised by nobody.
            die_with_parent()
            if os.getppid() != parent:
                os._exit(1)
            for place, other in enumerate(self._listening):
                if place != worker:
                    other.close()
            status = self._serve(worker, self._listening[worker], lambda: self._beat(worker))
        except BaseException as error:  # nothing may run on as if it were the parent
            self._log.error("a worker failed", worker=worker, error=f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _beat(self, worker: int) -> None:
        self._beats[worker] = time.monotonic()

    def _collect(self) -> list[tuple[int, int]]:
        ended = []
        for pid in list(self._pids):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append((self._pids.pop(pid), os.waitstatus_to_exitcode(status)))
        return ended

    def _kill_silent(self) -> None:
        now = time.monotonic()
        for pid, worker in self._pids.items():
            beat = self._beats[worker]
            if beat and now - beat > self._silent_seconds:
                self._log.error("a worker that hangs is killed", worker=worker, silent_seconds=round(now - beat))
                os.kill(pid, signal.SIGKILL)

    def _stop(self) -> None:
        # Held here they would go on listening, for nobody.
        for one in self._listening:
            one.close()
        for pid in self._pids:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + self._ending_seconds
        while self._pids and time.monotonic() < until:
            self._collect()
            time.sleep(0.01)
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
