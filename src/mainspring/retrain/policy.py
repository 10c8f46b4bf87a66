"""When a retraining is asked for: what holds it back first, then what the policy goes by.

Pure functions of what is known; the loop hands in the evidence and carries out the verdict, and so does a backtest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from mainspring.domain.time import duration_in_words
from mainspring.retrain.loss import LossVerdict
from mainspring.settings.retrain import LEAST_BLOCKS, Combination, RetrainSettings


@dataclass(frozen=True, slots=True)
class RetrainEvidence:
    """What is known when the question is asked.

    `champion_since` is when the champion was trained; `asked_at` are earlier retrainings; `running` whether a run is
    under way; `alarm` the standing drift alarm's reason, empty without one, and `alarm_id` its ledger row; `daily_gains` how
    much better a challenger was than the champion on each block (a day) that neither was trained on, in the gate's metric
    (positive is better), None when no challenger was asked; `loss` what the version lost, None when that was not tested.
    """

    champion: str
    champion_since: datetime
    asked_at: tuple[datetime, ...] = ()
    running: bool = False
    alarm: str = ""
    daily_gains: tuple[float, ...] | None = None
    loss: LossVerdict | None = None
    alarm_id: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """What holds a retraining back: a word for it, and why in words."""

    by: str
    why: str


@dataclass(frozen=True, slots=True)
class RetrainVerdict:
    """Whether to retrain, why or why not, and the numbers. `trigger` is the same for the same question."""

    retrain: bool
    reason: str
    trigger: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    asked_by: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One trigger's answer; `wants` is None where its evidence was not gathered."""

    wants: bool | None
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)
    by: tuple[str, ...] = ()


