"""What a chore of the loop reports: whether it moved something, and if not, what it waits for."""

from __future__ import annotations

from typing import Literal

Outcome = Literal["moved", "waiting", "still", "failed"]

MOVED: Outcome = "moved"
"""Something was decided or written: tick again at once."""
WAITING: Outcome = "waiting"
"""A process has to get ready or to end: tick again soon, however little event time passes."""
STILL: Outcome = "still"
"""Nothing to do until event time or evidence moves on."""
FAILED: Outcome = "failed"
"""It could not be done, and rests before it is tried again; the other chores go on."""
