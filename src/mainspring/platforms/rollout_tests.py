"""`LaptopRolloutTests`: the tests of a rollout over the proxy's access log, the prediction log and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from mainspring.domain.errors import ConfigError
from mainspring.domain.rollout import Arm, ArmCounts, EvidenceBatch, Rollout, UserRound
from mainspring.domain.shadow_report import ShadowReport
from mainspring.platforms.business import LaptopBusiness
from mainspring.platforms.shadow import LaptopShadow
from mainspring.ports import MetricsSource
from mainspring.rollout.evidence.blocks import paired_differences, paired_range
from mainspring.rollout.evidence.budget import Budget
from mainspring.rollout.evidence.errors import ErrorLimits
from mainspring.rollout.evidence.forecast import blocks_still_needed, with_forecast
from mainspring.rollout.evidence.margin import margin_of_skill
from mainspring.rollout.evidence.quality import Test, judge_quality
from mainspring.rollout.evidence.verdict import Evidence
from mainspring.rollout.rules import StepEvidence
from mainspring.rollout.watch import Watch, begun
from mainspring.settings.project import ProjectSettings
from mainspring.settings.rollout import HarmSettings

_TEST: Test = "symmetric"
"""A day's difference is a mean over many requests, which nearly is symmetric; a stated range of it would never decide in
time (decision 16)."""


class LaptopRolloutTests:
    """`RolloutTests`. Without `shadow` nothing is said of quality: then no log, label or registry is read."""

    def __init__(
        self,
        settings: ProjectSettings,
        evidence: MetricsSource,
        shadow: LaptopShadow | None,
        business: LaptopBusiness | None = None,
    ) -> None:
        self._settings = settings
        self._evidence = evidence
        self._shadow = shadow
        self._business = business
        shares = settings.rollout.budget
        weights = {"errors": shares.errors, "latency": shares.latency, "quality": shares.quality}
        if settings.rollout.business is not None:
            weights["business"] = shares.business
        self._budget = Budget(settings.rollout.alpha, weights)
        self._kept: tuple[str, Watch] | None = None

    def past(self, rollout: Rollout) -> Mapping[Arm, ArmCounts]:
        """Counts since the rollout began, by assigned arm."""
        return self._evidence.counts(rollout.id)

    def look(self, rollout: Rollout, now: datetime) -> StepEvidence:
        """What is known at the rollout's step, from the requests so far and the labels known `now`."""
        report = ShadowReport()
        if self._shadow is not None and rollout.mirrors:
            report = self._shadow.compare(rollout, now)
        quality = self._quality(rollout, report)
        if rollout.phase == "guard":
            tested = quality if self._budget.alpha_of("quality") else None
            return StepEvidence(report.answered, Evidence("INCONCLUSIVE", "no test but quality's"), tested)
        watch = self._watch(rollout)
        # The units of the business metric are those that the watch has counted.
        business, blind = None, ""
        if self._business is not None:
            business, blind = self._business.judge(rollout, now, self._budget)
        tests = watch.evidence(self._budget, quality=quality, business=business)
        if rollout.phase == "shadow":
            words = report.words if report.answered else ""
            copies = self._evidence.shadows(rollout.id).requests
            return StepEvidence(copies, tests, quality, watch.words, words, split_off=watch.split_off)
        then = rollout.evidence.get("candidate", ArmCounts()).requests
        seen = self.past(rollout).get("candidate", ArmCounts()).requests
        users = _users(watch.rounds, rollout.weight_percent)
        return StepEvidence(
            max(0, seen - then),
            tests,
            quality,
            watch.words,
            split_off=watch.split_off,
            users=users,
            business=business,
            blind=blind,
        )

    def _watch(self, rollout: Rollout) -> Watch:
        """The watch as it is now. What is kept has no batch that may still grow."""
        if self._kept is None or self._kept[0] != rollout.id:
            self._kept = (rollout.id, self._begun())
        watch, batches = self._kept[1], self._evidence.batches(rollout.id)
        if rollout.tau_seconds and not watch.tau_seconds:
            watch = replace(watch, tau_seconds=rollout.tau_seconds)
        shares = [one.percent for one in rollout.steps if one.kind == "shadow"]
        if shares:
            originals = _outside(self.past(rollout).get("stable", ArmCounts()), batches)
            watch = watch.after_copies(originals, self._evidence.shadows(rollout.id), shares[0] / 100)
        rounds = self._rounds(rollout)
        if rollout.sticky_header:
            self._kept = (rollout.id, watch)
            return replace(watch, by_user=True, rounds=rounds)
        watch = watch.after(batches[watch.batches : -1])
        self._kept = (rollout.id, watch)
        return watch.after(batches[-1:])

    def _rounds(self, rollout: Rollout) -> tuple[UserRound, ...]:
        """Users round by round; where a business metric counts requests, what it joins them by is kept on the way."""
        if not rollout.splits or not (rollout.sticky_header or self._business is not None):
            return ()
        return tuple(self._evidence.users(rollout.id))

    def _begun(self) -> Watch:
        rollout = self._settings.rollout
        return begun(_limits(rollout.errors), _limits(rollout.latency), 0.0)

    def _quality(self, rollout: Rollout, report: ShadowReport) -> Evidence | None:
        """Of the new version beside the old one; None where nothing is paired."""
        if not report.blocks:
            return None
        one, other = [block.primary for block in report.blocks], [block.shadow for block in report.blocks]
        new, old = (one, other) if rollout.phase == "guard" else (other, one)
        differences = paired_differences(self._settings.metric, new, old)
        margin, note = self._margin(old, report.base_rate)
        alpha = self._budget.alpha_of("quality") or self._settings.rollout.alpha
        asked: dict[str, Any] = {
            "margin": margin,
            "limits": paired_range(),
            "alpha_to_accept": self._budget.alpha_to_accept,
            "alpha_to_reject": alpha,
            "test": _TEST,
        }
        found = judge_quality(differences, **asked)
        needed = blocks_still_needed(differences, **asked)
        return replace(with_forecast(found, needed), reason="; ".join(filter(None, [found.reason, note])))

    def _margin(self, old: Sequence[float], base_rate: float | None) -> tuple[float, str]:
        """What may be lost, and why it is nothing where it is."""
        rollout = self._settings.rollout
        if rollout.evidence == "beat" or base_rate is None:
            return 0.0, ""
        try:
            return margin_of_skill(self._settings.metric, sum(old) / len(old), base_rate, rollout.margin), ""
        except ConfigError as error:
            return 0.0, error.what


def _limits(harm: HarmSettings) -> ErrorLimits:
    return ErrorLimits(harm.ratio, harm.margin_percent / 100)


def _outside(stable: ArmCounts, batches: Sequence[EvidenceBatch]) -> ArmCounts:
    """Stable's requests that were not split: those of a shadow."""
    split = [batch.counts.get("stable", ArmCounts()) for batch in batches]
    return ArmCounts(
        stable.requests - sum(one.requests for one in split),
        stable.upstream_errors - sum(one.upstream_errors for one in split),
    )


def _users(rounds: Sequence[UserRound], weight_percent: int) -> int:
    """The candidate's at that weight."""
    steps = [one for one in rounds if one.kind == "step" and one.weight_percent == weight_percent]
    return sum(one.users("candidate") for one in steps)
