"""Benjamini-Hochberg against scipy, and what it holds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from mainspring.drift.multiple import benjamini_hochberg, smallest_level

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


@given(P_VALUES, st.floats(0.001, 0.999))
def test_what_is_rejected_has_an_adjusted_p_value_within_the_rate(p_values, rate):
    adjusted = false_discovery_control(p_values)
    clear = np.abs(adjusted - rate) > 1e-12
    assert (benjamini_hochberg(p_values, rate) == (adjusted <= rate))[clear].all()


@given(P_VALUES)
def test_the_smallest_level_is_the_least_adjusted_p_value(p_values):
    level = float(smallest_level(p_values))
    assert np.isclose(level, false_discovery_control(p_values).min(), atol=1e-12)
    assert benjamini_hochberg(p_values, level * (1 + 1e-9)).any()
    assert not benjamini_hochberg(p_values, level * 0.999).any() or level < 1e-300


def test_of_no_features_none_is_rejected():
    assert benjamini_hochberg(np.empty(0), 0.05).tolist() == []


def test_without_drift_any_is_rejected_as_often_as_stated():
    p_values = np.random.default_rng(3).uniform(size=(20_000, 12))
    assert abs(float((smallest_level(p_values) <= 0.05).mean()) - 0.05) < 0.006
