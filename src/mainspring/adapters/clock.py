"""Clocks: the wall clock, and a replayed one that only moves when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime

from mainspring.domain.time import utc


class WallClock:
    """The present, UTC."""

    replayed = False

    def now(self) -> datetime:
        """The present instant."""
        return datetime.now(UTC)


class ReplayedClock:
    """Event time of a replay; it never goes back.

    >>> clock = ReplayedClock(datetime(2013, 3, 1, tzinfo=UTC))
    >>> clock.advance(datetime(2013, 3, 2, tzinfo=UTC))
    >>> clock.now().day
    2
    """

    replayed = True

    def __init__(self, at: datetime) -> None:
        self._now = utc(at)

    def now(self) -> datetime:
        """The replayed instant."""
        return self._now

    def advance(self, to: datetime) -> None:
        """Move on to `to`; a `ValueError` when that lies in the past."""
        if utc(to) < self._now:
            raise ValueError(f"a clock does not go back: {self._now} -> {to}")
        self._now = utc(to)
