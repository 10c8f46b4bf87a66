"""`PersonRequest`: what a person can ask of the loop, in words and as a ledger row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from mainspring.domain.decision import Decision
from mainspring.domain.errors import DataError

Wish = Literal[
    "retrain", "start", "abort", "promote", "approve", "pause", "resume", "undo", "freeze", "unfreeze", "collect"
]
EXTERNAL = "external"
"""The actor of a request that came by another tool."""


@dataclass(frozen=True, slots=True)
class PersonRequest:
    """What is asked for, by whom and when. `version` belongs to `start` and `approve`, `until` to `freeze`."""

    wish: Wish
    actor: str
    at: datetime
    version: str = ""
    reason: str = ""
    until: datetime | None = None

    @property
    def id(self) -> str:
        """The ledger row's id."""
        return f"requested:{self.wish}:{self.version}:{self.at:%Y-%m-%dT%H:%M:%S.%f}:{self.actor}"

    @property
    def words(self) -> str:
        """What is asked for, in words."""
        return {
            "retrain": "a run of the pipeline",
            "start": f"a rollout of version {self.version}",
            "abort": "the end of the rollout",
            "promote": "all traffic for the candidate",
            "approve": f"approval of version {self.version}",
            "pause": "a pause of the rollout",
            "resume": "the rollout to go on",
            "undo": "the old version back",
            "freeze": f"a freeze until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "a freeze",
            "unfreeze": "the end of the freeze",
            "collect": "the end of what is not kept",
        }[self.wish]

    def like(self, other: PersonRequest) -> bool:
        """Whether both ask for the same."""
        return (self.wish, self.version, self.until) == (other.wish, other.version, other.until)

    def row(self, row_id: str = "") -> Decision:
        """The ledger row, by default with the request's own id."""
        numbers: dict[str, Any] = {"wish": self.wish}
        if self.until is not None:
            numbers["until"] = self.until.isoformat()
        what = f"{self.actor} asks for {self.words}"
        return Decision(
            row_id or self.id, "requested", what, self.reason, self.actor, self.at, self.version, "", numbers
        )


def request_in(row: Decision) -> PersonRequest:
    """The request that a ledger row holds. Errors: `DataError` for one that nobody here wrote."""
    until = row.numbers.get("until")
    wish: Wish | None = next((one for one in get_args(Wish) if one == row.numbers.get("wish")), None)
    if wish is None:
        raise DataError(f"{row.numbers.get('wish')!r} is nothing that can be asked for")
    at = datetime.fromisoformat(until) if until else None
    return PersonRequest(wish, row.actor, row.at, row.version, row.why, at)
