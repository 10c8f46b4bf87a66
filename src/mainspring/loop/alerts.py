"""Alerts are owed first and sent then: a decision and its message are written in one transaction, the message goes out in
the next tick. Killed in between, the next tick sends it; killed right after, it sends it again, which a notifier that
knows it by its id does not tell people twice.
"""

from __future__ import annotations

from mainspring.domain.decision import Alert
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import dump, read

_OWED = "alert_"
_KINDS = ("alarm", "run_failed", "rolled_back")


def owed(alert: Alert) -> dict[str, str]:
    """State to be written with the decision that the alert tells of; its id begins with the decision's kind."""
    kind = alert.id.split(":", 1)[0]
    assert kind in _KINDS, kind
    return {f"{_OWED}{kind}": dump(alert)}


def send(platform: Platform) -> Outcome:
    """Send what is owed."""
    sent = STILL
    for kind in _KINDS:
        alert = read(platform.ledger, f"{_OWED}{kind}", Alert)
        if alert is not None:
            platform.notifier.notify(alert)
            platform.ledger.put_state({f"{_OWED}{kind}": ""})
            sent = MOVED
    return sent
