"""When a process that ended is started again: at once, then after longer and longer waits, then not for a while.

A pure function of what was written down about it, so that every loop that finds it decides the same.
"""

from __future__ import annotations

MOST_STARTS = 5
LONG_SECONDS = 60.0
"""Who lived so long did start: its next ends are counted anew. And who was given up gets another chance after it."""
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.5, 30.0


def start_due(starts: int, started_at: float, ended_at: float) -> tuple[float, int]:
    """When to start it again, and the how-manieth start that will be; times in seconds since the epoch.

    After `MOST_STARTS` starts in a row it is given up: the next one is the first again, `LONG_SECONDS` later.

    >>> [start_due(starts, 100.0, 101.0) for starts in (1, 2, 3, 4, 5)]
    [(101.0, 2), (101.5, 3), (102.0, 4), (103.0, 5), (161.0, 1)]
    >>> start_due(4, 100.0, 200.0)
    (200.0, 1)
    """
    if ended_at - started_at > LONG_SECONDS:
        return ended_at, 1
    if starts >= MOST_STARTS:
        return ended_at + LONG_SECONDS, 1
    doublings = min(starts - 2, 10)
    wait = 0.0 if starts == 1 else min(FIRST_WAIT_SECONDS * 2.0**doublings, MOST_WAIT_SECONDS)
    return ended_at + wait, starts + 1
