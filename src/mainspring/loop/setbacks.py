"""Chores that fail: told once, tried again after a pause that doubles, while the other chores go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mainspring.domain.errors import ConflictError, MainspringError
from mainspring.loop.outcome import FAILED, Outcome

_FIRST_SECONDS, _LONGEST_SECONDS = 5.0, 600.0
_FIRST_TEMPORARY_SECONDS, _LONGEST_TEMPORARY_SECONDS = 0.5, 30.0
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Setback:
    """A chore that failed `times` in a row, with what it said; `error` is None once it works again."""

    chore: str
    error: Exception | None
    times: int
    again_seconds: float

    @property
    def text(self) -> str:
        """What was wrong, as a person should read it."""
        if self.error is None or isinstance(self.error, MainspringError):
            return str(self.error or "")
        return f"{type(self.error).__name__}: {self.error}"


class Setbacks:
    """`reconcile` with it outlives the errors of single chores, whatever they are.

    `tell` hears of a setback when it begins, when it says something else, and when it is over; of a temporary error only
    once it came three times in a row. `count` hears the chore's name each time. A `ConflictError` is let through: another
    loop took over, and this one has to end. `seconds` is a clock for the pauses, which are real time whatever event time
    does.
    """

    def __init__(
        self,
        tell: Callable[[Setback], None],
        count: Callable[[str], None] = lambda chore: None,
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._count = count
        self._seconds = seconds
        self._standing: dict[str, Setback] = {}
        self._again_at: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def take(self, chore: str, work: Callable[[], Outcome]) -> Outcome:
        """The chore's outcome; `failed` when it raised, and while it rests."""
        if self._seconds() < self._again_at.get(chore, 0.0):
            return FAILED
        try:
            outcome = work()
        except ConflictError:
            raise
        except Exception as error:
            self._failed(chore, error)
            return FAILED
        if self._standing.pop(chore, None) is not None:
            self._again_at.pop(chore, None)
            if self._told.pop(chore, None) is not None:
                self._tell(Setback(chore, None, 0, 0.0))
        return outcome

    def _failed(self, chore: str, error: Exception) -> None:
        self._count(chore)
        before = self._standing.get(chore)
        times = before.times + 1 if before is not None else 1
        temporary = isinstance(error, MainspringError) and error.temporary
        first = _FIRST_TEMPORARY_SECONDS if temporary else _FIRST_SECONDS
        longest = _LONGEST_TEMPORARY_SECONDS if temporary else _LONGEST_SECONDS
        again = min(first * 2.0 ** min(times - 1, 30), longest)
        found = Setback(chore, error, times, again)
        self._standing[chore] = found
        self._again_at[chore] = self._seconds() + again
        if self._told.get(chore) != found.text and not (temporary and times < _PATIENCE):
            self._told[chore] = found.text
            self._tell(found)
