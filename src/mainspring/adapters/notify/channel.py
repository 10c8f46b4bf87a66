"""`Channel`: one way to tell people, and what it says when it could not."""

from __future__ import annotations

from typing import Protocol

from mainspring.domain.decision import Alert


class NotDelivered(Exception):
    """An alert did not get through. The reason quotes no address and no secret.

    `again_seconds` is how long the other side asked to be left alone, None where it did not say.
    """

    def __init__(self, reason: str, again_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again_seconds = again_seconds


class Channel(Protocol):
    """Sends alerts one at a time, from one thread."""

    def send(self, alert: Alert, key: str) -> str:
        """Send it; what a person should know although it was sent, "" for nothing. `key` is the same at each try, and no other
        alert's. Errors: `NotDelivered`."""
        ...
