"""Bets on what users bring: exact expectations at each limit, whatever the arms; clipped ends; both directions; forecasts."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.rollout.evidence.business import BusinessLimits, gains, judge_business
from mainspring.rollout.evidence.quality import running_mean_log_e

UNITS = 5


def expected(weight, limits, bet, stable, candidate, values):
    """The mean e-value after `UNITS` units, over all arms and values; chances [values] by arm."""
    total = 0.0
    for arms in product([False, True], repeat=UNITS):
        for chosen in product(range(len(values)), repeat=UNITS):
            chance = np.prod(
                [
                    (weight * candidate[one] if arm else (1 - weight) * stable[one])
                    for arm, one in zip(arms, chosen, strict=True)
                ]
            )
            if chance:
                won = gains([values[one] for one in chosen], arms, weight, limits, bet)
                total += chance * np.exp(running_mean_log_e(won, 1.0)[-1])
    return total


# Chances of each value by arm such that the null just holds: the means are equal, or at the margin.
CASES = [
    ("beat", BusinessLimits(0, 4, margin=0.0), (0.5, 0.5), (0.5, 0.5), (0, 4)),
    ("beat", BusinessLimits(-1, 4, margin=0.0), (0.5, 0.5, 0.0), (0.6, 0.4 - 2 / 55, 2 / 55), (-1, 1 / 3, 4)),
    ("harm", BusinessLimits(0, 1, margin=0.2), (0.5, 0.5), (0.6, 0.4), (0, 1)),
    ("match", BusinessLimits(0, 1, margin=0.2), (0.5, 0.5), (0.6, 0.4), (0, 1)),
    ("harm", BusinessLimits(0, 1, higher_is_better=False, margin=0.2), (0.5, 0.5), (0.4, 0.6), (0, 1)),
    ("match", BusinessLimits(0, 1, higher_is_better=False, margin=0.2), (0.5, 0.5), (0.4, 0.6), (0, 1)),
    ("beat", BusinessLimits(0, 1, higher_is_better=False, margin=0.2), (0.5, 0.5), (0.5, 0.5), (0, 1)),
]


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(("bet", "limits", "stable", "candidate", "values"), CASES)
def test_at_the_limit_nobody_wins_on_average(weight, bet, limits, stable, candidate, values):
    means = [sum(p * v for p, v in zip(chances, values, strict=True)) for chances in (stable, candidate)]
    factor = {"beat": 1.0, "harm": 1 - limits.margin, "match": 1 - limits.margin}[bet]
    if not limits.higher_is_better and bet != "beat":
        factor = 1 + limits.margin
    assert means[1] == pytest.approx(factor * means[0])
    assert expected(weight, limits, bet, stable, candidate, values) <= 1 + 1e-9


@given(
    st.lists(st.tuples(st.floats(-2, 5), st.booleans()), min_size=1, max_size=30),
    st.floats(0.01, 0.99),
    st.sampled_from(["beat", "harm", "match"]),
    st.booleans(),
)
def test_no_unit_loses_more_than_everything(units, weight, bet, better):
    values, arms = zip(*units, strict=True)
    low = -2 if bet == "beat" else 0
    limits = BusinessLimits(low, 5, better, 0.0 if low else 0.1)
    assert gains(np.clip(values, low, 5), arms, weight, limits, bet).min() >= -1 - 1e-9


def drawn(lift, users=3000, seed=2):
    rng = np.random.default_rng(seed)
    arm = rng.random(users) < 0.5
    return (rng.random(users) < np.where(arm, 0.2 * lift, 0.2)).astype(float), arm


def judged(values, arm, asked="no_harm", *, better=True):
    limits = BusinessLimits(0, 1, better)
    return judge_business(values, arm, 0.5, limits, asked=asked, alpha_to_reject=0.01, alpha_to_accept=0.05)


def test_each_way_out():
    assert judged(*drawn(2), "beat").outcome == "ACCEPT"
    assert judged(*drawn(2), "match").outcome == "ACCEPT"
    assert judged(*drawn(2)).outcome == "INCONCLUSIVE"  # nothing was asked
    for asked in ("no_harm", "match", "beat"):
        assert judged(*drawn(0.5), asked).outcome == "REJECT"
        assert judged(*drawn(2), asked, better=False).outcome == "REJECT"
    assert judged(*drawn(0.5), "beat", better=False).outcome == "ACCEPT"


def test_what_is_not_decided_says_how_many_more_it_takes_and_that_is_about_right():
    values, arm = drawn(1.3, 60_000)
    found = judged(values[:1000], arm[:1000], "beat")
    assert found.outcome == "INCONCLUSIVE"
    assert found.still_needed is not None
    assert found.reason.endswith("more, not shown to be better, nor to be harm")
    needed = next(n for n in range(1000, 60_000, 500) if judged(values[:n], arm[:n], "beat").outcome == "ACCEPT")
    assert needed / 4 < 1000 + found.still_needed < needed * 4
    assert judged(*drawn(1.0, 100), "beat").unit == "users"


def test_one_arm_alone_is_no_evidence():
    assert judged([1.0, 0.0], [True, True]).reason.startswith("no users of both arms")
    assert judged([], []).outcome == "INCONCLUSIVE"


def test_a_range_and_a_margin_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="a range has 0 in it"):
        BusinessLimits(1, 2)
    with pytest.raises(ValueError, match="a margin is a share of what stable brings"):
        BusinessLimits(-1, 2)


def test_a_mean_far_from_0_costs_little_power():
    """Four in five come back: without the mean of the past taken off, the noise of who is where hides everything."""
    rng = np.random.default_rng(1)
    arm = rng.random(3000) < 0.1
    stays = (rng.random(3000) < np.where(arm, 0.6, 0.8)).astype(float)
    found = judge_business(stays, arm, 0.1, BusinessLimits(0, 1), alpha_to_reject=0.01, alpha_to_accept=0.05)
    assert found.outcome == "REJECT"
