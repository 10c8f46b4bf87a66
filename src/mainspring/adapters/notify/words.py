"""An alert in words, as every channel says it. What leaves this machine has no `detail`."""

from __future__ import annotations

from mainspring.domain.decision import Alert

_LONGEST = 1_000
"""Of one part: Slack splits a message at 4,000 characters."""


def title(alert: Alert, project: str) -> str:
    """One line.

    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> title(Alert("alarm:1", "temp drifted", at, "warning", "mainspring drift"), "rain")
    '[rain] warning: temp drifted'
    """
    return f"[{project}] {alert.severity}: {_short(alert.what)}"


def parts(alert: Alert) -> list[tuple[str, str]]:
    """Since when, how sure, what the loop will do, and the command to look closer; what is not known is not there.

    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> parts(Alert("alarm:1", "temp drifted", at, "warning", "mainspring drift", "retrain"))
    [('since', '2026-03-01 12:00 UTC'), ('the loop will', 'retrain'), ('look closer', 'mainspring drift')]
    """
    found = [
        ("since", f"{alert.since or alert.at:%Y-%m-%d %H:%M} UTC"),
        ("how sure", _short(alert.sure)),
        ("the loop will", _short(alert.loop_will)),
        ("look closer", _short(alert.next_step)),
    ]
    return [(name, text) for name, text in found if text]


def _short(text: str) -> str:
    """On one line: a line break in a subject would begin another header."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
