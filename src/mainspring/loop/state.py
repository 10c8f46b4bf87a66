"""The loop's own state: what the outside world cannot tell, as typed values over the ledger's keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.rollout import Rollout
from mainspring.ports import Ledger

T = TypeVar("T")

ROLLOUT = "rollout"
RUN = "run"
ALARM, ASKED_AT = "alarm", "asked_at"
"""The version for which a drift alarm stands; when the policy was asked last."""
COLLECT_WANTED = "collect_wanted"
"""Who asked for what is not kept to be deleted; empty when it is done."""
POLICY = "policy:auto"
"""Who decides where nobody is asked."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run that was asked for and has not been dealt with to its end. `known_at` is the instant whose knowledge it may use.

    `window` names what it trains on, `train_from` is where that begins, None: with the first row.
    """

    id: str
    trigger: str
    reason: str
    known_at: datetime
    actor: str = POLICY
    window: str = "all"
    train_from: datetime | None = None


def read(ledger: Ledger, key: str, kind: type[T]) -> T | None:
    """The value of a key, None when it was never written or was cleared."""
    text = ledger.state(key)
    return from_json(kind, text) if text else None


def dump(value: object) -> str:
    """A value as the ledger keeps it."""
    return to_json(value).decode()


def rollout_of(ledger: Ledger) -> Rollout:
    """The current rollout, or the resting state in which nothing is served."""
    return read(ledger, ROLLOUT, Rollout) or Rollout(id="none", stable="")
