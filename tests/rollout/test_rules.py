"""The canary's rules: limits first, then time, then evidence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.rollout import ArmCounts, Rollout, RolloutStep
from mainspring.rollout.rules import judge
from mainspring.settings.rollout import LimitSettings

BEGAN = datetime(2013, 6, 1, tzinfo=UTC)
STEP = RolloutStep("canary", 10, 86400.0, 25)
CANARY = Rollout("r", "1", "2", phase="canary", weight_percent=10, steps=(STEP,), phase_since=BEGAN)
LATER = BEGAN + timedelta(days=2)


def test_a_candidate_over_both_limits_goes_back_at_once_and_says_why() -> None:
    counts = {"candidate": ArmCounts(40, 8), "stable": ArmCounts(360, 2)}
    verdict = judge(CANARY, counts, LimitSettings(), BEGAN)
    assert verdict.action == "roll_back"
    assert "8 errors in 40 requests (20.0%" in verdict.reason
    assert verdict.numbers["stable_errors"] == 2


def test_an_incident_that_hits_both_arms_rolls_nothing_back() -> None:
    counts = {"candidate": ArmCounts(40, 8), "stable": ArmCounts(360, 80)}
    assert judge(CANARY, counts, LimitSettings(), BEGAN).action == "continue"


def test_a_healthy_candidate_waits_its_time_and_is_then_promoted() -> None:
    counts = {"candidate": ArmCounts(40, 0), "stable": ArmCounts(360, 0)}
    assert judge(CANARY, counts, LimitSettings(), BEGAN + timedelta(hours=23)).action == "continue"
    assert judge(CANARY, counts, LimitSettings(), LATER).action == "promote"


def test_steps_are_taken_in_order() -> None:
    counts = {"candidate": ArmCounts(40, 0), "stable": ArmCounts(360, 0)}
    more = replace(CANARY, steps=(STEP, replace(STEP, percent=50)))
    assert judge(more, counts, LimitSettings(), LATER).action == "advance"
    assert judge(replace(more, step=1), counts, LimitSettings(), LATER).action == "promote"


def test_copies_of_a_shadow_are_judged_as_requests() -> None:
    shadow = replace(CANARY, phase="shadow", steps=(replace(STEP, kind="shadow", percent=100),))
    verdict = judge(shadow, {"candidate": ArmCounts(400, 1), "stable": ArmCounts(400)}, LimitSettings(), LATER)
    assert (verdict.action, verdict.reason) == ("promote", "1 errors in 400 copied requests, within the limits")


def test_no_data_is_no_evidence() -> None:
    assert judge(CANARY, {}, LimitSettings(), LATER).action == "continue"


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_nothing_is_rolled_back_below_the_limit_or_the_least_evidence(n: int, k: int, m: int, j: int) -> None:
    candidate, stable = ArmCounts(n, min(k, n)), ArmCounts(m, min(j, m))
    settings = LimitSettings()
    verdict = judge(CANARY, {"candidate": candidate, "stable": stable}, settings, LATER)
    if n < settings.min_requests or candidate.upstream_errors * 100 <= n * settings.max_error_percent:
        assert verdict.action != "roll_back"
