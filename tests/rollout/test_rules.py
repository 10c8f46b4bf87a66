"""The canary's rules: limits first, then time, then evidence."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.rollout import ArmCounts, Rollout
from mainspring.rollout.rules import judge
from mainspring.settings.project import RolloutSettings

BEGAN = datetime(2013, 6, 1, tzinfo=UTC)
CANARY = Rollout("r", "1", "2", phase="canary", weight_percent=10, phase_since=BEGAN)
LATER = BEGAN + timedelta(days=2)


def test_a_candidate_over_both_limits_goes_back_at_once_and_says_why() -> None:
    counts = {"candidate": ArmCounts(40, 8), "stable": ArmCounts(360, 2)}
    verdict = judge(CANARY, counts, RolloutSettings(), BEGAN)
    assert verdict.action == "roll_back"
    assert "8 errors in 40 requests (20.0%" in verdict.reason
    assert verdict.numbers["stable_errors"] == 2


def test_an_incident_that_hits_both_arms_rolls_nothing_back() -> None:
    counts = {"candidate": ArmCounts(40, 8), "stable": ArmCounts(360, 80)}
    assert judge(CANARY, counts, RolloutSettings(), BEGAN).action == "continue"


def test_a_healthy_candidate_waits_its_time_and_is_then_promoted() -> None:
    counts = {"candidate": ArmCounts(40, 0), "stable": ArmCounts(360, 0)}
    assert judge(CANARY, counts, RolloutSettings(), BEGAN + timedelta(hours=23)).action == "continue"
    assert judge(CANARY, counts, RolloutSettings(), LATER).action == "promote"


def test_steps_are_taken_in_order() -> None:
    counts = {"candidate": ArmCounts(40, 0), "stable": ArmCounts(360, 0)}
    verdict = judge(CANARY, counts, RolloutSettings(steps=[10, 50]), LATER)
    assert (verdict.action, verdict.weight_percent) == ("advance", 50)


def test_no_data_is_no_evidence() -> None:
    assert judge(CANARY, {}, RolloutSettings(), LATER).action == "continue"


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_nothing_is_rolled_back_below_the_limit_or_the_least_evidence(n: int, k: int, m: int, j: int) -> None:
    candidate, stable = ArmCounts(n, min(k, n)), ArmCounts(m, min(j, m))
    settings = RolloutSettings()
    verdict = judge(CANARY, {"candidate": candidate, "stable": stable}, settings, LATER)
    if n < settings.limits.min_requests or candidate.upstream_errors * 100 <= n * settings.limits.max_error_percent:
        assert verdict.action != "roll_back"
