"""`Rollout`: how a candidate takes over from stable, and the evidence so far, counted by assigned arm."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Arm = Literal["stable", "candidate"]
Role = Literal["primary", "shadow"]
RolloutPhase = Literal[
    "idle", "deploying", "shadow", "canary", "promoting", "guard", "rolling_back", "undoing", "retiring"
]


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Requests *assigned* to an arm and how they ended there, before any fail-over hid it.

    `upstream_errors` are the arm's own failures (5xx, resets, time-outs), retried or not; `user_errors` the failures
    that a caller saw.
    """

    requests: int = 0
    upstream_errors: int = 0
    user_errors: int = 0
    latency_seconds_sum: float = 0.0

    def __add__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(
            self.requests + other.requests,
            self.upstream_errors + other.upstream_errors,
            self.user_errors + other.user_errors,
            self.latency_seconds_sum + other.latency_seconds_sum,
        )

    @property
    def error_rate(self) -> float | None:
        """Share of the arm's requests that it failed; None without requests: no data is no evidence."""
        return self.upstream_errors / self.requests if self.requests else None


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """What a candidate goes through for at least `seconds` of event time and `min_requests` requests.

    `percent` is the share of the traffic that is copied to it (`shadow`) or that it answers (`canary`).
    """

    kind: Literal["shadow", "canary"]
    percent: int
    seconds: float
    min_requests: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout, or the resting state (`idle`) in which `stable` has all traffic.

    `stable` and `candidate` are model versions (`candidate` empty when idle); with `candidate_build` another build of a
    version, stable's own included, is rolled out (it matches `Endpoint.build`). `weight_percent` is the candidate's share, `mirror_percent` the share of stable's requests that is copied to it.
    `steps` are those of the project when the rollout began, `step` the place among them. In the `guard` that follows a
    promotion `stable` is the new version, and `candidate` the old one, warm and shadowed. `id` changes with every rollout.
    """

    id: str
    stable: str
    candidate: str = ""
    candidate_build: str = ""
    phase: RolloutPhase = "idle"
    weight_percent: int = 0
    mirror_percent: int = 0
    steps: tuple[RolloutStep, ...] = ()
    step: int = 0
    evidence: dict[Arm, ArmCounts] = field(default_factory=dict)
    reason: str = ""
    started_at: datetime | None = None
    phase_since: datetime | None = None
    paused_by: str = ""
    """The person who paused it: it neither ramps nor promotes until it goes on, and goes back as ever."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight_percent <= 100:
            raise ValueError(f"a weight is a whole percentage, 0 to 100, not {self.weight_percent}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A predictor process for one model version. `build` tells builds of the same version apart."""

    version: str
    host: str
    port: int
    ready: bool
    pid: int | None = None
    build: str = ""
    reason: str = ""
