"""`Rollout`: how a candidate takes over from stable, and the evidence so far, counted by assigned arm."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Arm = Literal["stable", "candidate"]
Role = Literal["primary", "shadow", "batch"]
"""What callers were answered, what a copy of a request was answered, and rows that `mainspring score` answered."""
RolloutPhase = Literal[
    "idle", "deploying", "shadow", "canary", "promoting", "guard", "rolling_back", "undoing", "retiring"
]

LATENCY_EDGES_SECONDS = (
    *(0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
)
"""Upper edges of the buckets in which latencies are counted; the same for every arm and rollout, so that counts add up."""

_HEADER = re.compile(r"[a-z0-9-]+")


def latency_bucket(seconds: float) -> int:
    """Which bucket counts that latency: the first whose upper edge is not below it, or the last, which has none.

    >>> latency_bucket(0.0001), latency_bucket(0.001), latency_bucket(99.0) == len(LATENCY_EDGES_SECONDS)
    (0, 2, True)
    """
    return bisect_left(LATENCY_EDGES_SECONDS, seconds)


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Requests *assigned* to an arm and how they ended there, before any fail-over hid it.

    `upstream_errors` are the arm's own failures (5xx, resets, time-outs), retried or not; `user_errors` the failures
    that a caller saw. `latency_counts` counts requests by how long the caller waited, a bucket for each of
    `LATENCY_EDGES_SECONDS` and one above them; empty where latency was not counted.
    """

    requests: int = 0
    upstream_errors: int = 0
    user_errors: int = 0
    latency_seconds_sum: float = 0.0
    latency_counts: tuple[int, ...] = ()

    def __add__(self, other: ArmCounts) -> ArmCounts:
        counts = self.latency_counts or other.latency_counts
        if self.latency_counts and other.latency_counts:
            counts = tuple(map(int.__add__, self.latency_counts, other.latency_counts))
        return ArmCounts(
            self.requests + other.requests,
            self.upstream_errors + other.upstream_errors,
            self.user_errors + other.user_errors,
            self.latency_seconds_sum + other.latency_seconds_sum,
            counts,
        )

    @property
    def error_rate(self) -> float | None:
        """Share of the arm's requests that it failed; None without requests: no data is no evidence."""
        return self.upstream_errors / self.requests if self.requests else None

    def slower_than(self, tau_seconds: float) -> int:
        """Requests that took longer than `tau_seconds`, which is one of `LATENCY_EDGES_SECONDS`.

        Errors: `ValueError` for what lies between two edges: that number was not counted.

        >>> counts = [0] * (len(LATENCY_EDGES_SECONDS) + 1)
        >>> counts[latency_bucket(0.02)] = 1
        >>> one = ArmCounts(1, latency_counts=tuple(counts))
        >>> one.slower_than(0.015), one.slower_than(0.02)
        (1, 0)
        """
        return sum(self.latency_counts[LATENCY_EDGES_SECONDS.index(tau_seconds) + 1 :])


@dataclass(frozen=True, slots=True)
class EvidenceBatch:
    """Consecutive requests of one rollout that were split at one weight, counted by assigned arm.

    `weight_percent` is the candidate's share at the moment when they were assigned, not when they ended.
    """

    weight_percent: int
    counts: dict[Arm, ArmCounts]

    @property
    def requests(self) -> int:
        """Requests of both arms."""
        return sum(one.requests for one in self.counts.values())


