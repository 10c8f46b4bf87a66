"""What fails for now, since when, and the alert that is owed for a chore which does not help itself."""

from __future__ import annotations

from datetime import datetime, timedelta

from mainspring.domain.decision import Alert
from mainspring.loop.setbacks import Setback

PATIENCE = timedelta(minutes=10)
_GRAVE = ("run", "rollout")


class Failing:
    """`words` has what each failing chore said last; an alert is owed once for each time that one began to fail.

    >>> from datetime import UTC
    >>> failing, at = Failing(), datetime(2026, 3, 1, tzinfo=UTC)
    >>> failing.heard(Setback("drift", ValueError("no"), 1, 5.0), at)
    >>> failing.owed(at + timedelta(minutes=9)), [one.what for one in failing.owed(at + PATIENCE)]
    ([], ["the loop's part 'drift' fails"])
    """

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        self._since: dict[str, datetime] = {}

    def heard(self, setback: Setback, now: datetime) -> None:
        """A chore failed, failed with other words, or works again."""
        if setback.error is None:
            self.words.pop(setback.chore, None)
            self._since.pop(setback.chore, None)
            return
        if setback.chore not in self.words:
            self._since[setback.chore] = now
        self.words[setback.chore] = setback.text

    def owed(self, now: datetime) -> list[Alert]:
        """Alerts for what has failed for ten minutes, each given once."""
        lasting = {chore: since for chore, since in self._since.items() if now - since >= PATIENCE}
        for chore in lasting:
            del self._since[chore]
        return [
            Alert(
                f"chore_failing:{chore}:{since:%Y-%m-%dT%H:%M:%S}",
                f"the loop's part {chore!r} fails",
                now,
                "critical" if chore in _GRAVE else "warning",
                "mainspring status",
                "go on with everything else, and try this one again every ten minutes",
                since=since,
                sure="certain: it has raised an error at every try since then",
                detail=self.words[chore],
            )
            for chore, since in lasting.items()
        ]
