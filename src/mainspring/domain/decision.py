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


@dataclass(frozen=True, slots=True)
class Alert:
    """A message for people: what, since when, how sure, what the loop will do, and the command to look closer."""

    id: str
    what: str
    at: datetime
    severity: Literal["info", "warning", "critical"]
    next_step: str
    loop_will: str = ""
