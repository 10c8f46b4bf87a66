"""The first rules of a rollout: error limits by assigned arm, least time and least evidence at each step.

Pure functions over nouns. The tests with a stated error rate that come later take the place of `_over_the_limits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mainspring.domain.rollout import Arm, ArmCounts, Rollout
from mainspring.settings.project import LimitSettings, RolloutSettings

Action = Literal["continue", "advance", "promote", "roll_back"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a canary, why, and the numbers it was taken from. `weight_percent` is meant for `advance`."""

    action: Action
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)
    weight_percent: int = 0


def judge(rollout: Rollout, counts: Mapping[Arm, ArmCounts], settings: RolloutSettings, now: datetime) -> Judgement:
    """Judge a canary by what its arms did since the rollout began.

    Limits are looked at first: a candidate that breaks them goes back however short it has been there. No request is no
    evidence: without `min_requests` of its own the candidate neither advances nor goes back.
    """
    candidate = counts.get("candidate", ArmCounts())
    stable = counts.get("stable", ArmCounts())
    numbers = {
        "candidate_requests": candidate.requests,
        "candidate_errors": candidate.upstream_errors,
        "stable_requests": stable.requests,
        "stable_errors": stable.upstream_errors,
        "weight_percent": rollout.weight_percent,
    }
    broken = _over_the_limits(candidate, stable, settings.limits)
    if broken:
        return Judgement("roll_back", broken, numbers)
    since = rollout.phase_since
    waited = since is None or now - since >= settings.step_time
    if not waited:
        return Judgement("continue", f"least time at this step is {settings.step_time}", numbers)
    if candidate.requests < settings.min_requests:
        return Judgement(
            "continue", f"{candidate.requests} of at least {settings.min_requests} requests so far", numbers
        )
    later = [step for step in settings.steps if step > rollout.weight_percent]
    evidence = f"{candidate.upstream_errors} errors in {candidate.requests} requests, within the limits"
    if later:
        return Judgement("advance", evidence, numbers, later[0])
    return Judgement("promote", evidence, numbers)


def _over_the_limits(candidate: ArmCounts, stable: ArmCounts, limits: LimitSettings) -> str:
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
