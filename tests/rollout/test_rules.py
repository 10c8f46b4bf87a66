"""A step's rules: a REJECT first, then time, requests, the split, and what the project asks for; and the guard's limits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.rollout import ArmCounts, EvidenceBatch, Rollout, RolloutStep
from mainspring.rollout.evidence.budget import Budget
from mainspring.rollout.evidence.errors import ErrorLimits
from mainspring.rollout.evidence.verdict import Evidence
from mainspring.rollout.rules import StepEvidence, judge, over_the_limits
from mainspring.rollout.watch import begun, tau_of
from mainspring.settings.rollout import LimitSettings, RolloutSettings

BEGAN = datetime(2013, 6, 1, tzinfo=UTC)
STEP = RolloutStep("canary", 10, 86400.0, 25)
CANARY = Rollout("r", "1", "2", phase="canary", weight_percent=10, steps=(STEP,), phase_since=BEGAN)
LATER = BEGAN + timedelta(days=2)
SETTINGS = RolloutSettings()


def evidence(candidate: int, errors: int, stable: int = 360, stable_errors: int = 0) -> StepEvidence:
    counts = {"candidate": ArmCounts(candidate, errors), "stable": ArmCounts(stable, stable_errors)}
    watch = begun(ErrorLimits(), ErrorLimits(), 0.0).after([EvidenceBatch(10, counts)])
    tests = watch.evidence(Budget(0.05, {"errors": 1}))
    return StepEvidence(candidate, tests, split_off=watch.split_off)


def test_a_candidate_that_fails_goes_back_at_once_and_says_why() -> None:
    verdict = judge(CANARY, evidence(40, 8, 360, 2), SETTINGS, BEGAN)
    assert verdict.action == "roll_back"
    assert "errors of the candidate 8 in 40 requests (20.0%), of stable 2 in 360 requests (0.6%)" in verdict.reason
    assert verdict.numbers["log_e"]["errors.ratio"] >= verdict.numbers["log_thresholds"]["errors.ratio"]


def test_an_incident_that_hits_both_arms_rolls_nothing_back() -> None:
    assert judge(CANARY, evidence(40, 8, 360, 80), SETTINGS, BEGAN).action == "continue"


def test_a_healthy_candidate_waits_its_time_and_is_then_promoted() -> None:
    assert judge(CANARY, evidence(40, 0), SETTINGS, BEGAN + timedelta(hours=23)).action == "continue"
    assert judge(CANARY, evidence(40, 0), SETTINGS, LATER).action == "promote"


def test_steps_are_taken_in_order() -> None:
    more = replace(CANARY, steps=(STEP, replace(STEP, percent=50)))
    assert judge(more, evidence(40, 0), SETTINGS, LATER).action == "advance"
    assert judge(replace(more, step=1), evidence(40, 0), SETTINGS, LATER).action == "promote"


def test_no_data_is_no_evidence() -> None:
    nothing = StepEvidence(0, begun(ErrorLimits(), ErrorLimits(), 0.0).evidence(Budget()))
    verdict = judge(CANARY, nothing, SETTINGS, LATER)
    assert (verdict.action, verdict.reason) == ("continue", "0 of at least 25 requests so far")


def test_a_split_that_is_off_accepts_nothing() -> None:
    verdict = judge(CANARY, evidence(60, 0, 6000), SETTINGS, LATER)
    assert verdict.action == "continue"
    assert verdict.reason.startswith("the split is off: 60 of 6060 units were assigned to the candidate")


@pytest.mark.parametrize(
    ("then", "days", "action"),
    [("hold", 40, "continue"), ("roll_back", 27, "continue"), ("roll_back", 28, "roll_back")],
)
def test_what_quality_does_not_decide_is_held_or_goes_back(then: str, days: int, action: str) -> None:
    settings = RolloutSettings.model_validate({"evidence": "beat", "undecided": {"then": then}})
    shadow = replace(CANARY, phase="shadow", steps=(replace(STEP, kind="shadow", percent=100),))
    quality = Evidence("INCONCLUSIVE", "not shown to be less", still_needed=9, unit="days")
    found = replace(evidence(400, 0, 3600), quality=quality)
    verdict = judge(shadow, found, settings, BEGAN + timedelta(days=days))
    assert verdict.action == action
    assert ("About 9 more days" in verdict.reason) == (action == "continue")


def test_a_slow_candidate_goes_back() -> None:
    past = ArmCounts(1000, latency_counts=(0,) * 8 + (960, 40) + (0,) * 17)
    tau = tau_of(past, 0.0)
    assert (tau, tau_of(past, 0.1), tau_of(past, 0.11)) == (0.01, 0.1, 0.15)
    slow = {
        "candidate": ArmCounts(100, latency_counts=(0,) * 8 + (20, 80) + (0,) * 17),
        "stable": ArmCounts(900, latency_counts=(0,) * 8 + (864, 36) + (0,) * 17),
    }
    watch = begun(ErrorLimits(), ErrorLimits(2.0, 0.02), tau).after([EvidenceBatch(10, slow)])
    verdict = judge(CANARY, StepEvidence(100, watch.evidence(Budget())), SETTINGS, LATER)
    assert verdict.action == "roll_back"
    assert "latency: requests slower than 0.01 s of the candidate 80 in 100" in verdict.reason


def test_copies_count_as_requests_of_both_arms_and_a_dead_shadow_goes_back() -> None:
    watch = begun(ErrorLimits(), ErrorLimits(), 0.0)
    for seen in (50, 100, 100):
        watch = watch.after_copies(ArmCounts(seen), ArmCounts(seen, seen), 1.0)
    assert (watch.errors.requests_candidate, watch.errors.errors_candidate, watch.errors.requests_stable) == (
        100,
        100,
        100,
    )
    assert watch.evidence(Budget()).outcome == "REJECT"


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_nothing_goes_back_below_the_limits_of_the_guard(n: int, k: int, m: int, j: int) -> None:
    new, old, limits = ArmCounts(n, min(k, n)), ArmCounts(m, min(j, m)), LimitSettings()
    if n < limits.min_requests or new.upstream_errors * 100 <= n * limits.max_error_percent:
        assert not over_the_limits(new, old, limits)
