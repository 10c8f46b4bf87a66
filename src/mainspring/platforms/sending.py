"""`Sending`: the log's sink is kept up to date beside the loop, in a thread of its own, so that a sink that hangs stops nothing.

A sink that fails is tried again after a pause that doubles, as the loop's own chores are; what it said is handed to the loop,
which tells it. Not a chore: a tick never waits for a sink.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from mainspring.adapters.sinks.shipper import Backlog, Shipped, Shipper
from mainspring.loop.outcome import STILL, Outcome
from mainspring.loop.setbacks import Setback, Setbacks
from mainspring.ports import Clock

CHORE = "sink"
"""The name under which its failures are told and counted."""
_LONGEST_PAUSE_SECONDS = 15.0
_LOOK_SECONDS = 10.0


class Sending:
    """Sends until `close`. `news()` and `looked()` are for the loop's own thread."""

    def __init__(self, shipper: Shipper, clock: Clock, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._shipper = shipper
        self._clock = clock
        self._seconds = seconds
        self._told: SimpleQueue[Setback] = SimpleQueue()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._done, self._failures = Shipped(), 0
        self._looked: tuple[float, Backlog] | None = None
        self._setbacks = Setbacks(self._told.put, self._failed)
        self._pause = min(_LONGEST_PAUSE_SECONDS, max(0.5, shipper.settings.every.total_seconds() / 4))
        # Nothing waits for it at the end of the process: what was not sent is here, and goes with the next start.
        self._thread = threading.Thread(target=self._run, name="log-sink", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, seconds: float) -> bool:
        """Send what is left, for at most so long; whether everything is there."""
        self._ending.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        last = threading.Thread(target=self._last, daemon=True)
        last.start()
        last.join(seconds)
        return not last.is_alive() and self._shipper.backlog().hours == 0

    def news(self) -> list[Setback]:
        """Failures that began, changed or are over since it was asked last."""
        found = []
        while True:
            try:
                found.append(self._told.get_nowait())
            except Empty:
                return found

    def counted(self) -> tuple[Shipped, int]:
        """What was sent and how often it failed since it was asked last."""
        with self._lock:
            found = (self._done, self._failures)
            self._done, self._failures = Shipped(), 0
        return found

    def looked(self) -> Backlog:
        """What is not in the sink yet; counted anew now and then."""
        if self._looked is None or self._seconds() >= self._looked[0]:
            self._looked = (self._seconds() + _LOOK_SECONDS, self._shipper.backlog())
        return self._looked[1]

    def _run(self) -> None:
        while not self._ending.wait(self._pause):
            self._setbacks.take(CHORE, self._turn)

    def _turn(self, *, everything: bool = False) -> Outcome:
        ending = (lambda: False) if everything else self._ending.is_set
        self._add(self._shipper.turn(self._clock.now(), everything=everything, ending=ending))
        return STILL

    def _last(self) -> None:
        self._setbacks.take(CHORE, lambda: self._turn(everything=True))

    def _add(self, one: Shipped) -> None:
        with self._lock:
            before = self._done
            self._done = Shipped(
                before.rows + one.rows, before.hours + one.hours, before.mended + one.mended, before.let_go + one.let_go
            )

    def _failed(self, chore: str) -> None:
        with self._lock:
            self._failures += 1
