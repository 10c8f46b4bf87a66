"""Alerts are owed first and sent then: a decision and its message are written in one transaction, the message goes out in
the next tick. Killed in between, the next tick sends it; killed right after, it sends it again, which a notifier that
knows it by its id does not tell people twice.
"""

from __future__ import annotations

from typing import get_args

from mainspring.domain.codec import from_json
from mainspring.domain.decision import Alert, AlertKind
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import dump

_OWED = "alert_"
_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)


def owed(alert: Alert) -> dict[str, str]:
    """State to be written with the decision that the alert tells of. Each alert has a key of its own: none takes the place of
    another that was not sent yet."""
    assert alert.kind in _KINDS, alert.kind
    return {f"{_OWED}{alert.id}": dump(alert)}


def send(platform: Platform) -> Outcome:
    """Hand on what is owed, the oldest first. What the notifier cannot keep stays owed."""
    found = {key: from_json(Alert, text) for key, text in platform.ledger.states(_OWED).items()}
    for key, alert in sorted(found.items(), key=lambda one: (one[1].at, one[0])):
        platform.notifier.notify(alert)
        platform.ledger.put_state({key: ""})
    return MOVED if found else STILL
