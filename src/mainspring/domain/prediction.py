"""`Prediction`: one answer, or one failure, as the prediction log keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mainspring.domain.rollout import Arm, Role

Outcome = Literal["answered", "failed"]
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of the log; its identity is (`request_id`, `version`, `role`).

    `build` tells builds of one version apart. `output` is the probability of the positive class, the class
    probabilities in `classes` order, or the regression value, as a tuple. `feature_age_seconds` has an age for each
    view of the online store that answered. `flags` lists what was unusual (`missing:temp`, `stale:lateness`).
    `event_at` is the event time of the request, `latency_seconds` the
    predictor's own time.
    """

    request_id: str
    version: str
    role: Role
    arm: Arm
    outcome: Outcome
    event_at: datetime
    output: tuple[float, ...] = ()
    cohort: str = ""
    entities: dict[str, Scalar] = field(default_factory=dict)
    features: dict[str, Scalar] = field(default_factory=dict)
    feature_age_seconds: dict[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    latency_seconds: float = 0.0
    reason: str = ""
    build: str = ""

    @property
    def identity(self) -> tuple[str, str, Role]:
        """What makes two rows the same row."""
        return (self.request_id, self.version, self.role)
