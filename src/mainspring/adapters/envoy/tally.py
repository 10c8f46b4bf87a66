"""What the access log tells of one rollout, added up line by line: a log of a day is read in seconds."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mainspring.adapters.envoy.access_log import failure, flags, user_error
from mainspring.domain.rollout import LATENCY_EDGES_SECONDS, Arm, ArmCounts, EvidenceBatch, latency_bucket

BATCH_REQUESTS = 100
"""Requests of both arms in a full batch."""


class Counts:
    """`ArmCounts` that grow."""

    __slots__ = ("latencies", "requests", "seconds", "upstream", "user")

    def __init__(self) -> None:
        self.requests = self.upstream = self.user = 0
        self.seconds = 0.0
        self.latencies = [0] * (len(LATENCY_EDGES_SECONDS) + 1)

    def add(self, seconds: float, upstream: bool, user: bool) -> None:
        """One request more: how long its caller waited, whether its arm failed it, and whether the caller saw that."""
        self.requests += 1
        self.upstream += upstream
        self.user += user
        self.seconds += seconds
        self.latencies[latency_bucket(seconds)] += 1

    def frozen(self) -> ArmCounts:
        """As they are now."""
        latencies = tuple(self.latencies) if self.requests else ()
        return ArmCounts(self.requests, self.upstream, self.user, self.seconds, latencies)

    @classmethod
    def thawed(cls, counts: ArmCounts) -> Counts:
        """Counts that go on growing."""
        one = cls()
        one.requests, one.upstream, one.user = counts.requests, counts.upstream_errors, counts.user_errors
        one.seconds = counts.latency_seconds_sum
        one.latencies = list(counts.latency_counts) or one.latencies
        return one


class Tally:
    """Counts of one rollout: by arm, in batches, of shadows, and of failed attempts by status."""

    def __init__(self) -> None:
        self._arms: dict[Arm, Counts] = {}
        self._shadows = Counts()
        self._closed: list[EvidenceBatch] = []
        self._open: dict[Arm, Counts] = {}
        self._open_requests = self._open_weight = 0
        self.failed_attempts: dict[Arm, Counter[str]] = {}

    def add(self, line: dict[str, Any]) -> None:
        """Count one line of the access log."""
        arm: Arm = line["arm"]
        if "failed_attempt" in line:
            status = failure(line) or flags(line) or "no answer"
            self.failed_attempts.setdefault(arm, Counter())[status] += 1
            return
        seconds = (line["us"] or 0) / 1e6
        failed = user_error(line)
        if line["role"] == "shadow":
            self._shadows.add(seconds, failed, False)
            return
        upstream = failed or (line["attempts"] or 0) > 1
        _of(self._arms, arm).add(seconds, upstream, failed)
        weight = int(line["weight"] or 0)
        if 0 < weight < 100 and not line["cohort"]:
            if weight != self._open_weight or self._open_requests >= BATCH_REQUESTS:
                self._closed += self._growing()
                self._open = {}
                self._open_weight, self._open_requests = weight, 0
            _of(self._open, arm).add(seconds, upstream, failed)
            self._open_requests += 1

    def counts(self) -> dict[Arm, ArmCounts]:
        """By assigned arm."""
        return {arm: one.frozen() for arm, one in self._arms.items()}

    def shadows(self) -> ArmCounts:
        """Of copies."""
        return self._shadows.frozen()

    def batches(self) -> list[EvidenceBatch]:
        """Closed ones, and the one that grows."""
        return [*self._closed, *self._growing()]

    def _growing(self) -> list[EvidenceBatch]:
        counts = {arm: one.frozen() for arm, one in self._open.items()}
        return [EvidenceBatch(self._open_weight, counts)] if counts else []


def _of(counts: dict[Arm, Counts], arm: Arm) -> Counts:
    found = counts.get(arm)
    if found is None:
        found = counts[arm] = Counts()
    return found
