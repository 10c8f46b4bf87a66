"""When a retraining is asked for: cooldown, budget and single flight first, then what the policy goes by.

Pure functions of what is known; the loop hands in the evidence and carries out the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mainspring.settings.project import RetrainSettings


@dataclass(frozen=True, slots=True)
class RetrainEvidence:
    """What is known when the question is asked.

    `champion_since` is when the champion was trained; `asked_at` are earlier retrainings; `running` whether a run is
    under way; `alarm` the newest drift alarm's reason, empty without one; `daily_gains` how much better a challenger was
    than the champion on each day that neither was trained on, in the gate's metric (positive is better).
    """

    champion: str
    champion_since: datetime
    asked_at: tuple[datetime, ...] = ()
    running: bool = False
    alarm: str = ""
    daily_gains: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrainVerdict:
    """Whether to retrain, why or why not, and the numbers. `trigger` is the same for the same question."""

    retrain: bool
    reason: str
    trigger: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


def decide(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> RetrainVerdict:
    """The policy's verdict at `now`."""
    held = _held_back(evidence, policy, now)
    if held:
        return RetrainVerdict(False, f"not retraining, because {held}")
    wanted, reason, numbers = _POLICIES[policy.policy](evidence, policy, now)
    if not wanted:
        return RetrainVerdict(False, f"not retraining, because {reason}", numbers=numbers)
    trigger = f"trigger:{policy.policy}:{evidence.champion}:{now.date()}"
    return RetrainVerdict(True, reason, trigger, numbers)


def may_ask(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> bool:
    """Whether an answer could lead to a retraining: otherwise no challenger needs to be fitted."""
    return policy.policy == "on_regret" and not _held_back(evidence, policy, now)


def cooldown_left(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> timedelta:
    """Time until another retraining may be asked for."""
    return max(max((*evidence.asked_at, evidence.champion_since)) + policy.cooldown - now, timedelta(0))


def budget_left(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> int:
    """Retrainings that may still be asked for in the period that ends now."""
    recent = [at for at in evidence.asked_at if now - at < policy.budget_period]
    return max(policy.budget - len(recent), 0)


def _held_back(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> str:
    if evidence.running:
        return "a run is under way"
    if cooldown_left(evidence, policy, now):
        days = (now - max((*evidence.asked_at, evidence.champion_since))).days
        return f"the last training was {days} days ago and the cooldown is {policy.cooldown.days} days"
    if not budget_left(evidence, policy, now):
        return f"the budget of {policy.budget} in {policy.budget_period.days} days is used up"
    return ""


def _never(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> tuple[bool, str, dict[str, Any]]:
    return False, "the policy is `never`", {}


def _on_schedule(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> tuple[bool, str, dict[str, Any]]:
    age = now - max((*evidence.asked_at, evidence.champion_since))
    reason = f"the last training was {age.days} days ago; the schedule is {policy.schedule.days} days"
    return age >= policy.schedule, reason, {"age_days": age.days}


def _on_alarm(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> tuple[bool, str, dict[str, Any]]:
    return bool(evidence.alarm), evidence.alarm or "no drift alarm stands", {}


def _on_regret(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> tuple[bool, str, dict[str, Any]]:
    age = now - evidence.champion_since
    if policy.max_age is not None and age >= policy.max_age:
        return True, f"the champion is {age.days} days old; at most {policy.max_age.days} are allowed", {}
    gains = evidence.daily_gains
    p_value = positive_gain_p_value(gains)
    mean = sum(gains) / len(gains) if gains else 0.0
    numbers = {"days": len(gains), "mean_gain": mean, "p_value": p_value, "alpha": policy.alpha}
    text = f"a challenger gained {mean:+.4f} a day over {len(gains)} days that neither model saw (p = {p_value:.3f}, alpha = {policy.alpha:g})"
    return p_value < policy.alpha, text, numbers


_POLICIES = {"never": _never, "on_schedule": _on_schedule, "on_alarm": _on_alarm, "on_regret": _on_regret}


def positive_gain_p_value(gains: Sequence[float]) -> float:
    """One-sided p-value of Student's t for a positive mean; 1 with fewer than seven days: less than a week says nothing.

    >>> positive_gain_p_value([0.02, 0.01, 0.03, 0.02, 0.0, 0.01, 0.02]) < 0.01
    True
    >>> positive_gain_p_value([0.02] * 3)
    1.0
    """
    if len(gains) < 7:
        return 1.0
    mean = sum(gains) / len(gains)
    variance = sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)
    if variance == 0.0:
        return 0.0 if mean > 0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(len(gains) - 1, -mean / math.sqrt(variance / len(gains))))
