"""The quality tests: valid on every path, blind to the future, and with words for what they found."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.errors import ConfigError
from mainspring.domain.metric import METRICS
from mainspring.rollout.evidence.blocks import DifferenceRange, paired_range, split_differences, split_range
from mainspring.rollout.evidence.forecast import blocks_still_needed, with_forecast
from mainspring.rollout.evidence.margin import checked_margin, margin_of_skill
from mainspring.rollout.evidence.quality import (
    Test,
    accept_log_e,
    every_block_log_e,
    judge_quality,
    reject_log_e,
    running_mean_log_e,
    symmetric_log_e,
)

TESTS: tuple[Test, ...] = ("running_mean", "every_block", "symmetric")
GAINS = st.lists(st.floats(-1, 1), min_size=1, max_size=30)


def two_point_paths(means: list[float], size: float) -> tuple[np.ndarray, np.ndarray]:
    """Every path [paths, blocks] of gains of `-size` or `size` with these means, and its chance [paths]."""
    signs = np.array(list(itertools.product((-1, 1), repeat=len(means))))
    up = (1 + np.array(means) / size) / 2
    return signs * size, np.where(signs > 0, up, 1 - up).prod(axis=1)


def test_the_running_mean_may_come_and_go() -> None:
    gains, chances = two_point_paths([-0.5, 0.5, -0.3, 0.3, 0.0, -0.6, 0.4, 0.2], 1.0)
    assert chances @ np.exp(running_mean_log_e(gains, 1.0)[:, -1]) <= 1
    gains, chances = two_point_paths([0.0] * 8, 1.0)
    assert chances @ np.exp(running_mean_log_e(gains, 1.0)[:, -1]) == pytest.approx(1.0)


def test_the_learnt_bets_have_a_mean_of_one_at_the_boundary() -> None:
    gains, chances = two_point_paths([0.0] * 8, 0.5)
    assert chances @ np.exp(every_block_log_e(gains, 1.0)[:, -1]) == pytest.approx(1.0)
    assert chances @ np.exp(symmetric_log_e(gains)[:, -1]) <= 1


@given(st.floats(0, 50), st.floats(0, 50))
def test_a_symmetric_gain_with_a_mean_below_zero_is_no_gain(spread: float, below: float) -> None:
    up, down = spread - below, -spread - below  # The bet is 1: what is left is the unit of measure.
    assert (math.exp(up - up * up / 2) + math.exp(down - down * down / 2)) / 2 <= 1 + 1e-12


@pytest.mark.parametrize("stake", [0.025, 0.2, 0.8])
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_fixed_bets_are_never_below_the_empirical_bernstein_value(stake: float, gains: list[float]) -> None:
    won = np.array(gains)
    bernstein = stake * won.sum() - (-math.log(1 - stake) - stake) * (won**2).sum()
    assert np.log1p(stake * won).sum() >= bernstein - 1e-9


@pytest.mark.parametrize("test", TESTS)
@given(GAINS, st.floats(-1, 1))
def test_bets_come_from_the_past_only(test: Test, differences: list[float], later: float) -> None:
    limits = paired_range()
    for curve in (lambda rows: accept_log_e(rows, 0.1, limits, test), lambda rows: reject_log_e(rows, limits, test)):
        before, after = curve(differences), curve([*differences, later])
        assert np.isfinite(after).all()
        np.testing.assert_allclose(before, after[:-1])


@pytest.mark.parametrize("test", TESTS)
def test_at_the_boundary_promotions_are_rarer_than_stated(test: Test) -> None:
    days = np.clip(np.random.default_rng(1).normal(0.01, 0.03, (1000, 120)), -0.1, 0.1)
    days += 0.01 - days.mean()
    limits = paired_range(0.2)
    assert np.mean(accept_log_e(days, 0.01, limits, test).max(axis=1) >= math.log(20)) <= 0.05
    assert np.mean(reject_log_e(days - 0.01, limits, test).max(axis=1) >= math.log(20)) <= 0.05


@pytest.mark.parametrize(("test", "most"), [("running_mean", 70), ("every_block", 70), ("symmetric", 28)])
def test_a_better_candidate_is_accepted(test: Test, most: int) -> None:
    days = np.clip(np.random.default_rng(2).normal(-0.01, 0.01, (200, 140)), -0.1, 0.1)
    crossed = accept_log_e(days, 0.0, paired_range(0.1), test) >= math.log(20)
    assert np.median(np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, np.inf)) <= most


def test_a_split_keeps_its_evidence_above_zero() -> None:
    """At w = 0.1 one error of the candidate makes a difference of 10: bets have to be small enough for it."""
    limits = split_range(0.1)
    for test in ("running_mean", "every_block"):
        assert np.isfinite(accept_log_e([-1.0, -1.0, 10.0, -1.1], 0.0, limits, test)).all()
        assert np.isfinite(reject_log_e([10.0, 10.0, -1.1, 10.0], limits, test)).all()
    with pytest.raises(ValueError, match="below the stated worst"):
        accept_log_e([-1.0, 10.0], 0.0, paired_range())


def test_the_split_difference_is_unbiased() -> None:
    rng = np.random.default_rng(3)
    ours = rng.random(100_000) < 0.2
    losses = np.where(ours, 0.3, 0.2) + rng.uniform(-0.1, 0.1, 100_000)
    found = split_differences(losses, ours, np.arange(100_000) % 5, 0.2)
    assert found.shape == (5,)
    assert found.mean() == pytest.approx(0.1, abs=0.01)
    with pytest.raises(ValueError, match="clipped"):
        split_differences([1.5], [True], ["a"], 0.1)


def test_acceptance_waits_for_the_end_of_a_week() -> None:
    better = [-0.05] * 21
    limits = paired_range(0.1)
    outcomes = [judge_quality(better[:n], margin=0.0, limits=limits).outcome for n in range(1, 22)]
    first = outcomes.index("ACCEPT") + 1
    assert first % 7 == 0
    assert "ACCEPT" not in [judge_quality(better[:n], margin=0.0, limits=limits, period=7).outcome for n in range(1, 7)]


def test_a_worse_candidate_is_rejected_on_any_day_and_the_reason_says_by_how_much() -> None:
    found = judge_quality([0.05, 0.06, 0.05] * 5, margin=0.01, limits=paired_range(0.1))
    assert found.outcome == "REJECT"
    assert found.reason.startswith("on these 15 days the candidate's loss was 0.0533 more than stable's: ")
    assert found.reason.endswith(" to 1 that it is worse")


def test_within_the_margin_and_yet_worse_is_accepted() -> None:
    days = [0.02, 0.021, 0.019, 0.02, 0.02, 0.02, 0.02] * 20
    found = judge_quality(days, margin=0.04, limits=paired_range(0.1))
    assert found.log_e_values["worse"] > found.log_thresholds["worse"]
    assert found.outcome == "ACCEPT"


def test_no_label_is_no_evidence() -> None:
    assert judge_quality([], margin=0.0, limits=paired_range()).reason.endswith("no evidence")


def test_a_difference_beyond_the_stated_range_voids_only_the_bet_that_relied_on_it() -> None:
    limits = DifferenceRange(-0.1, 0.1)
    worse = judge_quality([0.09] * 40 + [0.5], margin=0.0, limits=limits)
    assert worse.outcome == "REJECT"
    better = judge_quality([-0.05] * 40 + [0.5], margin=0.0, limits=limits)
    assert better.outcome == "INCONCLUSIVE"
    assert "0.5 on one of them is beyond the stated 0.1" in better.reason
    assert "can be rejected" in judge_quality([0.05] * 40 + [-0.5], margin=0.0, limits=limits).reason
    assert blocks_still_needed([0.05, 0.05, 0.5], margin=0.0, limits=limits) is None


def test_the_forecast_says_how_many_days_and_that_it_is_an_estimate() -> None:
    rng = np.random.default_rng(4)
    days = rng.normal(-0.02, 0.01, 6)
    limits = paired_range(0.1)
    needed = blocks_still_needed(days, margin=0.0, limits=limits)
    assert needed is not None
    assert needed == blocks_still_needed(days, margin=0.0, limits=limits)
    assert 8 <= needed <= 60
    assert (len(days) + needed) % 7 == 0
    told = str(with_forecast(judge_quality(days, margin=0.0, limits=limits), needed))
    assert told.endswith(f"About {needed} more days, at the effect seen so far (an estimate).")
    assert blocks_still_needed([0.01, -0.01] * 5, margin=0.0, limits=limits, at_most=50) is None
    assert blocks_still_needed(days[:2], margin=0.0, limits=limits) is None


def test_a_margin_that_the_base_rate_would_pass_is_refused() -> None:
    brier = METRICS["brier"]
    with pytest.raises(ConfigError, match="always answers the base rate would pass"):
        checked_margin(0.02, brier, 0.008, 0.0099)
    with pytest.raises(ConfigError, match="no better than the base rate"):
        margin_of_skill(brier, 0.01, 0.0099)
    with pytest.raises(ConfigError, match="no margin"):
        margin_of_skill(brier, 0.008, 0.0099, share=1.0)


@given(st.floats(0.0001, 0.5), st.floats(0.01, 0.99))
def test_with_a_share_of_skill_the_base_rate_model_is_beyond_the_margin(known: float, share: float) -> None:
    margin = margin_of_skill(METRICS["brier"], 0.5 - known, 0.5, share)
    assert 0 < margin < 0.5 - (0.5 - known)


@pytest.mark.parametrize("margin", [-0.1, 0.1, 0.2])
def test_a_margin_outside_of_the_range_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="a margin is at least 0"):
        accept_log_e([0.0], margin, paired_range(0.1))


def test_a_range_has_zero_inside() -> None:
    with pytest.raises(ValueError, match="0 inside"):
        DifferenceRange(0.0, 1.0)
