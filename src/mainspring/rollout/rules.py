"""What a step's evidence leads to: back, on, or wait; and the guard's limits after a promotion. Pure functions over nouns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from mainspring.domain.rollout import ArmCounts, Rollout, RolloutStep
from mainspring.domain.time import duration_in_words
from mainspring.rollout.evidence.verdict import Evidence
from mainspring.settings.rollout import LimitSettings, RolloutSettings

Action = Literal["continue", "advance", "promote", "roll_back"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a candidate, why, and the numbers it was taken from."""

    action: Action
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """What is known at a step: requests of the candidate (a shadow's: its copies), all tests as one, and the verdicts of quality
    and business alone. `users` are the candidate's where they keep their arm; `blind` says what has to be seen and is not.

    `counted` says what the tests counted, in a few words, and `words` what a person should know besides;
    `split_off` that traffic was not split as asked.
    """

    requests: int
    tests: Evidence
    quality: Evidence | None = None
    counted: str = ""
    words: str = ""
    split_off: bool = False
    users: int = 0
    business: Evidence | None = None
    blind: str = ""


def judge(rollout: Rollout, found: StepEvidence, settings: RolloutSettings, now: datetime) -> Judgement:
    """Judge a step. A REJECT sends back however short it took; else the step's time and requests have to be there.

    A shadow under `evidence: match` or `beat` also waits for quality to accept, and a step `ab` for the business metric; what
    `undecided` says happens when it does not. A split that is off accepts nothing.
    """
    step, tests = rollout.steps[rollout.step], found.tests
    numbers = {
        "candidate_requests": found.requests,
        "weight_percent": rollout.weight_percent,
        "mirror_percent": rollout.mirror_percent,
        "log_e": {name: round(value, 4) for name, value in tests.log_e_values.items()},
        "log_thresholds": {name: round(value, 4) for name, value in tests.log_thresholds.items()},
    }
    if found.business is not None:
        numbers["business"] = found.business.reason

    def so(action: Action, reason: str) -> Judgement:
        return Judgement(action, "; ".join(filter(None, [reason, found.words])), numbers)

    if tests.outcome == "REJECT":
        return so("roll_back", tests.reason)
    since, least = rollout.phase_since or now, timedelta(seconds=step.seconds)
    if now - since < least:
        return so("continue", f"least time at this step is {duration_in_words(least)}")
    if found.requests < step.min_requests:
        return so("continue", f"{found.requests} of at least {step.min_requests} requests so far")
    if found.users < step.min_users:
        return so("continue", f"{found.users} of at least {step.min_users} users of the candidate so far")
    if found.split_off:
        return so("continue", tests.reason)
    if found.blind:
        return so("continue", f"nothing is accepted: {found.blind}")
    asked, decides = _asked(step, found, settings)
    if decides is None:
        brought = [] if found.business is None else [found.business.reason]
        return so(_on(rollout), "; ".join([f"no harm found: {found.counted}", *brought]))
    if decides.outcome == "ACCEPT":
        return so(_on(rollout), f"{decides}")
    if now - since >= settings.undecided.after and settings.undecided.then == "roll_back":
        return so("roll_back", f"undecided after {duration_in_words(settings.undecided.after)}: {decides.reason}")
    return so("continue", f"asked for: {asked}. {decides}")


def _asked(step: RolloutStep, found: StepEvidence, settings: RolloutSettings) -> tuple[str, Evidence | None]:
    """What the step has to show, and the verdict that says whether it has; None where nothing has to be shown."""
    if step.kind == "shadow" and settings.evidence != "no_harm":
        return settings.evidence, found.quality or Evidence("INCONCLUSIVE", "no labels yet")
    if step.kind == "ab" and step.evidence != "no_harm":
        return step.evidence, found.business or Evidence("INCONCLUSIVE", "no user whose time is over yet", unit="users")
    return "no_harm", None


def _on(rollout: Rollout) -> Action:
    return "promote" if rollout.step + 1 == len(rollout.steps) else "advance"


def over_the_limits(arm: ArmCounts, before: ArmCounts, limits: LimitSettings) -> str:
    """Which limit an arm is over beside what was before, in words; "" when it is within them."""
    rate = arm.error_rate
    if rate is None or arm.requests < limits.min_requests:
        return ""
    before_rate = before.error_rate or 0.0
    if rate * 100 <= limits.max_error_percent or rate <= limits.max_error_ratio * before_rate:
        return ""
    return (
        f"{arm.upstream_errors} errors in {arm.requests} requests ({rate:.1%}; limit "
        f"{limits.max_error_percent:g} % and {limits.max_error_ratio:g} times the {before_rate:.1%} before)"
    )
