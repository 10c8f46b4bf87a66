"""The tolerated PSI: its critical value against scipy, and its alarm rate in simulated windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, ncx2

from mainspring.drift.decide import smoothed_psi
from mainspring.drift.tolerance import critical_psi, tolerance_p_value

SIZES = st.integers(1, 10**7)


@given(st.floats(1e-5, 0.5), st.floats(0.001, 0.5), st.integers(2, 20), SIZES, SIZES)
def test_the_critical_value_is_scipys_and_has_the_rate_as_its_p_value(tolerated, rate, groups, n, m):
    v = 1 / n + 1 / m
    critical = critical_psi(tolerated, rate, groups, n, m)
    assert critical == pytest.approx(v * ncx2.isf(rate, groups - 1, tolerated / v), rel=1e-6)
    assert tolerance_p_value(critical, tolerated, groups, n, m) == pytest.approx(rate, rel=1e-6)
    assert tolerance_p_value(1.01 * critical, tolerated, groups, n, m) < rate


@given(st.floats(0.001, 0.5), st.integers(2, 20), st.integers(100, 10**6))
def test_nothing_tolerated_is_a_chi_squared(rate, groups, n):
    assert critical_psi(0.0, rate, groups, n, n) == pytest.approx(2 / n * chi2.isf(rate, groups - 1), rel=1e-9)


@pytest.mark.parametrize("rows", [300, 1_000, 10_000, 1_000_000])
def test_at_the_boundary_the_rate_is_the_stated_one(rows):
    """The reference uniform over ten groups, and a current one tilted until its PSI is the tolerated one."""
    rng = np.random.default_rng(rows)
    tilt = np.linspace(-1, 1, 10)
    low, high = 0.0, 0.9
    for _ in range(60):
        middle = (low + high) / 2
        q = (1 + middle * tilt) / 10
        low, high = (middle, high) if ((q - 0.1) * np.log(q / 0.1)).sum() < 0.01 else (low, middle)
    for rate, tolerance in ((0.05, 0.012), (0.01, 0.006)):
        critical = critical_psi(0.01, rate, 10, rows, rows)
        before, now = rng.multinomial(rows, np.full(10, 0.1), 6000), rng.multinomial(rows, q, 6000)
        p, r = ((one + 0.5) / (rows + 5) for one in (before, now))
        alarms = float(np.mean(((r - p) * np.log(r / p)).sum(axis=1) > critical))
        assert abs(alarms - rate) < tolerance
    assert smoothed_psi(before[0], now[0]) == pytest.approx(((r - p) * np.log(r / p)).sum(axis=1)[0])


def test_windows_without_rows_are_not_compared():
    with pytest.raises(ValueError, match="cannot be compared"):
        critical_psi(0.01, 0.05, 10, 0, 5)
