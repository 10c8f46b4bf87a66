"""`Decision`: what was decided, when, why, by whom, and from which numbers; one ledger row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

DecisionKind = Literal[
    "alarm",
    "trigger",
    "no_trigger",
    "run_started",
    "gate_passed",
    "gate_refused",
    "run_failed",
    "adopted",
    "rollout_started",
    "shadow",
    "weight",
    "promoted",
    "rolled_back",
    "retired",
    "alias",
    "approved",
    "paused",
    "resumed",
    "frozen",
    "unfrozen",
    "labels_added",
    "scored",
    "requested",
    "request_refused",
    "forgotten",
    "collected",
]


@dataclass(frozen=True, slots=True)
class Decision:
    """An append-only row. `id` is derived from what was decided, so that a repeated write is one row.

    `numbers` is everything that the decision was taken from, JSON values only. `actor` is `policy:auto`, `loop`, or a
    person's name. `at` is event time.
    """

    id: str
    kind: DecisionKind
    what: str
    why: str
    actor: str
    at: datetime
    version: str = ""
    run_id: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


AlertKind = Literal[
    "alarm", "run_failed", "rolled_back", "chore_failing", "undelivered", "gate_refused", "promoted", "test"
]
"""What an alert is about; its id begins with it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A message for people: what, since when, how sure, what the loop will do, and the command to look closer.

    `id` is its kind, a colon and what makes it one: sent again, it has the same. Everything but `detail` leaves this machine
    and so holds no value of any row; `detail` is the whole story (a text of an error, a person's reason), and stays here.
    `since` is None where it began at `at`.

    >>> Alert("alarm:d7", "temp drifted", datetime(2026, 3, 1), "warning", "mainspring drift").kind
    'alarm'
    """

    id: str
    what: str
    at: datetime
    severity: Literal["info", "warning", "critical"]
    next_step: str
    loop_will: str = ""
    since: datetime | None = None
    sure: str = ""
    detail: str = ""

    @property
    def kind(self) -> str:
        """What it is about: an `AlertKind`."""
        return self.id.partition(":")[0]
