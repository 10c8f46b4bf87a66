"""`Watch`: what the tests of one rollout have seen of its requests, kept up to date batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mainspring.domain.rollout import LATENCY_EDGES_SECONDS, ArmCounts, EvidenceBatch, UserRound
from mainspring.rollout.evidence.budget import Budget
from mainspring.rollout.evidence.errors import ErrorBatch, ErrorLimits, ErrorProcess, judge_errors
from mainspring.rollout.evidence.latency import LatencyHistogram, judge_latency, slow_edge
from mainspring.rollout.evidence.sample_ratio import SplitProcess, judge_split
from mainspring.rollout.evidence.users import judge_slow_users, judge_users, judge_users_split, users_in_words
from mainspring.rollout.evidence.verdict import Evidence, together

_LEAST_PAST = 200
"""Fewer requests than these fix no latency: the share of slow ones among them is a guess."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The tests of a rollout. `tau_seconds` is what counts as slow, 0.0 where there is no past to fix it from.

    `batches` are how many were taken in; `copies` and `originals` are a shadow's counts so far. Where users keep their arm
    (`by_user`) there are `rounds` of them in place of batches, and copies have their half of alpha from the beginning.
    """

    errors: ErrorProcess
    slow: ErrorProcess
    tau_seconds: float = 0.0
    split: SplitProcess = field(default_factory=SplitProcess)
    batches: int = 0
    originals: ArmCounts = field(default_factory=ArmCounts)
    copies: ArmCounts = field(default_factory=ArmCounts)
    by_user: bool = False
    rounds: tuple[UserRound, ...] = ()

    def after(self, batches: Sequence[EvidenceBatch]) -> Watch:
        """With more batches of a canary, each of one weight, oldest first."""
        watch = self
        for batch in batches:
            weight = batch.weight_percent / 100
            stable, candidate = (batch.counts.get(arm, ArmCounts()) for arm in ("stable", "candidate"))
            watch = replace(
                watch,
                errors=watch.errors.after(
                    ErrorBatch(
                        stable.requests, stable.upstream_errors, candidate.requests, candidate.upstream_errors, weight
                    )
                ),
                slow=watch.slow.after(_slow(stable, candidate, self.tau_seconds, weight))
                if self.tau_seconds
                else watch.slow,
                split=watch.split.after(stable=stable.requests, candidate=candidate.requests, weight=weight),
                batches=watch.batches + 1,
            )
        return watch

    def after_copies(self, originals: ArmCounts, copies: ArmCounts, share: float) -> Watch:
        """With a shadow's counts as they are now. Each copied request is one of either arm: a split of `share` to 1.

        Both arms fail together more often than apart, if anything, so the test is on the safe side.
        """
        new, old = copies.requests - self.copies.requests, originals.requests - self.originals.requests
        if new < 0 or old < 0 or not new + old:
            return self
        batch = ErrorBatch(
            old,
            min(old, max(0, originals.upstream_errors - self.originals.upstream_errors)),
            new,
            min(new, max(0, copies.upstream_errors - self.copies.upstream_errors)),
            share / (1 + share),
        )
        return replace(self, errors=self.errors.after(batch), originals=originals, copies=copies)

    @property
    def words(self) -> str:
        """What was counted, in a few words."""
        if self.rounds:
            return users_in_words(self.rounds)
        one = self.errors
        return (
            f"{one.errors_candidate} errors in {one.requests_candidate} requests of the candidate, "
            f"{one.errors_stable} in {one.requests_stable} of stable"
        )

    @property
    def split_off(self) -> bool:
        """Whether traffic was not split as asked: then nothing is accepted."""
        found = self._split
        return found is not None and found.outcome == "REJECT"

    @property
    def _split(self) -> Evidence | None:
        if self.by_user:
            return judge_users_split(self.rounds) if self.rounds else None
        return judge_split(self.split) if self.batches else None

    def evidence(
        self, budget: Budget, *, quality: Evidence | None = None, business: Evidence | None = None
    ) -> Evidence:
        """All tests as one verdict, each at its share of the budget."""
        tests = {"errors": self._errors(budget.alpha_of("errors"))}
        if self.tau_seconds and budget.alpha_of("latency"):
            tests["latency"] = self._latency(budget.alpha_of("latency"))
        if quality is not None and budget.alpha_of("quality"):
            tests["quality"] = quality
        if business is not None and budget.alpha_of("business"):
            tests["business"] = business
        return together(tests, self._split)

    def _errors(self, alpha: float) -> Evidence:
        if self.by_user:
            return judge_users(self.rounds, self.errors.limits, alpha, before=self.errors)
        return judge_errors(self.errors, alpha)

    def _latency(self, alpha: float) -> Evidence:
        if self.by_user:
            return judge_slow_users(self.rounds, self.slow.limits, alpha, self.tau_seconds)
        return judge_latency(self.slow, alpha, self.tau_seconds)


def begun(errors: ErrorLimits, latency: ErrorLimits, tau_seconds: float) -> Watch:
    """A watch that has seen nothing yet.

    >>> watch = begun(ErrorLimits(), ErrorLimits(2.0, 0.02), 0.0)
    >>> batch = EvidenceBatch(10, {"stable": ArmCounts(90), "candidate": ArmCounts(10, 10)})
    >>> watch.after([batch]).evidence(Budget(0.05)).outcome
    'REJECT'
    """
    return Watch(ErrorProcess(errors), ErrorProcess(latency), tau_seconds)


def tau_of(past: ArmCounts, floor_seconds: float) -> float:
    """What counts as slow, from stable's past and not below a floor: 0.0 where there is too little of it.

    >>> tau_of(ArmCounts(10), 0.1)
    0.0
    """
    if past.requests < _LEAST_PAST or not past.latency_counts:
        return 0.0
    try:
        found = slow_edge(LatencyHistogram(LATENCY_EDGES_SECONDS, past.latency_counts))
    except ValueError:
        return 0.0
    return next((edge for edge in LATENCY_EDGES_SECONDS if edge >= max(found, floor_seconds)), 0.0)


def _slow(stable: ArmCounts, candidate: ArmCounts, tau_seconds: float, weight: float) -> ErrorBatch:
    slow_stable, slow_candidate = (
        one.slower_than(tau_seconds) if one.latency_counts else 0 for one in (stable, candidate)
    )
    return ErrorBatch(stable.requests, slow_stable, candidate.requests, slow_candidate, weight)
