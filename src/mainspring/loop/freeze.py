"""A freeze: until its end nothing is retrained, promoted or ramped. Rolling back is never stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mainspring.loop.platform import Platform
from mainspring.loop.state import read
from mainspring.ports import Ledger

FREEZE = "freeze"


@dataclass(frozen=True, slots=True)
class Freeze:
    """Who froze the loop, why, and until when (event time)."""

    until: datetime
    reason: str
    actor: str

    @property
    def words(self) -> str:
        """The freeze, for a person."""
        why = f": {self.reason}" if self.reason else ""
        return f"frozen by {self.actor} until {self.until:%Y-%m-%d %H:%M} UTC{why}"


def freeze_of(ledger: Ledger, now: datetime) -> Freeze | None:
    """The freeze that holds at an instant."""
    found = read(ledger, FREEZE, Freeze)
    return found if found is not None and now < found.until else None


def frozen(platform: Platform) -> bool:
    """Whether a freeze holds now."""
    return freeze_of(platform.ledger, platform.clock.now()) is not None
