"""The first rules of a rollout: error limits by assigned arm, least time and least evidence at each step.

Pure functions over nouns. The tests with a stated error rate that come later take the place of `over_the_limits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from mainspring.domain.rollout import Arm, ArmCounts, Rollout
from mainspring.domain.time import duration_in_words
from mainspring.settings.rollout import LimitSettings

Action = Literal["continue", "advance", "promote", "roll_back"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a candidate, why, and the numbers it was taken from."""

    action: Action
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)


def judge(rollout: Rollout, counts: Mapping[Arm, ArmCounts], limits: LimitSettings, now: datetime) -> Judgement:
    """Judge a step by what the arms did since the rollout began; during a shadow the candidate's are its copies.

    Limits are looked at first: a candidate that breaks them goes back however short it has been there. No request is no
    evidence: without its step's `min_requests` the candidate neither advances nor goes back.
    """
    step = rollout.steps[rollout.step]
    candidate = counts.get("candidate", ArmCounts())
    stable = counts.get("stable", ArmCounts())
    numbers = {
        "candidate_requests": candidate.requests,
        "candidate_errors": candidate.upstream_errors,
        "stable_requests": stable.requests,
        "stable_errors": stable.upstream_errors,
        "weight_percent": rollout.weight_percent,
        "mirror_percent": rollout.mirror_percent,
    }
    broken = over_the_limits(candidate, stable, limits)
    if broken:
        return Judgement("roll_back", broken, numbers)
    since, least = rollout.phase_since, timedelta(seconds=step.seconds)
    if since is not None and now - since < least:
        return Judgement("continue", f"least time at this step is {duration_in_words(least)}", numbers)
    if candidate.requests < step.min_requests:
        return Judgement("continue", f"{candidate.requests} of at least {step.min_requests} requests so far", numbers)
    copied = " copied" if step.kind == "shadow" else ""
    evidence = f"{candidate.upstream_errors} errors in {candidate.requests}{copied} requests, within the limits"
    last = rollout.step + 1 == len(rollout.steps)
    return Judgement("promote" if last else "advance", evidence, numbers)


def over_the_limits(candidate: ArmCounts, stable: ArmCounts, limits: LimitSettings) -> str:
    """Which limit an arm is over beside another one, in words; "" when it is within them."""
    rate = candidate.error_rate
    if rate is None or candidate.requests < limits.min_requests:
        return ""
    stable_rate = stable.error_rate or 0.0
    if rate * 100 <= limits.max_error_percent or rate <= limits.max_error_ratio * stable_rate:
        return ""
    return (
        f"{candidate.upstream_errors} errors in {candidate.requests} requests ({rate:.1%}; limit "
        f"{limits.max_error_percent:g} % and {limits.max_error_ratio:g} times stable's {stable_rate:.1%})"
    )
