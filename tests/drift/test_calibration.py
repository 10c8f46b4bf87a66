"""Calibration on a reference's own windows: exact cases, and the rates that simulated windows realise."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf, ledoit_wolf

from mainspring.drift.calibration import against_fixed, against_trailing, blocks, calibrate, empirical_p_value, phases
from mainspring.drift.decide import next_level
from mainspring.drift.whitening import cube_root_score, fit_whitener, root_shares, shrunk_covariance, statistic_at

DAY = timedelta(days=1)
DAYS = np.datetime64("2024-01-01", "us") + np.arange(120) * np.timedelta64(1, "D")


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 80))
@settings(max_examples=50, deadline=None)
def test_the_covariance_is_scikit_learns(seed, groups, windows):
    values = np.random.default_rng(seed).normal(size=(windows, groups)) * np.linspace(0.5, 3, groups)
    expected, _ = ledoit_wolf(values, assume_centered=True)
    assert shrunk_covariance(values) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(30, 80))
@settings(max_examples=30, deadline=None)
def test_where_variation_is_large_t_is_scipys_mahalanobis_distance(seed, groups, windows):
    residuals = np.random.default_rng(seed).normal(size=(windows, groups)) * np.linspace(0.5, 3, groups)
    spread = np.sqrt((residuals**2).mean(axis=0))
    correlations = LedoitWolf(assume_centered=True).fit(residuals / spread).covariance_
    now = np.linspace(-1, 2, groups)
    rows = np.full(windows, 1e9)
    found = fit_whitener(residuals, rows).statistic(now[None], rows[:1])
    inverse = np.linalg.inv(correlations * np.outer(spread, spread))
    assert found[0] == pytest.approx(mahalanobis(now, np.zeros(groups), inverse) ** 2, rel=1e-6)


def test_no_direction_varies_less_than_rows_drawn_anew():
    """A schedule that never changes: its residuals are zero, and T is in units of sampling noise."""
    whitener = fit_whitener(np.zeros((40, 5)), np.full(40, 1000.0))
    one = np.array([[0.1, 0, 0, 0, 0]])
    assert whitener.statistic(one, np.array([1000.0]))[0] == pytest.approx(0.01 * 4000)
    assert whitener.statistic(one, np.array([100.0]))[0] == pytest.approx(0.01 * 400)


@given(st.lists(st.floats(0.1, 100), min_size=3, max_size=40), st.floats(0, 500), st.integers(2, 20))
def test_a_statistic_has_one_score(normal, value, groups):
    past = np.array(normal)
    score = float(cube_root_score(np.array(value), past, groups))
    assert statistic_at(score, past, groups) == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_a_window_is_held_against_those_outside_its_block():
    past = np.arange(12.0)[:, None] * np.ones((1, 2))
    found = against_fixed(past, past[0], (), np.ones(12, bool))
    assert blocks(12).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert found.past[0, 0] == 0 - np.mean(np.arange(2.0, 12))
    assert found.now[0] == 0 - np.mean(np.arange(12.0))


def test_a_trailing_reference_ends_before_its_window():
    past = np.arange(10.0)[:, None] * np.ones((1, 2))
    before = np.maximum(np.arange(11) - 4, 0)
    found = against_trailing(past, past[9], (), np.ones(10, bool), before, 2)
    assert np.isnan(found.past[:2]).all()  # Less than half of a reference says nothing.
    assert found.past[2, 0] == 2 - 0.5
    assert found.past[9, 0] == 9 - 6.5
    assert found.now[0] == 9 - 7.5


def test_after_a_pause_nothing_is_expected_until_half_of_a_reference_is_there_again():
    past = np.arange(10.0)[:, None] * np.ones((1, 2))
    before = np.append(np.maximum(np.arange(10) - 4, 0), 9)  # The current window's four weeks hold one window.
    found = against_trailing(past, past[9], (), np.ones(10, bool), before, 2)
    assert np.isnan(found.now).all()
    assert found.past[9, 0] == 9 - 6.5


@given(st.integers(0, 6))
def test_what_weekdays_do_is_expected_of_them(day):
    cycle = phases(DAYS[: 28 + day + 1], DAY)
    past = np.where(cycle[0][:-1, None] == day, [0.9, 0.1], [0.5, 0.5]).astype(float)
    now = np.array([0.9, 0.1]) if cycle[0][-1] == day else np.array([0.5, 0.5])
    found = against_fixed(past, now, cycle, np.ones(len(past), bool))
    assert np.abs(found.past).max() < 1e-15
    assert np.abs(found.now).max() < 1e-15


def test_windows_that_fit_no_cycle_have_no_place_in_one():
    assert phases(DAYS, timedelta(days=5)) == ()
    assert [one.max() for one in phases(DAYS[0] + np.arange(400) * np.timedelta64(1, "h"), timedelta(hours=1))] == [
        167,
        23,
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0, 1))
def test_the_p_value_has_a_floor(past, now):
    found = empirical_p_value(now, np.array(past))
    assert 1 / (len(past) + 1) <= found <= 1
    assert empirical_p_value(-1.0, np.array(past)) == 1 / (len(past) + 1)


def test_exchangeable_windows_are_as_rarely_unusual_as_stated():
    """320 references of 39 windows, days that differ by far more than their rows: 2 of 40 ranks are within 5 %."""
    rng = np.random.default_rng(5)
    named = 0
    for _ in range(320):
        shares = rng.dirichlet(np.linspace(20, 60, 6), 40)
        counts = rng.multinomial(800, shares)
        roots = root_shares(counts)
        residuals = against_fixed(roots[:-1], roots[-1], (), np.ones(39, bool))
        found = calibrate(residuals, np.arange(39), counts.sum(axis=1).astype(float))
        named += empirical_p_value(-found.now, -found.past) <= 0.05
    assert 8 <= named <= 25  # The central 97 % of a binomial of 320 at 5 %.


def test_leaving_out_what_was_named_lets_the_rate_run_away():
    """Why no window is kept from calibrating for having been named: its own tail is what a rate is taken from."""
    scores = np.random.default_rng(8).standard_normal(3000)
    rates = {}
    for left_out in (False, True):
        calibrating, named = list(scores[:60]), []
        for score in scores[60:]:
            named.append(empirical_p_value(-score, -np.array(calibrating[-60:])) <= 0.05)
            if not (left_out and named[-1]):
                calibrating.append(score)
        rates[left_out] = float(np.mean(named))
    assert rates[False] == pytest.approx(0.05, abs=0.012)
    assert rates[True] > 0.3


def test_the_level_follows_a_process_that_changes():
    """Variation that shrinks to a half and triples: by rank alone few windows are named, then too many."""
    rng = np.random.default_rng(9)
    spread = np.concatenate([np.geomspace(1.0, 0.3, 400), np.geomspace(0.3, 2.0, 400)])
    scores = spread * np.abs(rng.standard_normal(800))
    level, named, fixed = 0.05, [], []
    for at in range(60, 800):
        p_value = empirical_p_value(-scores[at], -scores[at - 60 : at])
        fixed.append(p_value <= 0.05)
        named.append(p_value <= level)
        level = next_level(level, 0.05, named[-1])
    halves = [float(np.mean(one)) for one in (named[:340], named[340:])]
    without = [float(np.mean(one)) for one in (fixed[:340], fixed[340:])]
    # What grows is named nearer to the stated share than without; to what shrinks no more is given than that.
    assert abs(halves[1] - 0.05) < abs(without[1] - 0.05) / 1.5
    assert 0 < halves[0] <= without[0] < 0.05