@dataclass(frozen=True, slots=True)
class UserRound:
    """Users who keep their arm, each counted once, by assigned arm, all split at one weight.

    In the round of a `step` a user counts from his first request at that weight on, for as long as `rollout.user_window`. A
    round of an `hour` is at most that, and everybody counts in each anew. `first` counts first requests, as many as users;
    `failed` the users whom their arm failed at least once. A request without a key is a user of its own.
    """

    weight_percent: int
    kind: Literal["step", "hour"]
    first: dict[Arm, ArmCounts] = field(default_factory=dict)
    failed: dict[Arm, int] = field(default_factory=dict)

    def users(self, arm: Arm) -> int:
        """How many users the arm has."""
        return self.first.get(arm, ArmCounts()).requests


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """What a candidate goes through for at least `seconds` of event time and `min_requests` requests.

    `percent` is the share of the traffic that is copied to it (`shadow`) or that it answers (`canary`, `ab`). Where users
    keep their arm, at least `min_users` of the candidate are waited for. `evidence` is what an `ab` step has to show in the
    business metric, and `cohorts` are callers who get an arm by the value of `cohort_header`, from this step on.
    """

    kind: Literal["shadow", "canary", "ab"]
    percent: int
    seconds: float
    min_requests: int
    min_users: int = 0
    evidence: Literal["no_harm", "match", "beat"] = "no_harm"
    cohort_header: str = ""
    cohorts: dict[str, Arm] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout, or the resting state (`idle`) in which `stable` has all traffic.

    `stable` and `candidate` are model versions (`candidate` empty when idle); with `candidate_build` another build of a
    version, stable's own included, is rolled out (it matches `Endpoint.build`). `weight_percent` is the candidate's
    share, `mirror_percent` the share of stable's requests that is copied to it. `steps` are those of the project when
    the rollout began, `step` the place among them. In the `guard` that follows a promotion `stable` is the new version,
    and `candidate` the old one, warm and shadowed. `evidence` is what was counted when the phase began. `id` changes with every rollout.

    Who gets which arm, in phase `canary`: a request whose header `cohort_header` has a value of `cohorts` gets that
    arm, whatever the weight. Of all others the candidate gets `weight_percent`, by a hash of the user's key in the
    header `sticky_header`, or of the request's id where there is no such header. The hash is salted by `id`, and a
    higher weight takes no user from the candidate. In the phases `shadow` and `guard` stable answers everything, and
    `mirror_percent` of the requests are copied to the candidate, whose answers nobody gets. Header names are in lower
    case.
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
    tau_seconds: float = 0.0
    """What counts as slow, fixed from stable's past when the canary began; 0.0: there was too little of it."""
    paused_by: str = ""
    """The person who paused it: it neither ramps nor promotes until it goes on, and goes back as ever."""
    cohort_header: str = ""
    cohorts: dict[str, Arm] = field(default_factory=dict)
    sticky_header: str = ""
    salt: str = ""
    """What users' keys are hashed with before anything is written of them; drawn at the beginning, forgotten at the end."""

    def __post_init__(self) -> None:
        for share in (self.weight_percent, self.mirror_percent):
            if not 0 <= share <= 100:
                raise ValueError(f"a share of traffic is a whole percentage, 0 to 100, not {share}")
        for header in filter(None, (self.cohort_header, self.sticky_header)):
            if not _HEADER.fullmatch(header):
                raise ValueError(f"a header's name has lower-case letters, digits and hyphens, not {header!r}")
        if self.cohorts and not self.cohort_header:
            raise ValueError("cohorts need the header that names them: cohort_header")

    @property
    def named(self) -> str:
        """What is rolled out, as people are told.

        >>> Rollout("3-to-4-1", "3", "4").named, Rollout("3-to-3-slim-1", "3", "3", "slim").named
        ('version 4', 'build `slim` of version 3')
        """
        return f"{f'build `{self.candidate_build}` of ' if self.candidate_build else ''}version {self.candidate}"

    @property
    def splits(self) -> bool:
        """Whether some requests are the candidate's to answer."""
        between = self.phase == "canary" and self.stable and self.candidate
        return bool(between and (self.weight_percent or "candidate" in self.cohorts.values()))

    @property
    def mirrors(self) -> bool:
        """Whether some requests are copied to the candidate."""
        return bool(self.phase in ("shadow", "guard") and self.stable and self.candidate and self.mirror_percent)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A predictor process for one model version. `build` tells builds of the same version apart.

    `port` is REST's, `grpc_port` gRPC's, 0 for none.
    """

    version: str
    host: str
    port: int
    ready: bool
    pid: int | None = None
    build: str = ""
    reason: str = ""
    grpc_port: int = 0