def decide(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> RetrainVerdict:
    """The policy's verdict at `now`."""
    held = held_back(evidence, policy, now)
    if held is not None:
        return RetrainVerdict(False, f"not retraining, because {held.why}")
    if not policy.triggers:
        why = f"the policy is `{policy.policy}`: a person asks, by mainspring retrain"
        return RetrainVerdict(False, f"not retraining, because {why}")
    answer = _ask(policy.policy, evidence, policy, now)
    if not answer.wants:
        return RetrainVerdict(False, f"not retraining, because {answer.reason}", numbers=answer.numbers)
    by = "-".join(answer.by)
    trigger = f"trigger:{by}:{evidence.champion}:{now.date()}"
    return RetrainVerdict(True, answer.reason, trigger, answer.numbers, by)


def needs(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> frozenset[str]:
    """Triggers whose evidence was not gathered and could decide: `on_loss`, `on_regret`."""
    if held_back(evidence, policy, now) is not None or not policy.triggers:
        return frozenset()
    answer = _ask(policy.policy, evidence, policy, now)
    return frozenset(answer.by) & _MEASURED if answer.wants is None else frozenset()


def may_ask(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> bool:
    """Whether what a challenger says could decide: otherwise none needs to be fitted."""
    return "on_regret" in needs(replace(evidence, daily_gains=None), policy, now)


def cooldown_left(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> timedelta:
    """Time until another retraining may be asked for."""
    return max(max((*evidence.asked_at, evidence.champion_since)) + policy.cooldown - now, timedelta(0))


def budget_left(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> int:
    """Retrainings that may still be asked for in the period that ends now."""
    recent = [at for at in evidence.asked_at if now - at < policy.budget_period]
    return max(policy.budget - len(recent), 0)


def held_back(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> Held | None:
    """What keeps the question from being asked, None when nothing does."""
    if evidence.running:
        return Held("run", "a run is under way")
    if not policy.triggers:
        return None
    left = cooldown_left(evidence, policy, now)
    if left:
        age = (now - max((*evidence.asked_at, evidence.champion_since))).days
        return Held("cooldown", f"the last training was {age} days ago and the cooldown is {_in_days(policy.cooldown)}")
    if not budget_left(evidence, policy, now):
        return Held("budget", f"the budget of {policy.budget} in {_in_days(policy.budget_period)} is used up")
    quiet = policy.quiet.at(now) if policy.quiet is not None else ""
    if quiet and policy.quiet is not None:
        return Held("quiet", f"these are quiet hours ({quiet}, {policy.quiet.time_zone})")
    return None


def _in_days(time: timedelta) -> str:
    return duration_in_words(time) if time % timedelta(days=1) else f"{time.days} days"


def _ask(asked: str | Combination, evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> _Answer:
    """The answer of a trigger or a combination; of what decides only the reasons that did."""
    if isinstance(asked, str):
        return _TRIGGERS[asked](evidence, policy, now)
    answers = [_ask(part, evidence, policy, now) for part in asked.parts]
    enough = asked.any is not None
    numbers: dict[str, Any] = {}
    for one in answers:
        numbers |= one.numbers
    # One that wants is enough for `any`, one that does not is enough against `all`; else all of them say why.
    deciding = [one for one in answers if one.wants is enough]
    if deciding:
        by = tuple(dict.fromkeys(name for one in deciding for name in one.by))
        return _Answer(enough, _listed(deciding), numbers, by)
    open_ones = [one for one in answers if one.wants is None]
    by = tuple(dict.fromkeys(name for one in open_ones or answers for name in one.by))
    return _Answer(None if open_ones else not enough, _listed(answers), numbers, by)


def _listed(answers: Sequence[_Answer]) -> str:
    return "; ".join(dict.fromkeys(one.reason for one in answers))


def _on_schedule(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> _Answer:
    age = now - max((*evidence.asked_at, evidence.champion_since))
    reason = f"the last training was {age.days} days ago; the schedule is {policy.schedule.days} days"
    return _Answer(age >= policy.schedule, reason, {"age_days": age.days}, ("on_schedule",))


def _on_alarm(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> _Answer:
    return _Answer(bool(evidence.alarm), evidence.alarm or "no drift alarm stands", {}, ("on_alarm",))


def _on_loss(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> _Answer:
    found = evidence.loss
    if found is None:
        return _Answer(None, "what the version lost was not looked at", {}, ("on_loss",))
    return _Answer(found.worse, found.words, {"loss": found.numbers}, ("on_loss",))


def _on_regret(evidence: RetrainEvidence, policy: RetrainSettings, now: datetime) -> _Answer:
    age = now - evidence.champion_since
    if policy.max_age is not None and age >= policy.max_age:
        reason = f"the champion is {age.days} days old; at most {policy.max_age.days} are allowed"
        return _Answer(True, reason, {}, ("on_regret",))
    if age <= policy.ask_window:
        window = duration_in_words(policy.ask_window)
        reason = f"the champion is {age.days} days old: a challenger of {window} ago would know no more than it does"
        return _Answer(False, reason, {}, ("on_regret",))
    gains = evidence.daily_gains
    if gains is None:
        return _Answer(None, "no challenger was asked", {}, ("on_regret",))
    p_value = positive_gain_p_value(gains)
    mean = sum(gains) / len(gains) if gains else 0.0
    numbers = {"days": len(gains), "mean_gain": mean, "p_value": p_value, "alpha": policy.alpha}
    text = f"a challenger gained {mean:+.4f} a day over {len(gains)} days that neither model saw (p = {p_value:.3f}, alpha = {policy.alpha:g})"
    return _Answer(p_value < policy.alpha, text, numbers, ("on_regret",))


_MEASURED = frozenset({"on_loss", "on_regret"})
_TRIGGERS: Mapping[str, Callable[[RetrainEvidence, RetrainSettings, datetime], _Answer]] = {
    "on_schedule": _on_schedule,
    "on_alarm": _on_alarm,
    "on_loss": _on_loss,
    "on_regret": _on_regret,
}


def positive_gain_p_value(gains: Sequence[float]) -> float:
    """One-sided p-value of Student's t for a positive mean; 1 with fewer than seven days: less than a week says nothing.

    >>> positive_gain_p_value([0.02, 0.01, 0.03, 0.02, 0.0, 0.01, 0.02]) < 0.01
    True
    >>> positive_gain_p_value([0.02] * 3)
    1.0
    """
    if len(gains) < LEAST_BLOCKS:
        return 1.0
    mean = sum(gains) / len(gains)
    variance = sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)
    if variance == 0.0:
        return 0.0 if mean > 0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(len(gains) - 1, -mean / math.sqrt(variance / len(gains))))
